import Marketplace

/// The rules of the marketplace once more, as dumb as they can be written: dictionaries, no
/// rows, no slots, nothing shared with the books but the words of commands and answers.
struct MarketplaceModel {
  struct Goods: Equatable {
    var price: Int64
    var onHand: Int64
    var reserved: Int64 = 0
    var consumed: Int64 = 0
    var given: Int64
    var name: String
  }

  struct Sale: Equatable {
    var shop: UInt64
    var buyer: UInt64
    var state: OrderState
    var lines: [OrderLine]
    var goods: Int64
    var total: Int64
    var expiresAt: Int64
    var received: Int64 = 0
    var held: Int64 = 0
    var refunded: Int64 = 0
    var released: Int64 = 0
    var fee: Int64 = 0
  }

  let partition: UInt16
  let reserve: Int64
  let feeBasisPoints: Int64
  var shops: Set<UInt64> = []
  var suspended: Set<UInt64> = []
  var goods: [[UInt64]: Goods] = [:]
  var sales: [OrderID: Sale] = [:]
  /// Sales of the block in hand: there, but nobody knows them yet.
  var placedNow: [OrderID: Sale] = [:]
  var payments: [[String]: Payment] = [:]
  var money: [String: Int64] = [:]

  mutating func beginBlock() {
    sales.merge(placedNow) { _, new in new }
    placedNow = [:]
  }

  private mutating func pay(_ from: String, _ to: String, _ amount: Int64) {
    if amount == 0 { return }
    money[from, default: 0] -= amount
    money[to, default: 0] += amount
  }

  private func no(_ reason: Reason, _ lines: [Refusal.LineProblem] = []) -> Answer {
    .no(Refusal(reason, lines: lines))
  }

  /// The answer; of a wrong argument only the reason counts, not its words.
  mutating func apply(_ command: Command, at time: Int64, sequenceNumber: UInt64) -> Answer {
    switch command {
    case .registerShop(let it):
      if it.shop == 0 || it.name == "" { return no(.invalidArgument) }
      if shops.contains(it.shop) { return no(.shopExists) }
      shops.insert(it.shop)
      return .shopRegistered(it.shop)
    case .putSKU(let it): return put(it)
    case .adjustStock(let it): return adjust(it)
    case .placeOrder(let it): return place(it, time, sequenceNumber)
    case .settlePayment(let it): return settle(it, time)
    case .cancelOrder(let it):
      guard let sale = sales[it.order] else { return no(.unknownOrder) }
      if let ended = ended(sale.state) { return no(ended) }
      if sale.state == .ready && it.by == .buyer { return no(.cancelNotAllowed) }
      giveBack(it.order, .cancelled)
      return .orderChanged(order: it.order, state: .cancelled, refunded: sale.held, released: 0, fee: 0)
    case .shipOrder(let id): return step(id, from: .ready, to: .shipped)
    case .deliverOrder(let id): return step(id, from: .shipped, to: .delivered)
    case .completeOrder(let id): return step(id, from: .delivered, to: .completed)
    }
  }

  private func ended(_ state: OrderState) -> Reason? {
    switch state {
    case .shipped: .alreadyShipped
    case .delivered: .alreadyDelivered
    case .completed: .alreadyCompleted
    case .cancelled, .expired: .orderCancelled
    default: nil
    }
  }

  private mutating func put(_ it: Command.PutSKU) -> Answer {
    if it.shop == 0 || it.sku == 0 || it.price < 0 || (it.onHand ?? 0) < 0 { return no(.invalidArgument) }
    if !shops.contains(it.shop) { return no(.unknownShop) }
    var row = goods[[it.shop, it.sku]] ?? Goods(price: 0, onHand: 0, given: 0, name: "")
    if let onHand = it.onHand {
      let (given, overflow) = (row.reserved + row.consumed).addingReportingOverflow(onHand)
      if overflow { return no(.amountOverflow) }
      row.onHand = onHand
      row.given = given
    }
    row.price = it.price
    if it.name != "" { row.name = it.name }
    goods[[it.shop, it.sku]] = row
    return .stockChanged(
      shop: it.shop, sku: it.sku, price: row.price, onHand: row.onHand, reserved: row.reserved)
  }

  private mutating func adjust(_ it: Command.AdjustStock) -> Answer {
    if it.shop == 0 || it.sku == 0 || it.delta == 0 { return no(.invalidArgument) }
    if !shops.contains(it.shop) { return no(.unknownShop) }
    guard var row = goods[[it.shop, it.sku]] else { return no(.unknownSKU) }
    if it.delta < -row.onHand {
      let problem = Refusal.LineProblem(index: 0, sku: it.sku, wanted: it.delta, available: row.onHand)
      return no(.stockNegative, [problem])
    }
    if it.delta > 0 && it.delta > Int64.max - row.given { return no(.amountOverflow) }
    row.onHand += it.delta
    row.given += it.delta
    goods[[it.shop, it.sku]] = row
    return .stockChanged(
      shop: it.shop, sku: it.sku, price: row.price, onHand: row.onHand, reserved: row.reserved)
  }

