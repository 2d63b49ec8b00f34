import Bytes
import Cluster
import Marketplace
import TestSupport
import Wire

/// Random commands of every kind about a few shops, and what must be known to send them again.
struct Traffic {
  struct Sent: Sendable {
    var id: RequestID
    var bytes: [UInt8]
  }

  var random: SplitMix64
  private(set) var now: Milliseconds
  private var orders: [OrderID] = []
  private var requests: UInt64 = 0
  private var payments = 0
  /// Tells the requests of one traffic from those of another.
  private let series: UInt64

  init(seed: UInt64, series: UInt64 = 1, now: Milliseconds = 1_763_323_200_000) {
    random = SplitMix64(seed: seed)
    self.series = series
    self.now = now
  }

  /// Some commands that arrive together, a little later than those before.
  mutating func group(_ count: Int) -> [Sent] {
    now += Milliseconds(random.pick([0, 1, 3, 40, 400]))
    return (0..<count).map { _ in
      requests += 1
      let id = RequestID(high: UInt64(now) << 16 | 0x7000 | series, low: 2 << 62 | requests)
      var writer = ByteWriter()
      if random.chance(3) {
        // Of a request of before, or of one that never comes.
        let target = RequestID(high: id.high, low: random.chance(50) ? 2 << 62 | 1 : id.low | 1 << 40)
        RequestEncoder.write(
          id: id, channel: "app", deadlineMilliseconds: 1_000, fateOf: target, at: .shop(1), sealing: true,
          into: &writer)
      } else {
        RequestEncoder.write(id: id, channel: "app", deadlineMilliseconds: 1_000, command(), into: &writer)
      }
      return Sent(id: id, bytes: Array(writer.bytes))
    }
  }

  /// Orders that were placed can be paid and shipped from now on.
  mutating func learn(_ answers: [[UInt8]]) throws {
    for answer in answers {
      if let order = try answer.withUnsafeBytes({ try ReplyPeek($0).order }) { orders.append(order) }
    }
  }

  private mutating func order() -> OrderID {
    guard !orders.isEmpty else { return OrderID(high: 1, low: 1) }
    return orders[random.pick(max(0, orders.count - random.pick([5, 30, 1_000]))...orders.count - 1)]
  }

  private mutating func command() -> Command {
    let (shop, sku) = (UInt64(random.pick(1...4)), UInt64(random.pick(1...6)))
    switch random.pick(0...99) {
    case 0..<4:
      var command = Command.RegisterShop()
      command.shop = shop
      command.name = "Toko \(shop)"
      command.city = "Bandung"
      return .registerShop(command)
    case 4..<12:
      var command = Command.PutSKU()
      command.shop = shop
      command.sku = sku
      command.price = Money(random.pick(0...50)) * 1_000
      command.onHand = random.chance(50) ? nil : Int64(random.pick(0...90))
      command.name = "Kopi \(sku)"
      return .putSKU(command)
    case 12..<18:
      var command = Command.AdjustStock()
      command.shop = shop
      command.sku = sku
      command.delta = Int64(random.pick(-5...40))
      return .adjustStock(command)
    case 18..<50:
      var command = Command.PlaceOrder()
      command.shop = shop
      command.buyer = UInt64(random.pick(1...9))
      command.lines = (0..<random.pick(1...3)).map { _ in
        .init(sku: UInt64(random.pick(1...6)), quantity: UInt32(random.pick(1...3)))
      }
      command.shippingFee = Money(random.pick([0, 9_000]))
      command.reserveMilliseconds = UInt64(random.pick([0, 300, 3_000]))
      return .placeOrder(command)
    case 50..<74:
      if !random.chance(8) { payments += 1 }
      var command = Command.SettlePayment()
      command.order = order()
      command.provider = "bank"
      command.reference = "\(series)-\(payments)"
      command.amount = Money(random.pick([5, 30, 60, 100, 200])) * 1_000
      command.rejectedReason = random.chance(5) ? "insufficient funds" : ""
      return .settlePayment(command)
    case 74..<80:
      var command = Command.CancelOrder()
      command.order = order()
      command.by = random.pick([.buyer, .shop, .platform])
      command.reason = "berubah pikiran"
      return .cancelOrder(command)
    case 80..<88: return .shipOrder(order())
    case 88..<94: return .deliverOrder(order())
    default: return .completeOrder(order())
    }
  }
}
