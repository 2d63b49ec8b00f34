import Bytes
import Cluster
import Files
import Marketplace
import SQLite
import WorkerCore

/// Where a partition's tables stand.
package struct StoreState: Equatable, Sendable {
  package var applied: SequenceNumber
  package var time: Int64
  package var ordersPlaced: UInt64
  /// Rule 15; 0: nothing was applied yet.
  package var digest: UInt64
  /// Rule 17: the version of the rules that the next block goes by.
  package var rules: UInt16
}

/// The one connection that writes a partition's file, and checkpoints its WAL.
///
/// Write-ahead log with `synchronous=NORMAL`: commits don't sync, since the replication log
/// is the truth; the file survives a power loss, at some earlier commit.
package struct PartitionWriter: ~Copyable {
  private let database: Database
  private let statements: Statements
  private let orders: OrderWriter
  private let pages: RequestPageWriter
  private let reservations: ReservationWriter
  /// Entries up to here survive a power loss in SQLite alone, so their log may go.
  package private(set) var durable: SequenceNumber

  /// Opens or creates the file at `path`.
  ///
  /// - Throws: ``StoreError``, `SQLiteError` or `FileError`; nothing was changed.
  package init(
    path: String, cluster: String, partition: PartitionID, files: any FileSystem = SystemFiles()
  ) throws {
    // A sync may have failed before: a checkpoint must not overwrite the file by pages that the WAL has in
    // memory only.
    let walPath = path + "-wal"
    if try files.exists(walPath) { try WAL.refresh(walPath, files: files) }
    let database = try Database(path, mode: .readWrite, vfs: files.sqliteVFS)
    try database.execute(
      """
      PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;
      PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;
      """)
    try database.transaction {
      try database.execute(Schema.sql)
      try Self.identify(database, path: path, cluster: cluster, partition: partition)
    }
    // A reader may have made the WAL. SQLite syncs its name only where the writer did, and an older WAL
    // that comes back after a power cut would undo pages of the file.
    try files.syncDirectory(SystemFiles.directory(of: path))
    let state = try Self.state(of: database)
    let isMoved = try Self.moveWAL(of: database)
    // What was moved need not be written again by the next start.
    if isMoved { try database.truncateWAL() }
    let statements = try Statements(database)
    let orders = try OrderWriter(database)
    let pages = try RequestPageWriter(database)
    let reservations = try ReservationWriter(database)
    durable = isMoved ? state.applied : .zero
    self.statements = statements
    self.orders = orders
    self.pages = pages
    self.reservations = reservations
    self.database = database
  }

  /// - Returns: whether all of it is in the file, durably. On a full disk it may go on as it is.
  private static func moveWAL(of database: borrowing Database) throws(SQLiteError) -> Bool {
    do {
      return try database.checkpoint()
    } catch {
      guard error.isDiskFull else { throw error }
      return false
    }
  }

  private static func identify(
    _ database: borrowing Database, path: String, cluster: String, partition: PartitionID
  ) throws {
    let read = try database.prepare("SELECT key, value FROM meta")
    var found: [String: String] = [:]
    while try read.step() { found[read.text(0)] = read.text(1) }
    if let format = found["format"].flatMap({ Int64($0) }), format != Int64(Schema.version) {
      throw format > Int64(Schema.version)
        ? StoreError.unsupportedVersion(path: path, version: format)
        : StoreError.outdatedVersion(path: path, version: format)
    }
    if let other = found["cluster"], other != cluster {
      throw StoreError.foreign(path: path, what: "it is of cluster \(other), not of \(cluster)")
    }
    if let other = found["partition"], other != "\(partition.rawValue)" {
      throw StoreError.foreign(path: path, what: "it is of partition \(other), not of \(partition.rawValue)")
    }
    let keys = ["cluster", "format", "partition", "applied_sn", "time", "orders_placed", "applied_digest"]
    guard found.isEmpty else {
      if let missing = keys.first(where: { found[$0] == nil }) {
        throw StoreError.damaged(path: path, what: "its table meta has no \(missing)")
      }
      return
    }
    let write = try database.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")
    write.bind(1, "cluster")
    write.bind(2, cluster)
    try write.run()
    for (key, value) in [
      ("format", Int64(Schema.version)), ("partition", Int64(partition.rawValue)), ("applied_sn", 0),
      ("time", 0), ("orders_placed", 0), ("applied_digest", 0), ("rules", 1),
    ] {
      write.bind(1, key)
      write.bind(2, value)
      try write.run()
    }
  }

  static func state(of database: borrowing Database) throws(SQLiteError) -> StoreState {
    let read = try database.prepare("SELECT value FROM meta WHERE key = ?1")
    func value(_ key: String, missing: Int64 = 0) throws(SQLiteError) -> Int64 {
      read.bind(1, key)
      defer { read.reset() }
      return try read.step() ? read.int64(0) : missing
    }
    return StoreState(
      applied: SequenceNumber(UInt64(bitPattern: try value("applied_sn"))), time: try value("time"),
      ordersPlaced: UInt64(bitPattern: try value("orders_placed")),
      digest: UInt64(bitPattern: try value("applied_digest")),
      // A file of before there was a second one has none; 0 is none that there is.
      rules: UInt16(exactly: try value("rules", missing: 1)) ?? 0)
  }

  private struct Statements: ~Copyable {
    let meta, shop, sku, payment, account, transfer: Statement

    init(_ database: borrowing Database) throws {
      let meta = try database.prepare("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")
      let shop = try database.prepare("INSERT OR REPLACE INTO shops VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")
      let sku = try database.prepare("INSERT OR REPLACE INTO skus VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)")
      let payment = try database.prepare(
        "INSERT OR REPLACE INTO payments VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)")
      let account = try database.prepare("INSERT OR REPLACE INTO accounts VALUES (?1,?2,?3)")
      let transfer = try database.prepare(
        "INSERT OR REPLACE INTO transfers VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")
      self.meta = meta
      self.shop = shop
      self.sku = sku
      self.payment = payment
      self.account = account
      self.transfer = transfer
    }
  }

  /// Writes every row of a checkpoint, and how far it goes, in one transaction.
  ///
  /// - Throws: `SQLiteError`; the file holds the checkpoint before, or this one not durably.
  package mutating func write(_ checkpoint: Checkpoint) throws {
    try database.transaction {
      let held = try Self.state(of: database).applied
      for shop in checkpoint.shops { try write(shop) }
      for place in Self.inOrder(checkpoint.skus, by: { SKUOrder(shop: $0.shop, sku: $0.sku) }) {
        try write(checkpoint.skus[place])
      }
      let waiting = try orders.write(checkpoint.orders, after: held)
      try reservations.forget(before: checkpoint.forgetReservationsBefore)
      try reservations.write(waiting)
      for payment in checkpoint.payments { try write(payment) }
      for account in checkpoint.accounts {
        statements.account.bind(1, account.key.kind.name)
        statements.account.bind(2, account.key.owner)
        statements.account.bind(3, account.balance)
        try statements.account.run()
      }
      for transfer in checkpoint.transfers { try write(transfer) }
      try pages.write(checkpoint.requests)
      try pages.forget(before: checkpoint.forgetRequestsBefore)
      for (key, value) in [
        ("applied_sn", Int64(bitPattern: checkpoint.applied.rawValue)), ("time", checkpoint.time),
        ("orders_placed", Int64(bitPattern: checkpoint.ordersPlaced)),
        ("applied_digest", Int64(bitPattern: checkpoint.digest)), ("rules", Int64(checkpoint.rules)),
      ] {
        statements.meta.bind(1, key)
        statements.meta.bind(2, value)
        try statements.meta.run()
      }
    }
    if try Self.moveWAL(of: database) { durable = checkpoint.applied }
  }

  /// Where the rows are, in the order of their keys: a row goes to the page of the one before it, or next to
  /// it, and not to any page of the file.
  static func inOrder<Row, Key: Comparable>(_ rows: [Row], by key: (Row) -> Key) -> [Int] {
    var places = rows.indices.map { (key: key(rows[$0]), place: $0) }
    places.sort { $0.key < $1.key }
    return places.map(\.place)
  }

  private struct SKUOrder: Comparable {
    let shop, sku: UInt64
    static func < (a: Self, b: Self) -> Bool { (a.shop, a.sku) < (b.shop, b.sku) }
  }

  private func write(_ shop: Shop) throws(SQLiteError) {
    statements.shop.bind(1, shop.id)
    statements.shop.bind(2, shop.name)
    statements.shop.bind(3, shop.city)
    statements.shop.bind(4, shop.province)
    statements.shop.bind(5, shop.market)
    statements.shop.bind(6, shop.category)
    statements.shop.bind(7, shop.origin.spelling)
    statements.shop.bind(8, shop.status.spelling)
    statements.shop.bind(9, blob: shop.ownerHash)
    statements.shop.bind(10, shop.registeredAt)
    try statements.shop.run()
  }

  private func write(_ sku: SKU) throws(SQLiteError) {
    statements.sku.bind(1, sku.shop)
    statements.sku.bind(2, sku.sku)
    statements.sku.bind(3, sku.name)
    statements.sku.bind(4, sku.price)
    statements.sku.bind(5, sku.onHand)
    statements.sku.bind(6, sku.reserved)
    statements.sku.bind(7, sku.consumed)
    statements.sku.bind(8, sku.writtenOff)
    statements.sku.bind(9, sku.given)
    try statements.sku.run()
  }

  private func write(_ payment: Payment) throws(SQLiteError) {
    statements.payment.bind(1, payment.provider)
    statements.payment.bind(2, payment.reference)
    statements.payment.bind(3, high: payment.order.high, low: payment.order.low)
    statements.payment.bind(4, payment.amount)
    statements.payment.bind(5, payment.method.spelling)
    statements.payment.bind(6, Int64(payment.instalments))
    statements.payment.bind(7, payment.settlement.spelling)
    statements.payment.bind(8, payment.held)
    statements.payment.bind(9, payment.refunded)
    statements.payment.bind(10, payment.outstanding)
    statements.payment.bind(11, payment.stateAfter.spelling)
    statements.payment.bind(12, payment.rejectedReason)
    statements.payment.bind(13, payment.settledAt)
    try statements.payment.run()
  }

  private func write(_ transfer: Transfer) throws(SQLiteError) {
    statements.transfer.bind(1, transfer.sequenceNumber)
    statements.transfer.bind(2, Int64(transfer.number))
    statements.transfer.bind(3, transfer.debit.kind.name)
    statements.transfer.bind(4, transfer.debit.owner)
    statements.transfer.bind(5, transfer.credit.kind.name)
    statements.transfer.bind(6, transfer.credit.owner)
    statements.transfer.bind(7, transfer.amount)
    statements.transfer.bind(8, transfer.why.name)
    statements.transfer.bind(9, high: transfer.order.high, low: transfer.order.low)
    statements.transfer.bind(10, transfer.at)
    try statements.transfer.run()
  }
}
