import Cluster
import Files
import SQLite

/// A copy of a partition's tables, as they are at one entry.
package enum PartitionSnapshot {
  /// Makes one by one read transaction, while others write.
  ///
  /// - Parameter target: what is there goes.
  /// - Returns: the entry that it is of.
  /// - Throws: `SQLiteError`, ``StoreError``, `FileError`; what is at `target` is of no use.
  package static func make(
    of source: String, at target: String, files: any FileSystem = SystemFiles()
  ) throws -> SequenceNumber {
    if try files.exists(target) { try files.remove(target) }
    let database = try Database(source, mode: .readOnly, vfs: files.sqliteVFS)
    let quoted = target.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''")
    try database.execute("VACUUM INTO '\(quoted)'")
    return try state(at: target, files).applied
  }

  /// Whether a file that came from elsewhere is a whole one of this partition.
  ///
  /// - Returns: the entry that it is of.
  /// - Throws: it is not.
  package static func check(
    _ path: String, cluster: String, partition: PartitionID, files: any FileSystem = SystemFiles()
  ) throws -> SequenceNumber {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS)
    let check = try database.prepare("PRAGMA quick_check(1)")
    guard try check.step(), check.text(0) == "ok" else {
      throw StoreError.damaged(path: path, what: "SQLite's check says: \(check.text(0))")
    }
    let read = try database.prepare(
      "SELECT key, value FROM meta WHERE key IN ('cluster', 'partition', 'format')")
    var found: [String: String] = [:]
    while try read.step() { found[read.text(0)] = read.text(1) }
    guard found["cluster"] == cluster, found["partition"] == "\(partition.rawValue)" else {
      throw StoreError.foreign(
        path: path, what: "it is of partition \(found["partition"] ?? "?") of \(found["cluster"] ?? "?")")
    }
    let format = found["format"].flatMap { Int64($0) } ?? 0
    guard format == Int64(Schema.version) else {
      throw format > Int64(Schema.version)
        ? StoreError.unsupportedVersion(path: path, version: format)
        : StoreError.outdatedVersion(path: path, version: format)
    }
    return try state(at: path, files).applied
  }

  private static func state(at path: String, _ files: any FileSystem) throws -> StoreState {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS)
    let state = try PartitionWriter.state(of: database)
    if let damage = state.damage { throw StoreError.damaged(path: path, what: "meta: \(damage)") }
    return state
  }
}
