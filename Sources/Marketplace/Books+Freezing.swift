/// What a checkpoint does with all tables. Here and not where checkpoints are made, because tables are
/// generic: in other targets each access to a row would be a call of unspecialised code.
extension Books {
  /// Of each table: the rows of the freeze, and the interval to name once they are written.
  package struct Frozen {
    package let shops: (rows: [Shop], interval: UInt64)
    package let skus: (rows: [SKU], interval: UInt64)
    package let orders: (rows: [Order], interval: UInt64)
    package let payments: (rows: [Payment], interval: UInt64)
    package let accounts: (rows: [Account], interval: UInt64)
  }

  /// Freezes every row that changed since the last freeze, as it is now. They are copied by
  /// ``copyFrozen(atMost:)``.
  package mutating func freeze() {
    shops.freeze()
    skus.freeze()
    orders.freeze()
    payments.freeze()
    accounts.freeze()
  }

  /// Copies some of what was frozen.
  ///
  /// - Returns: how many rows were looked at; less than `limit`: there are no more.
  package mutating func copyFrozen(atMost limit: Int) -> Int {
    var left = limit
    left -= shops.copyFrozen(atMost: left)
    left -= skus.copyFrozen(atMost: left)
    left -= orders.copyFrozen(atMost: left)
    left -= payments.copyFrozen(atMost: left)
    left -= accounts.copyFrozen(atMost: left)
    return limit - left
  }

  /// What was frozen, all of which must have been copied.
  package mutating func takeFrozen() -> Frozen {
    Frozen(
      shops: shops.takeFrozen(), skus: skus.takeFrozen(), orders: orders.takeFrozen(),
      payments: payments.takeFrozen(), accounts: accounts.takeFrozen())
  }

  /// Begins to let go of rows that a checkpoint holds, by the intervals of ``Frozen``; see
  /// ``RowTable/beginEviction(keeping:writtenThrough:)``.
  package mutating func beginEviction(
    keeping rowsMax: Int, shops: UInt64, skus: UInt64, orders: UInt64, payments: UInt64, accounts: UInt64
  ) {
    self.shops.beginEviction(keeping: rowsMax, writtenThrough: shops)
    self.skus.beginEviction(keeping: rowsMax, writtenThrough: skus)
    self.orders.beginEviction(keeping: rowsMax, writtenThrough: orders)
    self.payments.beginEviction(keeping: rowsMax, writtenThrough: payments)
    self.accounts.beginEviction(keeping: rowsMax, writtenThrough: accounts)
  }

  /// Goes on with it.
  ///
  /// - Parameter limit: rows that are looked at.
  package mutating func evictSome(atMost limit: Int) {
    var left = limit
    left -= shops.evictSome(atMost: left)
    left -= skus.evictSome(atMost: left)
    left -= orders.evictSome(atMost: left)
    left -= payments.evictSome(atMost: left)
    left -= accounts.evictSome(atMost: left)
  }
}
