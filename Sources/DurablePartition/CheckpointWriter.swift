import Cluster
import PartitionStore
import ReplicationLog
import WorkerCore

/// Writes a partition's checkpoints, lets go of the log that they hold, and makes its next segment ahead of
/// time. One thread's.
package struct CheckpointWriter: ~Copyable {
  package struct Written: Sendable {
    package let receipt: Checkpoint.Receipt
    /// The first entry that is still in the log; nil: there is no log.
    package let firstInLog: SequenceNumber?
  }

  private let setup: DurablePartition.Setup
  private var writer: PartitionWriter

  package init(_ setup: DurablePartition.Setup) throws {
    writer = try PartitionWriter(
      path: setup.databasePath, cluster: setup.cluster, partition: setup.partition, files: setup.files)
    self.setup = setup
  }

  /// - Parameter mayTrim: nobody needs the log up to here, but for SQLite here.
  /// - Throws: `SQLiteError`: somebody has the file locked, or there is no room, and it may be tried again;
  ///   or the disk failed, and the process must end. `FileError`: the disk failed.
  package mutating func write(_ checkpoint: Checkpoint, mayTrim: SequenceNumber) throws -> Written {
    try writer.write(checkpoint)
    // Before a spare is made, so that it is made of what was trimmed.
    let first = try ReplicationLog.trim(
      in: setup.logDirectory, through: min(writer.durable, mayTrim), tail: setup.logTail,
      now: checkpoint.time, segmentBytes: setup.segmentBytes, files: setup.files)
    do {
      try ReplicationLog.prepareSpare(
        in: setup.logDirectory, segmentBytes: setup.segmentBytes, files: setup.files)
    } catch {
      // The log makes room itself, or says that there is none.
      guard error.isDiskFull else { throw error }
    }
    return Written(receipt: checkpoint.receipt, firstInLog: first)
  }
}
