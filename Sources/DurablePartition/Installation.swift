import Bytes
import Cluster
import Files
import Foundation
import PartitionStore
import Replication
import ReplicationLog

extension DurablePartition {
  /// Says that what came in was checked (`Setup.checkIncoming`).
  package struct CheckedSnapshot: Sendable {
    package let mark: LogMark
    fileprivate init(mark: LogMark) { self.mark = mark }
  }
}

/// What becomes of a partition's folder that can't be relied on: rules 9 and 11.
extension DurablePartition.Setup {
  /// Where a snapshot stands while it comes in.
  package var incomingPath: String { directory + "/incoming.sqlite" }
  /// Where one stands that goes out.
  package var snapshotPath: String { directory + "/snapshot.sqlite" }

  private static let givenUpPrefix = "removed-"

  /// Gives a long file of this folder a name that says that nobody needs it; whoever serves the folder takes it away,
  /// slowly.
  package func giveUp(_ path: String) throws(FileError) {
    let others = try givenUp()
    var number = others.count
    func name() -> String { directory + "/" + Self.givenUpPrefix + "\(number)" }
    while others.contains(name()) { number += 1 }
    try files.rename(path, to: name())
  }

  /// What was given up, and is still there.
  package func givenUp() throws(FileError) -> [String] {
    try files.names(in: directory).filter { $0.hasPrefix(Self.givenUpPrefix) }.map { directory + "/" + $0 }
  }

  /// What is here is damaged, or missing: it is kept under another name, and an empty folder takes its place,
  /// which is not relied on before a snapshot is installed.
  ///
  /// - Parameter suffix: makes the other name, like a time.
  /// - Returns: where the files are now; nil: there were none.
  package func setAside(suffix: String) throws(FileError) -> String? {
    let parent = SystemFiles.directory(of: directory)
    var kept: String?
    if try files.exists(directory) {
      // Nobody would take it away there, but may be about to here.
      for path in try givenUp() { try? files.remove(path) }
      kept = directory + "." + suffix
      try files.rename(directory, to: kept!)
      try files.syncDirectory(parent)
    }
    try files.makeDirectory(directory)
    try files.replace(uncleanPath, with: "a snapshot has to come first\n")
    try files.syncDirectory(parent)
    return kept
  }

  /// Whether the snapshot that came in is a whole one, of that entry. Reads all of it, and changes nothing.
  ///
  /// - Parameter mayGoOn: asked now and then; where it may not, this throws.
  /// - Throws: `StoreError`, `SQLiteError`: it is not what it should be.
  package func checkIncoming(
    _ mark: LogMark, mayGoOn: (() -> Bool)? = nil
  ) throws -> DurablePartition.CheckedSnapshot {
    let found = try PartitionSnapshot.check(
      incomingPath, cluster: cluster, partition: partition, files: files, mayGoOn: mayGoOn)
    guard found == mark.sn else {
      throw StoreError.damaged(path: incomingPath, what: "it ends at entry \(found), and not at \(mark.sn)")
    }
    return DurablePartition.CheckedSnapshot(mark: mark)
  }

  /// Puts the snapshot that came in into the place of what is here. Nobody else uses the folder.
  ///
  /// A crash on the way leaves a folder that is not relied on.
  package func install(_ snapshot: DurablePartition.CheckedSnapshot) throws(FileError) {
    let mark = snapshot.mark
    if try !files.exists(uncleanPath) {
      try files.replace(uncleanPath, with: "a snapshot is being installed\n")
    }
    for name in try files.names(in: logDirectory) { try files.remove(logDirectory + "/" + name) }
    try files.syncDirectory(logDirectory)
    for suffix in ["-wal", "-shm"] where try files.exists(databasePath + suffix) {
      try files.remove(databasePath + suffix)
    }
    try files.syncDirectory(directory)
    if try files.exists(databasePath) { try giveUp(databasePath) }
    try files.rename(incomingPath, to: databasePath)
    try files.syncDirectory(directory)
    try ReplicationLog.begin(
      in: logDirectory, identity: logIdentity, after: mark.sn, hash: mark.hash, segmentBytes: segmentBytes,
      files: files)
    try files.remove(uncleanPath)
    try files.syncDirectory(directory)
  }
}
