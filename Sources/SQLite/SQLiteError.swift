import CSQLite

/// SQLite said no.
package struct SQLiteError: Error, CustomStringConvertible {
  /// The extended result code.
  package let code: Int32
  package let message: String
  /// What was asked for: a path, or the statement.
  package let operation: String

  /// Somebody else has the file.
  package var isBusy: Bool { code & 0xFF == SQLITE_BUSY || code & 0xFF == SQLITE_LOCKED }
  package var isFull: Bool { code & 0xFF == SQLITE_FULL }

  package var description: String { "SQLite: \(message) (code \(code)) in: \(operation)" }
}
