import Marketplace
import SQLite
import WorkerCore

/// When orders that wait for payment run out, for ``PartitionReader``: orders of one checkpoint that run out in the
/// same millisecond share a row of `reservations`.
///
/// An index of unpaid orders was a tree entry for each; and it was changed again when the order was paid. Here
/// an order is named once. Whether it still waits, its own row says. Rows of times that have passed go.
struct ReservationWriter: ~Copyable {
  /// So that a row fits into its page of the tree: others are slow to look past.
  private static let namesMax = 64

  private let insert, forget: Statement

  init(_ database: borrowing Database) throws {
    let insert = try database.prepare("INSERT OR REPLACE INTO reservations VALUES (?1,?2,?3)")
    let forget = try database.prepare(
      """
      DELETE FROM reservations WHERE (expires_at, sn) IN
        (SELECT expires_at, sn FROM reservations WHERE expires_at < ?1 LIMIT 20000)
      """)
    self.insert = insert
    self.forget = forget
  }

  func write(_ items: [Reservations.Item]) throws {
    let items = items.sorted()
    var start = 0
    while start < items.count {
      var end = start
      var names = NumbersText()
      while end < items.count, end - start < Self.namesMax, items[end].at == items[start].at {
        names.append(Int64(bitPattern: items[end].sequenceNumber))
        end += 1
      }
      insert.bind(1, items[start].at)
      insert.bind(2, items[start].sequenceNumber)
      insert.bind(3, names.text())
      try insert.run()
      start = end
    }
  }

  /// Forgets what ran out before `time`: no order waits for it any more.
  func forget(before time: Milliseconds) throws {
    forget.bind(1, time)
    try forget.run()
  }
}

/// Reads what ``ReservationWriter`` wrote.
struct ReservationReader: ~Copyable {
  private let then, later, order: Statement
  private let path: String

  init(_ database: borrowing Database) throws {
    // Two steps, so that any number that run out together are read in pieces, each once.
    let then = try database.prepare(
      """
      SELECT expires_at, sns FROM reservations
      WHERE expires_at = ?1 AND sn >= coalesce(
        (SELECT max(sn) FROM reservations WHERE expires_at = ?1 AND sn <= ?2), ?2)
      ORDER BY sn
      """)
    let later = try database.prepare(
      "SELECT expires_at, sns FROM reservations WHERE expires_at > ?1 ORDER BY expires_at, sn")
    let order = try database.prepare("SELECT state = 'placed', expires_at FROM orders WHERE sn = ?1")
    path = database.path
    self.then = then
    self.later = later
    self.order = order
  }

  /// - Returns: of the first `missing.limit` that are named behind `missing.item`, those that wait; and the last
  ///   of those that were looked at, nil where there are no more.
  func load(
    _ missing: Reservations.Missing
  ) throws -> (items: [Reservations.Item], last: Reservations.Item?) {
    var items: [Reservations.Item] = []
    var (last, looked) = (missing.item, 0)
    func collect(_ statement: borrowing Statement) throws {
      defer { statement.reset() }
      while looked < missing.limit, try statement.step() {
        let at = statement.int64(0)
        guard let names = NumbersText.read(statement.text(1)) else {
          throw StoreError.damaged(
            path: path, what: "reservations at \(at): sns '\(statement.text(1).prefix(80))'")
        }
        for name in names where looked < missing.limit {
          let item = Reservations.Item(at: at, sequenceNumber: UInt64(bitPattern: name))
          // Before it: read already. Later than the checkpoint that memory knows of: in memory.
          guard missing.item < item, item.sequenceNumber <= missing.writtenThrough else { continue }
          guard last < item else { throw damaged(item) }
          (last, looked) = (item, looked + 1)
          if try waits(item) { items.append(item) }
        }
      }
    }
    then.bind(1, missing.item.at)
    then.bind(2, missing.item.sequenceNumber)
    try collect(then)
    if looked < missing.limit {
      later.bind(1, missing.item.at)
      try collect(later)
    }
    return (items, looked < missing.limit ? nil : last)
  }

  private func waits(_ item: Reservations.Item) throws -> Bool {
    order.bind(1, item.sequenceNumber)
    defer { order.reset() }
    guard try order.step(), order.int64(1) == item.at else { throw damaged(item) }
    return order.int64(0) == 1
  }

  private func damaged(_ item: Reservations.Item) -> StoreError {
    .damaged(path: path, what: "expires_at of order sn \(item.sequenceNumber)")
  }
}
