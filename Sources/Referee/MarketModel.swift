import Marketplace

/// The rules of the marketplace once more, as dumb as they can be written, for the referee: dictionaries,
/// no rows, no slots, nothing of the books but the words of commands.
package struct MarketModel {
  package struct Goods: Equatable {
    package var price: Int64 = 0
    package var onHand: Int64 = 0
    package var reserved: Int64 = 0
    package var consumed: Int64 = 0
    package var given: Int64 = 0
    package init() {}
  }

  package struct Sale: Equatable {
    var shop: UInt64
    var buyer: UInt64
    package var state: UInt64
    var lines: [OrderLine]
    var goods: Int64
    var total: Int64
    var expiresAt: Int64
    package var received: Int64 = 0
    package var held: Int64 = 0
    package var refunded: Int64 = 0
  }

  package struct GoodsKey: Hashable {
    var shop: UInt64
    var sku: UInt64
    package init(shop: UInt64, sku: UInt64) {
      self.shop = shop
      self.sku = sku
    }
  }

  let partition: UInt16
  let reserve: Int64
  let feeBasisPoints: Int64
  package private(set) var shops: Set<UInt64> = []
  package private(set) var goods: [GoodsKey: Goods] = [:]
  /// By the sequence number that placed them.
  package private(set) var sales: [UInt64: (id: OrderID, sale: Sale)] = [:]
  package private(set) var payments: [String: (order: OrderID, amount: Int64, answer: ReplyFacts)] = [:]
  package private(set) var money: [AccountKey: Int64] = [:]
  private var blockFirst: UInt64 = .max
  /// What the last command changed, for the history of keys.
  private(set) var touchedGoods: [GoodsKey] = []
  private(set) var touchedSales: [UInt64] = []

  init(partition: UInt16, reserve: Int64, feeBasisPoints: Int64) {
    self.partition = partition
    self.reserve = reserve
    self.feeBasisPoints = feeBasisPoints
  }

  /// Orders of a block are known to later blocks only.
  mutating func beginBlock(first: UInt64) { blockFirst = first }

  private func known(_ id: OrderID) -> UInt64? {
    let sn = id.low & (1 << 46 - 1)
    guard sn < blockFirst, let found = sales[sn], found.id == id else { return nil }
    return sn
  }

  private mutating func pay(_ from: AccountKey, _ to: AccountKey, _ amount: Int64) {
    if amount == 0 { return }
    money[from, default: 0] -= amount
    money[to, default: 0] += amount
  }

  private func stock(_ row: Goods, _ shop: UInt64, _ sku: UInt64) -> ReplyFacts {
    var facts = ReplyFacts.done(12)
    facts[1] = shop
    facts[2] = sku
    facts[3] = UInt64(bitPattern: row.price)
    facts[4] = UInt64(bitPattern: row.onHand)
    facts[5] = UInt64(bitPattern: row.reserved)
    return facts
  }

  mutating func apply(_ command: Command, at time: Int64, sn: UInt64) -> ReplyFacts {
    touchedGoods.removeAll(keepingCapacity: true)
    touchedSales.removeAll(keepingCapacity: true)
    switch command {
    case .registerShop(let it):
      if shops.contains(it.shop) { return .no(9) }
      shops.insert(it.shop)
      var facts = ReplyFacts.done(13)
      facts[1] = it.shop
      return facts
    case .putSKU(let it):
      guard shops.contains(it.shop) else { return .no(2) }
      let key = GoodsKey(shop: it.shop, sku: it.sku)
      var row = goods[key] ?? Goods()
      if let onHand = it.onHand {
        let (given, overflow) = (row.reserved + row.consumed).addingReportingOverflow(onHand)
        if overflow { return .no(5) }
        row.onHand = onHand
        row.given = given
      }
      row.price = it.price
      goods[key] = row
      touchedGoods.append(key)
      return stock(row, it.shop, it.sku)
    case .adjustStock(let it):
      guard shops.contains(it.shop) else { return .no(2) }
      let key = GoodsKey(shop: it.shop, sku: it.sku)
      guard var row = goods[key] else { return .no(4) }
      if it.delta < -row.onHand { return .no(19) }
      let (given, overflow) = row.given.addingReportingOverflow(it.delta)
      if overflow { return .no(5) }
      row.onHand += it.delta
      row.given = given
      goods[key] = row
      touchedGoods.append(key)
      return stock(row, it.shop, it.sku)
    case .placeOrder(let it): return place(it, time, sn)
    case .settlePayment(let it): return settle(it)
    case .cancelOrder(let it):
      guard let key = known(it.order) else { return .no(7) }
      let sale = sales[key]!.sale
      switch sale.state {
      case 4: return .no(12)
      case 5: return .no(16)
      case 6: return .no(17)
      case 7, 8: return .no(15)
      case 3 where it.by == .buyer: return .no(18)
      default: break
      }
      giveBack(key, 7)
      return changed(it.order, 7, refunded: sale.held, released: 0, fee: 0)
    case .shipOrder(let id): return step(id, from: 3, to: 4)
    case .deliverOrder(let id): return step(id, from: 4, to: 5)
    case .completeOrder(let id): return step(id, from: 5, to: 6)
    }
  }

  private func changed(_ id: OrderID, _ state: UInt64, refunded: Int64, released: Int64, fee: Int64)
    -> ReplyFacts
  {
    var facts = ReplyFacts.done(11)
    (facts.high, facts.low) = (id.high, id.low)
    facts[2] = state
    facts[3] = UInt64(bitPattern: refunded)
    facts[4] = UInt64(bitPattern: released)
    facts[5] = UInt64(bitPattern: fee)
    return facts
  }

  private mutating func place(_ it: Command.PlaceOrder, _ time: Int64, _ sn: UInt64) -> ReplyFacts {
    guard shops.contains(it.shop) else { return .no(2) }
    for line in it.lines where goods[GoodsKey(shop: it.shop, sku: line.sku)] == nil { return .no(4) }
    var sum: Int128 = 0
    var lines: [OrderLine] = []
    var left: [GoodsKey: Goods] = [:]
    var isShort = false
    for line in it.lines {
      let key = GoodsKey(shop: it.shop, sku: line.sku)
      var row = left[key] ?? goods[key]!
      let price = line.unitPrice ?? row.price
      sum += Int128(price) * Int128(line.quantity)
      lines.append(OrderLine(sku: line.sku, quantity: line.quantity, unitPrice: price))
      if row.onHand < Int64(line.quantity) {
        isShort = true
      } else {
        row.onHand -= Int64(line.quantity)
        row.reserved += Int64(line.quantity)
        left[key] = row
      }
    }
    guard let total = Int64(exactly: sum + Int128(it.shippingFee)) else { return .no(5) }
    if isShort { return .no(6) }
    for line in it.lines {
      let key = GoodsKey(shop: it.shop, sku: line.sku)
      if let row = left[key], row != goods[key] {
        goods[key] = row
        touchedGoods.append(key)
      }
    }
    let expires = time &+ (it.reserveMilliseconds == 0 ? reserve : Int64(it.reserveMilliseconds))
    let id = OrderID(
      high: UInt64(bitPattern: time) << 16 | 0x7100, low: 2 << 62 | UInt64(partition) << 46 | sn)
    sales[sn] = (
      id,
      Sale(
        shop: it.shop, buyer: it.buyer, state: total == 0 ? 3 : 1, lines: lines, goods: Int64(sum),
        total: total, expiresAt: expires)
    )
    touchedSales.append(sn)
    var facts = ReplyFacts.done(9)
    (facts.high, facts.low) = (id.high, id.low)
    facts[2] = UInt64(bitPattern: total)
    facts[3] = UInt64(bitPattern: expires)
    return facts
  }

  private mutating func settle(_ it: Command.SettlePayment) -> ReplyFacts {
    let name = it.provider + "/" + it.reference
    if let first = payments[name] {
      return first.order == it.order && first.amount == it.amount ? first.answer : .no(10)
    }
    guard let key = known(it.order) else { return .no(7) }
    // All other accounts together have what clearing owes.
    guard money[AccountKey(.providerClearing), default: 0] >= -Int64.max + it.amount else { return .no(5) }
    var sale = sales[key]!.sale
    let waits = sale.state == 1
    let missing = waits ? sale.total - sale.received : 0
    let rejected = it.rejectedReason != ""
    let held = rejected ? 0 : Swift.min(it.amount, missing)
    let refunded = rejected ? 0 : it.amount - held
    let kind: UInt64 =
      rejected ? 5 : !waits ? 4 : it.amount < missing ? 2 : it.amount > missing ? 3 : 1
    pay(AccountKey(.providerClearing), AccountKey(.escrow, owner: sale.shop), held)
    pay(AccountKey(.providerClearing), AccountKey(.wallet, owner: sale.buyer), refunded)
    sale.held += held
    sale.received += held
    if !rejected, waits, sale.received == sale.total { sale.state = 3 }
    sales[key]!.sale = sale
    touchedSales.append(key)
    var facts = ReplyFacts.done(10)
    (facts.high, facts.low) = (it.order.high, it.order.low)
    facts[2] = kind
    facts[3] = UInt64(bitPattern: held)
    facts[4] = UInt64(bitPattern: refunded)
    facts[5] = UInt64(bitPattern: missing - held)
    facts[6] = sale.state
    payments[name] = (it.order, it.amount, facts)
    return facts
  }

  private mutating func giveBack(_ key: UInt64, _ state: UInt64) {
    var sale = sales[key]!.sale
    for line in sale.lines {
      let goodsKey = GoodsKey(shop: sale.shop, sku: line.sku)
      goods[goodsKey]!.reserved -= Int64(line.quantity)
      goods[goodsKey]!.onHand += Int64(line.quantity)
      touchedGoods.append(goodsKey)
    }
    pay(AccountKey(.escrow, owner: sale.shop), AccountKey(.wallet, owner: sale.buyer), sale.held)
    sale.refunded += sale.held
    sale.held = 0
    sale.state = state
    sales[key]!.sale = sale
    touchedSales.append(key)
  }

  /// - Returns: what is wrong with it, if something is.
  mutating func expire(_ keys: [UInt64], at time: Int64) -> String? {
    touchedGoods.removeAll(keepingCapacity: true)
    touchedSales.removeAll(keepingCapacity: true)
    for key in keys {
      guard let sale = sales[key]?.sale, key < blockFirst else {
        return "order \(key) expired and is unknown"
      }
      guard sale.state == 1, sale.expiresAt <= time else { return "order \(key) expired and was not due" }
      giveBack(key, 8)
    }
    return nil
  }

  private mutating func step(_ id: OrderID, from: UInt64, to: UInt64) -> ReplyFacts {
    guard let key = known(id) else { return .no(7) }
    var sale = sales[key]!.sale
    if sale.state != from {
      switch sale.state {
      case 1: return .no(11)
      case 3: return .no(13)
      case 4: return .no(to == 6 ? 14 : 12)
      case 5: return .no(16)
      case 6: return .no(17)
      default: return .no(15)
      }
    }
    sale.state = to
    var (released, fee): (Int64, Int64) = (0, 0)
    if to == 4 {
      for line in sale.lines {
        let goodsKey = GoodsKey(shop: sale.shop, sku: line.sku)
        goods[goodsKey]!.reserved -= Int64(line.quantity)
        goods[goodsKey]!.consumed += Int64(line.quantity)
        touchedGoods.append(goodsKey)
      }
    }
    if to == 6 {
      fee = Int64(Int128(sale.goods) * Int128(feeBasisPoints) / 10_000)
      released = sale.held - fee
      sale.held = 0
      pay(AccountKey(.escrow, owner: sale.shop), AccountKey(.balance, owner: sale.shop), released)
      pay(AccountKey(.escrow, owner: sale.shop), AccountKey(.fees), fee)
    }
    sales[key]!.sale = sale
    touchedSales.append(key)
    return changed(id, to, refunded: 0, released: released, fee: fee)
  }
}
