import CSQLite

/// A prepared statement, owned. Parameters count from 1, columns from 0.
package struct Statement: ~Copyable {
  private let handle: OpaquePointer
  private let sql: String

  init(_ handle: OpaquePointer, _ sql: String) {
    self.handle = handle
    self.sql = sql
  }

  deinit { sqlite3_finalize(handle) }

  // SQLite copies what is bound as text or blob.
  private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

  @inline(__always)
  package func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(handle, index, value) }
  @inline(__always)
  package func bind(_ index: Int32, _ value: UInt64) {
    sqlite3_bind_int64(handle, index, Int64(bitPattern: value))
  }
  package func bind(_ index: Int32, _ value: String) {
    var value = value
    value.withUTF8 { utf8 in
      _ = utf8.withMemoryRebound(to: CChar.self) {
        // An empty string has no address; NULL would bind NULL.
        sqlite3_bind_text(handle, index, $0.baseAddress ?? Self.empty, Int32($0.count), Self.transient)
      }
    }
  }
  package func bind(_ index: Int32, blob value: UnsafeRawBufferPointer) {
    if value.count == 0 {
      sqlite3_bind_zeroblob(handle, index, 0)
    } else {
      sqlite3_bind_blob(handle, index, value.baseAddress, Int32(value.count), Self.transient)
    }
  }
  package func bind(_ index: Int32, blob value: [UInt8]) {
    value.withUnsafeBytes { bind(index, blob: $0) }
  }
  /// 16 bytes, big endian: they sort as the numbers do.
  package func bind(_ index: Int32, high: UInt64, low: UInt64) {
    withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { bind(index, blob: $0) }
  }
  package func bindNull(_ index: Int32) { sqlite3_bind_null(handle, index) }

  nonisolated(unsafe) private static let empty: UnsafePointer<CChar> = {
    let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
    pointer.initialize(to: 0)
    return UnsafePointer(pointer)
  }()

  /// - Returns: whether there is a row to read.
  package func step() throws(SQLiteError) -> Bool {
    switch sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    default:
      let database = sqlite3_db_handle(handle)
      let error = SQLiteError(
        code: sqlite3_extended_errcode(database), message: String(cString: sqlite3_errmsg(database)),
        operation: sql)
      sqlite3_reset(handle)
      throw error
    }
  }

  /// Makes it ready to be bound and stepped again.
  package func reset() { sqlite3_reset(handle) }

  /// Steps a statement that returns no rows, and resets it.
  package func run() throws(SQLiteError) {
    _ = try step()
    reset()
  }

  package func int64(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
  package func uint64(_ column: Int32) -> UInt64 { UInt64(bitPattern: int64(column)) }
  package func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }
  package func text(_ column: Int32) -> String {
    guard let start = sqlite3_column_text(handle, column) else { return "" }
    let count = Int(sqlite3_column_bytes(handle, column))
    return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
  }
  /// Valid until the next step or reset.
  package func blob(_ column: Int32) -> UnsafeRawBufferPointer {
    let start = sqlite3_column_blob(handle, column)
    return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column)))
  }
  package var columnCount: Int32 { sqlite3_column_count(handle) }
  package func columnName(_ column: Int32) -> String { String(cString: sqlite3_column_name(handle, column)) }
}
