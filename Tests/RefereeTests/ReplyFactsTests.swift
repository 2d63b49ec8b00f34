import Cluster
import Marketplace
import Referee
import TestMarketplace
import Testing

struct ReplyFactsTests {
  private static let id = RequestID(high: 1 << 16 | 0x7000, low: 2 << 62 | 1)
  private static let order = OrderID(at: 7, partition: 3, sequenceNumber: 9)

  private static func read(_ bytes: [UInt8]) -> ReplyFacts? { bytes.withUnsafeBytes { ReplyFacts($0) } }
  private static func request(_ bytes: [UInt8]) -> RequestID? {
    bytes.withUnsafeBytes { ReplyFacts.request(in: $0) }.map { RequestID(high: $0.high, low: $0.low) }
  }

  private static func varint(_ number: UInt64) -> [UInt8] {
    var (rest, bytes) = (number, [UInt8]())
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  /// A field that says that it is so long, and the bytes that follow.
  private static func field(_ number: UInt64, length: UInt64, _ bytes: [UInt8], wire: UInt64 = 2) -> [UInt8] {
    varint(number << 3 | wire) + varint(length) + bytes
  }

  private static func field(_ number: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    field(number, length: UInt64(bytes.count), bytes)
  }

  /// Of a result: its field, the id in it, and its numbers.
  private static func facts(_ result: UInt64, _ id: OrderID?, _ numbers: [Int: Int64]) -> ReplyFacts {
    var facts = ReplyFacts.done(result)
    (facts.high, facts.low) = (id?.high ?? 0, id?.low ?? 0)
    for (field, number) in numbers { facts[field] = UInt64(bitPattern: number) }
    return facts
  }

  private static var answers: [(Answer, ReplyFacts)] {
    [
      (.orderPlaced(order: order, total: 500, expiresAt: .max), facts(9, order, [2: 500, 3: .max])),
      (
        .orderChanged(order: order, state: .cancelled, refunded: 3, released: 4, fee: 5),
        facts(11, order, [2: Int64(OrderState.cancelled.rawValue), 3: 3, 4: 4, 5: 5])
      ),
      (
        .stockChanged(shop: 1, sku: 2, price: 3, onHand: 0, reserved: .max),
        facts(12, nil, [1: 1, 2: 2, 3: 3, 5: .max])
      ),
      (.shopRegistered(.max), facts(13, nil, [1: -1])),
      (
        .sku(
          SKU(
            shop: 1, sku: 2, name: "Kopi", price: 4, onHand: 5, reserved: 6, consumed: 7, writtenOff: 8,
            given: 9)),
        facts(33, nil, [1: 1, 2: 2, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9])
      ),
      (.no(Refusal(.unknownOrder)), .no(7)),
      (.no(Refusal(.outOfStock, lines: [.init(index: 1, sku: 2, wanted: 3, available: 0)])), .no(6)),
    ]
  }

  @Test func `every number of an answer is read`() {
    for (answer, facts) in Self.answers {
      let bytes = replyBytes(Self.id, answer)
      #expect(Self.read(bytes) == facts)
      #expect(Self.request(bytes) == Self.id)
    }
  }

  @Test func `what was cut off is another answer or none, and nothing is read beyond it`() {
    for (answer, facts) in Self.answers where facts.outcome == 1 {
      let bytes = replyBytes(Self.id, answer)
      for count in 0..<bytes.count { #expect(Self.read(Array(bytes.prefix(count))) != facts) }
      for count in 0..<18 { #expect(Self.request(Array(bytes.prefix(count))) == nil) }
    }
  }

  /// Those from 2^63 on fit into no signed number.
  private static let lengths: [UInt64] = [17, 1 << 32, 1 << 63 - 1, 1 << 63, .max]

  @Test(arguments: lengths) func `a length that reaches beyond the bytes makes it no reply`(length: UInt64) {
    let id = [UInt8](repeating: 7, count: 16)
    for number: UInt64 in [1, 4, 9, 14, 32, 1 << 60] {
      let bytes = Self.field(number, length: length, id)
      #expect(Self.read(bytes) == nil, "field \(number)")
      #expect(Self.request(bytes) == nil, "field \(number)")
      // Behind what is well.
      #expect(Self.request(Self.field(1, id) + bytes) == nil, "field \(number)")
    }
    for number: UInt64 in [1, 7] {
      #expect(Self.read(Self.field(9, Self.field(number, length: length, id))) == nil, "field \(number)")
    }
  }

  @Test(arguments: [1, 3, 4, 5, 6, 7] as [UInt64])
  func `what is neither a number nor has a length makes it no reply`(wire: UInt64) {
    let id = [UInt8](repeating: 7, count: 16)
    #expect(Self.read(Self.field(9, Self.field(1, id)))?.high == 0x0707_0707_0707_0707)
    let other = Self.field(1, length: 16, id, wire: wire)
    #expect(Self.request(other) == nil)
    #expect(Self.read(other) == nil)
    #expect(Self.read(Self.field(9, other)) == nil)
  }

  @Test func `a number that does not end is none`() {
    for count in 1...20 {
      let endless = [UInt8](repeating: 0x80, count: count)
      #expect(Self.read(endless) == nil)
      #expect(Self.read([0x10] + endless) == nil)
      #expect(Self.read([0x4A] + endless) == nil)
    }
  }
}
