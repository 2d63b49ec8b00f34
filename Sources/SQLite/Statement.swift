import CSQLite

/// A prepared statement, owned. Parameters count from 1, columns from 0.
package struct Statement: ~Copyable {
  private let handle: OpaquePointer
  private let sql: String
  private let copies: UnsafeMutablePointer<Copies>

  /// What was bound as text or blob since the last reset. SQLite would allocate for each value that it copies,
  /// and it does so for every row.
  private struct Copies {
    static let room = 8_192
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: room, alignment: 1)
    var count = 0

    /// nil: there is no room for it.
    mutating func add(_ value: UnsafeRawBufferPointer) -> UnsafeMutableRawPointer? {
      guard value.count <= Self.room - count else { return nil }
      let copy = bytes + count
      if let start = value.baseAddress { copy.copyMemory(from: start, byteCount: value.count) }
      count += value.count
      return copy
    }
  }

  init(_ handle: OpaquePointer, _ sql: String) {
    self.handle = handle
    self.sql = sql
    copies = .allocate(capacity: 1)
    copies.initialize(to: Copies())
  }

  deinit {
    sqlite3_finalize(handle)
    copies.pointee.bytes.deallocate()
    copies.deallocate()
  }

  /// SQLite copies what is bound with it.
  private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

  @inline(__always)
  package func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(handle, index, value) }
  @inline(__always)
  package func bind(_ index: Int32, _ value: UInt64) {
    sqlite3_bind_int64(handle, index, Int64(bitPattern: value))
  }
  package func bind(_ index: Int32, _ value: String) {
    var value = value
    value.withUTF8 { bind(index, text: UnsafeRawBufferPointer($0)) }
  }
  /// UTF-8.
  package func bind(_ index: Int32, text bytes: UnsafeRawBufferPointer) {
    let copy = copies.pointee.add(bytes)
    // An empty string may have no address, but there is always room for it; NULL would bind NULL.
    let text = (copy.map { UnsafeRawPointer($0) } ?? bytes.baseAddress)?.assumingMemoryBound(to: CChar.self)
    sqlite3_bind_text(handle, index, text, Int32(bytes.count), copy == nil ? Self.transient : nil)
  }
  package func bind(_ index: Int32, blob value: UnsafeRawBufferPointer) {
    if value.count == 0 {
      sqlite3_bind_zeroblob(handle, index, 0)
    } else if let copy = copies.pointee.add(value) {
      sqlite3_bind_blob(handle, index, copy, Int32(value.count), nil)
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
      reset()
      throw error
    }
  }

  /// Makes it ready to be bound and stepped again. What was bound is forgotten.
  package func reset() {
    sqlite3_reset(handle)
    sqlite3_clear_bindings(handle)
    copies.pointee.count = 0
  }

  /// Steps a statement that returns no rows, and resets it.
  package func run() throws(SQLiteError) {
    _ = try step()
    reset()
  }

  package func int64(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
  package func uint64(_ column: Int32) -> UInt64 { UInt64(bitPattern: int64(column)) }
  package func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }
  /// SQLite's own number of the value's type.
  package func type(_ column: Int32) -> Int32 { sqlite3_column_type(handle, column) }
  package func isInteger(_ column: Int32) -> Bool { type(column) == SQLITE_INTEGER }
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
