import Marketplace
import TestMarketplace

/// A partition's books with a clock that a test holds: every command is a block of its own.
final class Market {
  static let start: Milliseconds = 1_800_000_000_000
  static let reserve: UInt64 = 3_600_000

  var books: Books
  var now = Market.start
  private(set) var sequenceNumber: UInt64 = 0

  init(partition: UInt16 = 7, feeBasisPoints: UInt32 = 250, rowsExpected: Int = 1) {
    books = Books(
      partition: partition, terms: Terms(reserveMilliseconds: Self.reserve, feeBasisPoints: feeBasisPoints),
      rowsExpected: rowsExpected)
  }

  /// With shop 1, active, and in it SKU 10: 100 on hand at 1,000; SKU 11: 5 at 250; SKU 12: none at 70.
  static func open(feeBasisPoints: UInt32 = 250) -> Market {
    let market = Market(feeBasisPoints: feeBasisPoints)
    market.tell(.register(1))
    market.tell(.put(1, 10, price: 1_000, onHand: 100))
    market.tell(.put(1, 11, price: 250, onHand: 5))
    market.tell(.put(1, 12, price: 70, onHand: 0))
    return market
  }

  @discardableResult
  func tell(_ command: Command, channel: String = "app") -> Answer {
    sequenceNumber += 1
    books.beginBlock(firstSequenceNumber: sequenceNumber)
    return books.apply(command, channel: channel, at: now, sequenceNumber: sequenceNumber)
  }

  /// All in one block.
  func tellTogether(_ commands: [Command]) -> [Answer] {
    books.beginBlock(firstSequenceNumber: sequenceNumber + 1)
    return commands.map { command in
      sequenceNumber += 1
      return books.apply(command, channel: "app", at: now, sequenceNumber: sequenceNumber)
    }
  }

  /// An expiry entry, as a partition would log it.
  func expireDue(limit: Int = 256) {
    let due = books.reservations.takeDue(at: now, limit: limit)
    expire(due)
  }

  func expire(_ keys: [UInt64]) {
    sequenceNumber += 1
    books.beginBlock(firstSequenceNumber: sequenceNumber)
    books.expire(keys, at: now, sequenceNumber: sequenceNumber)
  }

  /// The order that the next command would place.
  var nextOrder: OrderID {
    OrderID(at: now, partition: books.partition, sequenceNumber: sequenceNumber + 1)
  }

  /// Places what must succeed.
  func placed(_ lines: [(UInt64, UInt32)] = [(10, 2)], shippingFee: Money = 0, buyer: UInt64 = 9) -> OrderID {
    let id = nextOrder
    let answer = tell(.place(1, buyer: buyer, lines, shippingFee: shippingFee))
    guard case .orderPlaced(let order, _, _) = answer, order == id else {
      fatalError("the order was not placed: \(answer)")
    }
    return id
  }

  /// An order of SKU 10, twice (2,000, buyer 9), in any state that an order can be in.
  func order(in state: OrderState) -> OrderID {
    let id = placed()
    switch state {
    case .placed: break
    case .cancelled: tell(.cancel(id, by: .buyer))
    case .expired: expireNow()
    case .paid:
      settle(id, 2_000)
      guard let slot = books.orders.find(OrderKey(id.sequenceNumber)) else { fatalError("no such order") }
      books.orders.update(slot) { $0.state = .paid }
    case .ready: settle(id, 2_000)
    case .shipped:
      settle(id, 2_000)
      tell(.shipOrder(id))
    case .delivered:
      settle(id, 2_000)
      tell(.shipOrder(id))
      tell(.deliverOrder(id))
    case .completed:
      settle(id, 2_000)
      tell(.shipOrder(id))
      tell(.deliverOrder(id))
      tell(.completeOrder(id))
    }
    guard order(id).state == state else { fatalError("the order is \(order(id).state), not \(state)") }
    return id
  }

  private func expireNow() {
    now += Milliseconds(Self.reserve)
    expireDue()
  }

  private var payments = 0

  /// A payment under a reference of its own.
  @discardableResult
  func settle(_ order: OrderID, _ amount: Money) -> Answer {
    payments += 1
    return tell(.settle(order, amount, reference: "auto-\(payments)"))
  }

  func sku(_ sku: UInt64, shop: UInt64 = 1) -> SKU {
    guard case .sku(let row) = books.answer(.sku(SKUKey(shop: shop, sku: sku))) else {
      fatalError("no SKU \(sku)")
    }
    return row
  }

  func order(_ id: OrderID) -> Order {
    books.beginBlock(firstSequenceNumber: sequenceNumber + 1)
    guard case .order(let row) = books.answer(.order(id)) else { fatalError("no order \(id)") }
    return row
  }

  var escrow: Money { books.balance(AccountKey(.escrow, owner: 1)) }
  var shopBalance: Money { books.balance(AccountKey(.balance, owner: 1)) }
  var fees: Money { books.balance(AccountKey(.fees)) }
  var wallet: Money { books.balance(AccountKey(.wallet, owner: 9)) }
  var clearing: Money { books.balance(AccountKey(.providerClearing)) }

  /// Everything that is in the books, so that two moments can be compared.
  func contents() -> Contents {
    var contents = Contents()
    books.shops.forEach { contents.shops[$0.id] = $0 }
    books.skus.forEach { contents.skus[[$0.shop, $0.sku]] = $0 }
    books.orders.forEach { contents.orders[$0.id.sequenceNumber] = $0 }
    books.payments.forEach { contents.payments["\($0.provider)/\($0.reference)"] = $0 }
    books.accounts.forEach { contents.accounts[[UInt64($0.key.kind.rawValue), $0.key.owner]] = $0.balance }
    contents.transfers = books.transfers
    return contents
  }

  struct Contents: Equatable {
    var shops: [UInt64: Shop] = [:]
    var skus: [[UInt64]: SKU] = [:]
    var orders: [UInt64: Order] = [:]
    var payments: [String: Payment] = [:]
    var accounts: [[UInt64]: Money] = [:]
    var transfers: [Transfer] = []
  }
}

extension Answer {
  /// Why not; nil for a yes.
  var reason: Reason? {
    guard case .no(let refusal) = self else { return nil }
    return refusal.reason
  }

  /// The lines that a no names.
  var problems: [Refusal.LineProblem] {
    guard case .no(let refusal) = self else { return [] }
    return refusal.lines
  }

  var payment: Payment? {
    guard case .paymentSettled(let payment) = self else { return nil }
    return payment
  }
}
