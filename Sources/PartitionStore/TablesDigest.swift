import Cluster
import Files
import Marketplace
import SQLite
import WorkerCore

/// What a partition's tables hold at one entry, a number for each: replicas that hold the same have the same.
///
/// All that the log's entries made, and nothing that is a replica's own affair: how answers share pages and when
/// those that are over go, how reservations share rows and when paid ones go. Each row's image is summed, so
/// that rows may be read in any order.
package struct TablesDigest: Equatable, Sendable {
  package struct Table: Equatable, Sendable {
    package var rows: UInt64
    package var digest: UInt64
    package init(rows: UInt64, digest: UInt64) {
      self.rows = rows
      self.digest = digest
    }
  }

  package static let names = [
    "meta", "shops", "skus", "orders", "payments", "accounts", "transfers", "reservations", "requests",
  ]

  package var applied: SequenceNumber
  /// ``PartitionCore/digest`` as it was written with them.
  package var appliedDigest: UInt64
  /// As many as ``names``, in their order.
  package var tables: [Table]

  package init(applied: SequenceNumber, appliedDigest: UInt64, tables: [Table]) {
    precondition(tables.count == Self.names.count)
    self.applied = applied
    self.appliedDigest = appliedDigest
    self.tables = tables
  }

  package subscript(name: String) -> Table { tables[Self.names.firstIndex(of: name)!] }

  /// Reads them in one read transaction of its own.
  ///
  /// - Parameters:
  ///   - windowMilliseconds: how long request ids are remembered.
  ///   - began: called when what is read is fixed, whatever is written from then on.
  ///   - mayGoOn: asked now and then meanwhile; where it may not, this throws.
  /// - Throws: ``StoreError`` or `SQLiteError`; nothing is ever changed.
  package init(
    path: String, windowMilliseconds: Int64, files: any FileSystem = SystemFiles(),
    began: () -> Void = {}, mayGoOn: (() -> Bool)? = nil
  ) throws {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS, mayGoOn: mayGoOn)
    try database.execute("PRAGMA query_only=1; BEGIN")
    let state = try PartitionWriter.state(of: database)
    began()
    self = try TablesDigest(of: database, state, windowMilliseconds: windowMilliseconds)
    try database.execute("COMMIT")
  }

  /// - Parameter database: in the read transaction that `state` was read in.
  init(of database: borrowing Database, _ state: StoreState, windowMilliseconds: Int64) throws {
    applied = state.applied
    appliedDigest = state.digest
    tables = []
    for name in Self.names {
      switch name {
      case "requests":
        // Those that may still be asked for: pages of others go at times of their own.
        let first = RequestID(firstAt: state.time - min(windowMilliseconds, state.time))
        tables.append(try Self.requests(database, from: first))
      case "meta":
        tables.append(
          try Self.rows(
            database,
            """
            SELECT key, value FROM meta WHERE key IN ('cluster', 'partition', 'time', 'orders_placed')
            OR key = 'rules' AND value > 1
            """))
      case "reservations":
        tables.append(
          try Self.rows(
            database,
            // In this order: what SQLite chooses of itself looks at all orders for each reservation.
            """
            SELECT r.expires_at, n.value FROM reservations r CROSS JOIN json_each(r.sns) n
            CROSS JOIN orders o ON o.sn = n.value WHERE o.state = 'placed'
            """))
      default: tables.append(try Self.rows(database, "SELECT * FROM \(name)"))
      }
    }
  }

  private static func rows(_ database: borrowing Database, _ query: String) throws -> Table {
    let statement = try database.prepare(query)
    var table = Table(rows: 0, digest: 0)
    while try statement.step() {
      var image = RowImage()
      for column in 0..<statement.columnCount {
        image.add(UInt64(truncatingIfNeeded: statement.type(column)))
        if statement.isInteger(column) {
          image.add(statement.int64(column))
        } else {
          image.add(statement.blob(column))
        }
      }
      table.add(image)
    }
    return table
  }

  private static func requests(_ database: borrowing Database, from first: RequestID) throws -> Table {
    let statement = try database.prepare("SELECT \(RequestPage.columns) FROM request_pages")
    var table = Table(rows: 0, digest: 0)
    while try statement.step() {
      let page = try RequestPage(statement, path: database.path)
      page.bodies.withUnsafeBytes { bodies in
        for row in page.rows where !(row.id < first) {
          var image = RowImage()
          image.add(row.id.high)
          image.add(row.id.low)
          image.add(row.sequenceNumber)
          image.add(row.fingerprint)
          image.add(UInt64(row.code))
          image.add(UnsafeRawBufferPointer(rebasing: bodies[row.bodyStart..<row.bodyEnd]))
          table.add(image)
        }
      }
    }
    return table
  }

  /// Where two differ, in words: this one's against `other`'s. Empty: nowhere.
  package func differences(from other: TablesDigest) -> [String] {
    if applied != other.applied { return ["entry \(applied), not \(other.applied)"] }
    var found = appliedDigest == other.appliedDigest ? [] : ["what entries changed"]
    for (place, name) in Self.names.enumerated() where tables[place] != other.tables[place] {
      let (rows, others) = (tables[place].rows, other.tables[place].rows)
      found.append(rows == others ? name : "\(name) (\(rows) rows, not \(others))")
    }
    return found
  }
}

extension TablesDigest.Table {
  fileprivate mutating func add(_ image: RowImage) {
    rows += 1
    digest &+= image.bits
  }
}
