import CSQLite

/// A connection, owned: closed when it goes. Used by one thread at a time.
package struct Database: ~Copyable {
  private let handle: OpaquePointer
  package let path: String
  private let busyMilliseconds: Int32
  private let progress: Progress?

  /// What SQLite calls between its steps.
  private final class Progress {
    let mayGoOn: () -> Bool
    init(_ mayGoOn: @escaping () -> Bool) { self.mayGoOn = mayGoOn }
  }

  /// Of its virtual machine's, between two questions: tens of microseconds for most, and a sort is one step.
  private static let stepsBetweenQuestions: Int32 = 1_000

  package enum Mode: Sendable {
    /// Creates the file if need be.
    case readWrite
    /// Must exist. Never writes, and never checkpoints a WAL, not even when closed.
    case readOnly
  }

  /// Nobody reads how much memory SQLite has, and counting it takes one lock of the whole process at every
  /// allocation.
  private static let withoutStatistics: Void = { _ = laris_sqlite_without_statistics() }()

  /// - Parameters:
  ///   - busyMilliseconds: how long to wait for whoever has the file locked.
  ///   - vfs: whose files SQLite uses, by its registered name; nil: the system's.
  ///   - mayGoOn: asked now and then while a statement runs, by whoever runs it; where it may not, the statement
  ///     throws.
  /// - Throws: the file can't be opened; nothing was changed.
  package init(
    _ path: String, mode: Mode, busyMilliseconds: Int32 = 5_000, vfs: String? = nil,
    mayGoOn: (() -> Bool)? = nil
  ) throws(SQLiteError) {
    Self.withoutStatistics
    WritePace.kept
    handle = try Self.open(path, mode, busyMilliseconds, vfs)
    progress = mayGoOn.map(Progress.init)
    if let progress {
      sqlite3_progress_handler(
        handle, Self.stepsBetweenQuestions,
        { Unmanaged<Progress>.fromOpaque($0!).takeUnretainedValue().mayGoOn() ? 0 : 1 },
        Unmanaged.passUnretained(progress).toOpaque())
    }
    self.path = path
    self.busyMilliseconds = busyMilliseconds
  }

  private static func open(
    _ path: String, _ mode: Mode, _ busyMilliseconds: Int32, _ vfs: String?
  ) throws(SQLiteError) -> OpaquePointer {
    var handle: OpaquePointer?
    let flags: Int32
    switch mode {
    case .readWrite: flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
    case .readOnly: flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX
    }
    let code = sqlite3_open_v2(path, &handle, flags, vfs)
    guard code == SQLITE_OK, let handle else {
      let message = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
      sqlite3_close_v2(handle)
      throw SQLiteError(code: code, message: message, operation: "open \(path)")
    }
    sqlite3_extended_result_codes(handle, 1)
    sqlite3_busy_timeout(handle, busyMilliseconds)
    return handle
  }

  deinit { sqlite3_close_v2(handle) }

  /// Runs statements that return nothing of interest.
  package func execute(_ sql: String) throws(SQLiteError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    guard code == SQLITE_OK else { throw error(sql) }
  }

  package func prepare(_ sql: String) throws(SQLiteError) -> Statement {
    var statement: OpaquePointer?
    let code = sqlite3_prepare_v3(
      handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
    guard code == SQLITE_OK, let statement else { throw error(sql) }
    return Statement(statement, sql)
  }

  /// Runs `body` in a transaction; an error rolls it back.
  package func transaction(_ body: () throws -> Void) throws {
    try execute("BEGIN IMMEDIATE")
    do {
      try body()
      try execute("COMMIT")
    } catch {
      try? execute("ROLLBACK")
      throw error
    }
  }

  /// Rows that the last statement changed.
  package var changes: Int { Int(sqlite3_changes64(handle)) }

  /// Moves what it can of the WAL into the file, with both synced, without waiting for readers.
  ///
  /// - Returns: whether all of it was moved.
  package func checkpoint() throws(SQLiteError) -> Bool {
    var inLog: Int32 = 0
    var moved: Int32 = 0
    let code = sqlite3_wal_checkpoint_v2(handle, nil, SQLITE_CHECKPOINT_PASSIVE, &inLog, &moved)
    if code & 0xFF == SQLITE_BUSY { return false }
    guard code == SQLITE_OK else { throw error("wal_checkpoint") }
    return inLog >= 0 && inLog == moved
  }

  /// Gives the room of the WAL back where all of it is in the file and nobody reads it. Waits for nobody.
  package func truncateWAL() throws(SQLiteError) {
    sqlite3_busy_timeout(handle, 0)
    defer { sqlite3_busy_timeout(handle, busyMilliseconds) }
    let code = sqlite3_wal_checkpoint_v2(handle, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
    guard code == SQLITE_OK || code & 0xFF == SQLITE_BUSY else { throw error("wal_checkpoint(TRUNCATE)") }
  }

  /// Copies everything into another database, as one read transaction sees it, while others write here.
  ///
  /// - Parameters:
  ///   - target: of its own file, in no transaction. What an error leaves there is of no use.
  ///   - pages: that are copied between one pause and the next.
  package func copy(
    into target: borrowing Database, pages: Int32, pause: () throws -> Void
  ) throws {
    // The copy would begin anew at every write of others, if each of its steps read by itself.
    try execute("BEGIN; SELECT count(*) FROM sqlite_schema")
    defer { try? execute("ROLLBACK") }
    guard let backup = sqlite3_backup_init(target.handle, "main", handle, "main") else {
      throw target.error("copy \(path)")
    }
    var code = SQLITE_OK
    do {
      while code == SQLITE_OK {
        code = sqlite3_backup_step(backup, pages)
        if code == SQLITE_OK { try pause() }
      }
    } catch {
      sqlite3_backup_finish(backup)
      throw error
    }
    // The handle forgets what was no failure of its own, such as somebody's lock.
    let failure = sqlite3_backup_finish(backup)
    guard failure == SQLITE_OK, code == SQLITE_DONE else {
      let code = failure == SQLITE_OK ? code : failure
      throw SQLiteError(code: code, message: String(cString: sqlite3_errstr(code)), operation: "copy \(path)")
    }
  }

  private func error(_ operation: String) -> SQLiteError {
    SQLiteError(
      code: sqlite3_extended_errcode(handle), message: String(cString: sqlite3_errmsg(handle)),
      operation: operation)
  }
}
