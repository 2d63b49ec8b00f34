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
  /// There is no room: for a row, or for the index of the WAL.
  package var isDiskFull: Bool { code & 0xFF == SQLITE_FULL || code == Self.sharedMemorySize }
  /// A read, write or sync failed: nobody knows what is on disk.
  package var isDiskFailure: Bool { code & 0xFF == SQLITE_IOERR && !isDiskFull }
  /// The file is not what SQLite wrote, or has rows that it should not have, and so it stays.
  package var isDamage: Bool { [SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_CONSTRAINT].contains(code & 0xFF) }

  /// `SQLITE_IOERR_SHMSIZE`, a macro that does not come over from C.
  private static let sharedMemorySize = SQLITE_IOERR | 19 << 8

  package var description: String { "SQLite: \(message) (code \(code)) in: \(operation)" }
}
