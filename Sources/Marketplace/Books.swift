/// What a cluster agreed on when it was made, and the rules depend on.
package struct Terms: Equatable, Sendable {
  /// How long a reservation waits for payment where the order does not say.
  package var reserveMilliseconds: UInt64
  /// The platform's share of the goods, in 1/10,000, rounded down.
  package var feeBasisPoints: UInt32

  package init(reserveMilliseconds: UInt64, feeBasisPoints: UInt32) {
    self.reserveMilliseconds = reserveMilliseconds
    self.feeBasisPoints = feeBasisPoints
  }
}

/// Limits of the rules. Those of lengths are the decoder's.
package enum Limits {
  package static let quantityMax: UInt32 = 1_000_000_000
  package static let reserveMillisecondsMax: UInt64 = 30 * 24 * 3_600_000
  /// Orders that one expiry entry names.
  package static let expiriesMax = 256
}

/// One partition's books: the part of them that is in memory, and the rules that change them.
///
/// A pure function of (state, entry): no clock, no randomness, no I/O. Before a command
/// is applied, every row that it may touch and that exists must be in memory
/// (``needs(of:)``); a row that is not here then does not exist.
package struct Books: ~Copyable {
  package let partition: UInt16
  package let terms: Terms

  package var shops: RowTable<ShopID, Shop>
  package var skus: RowTable<SKUKey, SKU>
  package var orders: RowTable<OrderKey, Order>
  package var payments: RowTable<PaymentKey, Payment>
  package var accounts: RowTable<AccountKey, Account>
  /// Moved since the last freeze, in order.
  package var transfers: [Transfer] = []
  /// The sum of the images of those that moved since ``addChanges(to:)``.
  var transferImages: UInt64 = 0
  /// When reservations run out.
  package var reservations = Reservations()

  /// Of the order that is being placed: its lines' SKUs. Kept for its memory alone.
  var slotsOfLines: [Int] = []
  /// Of the entry that is being applied: transfers so far.
  var transfersOfEntry: UInt32 = 0
  /// First sequence number of the block that is being applied.
  private var blockFirst = UInt64.max

  /// Orders of a block are known to later blocks only: nobody can name one before its
  /// answer left, and what an order makes necessary is loaded before its block is applied.
  package mutating func beginBlock(firstSequenceNumber: UInt64) {
    blockFirst = firstSequenceNumber
  }

  /// From now on the block's orders are known, also to ``addNeeds(ofOrder:to:)`` of the next.
  package mutating func endBlock() {
    blockFirst = .max
  }

  /// - Parameter rowsExpected: sizes the tables' indexes.
  package init(partition: UInt16, terms: Terms, rowsExpected: Int = 65_536) {
    self.partition = partition
    self.terms = terms
    shops = RowTable(rowsExpected: rowsExpected / 8)
    skus = RowTable(rowsExpected: rowsExpected)
    orders = RowTable(rowsExpected: rowsExpected)
    payments = RowTable(rowsExpected: rowsExpected)
    accounts = RowTable(rowsExpected: rowsExpected / 4)
  }

  /// Carries out a command that was logged.
  ///
  /// - Parameters:
  ///   - time: the entry's; never less than an earlier entry's.
  ///   - sequenceNumber: the entry's; an order placed by it is known by it.
  /// - Returns: what the caller is told. A refusal changed nothing.
  package mutating func apply(
    _ command: Command, channel: String, at time: Milliseconds, sequenceNumber: UInt64
  ) -> Answer {
    transfersOfEntry = 0
    switch command {
    case .placeOrder(let command):
      return place(command, channel: channel, at: time, sequenceNumber: sequenceNumber)
    case .settlePayment(let command): return settle(command, at: time, sequenceNumber: sequenceNumber)
    case .adjustStock(let command): return adjust(command)
    case .putSKU(let command): return put(command)
    case .registerShop(let command): return register(command, at: time)
    case .cancelOrder(let command): return cancel(command, at: time, sequenceNumber: sequenceNumber)
    case .shipOrder(let order): return ship(order, at: time)
    case .deliverOrder(let order): return deliver(order, at: time)
    case .completeOrder(let order): return complete(order, at: time, sequenceNumber: sequenceNumber)
    }
  }

  /// Looks something up.
  package func answer(_ query: Query) -> Answer {
    switch query {
    case .order(let id):
      guard let slot = find(id) else { return .no(Refusal(.unknownOrder)) }
      return .order(orders[slot])
    case .sku(let key):
      guard let slot = skus.find(key) else {
        return .no(Refusal(shops.find(ShopID(key.shop)) == nil ? .unknownShop : .unknownSKU))
      }
      return .sku(skus[slot])
    case .shop(let id):
      guard let slot = shops.find(id) else { return .no(Refusal(.unknownShop)) }
      return .shop(
        shops[slot], balance: balance(AccountKey(.balance, owner: id.rawValue)),
        escrow: balance(AccountKey(.escrow, owner: id.rawValue)))
    case .payment(let order, let key):
      guard find(order) != nil else { return .no(Refusal(.unknownOrder)) }
      guard let slot = payments.find(key), payments[slot].order == order else {
        return .no(Refusal(.unknownPayment))
      }
      return .payment(payments[slot])
    }
  }

  /// Adds what the rules changed since the last call, table by table.
  package mutating func addChanges(to image: inout RowImage) {
    image.add(shops.takeImages())
    image.add(skus.takeImages())
    image.add(orders.takeImages())
    image.add(payments.takeImages())
    image.add(accounts.takeImages())
    image.add(transferImages)
    transferImages = 0
  }

  /// The order with this id, if it is one of this partition and exists.
  func find(_ id: OrderID) -> Int? {
    guard id.isWellFormed, id.partition == partition, id.sequenceNumber < blockFirst else { return nil }
    guard let slot = orders.find(OrderKey(id.sequenceNumber)), orders[slot].id == id else { return nil }
    return slot
  }

  package func balance(_ key: AccountKey) -> Money {
    guard let slot = accounts.find(key) else { return 0 }
    return accounts[slot].balance
  }
}
