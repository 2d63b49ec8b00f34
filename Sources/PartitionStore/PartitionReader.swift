import Bytes
import Cluster
import Files
import Marketplace
import SQLite
import WorkerCore

/// A connection that only reads: brings rows into a partition's memory.
///
/// It sees the last checkpoint. What memory holds is newer, so a row that is there
/// already is never replaced.
package struct PartitionReader: ~Copyable {
  private let database: Database
  private let path: String
  private let shop, sku, order, payment, account, page: Statement
  private let reservations: ReservationReader

  /// Opens the file at `path`, which a ``PartitionWriter`` made.
  package init(path: String, files: any FileSystem = SystemFiles()) throws {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS)
    try database.execute("PRAGMA cache_size=-32768; PRAGMA query_only=1")
    let shop = try database.prepare("SELECT * FROM shops WHERE shop_id = ?1")
    let sku = try database.prepare("SELECT * FROM skus WHERE shop_id = ?1 AND sku_id = ?2")
    let order = try database.prepare("SELECT * FROM orders WHERE sn = ?1")
    let payment = try database.prepare("SELECT * FROM payments WHERE provider = ?1 AND reference = ?2")
    let account = try database.prepare("SELECT balance FROM accounts WHERE kind = ?1 AND owner = ?2")
    let page = try database.prepare(
      "SELECT \(RequestPage.columns) FROM request_pages WHERE first <= ?1 ORDER BY first DESC LIMIT 1")
    let reservations = try ReservationReader(database)
    self.shop = shop
    self.sku = sku
    self.order = order
    self.payment = payment
    self.account = account
    self.page = page
    self.reservations = reservations
    self.database = database
    self.path = path
  }

  package func state() throws -> StoreState {
    let state = try PartitionWriter.state(of: database)
    if let damage = state.damage { throw damaged("meta: \(damage)") }
    return state
  }

  /// Later than the time of every request id in the file: where memory must begin.
  package func requestHorizon() throws -> Int64 {
    let last = try database.prepare("SELECT last FROM request_pages ORDER BY first DESC LIMIT 1")
    guard try last.step() else { return 0 }
    return try RequestID(last.blob(0), path: path).milliseconds + 1
  }

  /// Brings in reservations that may run out now, if memory lacks them.
  package func loadReservations(into core: inout PartitionCore, now: Milliseconds) throws {
    guard let missing = core.missingReservations(now: now) else { return }
    let found = try reservations.load(missing)
    core.books.reservations.load(found.items, through: found.last)
  }

  /// Brings in the rows that are named, where they exist.
  ///
  /// - Parameter isOfOrders: they are what orders need: the SKUs of their lines must exist.
  package func load(_ needs: Needs, isOfOrders: Bool = false, into core: inout PartitionCore) throws {
    for id in needs.shops where core.books.shops.find(id) == nil {
      shop.bind(1, id.rawValue)
      defer { shop.reset() }
      if try shop.step() { core.books.shops.insert(id, try readShop(), isNew: false) }
    }
    for key in needs.skus where core.books.skus.find(key) == nil {
      sku.bind(1, key.shop)
      sku.bind(2, key.sku)
      defer { sku.reset() }
      if try sku.step() {
        core.books.skus.insert(key, try readSKU(), isNew: false)
      } else if isOfOrders {
        throw damaged("an order is about SKU \(key.shop)/\(key.sku), which has no row")
      }
    }
    for key in needs.orders where core.books.orders.find(key) == nil {
      order.bind(1, key.sequenceNumber)
      defer { order.reset() }
      if try order.step() { core.books.orders.insert(key, try readOrder(key), isNew: false) }
    }
    for key in needs.payments where core.books.payments.find(key) == nil {
      payment.bind(1, key.provider)
      payment.bind(2, key.reference)
      defer { payment.reset() }
      if try payment.step() { core.books.payments.insert(key, try readPayment(), isNew: false) }
    }
    for key in needs.accounts where core.books.accounts.find(key) == nil {
      account.bind(1, key.kind.name)
      account.bind(2, key.owner)
      defer { account.reset() }
      if try account.step() {
        let row = Account(key: key, balance: account.int64(0))
        if let damage = row.damage { throw damaged("account \(key.kind.name) of \(key.owner): \(damage)") }
        core.books.accounts.insert(key, row, isNew: false)
      }
    }
  }

  /// Brings in answers of long ago.
  package func load(_ requests: [RequestID], into core: inout PartitionCore) throws {
    var latest: RequestPage?
    for id in requests {
      // Those that are asked for together were mostly answered together.
      if !(latest?.spans(id) ?? false) { latest = try page(of: id) }
      guard let latest, let row = latest.find(id) else { continue }
      latest.bodies.withUnsafeBytes { bodies in
        core.requests.insertLoaded(
          id, fingerprint: row.fingerprint, sequenceNumber: row.sequenceNumber, code: row.code,
          body: UnsafeRawBufferPointer(rebasing: bodies[row.bodyStart..<row.bodyEnd]))
      }
    }
  }

  private func page(of id: RequestID) throws -> RequestPage? {
    page.bind(1, high: id.high, low: id.low)
    defer { page.reset() }
    return try page.step() ? try RequestPage(page, path: path) : nil
  }

  private func damaged(_ what: String) -> StoreError { .damaged(path: path, what: what) }

  private func spelt<Value: Spelt>(_ text: String, _ column: String) throws -> Value {
    guard let value = Value(spelling: text) else { throw damaged("\(column) is '\(text)'") }
    return value
  }

  private func orderID(_ blob: UnsafeRawBufferPointer) throws -> OrderID {
    guard blob.count == 16 else { throw damaged("an order_id has \(blob.count) bytes") }
    return OrderID(high: blob.bigEndian(at: 0), low: blob.bigEndian(at: 8))
  }

  private func readShop() throws -> Shop {
    Shop(
      id: shop.uint64(0), name: shop.text(1), city: shop.text(2), province: shop.text(3),
      market: shop.text(4), category: shop.text(5), origin: try spelt(shop.text(6), "origin"),
      status: try spelt(shop.text(7), "status"), ownerHash: Array(shop.blob(8)),
      registeredAt: shop.int64(9))
  }

  private func readSKU() throws -> SKU {
    let row = SKU(
      shop: sku.uint64(0), sku: sku.uint64(1), name: sku.text(2), price: sku.int64(3),
      onHand: sku.int64(4), reserved: sku.int64(5), consumed: sku.int64(6), writtenOff: sku.int64(7),
      given: sku.int64(8))
    if let damage = row.damage { throw damaged("SKU \(row.shop)/\(row.sku): \(damage)") }
    return row
  }

  private func readOrder(_ key: OrderKey) throws -> Order {
    guard let lines = LinesText.read(order.text(7)) else {
      throw damaged("lines of order sn \(order.int64(0)) are '\(order.text(7).prefix(80))'")
    }
    var row = Order(
      id: try orderID(order.blob(1)), shop: order.uint64(2), buyer: order.uint64(3),
      channel: order.text(4), reference: order.text(5), state: try spelt(order.text(6), "state"),
      lines: lines, goods: order.int64(8), shippingFee: order.int64(9), total: order.int64(10),
      placedAt: order.int64(16), expiresAt: order.int64(17))
    row.received = order.int64(11)
    row.held = order.int64(12)
    row.refunded = order.int64(13)
    row.released = order.int64(14)
    row.fee = order.int64(15)
    row.paidAt = order.int64(18)
    row.shippedAt = order.int64(19)
    row.deliveredAt = order.int64(20)
    row.endedAt = order.int64(21)
    if row.state == .cancelled { row.cancelledBy = try spelt(order.text(22), "cancelled_by") }
    row.cancelReason = order.text(23)
    if let damage = row.damage(key: key) { throw damaged("order sn \(key.sequenceNumber): \(damage)") }
    return row
  }

  private func readPayment() throws -> Payment {
    Payment(
      provider: payment.text(0), reference: payment.text(1), order: try orderID(payment.blob(2)),
      amount: payment.int64(3), method: try spelt(payment.text(4), "method"),
      instalments: UInt32(truncatingIfNeeded: payment.int64(5)), rejectedReason: payment.text(11),
      settledAt: payment.int64(12), settlement: try spelt(payment.text(6), "settlement"),
      held: payment.int64(7), refunded: payment.int64(8), outstanding: payment.int64(9),
      stateAfter: try spelt(payment.text(10), "state_after"))
  }
}
