import Curl
import Foundation

/// etcd asked without us: JSON in, JSON out.
final class RawEtcd {
  private var connection: HTTPConnection
  private let endpoint: String

  init(_ endpoint: String, tls: HTTPConnection.TLS = .init()) {
    self.endpoint = endpoint
    connection = HTTPConnection(tls: tls)
  }

  @discardableResult
  func post(_ path: String, _ body: [String: Any]) throws -> [String: Any] {
    let bytes = [UInt8](try JSONSerialization.data(withJSONObject: body))
    let answer = try connection.post(
      endpoint + path, bytes, headers: [], milliseconds: 10_000, bytesMax: 1 << 20)
    let object = try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any] ?? [:]
    guard answer.status == 200 else { throw Refusal(description: "\(path): \(answer.status) \(object)") }
    return object
  }

  struct Refusal: Error, CustomStringConvertible { let description: String }

  private func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

  func put(_ key: String, _ value: [UInt8]) throws {
    try post("/v3/kv/put", ["key": base64(key), "value": Data(value).base64EncodedString()])
  }

  func get(_ key: String) throws -> [UInt8]? {
    let found = try post("/v3/kv/range", ["key": base64(key)])["kvs"] as? [[String: Any]]
    guard let value = found?.first?["value"] as? String else { return nil }
    return Data(base64Encoded: value).map { [UInt8]($0) }
  }

  /// - Parameter prefix: ends with a slash.
  func delete(under prefix: String) throws {
    try post(
      "/v3/kv/deleterange", ["key": base64(prefix), "range_end": base64(prefix.dropLast() + "0")])
  }

  /// Which of `endpoints` leads.
  static func leader(of endpoints: [String]) throws -> Int? {
    for (number, endpoint) in endpoints.enumerated() {
      guard let status = try? RawEtcd(endpoint).post("/v3/maintenance/status", [:]),
        let header = status["header"] as? [String: Any], let leader = status["leader"] as? String
      else { continue }
      if header["member_id"] as? String == leader { return number }
    }
    return nil
  }
}
