import Bytes
import Cluster
import Marketplace
import TestSupport
import Wire

/// Requests that make sense together: few shops, few SKUs, orders that may exist.
package struct RandomCommands {
  /// Of request ids; what runs them begins here too.
  package static let start: Milliseconds = 1_800_000_000_000
  package static let partition: UInt16 = 3
  package var random: SplitMix64
  private var ids: UInt64 = 0
  package var time = start
  /// Where an order's entry may stand.
  package var sequenceNumbers: ClosedRange<Int> = 1...40

  package init(_ random: SplitMix64) { self.random = random }

  package mutating func requestID() -> RequestID {
    ids += 1
    return RequestID(high: UInt64(time) << 16 | 0x7000 | ids & 0xFFF, low: 2 << 62 | ids)
  }

  mutating func order() -> OrderID {
    OrderID(
      at: time, partition: Self.partition, sequenceNumber: UInt64(random.pick(sequenceNumbers)))
  }

  package mutating func command() -> Command {
    let (shop, sku) = (UInt64(random.pick(1...2)), UInt64(random.pick(1...3)))
    switch random.pick(0...11) {
    case 0:
      var it = Command.RegisterShop()
      (it.shop, it.name, it.city) = (shop, "Toko é", "Bandung")
      it.ownerHash = random.bytes(random.pick([0, 32]))
      it.origin = .crossBorder
      return .registerShop(it)
    case 1, 2:
      var it = Command.PutSKU()
      (it.shop, it.sku, it.price) = (shop, sku, Int64(random.pick(0...50_000)))
      (it.onHand, it.name) = (random.chance(80) ? Int64(random.pick(0...1_000)) : nil, "Kopi")
      return .putSKU(it)
    case 3:
      var it = Command.AdjustStock()
      (it.shop, it.sku, it.delta) = (shop, sku, Int64(random.pick(-5...50)))
      return .adjustStock(it)
    case 4, 5, 6:
      var it = Command.PlaceOrder()
      (it.shop, it.buyer, it.reference) = (shop, UInt64(random.pick(1...3)), "ref")
      for _ in 0..<random.pick(1...4) {
        it.lines.append(
          .init(
            sku: UInt64(random.pick(1...3)), quantity: UInt32(random.pick(1...3)),
            unitPrice: random.chance(30) ? 100 : nil))
      }
      it.shippingFee = Int64(random.pick([0, 18_000]))
      it.reserveMilliseconds = UInt64(random.pick([0, 5, 60_000]))
      return .placeOrder(it)
    case 7, 8:
      var it = Command.SettlePayment()
      (it.order, it.provider, it.reference) = (order(), "bank", "r\(random.pick(1...9))")
      (it.amount, it.method) = (Int64(random.pick([1, 100, 18_100, 1_000_000])), .card)
      it.rejectedReason = random.chance(10) ? "no" : ""
      return .settlePayment(it)
    case 9:
      var it = Command.CancelOrder()
      (it.order, it.by, it.reason) = (order(), random.pick([.buyer, .shop, .platform]), "why")
      return .cancelOrder(it)
    case 10: return .shipOrder(order())
    default: return random.chance(50) ? .deliverOrder(order()) : .completeOrder(order())
    }
  }

  package mutating func query() -> Query {
    switch random.pick(0...3) {
    case 0: .order(order())
    case 1: .sku(SKUKey(shop: 1, sku: UInt64(random.pick(1...3))))
    case 2: .shop(ShopID(UInt64(random.pick(1...2))))
    default: .payment(order: order(), PaymentKey(provider: "bank", reference: "r\(random.pick(1...9))"))
    }
  }

  /// A request of any kind, as bytes.
  package mutating func request() -> [UInt8] {
    let id = requestID()
    let channel = random.pick(["", "app"])
    var writer = ByteWriter()
    switch random.pick(0...11) {
    case 10, 11:
      // What became of a request: one of those before, or one that nobody sent.
      let number = UInt64(random.pick(1...30))
      let target = RequestID(high: UInt64(time) << 16 | 0x7000 | number, low: 2 << 62 | number)
      let field = random.pick([CommandField.resolve, .getRequest])
      writer.field(1, high: id.high, low: id.low)
      writer.field(field.rawValue) { writer in
        writer.field(1, varint: 1)
        writer.field(3, high: target.high, low: target.low)
      }
    case 0...6:
      RequestEncoder.write(
        id: id, channel: channel, deadlineMilliseconds: 5_000, command(), into: &writer)
    case 7, 8:
      RequestEncoder.write(id: id, channel: channel, deadlineMilliseconds: 0, query(), into: &writer)
    default:
      let field = random.pick([CommandField.getStatus, .auditPartition, .getGroupHistory, .drainWorker])
      writer.field(1, high: id.high, low: id.low)
      writer.field(3, varint: 700)
      writer.field(field.rawValue) { $0.field(1, varint: field == .auditPartition ? 3 : 0) }
    }
    return Array(writer.bytes)
  }

  /// A command that is logged, as bytes.
  package mutating func commandRequest() -> [UInt8] {
    let id = requestID()
    return Self.bytes(of: command(), id: id, channel: "app")
  }

  /// A request of this command, as bytes.
  mutating func request(of command: Command, channel: String = "app") -> [UInt8] {
    Self.bytes(of: command, id: requestID(), channel: channel)
  }

  private static func bytes(of command: Command, id: RequestID, channel: String) -> [UInt8] {
    var writer = ByteWriter()
    RequestEncoder.write(id: id, channel: channel, deadlineMilliseconds: 0, command, into: &writer)
    return Array(writer.bytes)
  }
}

extension ByteWriter {
  /// Bytes with their count before them.
  package mutating func append(counted bytes: [UInt8]) {
    append(littleEndian: UInt16(truncatingIfNeeded: bytes.count))
    append(bytes)
  }
}
