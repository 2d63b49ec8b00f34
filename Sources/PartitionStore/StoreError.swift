/// Why a partition's SQLite file can't be used, besides what SQLite (`SQLiteError`) and the disk
/// (`FileError`) themselves say.
package enum StoreError: Error, CustomStringConvertible {
  /// A row holds what no version of ours writes.
  case damaged(path: String, what: String)
  /// The file is of another cluster or partition.
  case foreign(path: String, what: String)
  case unsupportedVersion(path: String, version: Int64)
  case outdatedVersion(path: String, version: Int64)
  /// Rule 17.
  case unsupportedRules(path: String, version: UInt16, known: UInt16)

  package var description: String {
    switch self {
    case .damaged(let path, let what):
      "\(path) is damaged: \(what). Keep the file, and restore the partition from a copy."
    case .foreign(let path, let what): "\(path) does not belong here: \(what)"
    case .unsupportedVersion(let path, let version):
      "\(path) has format \(version), which is newer than this program. Start a newer laris."
    case .outdatedVersion(let path, let version):
      "\(path) has format \(version), which this program does not read any more. Start the laris that wrote it, or "
        + "begin with an empty data folder."
    case .unsupportedRules(let path, let version, let known):
      "\(path) goes by version \(version) of the rules, and this program knows \(known). Start a newer laris; "
        + "nothing is lost."
    }
  }
}
