import Foundation

// etcd v3 as its JSON gateway has it: bytes are base64, 64-bit numbers are strings, what is zero is left out.

/// A 64-bit number.
struct EtcdInt: Codable, Equatable {
  var value: Int64
  init(_ value: Int64) { self.value = value }

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let number = try? container.decode(Int64.self) {
      value = number
      return
    }
    guard let number = Int64(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "no 64-bit number")
    }
    value = number
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode("\(value)")
  }
}

enum Etcd {
  struct Header: Decodable {
    var revision: EtcdInt?
  }

  struct KeyValue: Decodable {
    var key: Data
    var value: Data?
    var create_revision: EtcdInt?
    var mod_revision: EtcdInt?
  }

  struct Range: Encodable {
    var key: Data
    var range_end: Data?
    var min_mod_revision: EtcdInt?
    var limit: EtcdInt?
    var sort_order: String?
    var sort_target: String?
  }

  struct RangeAnswer: Decodable {
    var header: Header?
    var kvs: [KeyValue]?
    var more: Bool?
  }

  struct Put: Encodable {
    var key: Data
    var value: Data
    var lease: EtcdInt?
  }

  struct DeleteRange: Encodable {
    var key: Data
  }

  struct Compare: Encodable {
    var key: Data
    var target: String
    var result = "EQUAL"
    var mod_revision: EtcdInt?
    var create_revision: EtcdInt?
    var value: Data?
    var range_end: Data?

    /// Zero: there is no such key.
    static func modified(_ key: Data, at revision: Int64) -> Compare {
      Compare(key: key, target: "MOD", mod_revision: EtcdInt(revision))
    }
    static func created(_ key: Data, at revision: Int64) -> Compare {
      Compare(key: key, target: "CREATE", create_revision: EtcdInt(revision))
    }
    static func equal(_ key: Data, _ value: Data) -> Compare {
      Compare(key: key, target: "VALUE", value: value)
    }
    static func empty(_ key: Data, to end: Data) -> Compare {
      Compare(key: key, target: "CREATE", create_revision: EtcdInt(0), range_end: end)
    }
  }

  struct Operation: Encodable {
    var request_range: Range?
    var request_put: Put?
    var request_delete_range: DeleteRange?

    static func range(_ key: Data) -> Operation { Operation(request_range: Range(key: key)) }
    static func put(_ key: Data, _ value: Data, lease: Int64? = nil) -> Operation {
      Operation(request_put: Put(key: key, value: value, lease: lease.map { EtcdInt($0) }))
    }
    static func delete(_ key: Data) -> Operation {
      Operation(request_delete_range: DeleteRange(key: key))
    }
  }

  struct Transaction: Encodable {
    var compare: [Compare]
    var success: [Operation]
    var failure: [Operation]
  }

  struct TransactionAnswer: Decodable {
    struct Response: Decodable {
      var response_range: RangeAnswer?
    }
    var header: Header?
    var succeeded: Bool?
    var responses: [Response]?

    /// What a range of the transaction found: nil is nothing.
    func first(_ index: Int) -> KeyValue? {
      guard let responses, index < responses.count else { return nil }
      return responses[index].response_range?.kvs?.first
    }
  }

  struct Lease: Codable {
    var ID: EtcdInt?
    var TTL: EtcdInt?
  }

  struct KeepAliveAnswer: Decodable {
    var result: Lease?
  }

  struct Credentials: Encodable {
    var name: String
    var password: String
  }

  struct Token: Decodable {
    var token: String?
  }

  struct Failure: Decodable {
    var error: String?
    var message: String?
    var code: Int?
  }

  struct Nothing: Codable {}
}
