import Bytes
import ClientCore
import Cluster
import Marketplace
import Referee
import Wire

/// A caller: the production `ClientCore`, some requests at a time, and the connection that it has.
final class Client {
  enum Asked {
    case command(Command)
    case sku(UInt64, UInt64)
    case order(OrderID)
    /// What became of another request, for good where it is sealed.
    case fate(RequestID, sealing: Bool)
  }

  struct Request {
    let id: RequestID
    let asked: Asked
    let bytes: [UInt8]
    let invokedAt: Int64
    /// The last entry that had been answered to anybody.
    let answeredBefore: UInt64

    var judged: Referee.Request {
      let asked: Referee.Asked =
        switch asked {
        case .command: .command
        case .sku(let shop, let sku): .sku(shop: shop, sku: sku)
        case .order(let order): .order(order)
        case .fate(let target, _): .fate(target)
        }
      return Referee.Request(id: id, asked: asked, answeredBefore: answeredBefore)
    }
  }

  let place: Int
  /// It only reads: its requests never wait for a write of its own.
  let isReader: Bool
  /// The dispatcher that it tries first.
  let first: Int
  /// Requests that it has under way at most.
  let requestsMax: Int
  let budgetMilliseconds: Int64
  var core: ClientCore
  private(set) var pending: [RequestID: Request] = [:]
  /// Commands of which nobody knows whether they took effect.
  var doubtful: [RequestID] = []
  var connection = Connection()
  private var count: UInt64 = 0
  private var payments = 0

  /// Replies come over the connection that their request went by, or not at all.
  struct Connection {
    /// Grows with every one that is made.
    var number: UInt64 = 0
    /// Of the core's, that it was made for.
    var wanted: UInt64 = 0
    /// The process that it leads to.
    var incarnation: UInt64 = 0
    var isBroken = false
    /// Until then it is being made.
    var upAt: Int64 = 0
    /// Nothing overtakes on the way there.
    var freeAt: Int64 = 0
    /// And back.
    var freeBackAt: Int64 = 0
  }

  /// - Parameter isCalm: who reads and who writes begin with different dispatchers.
  init(place: Int, dispatchers: Int, isCalm: Bool, _ chance: inout Chance) {
    self.place = place
    isReader = place == 5
    first = isCalm ? (isReader ? dispatchers - 1 : 0) : chance.below(dispatchers)
    requestsMax = chance.pick([1, 2, 2, 4])
    budgetMilliseconds = Int64(chance.pick([1_500, 4_000, 30_000, 120_000]))
    var options = ClientCore.Options()
    options.silenceMilliseconds = Int64(chance.pick([300, 700, 2_000]))
    options.budgetMilliseconds = budgetMilliseconds
    options.connectMilliseconds = chance.permille(300) ? 1_000 : nil
    options.backoffMillisecondsMax = 500
    options.requestsPerMessageMax = chance.pick([1, 1, 4])
    options.retriesRefusals = chance.permille(700)
    core = ClientCore(
      dispatchers: dispatchers, options: options,
      random: ChanceGenerator(chance: Chance(seed: chance.next())))
  }

  /// Makes a request, and submits it.
  ///
  /// - Parameter orders: that were placed and answered.
  func begin(
    _ chance: inout Chance, orders: [OrderID], at now: Int64, answeredBefore: UInt64
  ) -> Request {
    let isFirst = count == 0
    count += 1
    let id = RequestID(
      high: UInt64(Worker.epoch + now / 1_000) << 16 | 0x7000 | UInt64(place), low: 2 << 62 | count)
    let asked = isFirst ? setUp() : ask(&chance, orders)
    // Most are patient.
    let deadline = UInt32(chance.permille(150) ? chance.pick(50...2_000) : 60_000)
    var writer = ByteWriter()
    switch asked {
    case .command(let command):
      RequestEncoder.write(id: id, channel: "app", deadlineMilliseconds: deadline, command, into: &writer)
    case .sku(let shop, let sku):
      RequestEncoder.write(
        id: id, channel: "app", deadlineMilliseconds: deadline, .sku(SKUKey(shop: shop, sku: sku)),
        into: &writer)
    case .order(let order):
      RequestEncoder.write(
        id: id, channel: "app", deadlineMilliseconds: deadline, .order(order), into: &writer)
    case .fate(let target, let sealing):
      RequestEncoder.write(
        id: id, channel: "app", deadlineMilliseconds: deadline, fateOf: target,
        at: chance.permille(500) ? .shop(1) : .partition(0), sealing: sealing, into: &writer)
    }
    let request = Request(
      id: id, asked: asked, bytes: Array(writer.bytes), invokedAt: now, answeredBefore: answeredBefore)
    pending[id] = request
    core.submit(id, writer.bytes, now: now)
    return request
  }

  func take(_ id: RequestID) -> Request? { pending.removeValue(forKey: id) }

  /// Clients of small numbers make the shops.
  private func setUp() -> Asked {
    var command = Command.RegisterShop()
    command.shop = UInt64(place % 3 + 1)
    command.name = "Toko \(place)"
    return .command(.registerShop(command))
  }

  private func ask(_ chance: inout Chance, _ orders: [OrderID]) -> Asked {
    if !doubtful.isEmpty, chance.permille(500) {
      return .fate(doubtful.removeFirst(), sealing: chance.permille(700))
    }
    let (shop, sku) = (UInt64(chance.pick(1...3)), UInt64(chance.pick(1...4)))
    func order() -> OrderID {
      guard !orders.isEmpty else { return OrderID(high: 1, low: 1) }
      return orders[max(0, orders.count - 1 - chance.below(chance.pick([4, 20, 400])))]
    }
    switch isReader ? chance.pick(76...99) : chance.below(100) {
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

/// For a core that draws by itself.
struct ChanceGenerator: RandomNumberGenerator {
  var chance: Chance
  mutating func next() -> UInt64 { chance.next() }
}
