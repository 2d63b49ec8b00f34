import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import SwiftProtobuf
import Testing
import Wire

/// The lean codec against SwiftProtobuf.
struct RequestTests {
  private func decode(_ bytes: [UInt8]) throws -> DecodedRequest {
    try bytes.withUnsafeBytes { try DecodedRequest($0) }
  }

  private func peek(_ bytes: [UInt8]) throws -> RequestPeek {
    var id: RequestID?
    return try bytes.withUnsafeBytes { try RequestPeek($0, id: &id) }
  }

  private func expect(_ bytes: [UInt8], means meant: Meant, _ when: String) {
    do {
      let decoded = try decode(bytes)
      let same = decoded.id == meant.id && decoded.channel == meant.channel && decoded.body == meant.body
      #expect(same, "decoded otherwise: \(when)")
      let deadline = meant.deadlineMilliseconds == 0 ? 5_000 : min(meant.deadlineMilliseconds, 600_000)
      let peek = try peek(bytes)
      #expect(peek.id == meant.id, "\(when)")
      #expect(peek.target == meant.target, "\(when)")
      #expect(peek.deadlineMilliseconds == deadline, "\(when)")
    } catch { Issue.record("\(error): \(when)") }
  }

  /// Whether both codecs agree on bytes of any kind.
  ///
  /// - Parameter isStrict: no value that breaks a limit stands before one that keeps it. The lean
  ///   codec refuses the first at once, SwiftProtobuf looks at the last only.
  private func expectAgreement(_ bytes: [UInt8], isStrict: Bool, _ when: String) {
    let message = try? Laris_Request(serializedBytes: bytes)
    guard let message else {
      let decoded = try? decode(bytes)
      #expect(decoded == nil, "read what SwiftProtobuf refuses: \(when): \(bytes)")
      _ = try? peek(bytes)
      return
    }
    guard let meant = Meant(message) else {
      let decoded = try? decode(bytes)
      #expect(decoded == nil, "read what breaks a limit: \(when): \(bytes)")
      _ = try? peek(bytes)
      return
    }
    if !isStrict {
      do { _ = try decode(bytes) } catch WireError.tooLong {
        return
      } catch WireError.badValue {
        return
      } catch { Issue.record("refused (\(error)) what SwiftProtobuf reads: \(when): \(bytes)") }
    }
    expect(bytes, means: meant, when)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `what SwiftProtobuf writes is read as it was meant`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    for step in 0..<2_000 {
      let meant = Meant(&values)
      let bytes: [UInt8] = try meant.message.serializedBytes()
      expect(bytes, means: meant, "step \(step) of seed \(seed)")
    }
  }

