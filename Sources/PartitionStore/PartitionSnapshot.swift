import Cluster
import Files
import SQLite

/// A copy of a partition's tables, as they are at one entry.
package enum PartitionSnapshot {
  /// 4 MiB: what SQLite writes waits for the disk as often.
  private static let piecePages: Int32 = 1_024

  /// Makes one by one read transaction, while others write. Not faster than the disk, so that nobody's sync waits
  /// behind gigabytes.
  ///
  /// - Parameters:
  ///   - target: what is there goes.
  ///   - pause: between pieces of some megabytes. What it throws ends the copy.
  /// - Returns: the entry that it is of.
  /// - Throws: `SQLiteError`, ``StoreError``, `FileError`, or as `pause`; what is at `target` is of no use.
  package static func make(
    of source: String, at target: String, files: any FileSystem = SystemFiles(), pause: () throws -> Void = {}
  ) throws -> SequenceNumber {
    if try files.exists(target) { try files.remove(target) }
    try copy(source, to: target, files, pause: pause)
    return try state(at: target, files).applied
  }

  private static func copy(
    _ source: String, to target: String, _ files: any FileSystem, pause: () throws -> Void
  ) throws {
    let copy = try Database(target, mode: .readWrite, vfs: files.sqliteVFS)
    // Nobody relies on it before all of it is elsewhere, and checked and synced there.
    try copy.execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE")
    let database = try Database(source, mode: .readOnly, vfs: files.sqliteVFS)
    try database.copy(into: copy, pages: piecePages, pause: pause)
    // The pages say that there is a WAL, as the original's do.
    try copy.execute("PRAGMA journal_mode=DELETE")
  }

  /// Whether a file that came from elsewhere is a whole one of this partition.
  ///
  /// - Parameter mayGoOn: asked now and then; where it may not, this throws.
  /// - Returns: the entry that it is of.
  /// - Throws: it is not.
  package static func check(
    _ path: String, cluster: String, partition: PartitionID, files: any FileSystem = SystemFiles(),
    mayGoOn: (() -> Bool)? = nil
  ) throws -> SequenceNumber {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS, mayGoOn: mayGoOn)
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
