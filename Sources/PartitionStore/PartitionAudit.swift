import Cluster
import Files
import Marketplace
import SQLite

/// Checks a partition's books in its SQLite file, row against row.
package struct PartitionAudit: Sendable {
  package struct Check: Sendable {
    package var name: String
    /// Rows that were looked at.
    package var rows: UInt64
    package var violations: UInt64
    /// The first row that breaks it, readable; empty where none does.
    package var firstViolation: String
  }

  package var state: StoreState
  /// Of the same moment.
  package var digest: TablesDigest
  package var checks: [Check] = []
  /// Sums of the accounts of each kind.
  package var accounts: [(kind: String, balance: Int64)] = []
  package var shops: UInt64 = 0
  package var skus: UInt64 = 0
  package var orders: UInt64 = 0
  package var payments: UInt64 = 0
  package var transfers: UInt64 = 0

  package var isClean: Bool { checks.allSatisfy { $0.violations == 0 } }

  /// What is always true. Each query returns the rows that break it.
  private static let conditions: [(name: String, table: String, violations: String)] = [
    (
      "the accounts sum to zero", "accounts",
      "SELECT sum(balance) AS sum FROM accounts HAVING sum(balance) <> 0"
    ),
    (
      "every account is what its transfers made it", "transfers",
      """
      SELECT kind, owner, sum(balance) AS account_minus_transfers FROM (
        SELECT kind, owner, balance FROM accounts
        UNION ALL SELECT credit, credit_owner, -amount FROM transfers
        UNION ALL SELECT debit, debit_owner, amount FROM transfers)
      GROUP BY kind, owner HAVING sum(balance) <> 0
      """
    ),
    (
      "no account is overdrawn", "accounts",
      "SELECT kind, owner, balance FROM accounts WHERE balance < 0 AND kind <> 'provider_clearing'"
    ),
    (
      "every transfer moves something", "transfers",
      "SELECT sn, number, amount FROM transfers WHERE amount <= 0"
    ),
    (
      "escrow of a shop is what its open orders hold", "orders",
      """
      SELECT shop_id, sum(held) AS orders_minus_escrow FROM (
        SELECT shop_id, held FROM orders WHERE held <> 0
        UNION ALL SELECT owner, -balance FROM accounts WHERE kind = 'escrow')
      GROUP BY shop_id HAVING sum(held) <> 0
      """
    ),
    (
      "an order that has ended holds nothing", "orders",
      """
      SELECT sn, hex(order_id) AS order_id, state, held FROM orders
      WHERE held < 0 OR (held <> 0 AND state IN ('completed', 'cancelled', 'expired'))
      """
    ),
    (
      "an order's money adds up", "orders",
      """
      SELECT sn, hex(order_id) AS order_id, total, received, held, refunded, released, fee FROM orders
      WHERE received <> held + refunded + released + fee OR received > total
        OR total <> goods + shipping_fee
        OR (received < total) <> (paid_at = 0)
      """
    ),
    (
      "an order received what its payments held", "payments",
      """
      SELECT hex(order_id) AS order_id, sum(received) AS order_minus_payments FROM (
        SELECT order_id, received FROM orders WHERE received <> 0
        UNION ALL SELECT order_id, -held FROM payments WHERE held <> 0)
      GROUP BY order_id HAVING sum(received) <> 0
      """
    ),
    (
      "a payment is held or refunded, all of it, once", "payments",
      """
      SELECT provider, reference, amount, held, refunded, settlement FROM payments
      WHERE held < 0 OR refunded < 0
        OR held + refunded <> CASE settlement WHEN 'rejected' THEN 0 ELSE amount END
      """
    ),
    (
      "stock is never negative", "skus",
      """
      SELECT shop_id, sku_id, on_hand, reserved, consumed, written_off FROM skus
      WHERE on_hand < 0 OR reserved < 0 OR consumed < 0 OR written_off < 0
      """
    ),
    (
      "on hand + reserved + consumed + written off = given", "skus",
      """
      SELECT shop_id, sku_id, on_hand, reserved, consumed, written_off, given FROM skus
      WHERE on_hand + reserved + consumed + written_off <> given
      """
    ),
    (
      "reserved and consumed are what the orders say", "order_lines",
      """
      SELECT shop_id, sku_id, sum(reserved) AS orders_minus_reserved, sum(consumed) AS orders_minus_consumed
      FROM (
        SELECT shop_id, sku_id,
          CASE WHEN state IN ('placed', 'paid', 'ready') THEN quantity ELSE 0 END AS reserved,
          CASE WHEN state IN ('shipped', 'delivered', 'completed') THEN quantity ELSE 0 END AS consumed
        FROM order_lines WHERE state NOT IN ('cancelled', 'expired')
        UNION ALL SELECT shop_id, sku_id, -reserved, -consumed FROM skus)
      GROUP BY shop_id, sku_id HAVING sum(reserved) <> 0 OR sum(consumed) <> 0
      """
    ),
    (
      "an order's goods are the sum of its lines", "orders",
      """
      SELECT o.sn, hex(o.order_id) AS order_id, o.goods FROM orders o
      WHERE o.goods <> (SELECT coalesce(sum(l.value ->> 1 * (l.value ->> 2)), 0) FROM json_each(o.lines) l)
      """
    ),
    (
      "every order that waits for payment has its reservation", "orders",
      """
      SELECT waiting, reservations FROM (
        SELECT (SELECT count(*) FROM orders WHERE state = 'placed') AS waiting,
          (SELECT count(*) FROM reservations r CROSS JOIN json_each(r.sns) n CROSS JOIN orders o
            WHERE o.sn = n.value AND o.state = 'placed' AND o.expires_at = r.expires_at) AS reservations)
      WHERE waiting <> reservations
      """
    ),
    (
      "every order was placed by one request", "requests",
      """
      SELECT sn, count(*) AS requests FROM requests GROUP BY sn HAVING count(*) > 1
      """
    ),
  ]

  /// Runs every check in one read transaction of its own.
  ///
  /// - Parameters:
  ///   - windowMilliseconds: how long request ids are remembered.
  ///   - began: called when what is read is fixed, whatever is written from then on.
  ///   - mayGoOn: asked now and then meanwhile; where it may not, this throws.
  /// - Throws: ``StoreError`` or `SQLiteError`; nothing is ever changed.
  package init(
    path: String, windowMilliseconds: Int64 = .max, files: any FileSystem = SystemFiles(),
    began: () -> Void = {}, mayGoOn: (() -> Bool)? = nil
  ) throws {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS, mayGoOn: mayGoOn)
    // What it sorts goes to a file: of ten million orders that is gigabytes. As much as the cache is sorted at a time,
    // and meanwhile nobody asks whether it may go on.
    try database.execute("PRAGMA query_only=1; PRAGMA temp_store=FILE; PRAGMA cache_size=-4096; BEGIN")
    state = try PartitionWriter.state(of: database)
    began()
    digest = try TablesDigest(of: database, state, windowMilliseconds: windowMilliseconds)
    shops = digest["shops"].rows
    skus = digest["skus"].rows
    orders = digest["orders"].rows
    payments = digest["payments"].rows
    transfers = digest["transfers"].rows
    for condition in Self.conditions {
      let statement = try database.prepare(condition.violations)
      var check = Check(name: condition.name, rows: 0, violations: 0, firstViolation: "")
      while try statement.step() {
        check.violations += 1
        guard check.firstViolation.isEmpty else { continue }
        check.firstViolation = (0..<statement.columnCount)
          .map { "\(statement.columnName($0)) \(statement.text($0))" }.joined(separator: ", ")
      }
      check.rows =
        switch condition.table {
        case "requests": try Self.requests(database)
        case "order_lines": orders
        default: digest[condition.table].rows
        }
      checks.append(check)
    }
    let placed = Check(
      name: "as many orders as were placed", rows: orders,
      violations: orders == state.ordersPlaced ? 0 : 1,
      firstViolation: orders == state.ordersPlaced
        ? "" : "orders has \(orders) rows, \(state.ordersPlaced) were placed")
    checks.append(placed)
    let sums = try database.prepare("SELECT kind, sum(balance) FROM accounts GROUP BY kind ORDER BY kind")
    while try sums.step() { accounts.append((sums.text(0), sums.int64(1))) }
    try database.execute("COMMIT")
  }

  /// With those that are not remembered any more, whose pages are still there.
  private static func requests(_ database: borrowing Database) throws(SQLiteError) -> UInt64 {
    let statement = try database.prepare("SELECT count(*) FROM requests")
    _ = try statement.step()
    return statement.uint64(0)
  }
}