  @Test(arguments: 5...8 as ClosedRange<UInt64>)
  func `what the encoder writes is what SwiftProtobuf writes, byte for byte`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    for step in 0..<2_000 {
      let meant = Meant(&values)
      var writer = ByteWriter(capacity: 1)
      switch meant.body {
      case .audit: continue
      case .fate(let target, let sealing):
        RequestEncoder.write(
          id: meant.id, channel: meant.channel, deadlineMilliseconds: meant.deadlineMilliseconds,
          fateOf: target, at: meant.place, sealing: sealing, into: &writer)
      case .command(let command):
        RequestEncoder.write(
          id: meant.id, channel: meant.channel, deadlineMilliseconds: meant.deadlineMilliseconds, command,
          into: &writer)
      case .query(let query):
        RequestEncoder.write(
          id: meant.id, channel: meant.channel, deadlineMilliseconds: meant.deadlineMilliseconds, query,
          into: &writer)
      }
      let expected: [UInt8] = try meant.message.serializedBytes()
      let same = Array(writer.bytes) == expected
      #expect(same, "step \(step) of seed \(seed)")
    }
  }

  @Test(arguments: 11...14 as ClosedRange<UInt64>)
  func `fields come in any order`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    for step in 0..<1_000 {
      let meant = Meant(&values)
      var fields = try Field.parse(meant.message.serializedBytes())
      Field.shuffle(&fields, &values.random)
      let bytes = Field.bytes(fields)
      // Lines are shuffled too, so SwiftProtobuf says what they are now.
      expectAgreement(bytes, isStrict: true, "step \(step) of seed \(seed)")
    }
  }

  @Test(arguments: 21...24 as ClosedRange<UInt64>)
  func `unknown fields of every kind are passed over at every level`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    for step in 0..<1_000 {
      let meant = Meant(&values)
      var fields = try Field.parse(meant.message.serializedBytes())
      Field.sprinkle(&fields, &values)
      expect(Field.bytes(fields), means: meant, "step \(step) of seed \(seed)")
      expectAgreement(Field.bytes(fields), isStrict: true, "step \(step) of seed \(seed)")
    }
  }

  @Test(arguments: 31...34 as ClosedRange<UInt64>)
  func `of a field that stands twice the last counts, and parts of a command are merged`(
    seed: UInt64
  ) throws {
    var values = RandomValues(seed: seed)
    var merged = 0
    for step in 0..<3_000 {
      let messages = (0..<values.random.pick(2...3)).map { _ in Meant(&values) }
      var bytes: [UInt8] = []
      for meant in messages { bytes += try meant.message.serializedBytes() as [UInt8] }
      if messages[0].target == messages[1].target { merged += 1 }
      expectAgreement(bytes, isStrict: true, "step \(step) of seed \(seed)")
      // The same kind in two parts, one of them half.
      let whole = try Field.parse(messages[0].message.serializedBytes())
      var half = whole
      Field.drop(&half, &values.random)
      expectAgreement(Field.bytes(half + whole), isStrict: true, "halves, step \(step) of seed \(seed)")
      expectAgreement(Field.bytes(whole + half), isStrict: true, "halves, step \(step) of seed \(seed)")
    }
  }

  @Test(arguments: 41...43 as ClosedRange<UInt64>)
  func `a request that is cut anywhere is read by both or by neither`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    for step in 0..<40 {
      let meant = Meant(&values)
      let bytes: [UInt8] = try meant.message.serializedBytes()
      for length in 0..<bytes.count {
        expectAgreement(Array(bytes[..<length]), isStrict: true, "step \(step), \(length) bytes")
      }
    }
  }

  @Test(arguments: 51...54 as ClosedRange<UInt64>)
  func `bytes that were damaged are read by both or by neither`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    var read = 0
    for step in 0..<8_000 {
      var bytes: [UInt8] = try Meant(&values).message.serializedBytes()
      for _ in 0..<values.random.pick(1...3) where !bytes.isEmpty {
        let at = values.random.pick(0...bytes.count - 1)
        switch values.random.pick(0...4) {
        case 0: bytes[at] ^= 1 << UInt8(values.random.pick(0...7))
        case 1: bytes[at] = UInt8(values.random.pick(0...255))
        case 2: bytes.remove(at: at)
        case 3: bytes.insert(values.random.pick([0, 0x80, 0xFF, 0x0B, 0x0C]), at: at)
        default: bytes.removeSubrange(at..<min(bytes.count, at + values.random.pick(1...9)))
        }
      }
      if (try? decode(bytes)) != nil { read += 1 }
      expectAgreement(bytes, isStrict: false, "step \(step) of seed \(seed)")
    }
    #expect(read > 500, "damage was refused nearly always, so nothing was compared")
  }

  @Test(arguments: 61...62 as ClosedRange<UInt64>)
  func `noise crashes nothing`(seed: UInt64) {
    var values = RandomValues(seed: seed)
    for step in 0..<20_000 {
      let bytes = values.bytes(values.random.pick(0...40))
      expectAgreement(bytes, isStrict: false, "step \(step) of seed \(seed)")
    }
  }

  @Test func `a tag of more than five bytes is malformed, whatever its value`() throws {
    // A get_shop.
    let request = [0x0A, 0x10] + [UInt8](repeating: 1, count: 16) + [0x92, 0x02, 0x02, 0x08, 0x01]
    #expect(throws: Never.self) { try decode(request) }
    // Field 256, a varint: in the fewest bytes, in five, in six.
    #expect(throws: Never.self) { try decode(request + [0x80, 0x10, 0x00]) }
    #expect(throws: Never.self) { try decode(request + [0x80, 0x90, 0x80, 0x80, 0x00, 0x00]) }
    let long = request + [0x80, 0x90, 0x80, 0x80, 0x80, 0x00, 0x00]
    #expect(throws: WireError.malformed) { try decode(long) }
    #expect(throws: WireError.malformed) { try peek(long) }
  }

  @Test func `a channel that is there and empty is the same as none`() throws {
    let request = [0x0A, 0x10] + [UInt8](repeating: 1, count: 16) + [0x92, 0x02, 0x02, 0x08, 0x01]
    #expect(try peek(request + [0x12, 0x00]) == peek(request))
    #expect(try peek(request + [0x12, 0x01, 0x61]) != peek(request))
  }

  @Test func `status is the dispatcher's, a partition can't read it`() throws {
    var message = Laris_Request()
    message.requestID = Data(repeating: 1, count: 16)
    message.getStatus = Laris_GetStatus()
    let bytes: [UInt8] = try message.serializedBytes()
    #expect(try peek(bytes).target == .status)
    #expect(throws: WireError.noCommand) { try decode(bytes) }
  }

  @Test func `what operators ask is the dispatcher's, a partition can't read it`() throws {
    let commands: [Laris_Request.OneOf_Command] = [
      .getGroupHistory(.with { $0.partition = 3 }),
      .switchPrimary(.with { ($0.partition, $0.to) = (3, "worker-2") }),
      .moveReplica(.with { ($0.from, $0.to) = ("worker-1", "worker-2") }),
      .drainWorker(.with { $0.node = "worker-1" }),
      .removeWorker(.with { $0.node = "worker-1" }),
      .restartGroup(.with { $0.node = "worker-1" }),
    ]
    for command in commands {
      var message = Laris_Request()
      message.requestID = Data(repeating: 1, count: 16)
      message.command = command
      let bytes: [UInt8] = try message.serializedBytes()
      #expect(try peek(bytes).target == .configuration)
      #expect(throws: WireError.noCommand) { try decode(bytes) }
    }
  }

  @Test func `a peek that fails still says whose request it was`() throws {
    var message = Laris_Request()
    message.requestID = Data(1...16)
    message.shipOrder.orderID = Data([1, 2, 3])
    let bytes: [UInt8] = try message.serializedBytes()
    var id: RequestID?
    #expect(throws: WireError.badValue(field: "order_id")) {
      try bytes.withUnsafeBytes { try RequestPeek($0, id: &id) }
    }
    #expect(id == RequestID(high: 0x0102_0304_0506_0708, low: 0x090A_0B0C_0D0E_0F10))
    #expect(throws: WireError.self) { try [UInt8]().withUnsafeBytes { try RequestPeek($0, id: &id) } }
    #expect(id == nil)
  }

  @Test func `a fingerprint is the command's and the channel's, not the id's or the deadline's`() throws {
    var values = RandomValues(seed: 71)
    var seen: [UInt64: [UInt8]] = [:]
    for _ in 0..<1_000 {
      var meant = Meant(&values)
      if meant.body == .audit { continue }
      let fingerprint = try decode(meant.message.serializedBytes()).fingerprint
      meant.id = RequestID(high: 1, low: 1)
      meant.deadlineMilliseconds = 77
      let bytes: [UInt8] = try meant.message.serializedBytes()
      let again = try decode(bytes).fingerprint
      #expect(again == fingerprint)
      let old = seen.updateValue(bytes, forKey: fingerprint)
      #expect(old == nil || old == bytes, "two commands have one fingerprint")
      meant.channel = meant.channel == "x" ? "y" : "x"
      let elsewhere = try decode(meant.message.serializedBytes()).fingerprint
      #expect(elsewhere != fingerprint)
    }
  }

  /// A length that the contract states: the longest is read, one more is not.
  struct Limit: Sendable, CustomTestStringConvertible {
    let name: String
    let most: Int
    let set: @Sendable (inout Laris_Request, String) -> Void
    var testDescription: String { "\(name), \(most)" }
  }

  static let limits: [Limit] = [
    Limit(name: "channel", most: 32) { $0.channel = $1 },
    Limit(name: "name", most: 128) { $0.registerShop.name = $1 },
    Limit(name: "city", most: 64) { $0.registerShop.city = $1 },
    Limit(name: "province", most: 64) { $0.registerShop.province = $1 },
    Limit(name: "market", most: 64) { $0.registerShop.market = $1 },
    Limit(name: "category", most: 64) { $0.registerShop.category = $1 },
    Limit(name: "owner_hash", most: 32) { $0.registerShop.ownerHash = Data($1.utf8) },
    Limit(name: "name", most: 128) { $0.putSku.name = $1 },
    Limit(name: "reference", most: 64) { $0.placeOrder.reference = $1 },
    Limit(name: "lines", most: 2_000) {
      $0.placeOrder.lines = Array(repeating: Laris_Line(), count: $1.utf8.count)
    },
    Limit(name: "provider", most: 32) { $0.settlePayment.provider = $1 },
    Limit(name: "reference", most: 64) { $0.settlePayment.reference = $1 },
    Limit(name: "rejected_reason", most: 128) { $0.settlePayment.rejectedReason = $1 },
    Limit(name: "reason", most: 128) { $0.cancelOrder.reason = $1 },
    Limit(name: "provider", most: 32) { $0.getPayment.provider = $1 },
    Limit(name: "reference", most: 64) { $0.getPayment.reference = $1 },
  ]

  @Test(arguments: limits) func `lengths are held to the byte`(limit: Limit) throws {
    func bytes(_ text: String) throws -> [UInt8] {
      var message = Laris_Request()
      message.requestID = Data(repeating: 1, count: 16)
      if limit.name == "channel" { message.getShop.shopID = 1 }
      limit.set(&message, text)
      let id = Data(repeating: 2, count: 16)
      switch message.command {
      case .settlePayment: message.settlePayment.orderID = id
      case .cancelOrder: message.cancelOrder.orderID = id
      case .getPayment: message.getPayment.orderID = id
      default: break
      }
      return try message.serializedBytes()
    }
    // Bytes count, not characters.
    let longest = String(repeating: "é", count: limit.most / 2)
    #expect(throws: Never.self) { try decode(bytes(longest)) }
    do {
      _ = try decode(bytes(longest + "a"))
      Issue.record("\(limit.most + 1) were read")
    } catch let error as WireError {
      #expect(error.description == "\(limit.name) is more than \(limit.most) long")
    }
  }

  @Test func `a request has at most a mebibyte`() throws {
    var message = Laris_Request()
    message.requestID = Data(repeating: 1, count: 16)
    message.getShop.shopID = 1
    var bytes: [UInt8] = try message.serializedBytes()
    var padding = ByteWriter()
    let room = WireLimits.requestBytesMax - bytes.count
    padding.field(1_000, Tag.length)
    padding.append(varint: UInt64(room - 5))
    bytes += Array(padding.bytes) + [UInt8](repeating: 0, count: room - 5)
    #expect(bytes.count == WireLimits.requestBytesMax)
    #expect(throws: Never.self) { try decode(bytes) }
    #expect(throws: WireError.self) { try decode(bytes + [0x08, 0x00]) }
  }
}