  private mutating func place(_ it: Command.PlaceOrder, _ time: Int64, _ sequenceNumber: UInt64) -> Answer {
    if it.shop == 0 || it.buyer == 0 || it.lines.isEmpty || it.shippingFee < 0 { return no(.invalidArgument) }
    if it.reserveMilliseconds > 2_592_000_000 { return no(.invalidArgument) }
    for line in it.lines {
      if line.sku == 0 || line.quantity == 0 || line.quantity > 1_000_000_000 { return no(.invalidArgument) }
      if (line.unitPrice ?? 0) < 0 { return no(.invalidArgument) }
    }
    if !shops.contains(it.shop) { return no(.unknownShop) }
    if suspended.contains(it.shop) { return no(.shopSuspended) }
    var problems: [Refusal.LineProblem] = []
    for (index, line) in it.lines.enumerated() where goods[[it.shop, line.sku]] == nil {
      problems.append(
        .init(index: UInt32(index), sku: line.sku, wanted: Int64(line.quantity), available: 0))
    }
    if !problems.isEmpty { return no(.unknownSKU, problems) }
    var sum = Int128(0)
    var lines: [OrderLine] = []
    for line in it.lines {
      let price = line.unitPrice ?? goods[[it.shop, line.sku]]!.price
      sum += Int128(price) * Int128(line.quantity)
      lines.append(OrderLine(sku: line.sku, quantity: line.quantity, unitPrice: price))
    }
    if sum + Int128(it.shippingFee) > Int128(Int64.max) { return no(.amountOverflow) }
    var left = goods
    for (index, line) in it.lines.enumerated() {
      let key = [it.shop, line.sku]
      let onHand = left[key]!.onHand
      if onHand < Int64(line.quantity) {
        problems.append(
          .init(index: UInt32(index), sku: line.sku, wanted: Int64(line.quantity), available: onHand))
      } else {
        left[key]!.onHand -= Int64(line.quantity)
        left[key]!.reserved += Int64(line.quantity)
      }
    }
    if !problems.isEmpty { return no(.outOfStock, problems) }
    goods = left
    let id = OrderID(at: time, partition: partition, sequenceNumber: sequenceNumber)
    let total = Int64(sum) + it.shippingFee
    let expiresAt = time + (it.reserveMilliseconds == 0 ? reserve : Int64(it.reserveMilliseconds))
    placedNow[id] = Sale(
      shop: it.shop, buyer: it.buyer, state: total == 0 ? .ready : .placed, lines: lines, goods: Int64(sum),
      total: total, expiresAt: expiresAt)
    return .orderPlaced(order: id, total: total, expiresAt: expiresAt)
  }

  private mutating func settle(_ it: Command.SettlePayment, _ time: Int64) -> Answer {
    if it.provider == "" || it.reference == "" || it.amount <= 0 { return no(.invalidArgument) }
    if let first = payments[[it.provider, it.reference]] {
      if first.order != it.order || first.amount != it.amount { return no(.referenceReused) }
      return .paymentSettled(first)
    }
    guard var sale = sales[it.order] else { return no(.unknownOrder) }
    let waits = sale.state == .placed
    let missing = waits ? sale.total - sale.received : 0
    let rejected = it.rejectedReason != ""
    let held = rejected ? 0 : Swift.min(it.amount, missing)
    let refunded = rejected ? 0 : it.amount - held
    let kind: Settlement
    if rejected {
      kind = .rejected
    } else if !waits {
      kind = .late
    } else if it.amount < missing {
      kind = .under
    } else if it.amount > missing {
      kind = .over
    } else {
      kind = .exact
    }
    pay("provider_clearing", "escrow \(sale.shop)", held)
    pay("provider_clearing", "wallet \(sale.buyer)", refunded)
    sale.held += held
    sale.received += held
    if waits && sale.received == sale.total { sale.state = .ready }
    sales[it.order] = sale
    let payment = Payment(
      provider: it.provider, reference: it.reference, order: it.order, amount: it.amount, method: it.method,
      instalments: it.instalments, rejectedReason: it.rejectedReason, settledAt: time, settlement: kind,
      held: held, refunded: refunded, outstanding: missing - held, stateAfter: sale.state)
    payments[[it.provider, it.reference]] = payment
    return .paymentSettled(payment)
  }

  private mutating func giveBack(_ id: OrderID, _ state: OrderState) {
    var sale = sales[id]!
    for line in sale.lines {
      goods[[sale.shop, line.sku]]!.reserved -= Int64(line.quantity)
      goods[[sale.shop, line.sku]]!.onHand += Int64(line.quantity)
    }
    pay("escrow \(sale.shop)", "wallet \(sale.buyer)", sale.held)
    sale.refunded += sale.held
    sale.held = 0
    sale.state = state
    sales[id] = sale
  }

  /// All that is due, as a patient partition would expire it.
  mutating func expire(at time: Int64) {
    for (id, sale) in sales where sale.state == .placed && sale.expiresAt <= time { giveBack(id, .expired) }
  }

  private mutating func step(_ id: OrderID, from: OrderState, to: OrderState) -> Answer {
    guard var sale = sales[id] else { return no(.unknownOrder) }
    if sale.state != from {
      switch sale.state {
      case .placed: return no(.notPaid)
      case .ready: return no(.notShipped)
      case .shipped: return no(to == .completed ? .notDelivered : .alreadyShipped)
      case .delivered: return no(.alreadyDelivered)
      case .completed: return no(.alreadyCompleted)
      default: return no(.orderCancelled)
      }
    }
    sale.state = to
    if to == .shipped {
      for line in sale.lines {
        goods[[sale.shop, line.sku]]!.reserved -= Int64(line.quantity)
        goods[[sale.shop, line.sku]]!.consumed += Int64(line.quantity)
      }
    }
    if to == .completed {
      sale.fee = Int64(Int128(sale.goods) * Int128(feeBasisPoints) / 10_000)
      sale.released = sale.held - sale.fee
      sale.held = 0
      pay("escrow \(sale.shop)", "balance \(sale.shop)", sale.released)
      pay("escrow \(sale.shop)", "fees", sale.fee)
    }
    sales[id] = sale
    return .orderChanged(order: id, state: to, refunded: 0, released: sale.released, fee: sale.fee)
  }
}
