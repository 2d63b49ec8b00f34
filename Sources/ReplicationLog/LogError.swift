/// Why a log can't be opened, besides what its files themselves say (`FileError`).
package enum LogError: Error, CustomStringConvertible {
  /// Something was synced here and is not what was written.
  case damaged(path: String, offset: Int, what: String)
  /// Written by a newer program.
  case unsupportedVersion(path: String, version: UInt16)
  /// The files belong together with something else.
  case foreign(path: String, what: String)
  /// Segments are missing between two that are there.
  case gap(path: String, expected: UInt64, found: UInt64)
  /// There is no segment where there must be one.
  case missing(directory: String)
  /// What was replayed can't be used.
  case replay(path: String, offset: Int, cause: any Error)

  package var description: String {
    switch self {
    case .damaged(let path, let offset, let what):
      "\(path) is damaged at byte \(offset): \(what). What was written there was synced and may have "
        + "been acknowledged, so it is not skipped. Keep the file, and restore the partition from a copy."
    case .unsupportedVersion(let path, let version):
      "\(path) has format version \(version), which is newer than this program. Start a newer laris."
    case .foreign(let path, let what): "\(path) does not belong here: \(what)"
    case .gap(let path, let expected, let found):
      "\(path) begins at entry \(found), but entry \(expected) is missing before it. "
        + "Put the missing segment back, or restore the partition from a copy."
    case .missing(let directory):
      "\(directory) has no log segment, but this partition has served before. "
        + "Put its log back, or restore the partition from a copy."
    case .replay(let path, let offset, let cause):
      "\(path), block at byte \(offset), can't be replayed: \(cause)"
    }
  }
}
