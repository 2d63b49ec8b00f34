import Bytes
import Cluster
import Marketplace
import Wire

/// A caller: one request at a time, sent again with its id until it has a final answer.
final class Client {
  enum Asked {
    case command(Command)
    case sku(UInt64, UInt64)
    case order(OrderID)
  }

  struct Request {
    let id: RequestID
    let asked: Asked
    let bytes: [UInt8]
    let invokedAt: Int64
    /// The last entry that had been answered to anybody.
    let answeredBefore: UInt64
    var isRead: Bool { if case .command = asked { false } else { true } }
  }

  let place: Int
  var target: Int
  var request: Request?
  var attempt: UInt64 = 0
  private var count: UInt64 = 0
  private var payments = 0

  init(place: Int, target: Int) {
    self.place = place
    self.target = target
  }

  /// - Parameter orders: that were placed and answered.
  func begin(
    _ chance: inout Chance, orders: [OrderID], at now: Int64, answeredBefore: UInt64, isFirst: Bool
  ) {
    count += 1
    let id = RequestID(
      high: UInt64(Worker.epoch + now / 1_000) << 16 | 0x7000 | UInt64(place), low: 2 << 62 | count)
    let asked = isFirst ? setUp() : ask(&chance, orders)
    var writer = ByteWriter()
    switch asked {
    case .command(let command):
      RequestEncoder.write(id: id, channel: "app", deadlineMilliseconds: 60_000, command, into: &writer)
    case .sku(let shop, let sku):
      RequestEncoder.write(
        id: id, channel: "app", deadlineMilliseconds: 60_000, .sku(SKUKey(shop: shop, sku: sku)),
        into: &writer)
    case .order(let order):
      RequestEncoder.write(id: id, channel: "app", deadlineMilliseconds: 60_000, .order(order), into: &writer)
    }
    request = Request(
      id: id, asked: asked, bytes: Array(writer.bytes), invokedAt: now, answeredBefore: answeredBefore)
  }

  /// Clients of small numbers make the shops.
  private func setUp() -> Asked {
    var command = Command.RegisterShop()
    command.shop = UInt64(place % 3 + 1)
    command.name = "Toko \(place)"
    return .command(.registerShop(command))
  }

  private func ask(_ chance: inout Chance, _ orders: [OrderID]) -> Asked {
    let (shop, sku) = (UInt64(chance.pick(1...3)), UInt64(chance.pick(1...4)))
    func order() -> OrderID {
      guard !orders.isEmpty else { return OrderID(high: 1, low: 1) }
      return orders[max(0, orders.count - 1 - chance.below(chance.pick([4, 20, 400])))]
    }
    switch chance.below(100) {
    case 0..<2:
      var it = Command.RegisterShop()
      (it.shop, it.name) = (shop, "Toko")
      return .command(.registerShop(it))
    case 2..<9:
      var it = Command.PutSKU()
      (it.shop, it.sku, it.price, it.name) = (shop, sku, Int64(chance.pick(0...50)) * 1_000, "Kopi")
      it.onHand = chance.permille(500) ? nil : Int64(chance.pick(0...90))
      return .command(.putSKU(it))
    case 9..<17:
      var it = Command.AdjustStock()
      (it.shop, it.sku, it.delta) = (shop, sku, Int64(chance.pick(1...40)) - 8)
      if it.delta == 0 { it.delta = 1 }
      return .command(.adjustStock(it))
    case 17..<42:
      var it = Command.PlaceOrder()
      (it.shop, it.buyer) = (shop, UInt64(chance.pick(1...9)))
      it.lines = (0..<chance.pick(1...3)).map { _ in
        .init(sku: UInt64(chance.pick(1...4)), quantity: UInt32(chance.pick(1...3)))
      }
      it.shippingFee = chance.pick([0, 9_000])
      it.reserveMilliseconds = UInt64(chance.pick([0, 300, 60_000]))
      return .command(.placeOrder(it))
    case 42..<58:
      if !chance.permille(80) { payments += 1 }
      var it = Command.SettlePayment()
      it.order = order()
      (it.provider, it.reference) = ("bank", "\(place)-\(payments)")
      it.amount = Int64(chance.pick([5, 30, 60, 100, 200])) * 1_000
      it.rejectedReason = chance.permille(50) ? "insufficient funds" : ""
      return .command(.settlePayment(it))
    case 58..<62:
      var it = Command.CancelOrder()
      it.order = order()
      it.by = chance.pick([.buyer, .shop, .platform])
      return .command(.cancelOrder(it))
    case 62..<68: return .command(.shipOrder(order()))
    case 68..<72: return .command(.deliverOrder(order()))
    case 72..<76: return .command(.completeOrder(order()))
    case 76..<90: return .sku(shop, sku)
    default: return .order(order())
    }
  }
}
