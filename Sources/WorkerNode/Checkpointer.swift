import Cluster
import Foundation
import Logging
import NodeSupport
import PartitionStore
import ReplicationLog
import SQLite
import Synchronization
import WorkerCore

/// A checkpoint could not be written; SQLite holds the one before.
struct CheckpointFailed: Error, CustomStringConvertible {
  let description: String
}

/// Writes checkpoints on a thread of its own, one at a time, so that answering never waits for SQLite.
final class Checkpointer: Sendable {
  struct Written: Sendable {
    let receipt: Checkpoint.Receipt
    /// The log up to here may be trimmed.
    let durable: SequenceNumber
  }

  private struct State {
    var next: Checkpoint?
    var written: Written?
    var failure: String?
    var isClosing = false
  }

  private let state = Mutex(State())
  private let logger: Logger
  private let wake = DispatchSemaphore(value: 0)
  private let thread = Mutex<NodeThread?>(nil)

  /// - Parameters:
  ///   - open: makes the connection that writes, on the thread that will use it.
  ///   - logDirectory: where the next segment is made ahead of time.
  init(
    name: String, path: String, cluster: String, partition: PartitionID, logDirectory: String, logger: Logger
  ) {
    self.logger = logger
    thread.withLock { thread in
      thread = NodeThread(name) { [self] in
        // What answers goes first where cores are few: this work can wait, answers can't.
        Scheduling.worksInBackground()
        do {
          var writer = try PartitionWriter(path: path, cluster: cluster, partition: partition)
          while true {
            wake.wait()
            let (next, isClosing) = state.withLock { state in
              defer { state.next = nil }
              return (state.next, state.isClosing)
            }
            if let next {
              try write(next, by: &writer)
              let written = Written(receipt: next.receipt, durable: writer.durable)
              state.withLock { $0.written = written }
              // The log makes one itself where there is none.
              try? ReplicationLog.prepareSpare(in: logDirectory)
            }
            if isClosing { return }
          }
        } catch {
          state.withLock { $0.failure = "\(error)" }
        }
      }
    }
  }

  /// Somebody else's lock, or a full disk, may pass: the log has it all meanwhile.
  private func write(_ checkpoint: Checkpoint, by writer: inout PartitionWriter) throws {
    while true {
      do {
        return try writer.write(checkpoint)
      } catch let error as SQLiteError where error.isBusy || error.isFull {
        logger.warning("a checkpoint waits: \(error)")
        guard !state.withLock({ $0.isClosing }) else { throw error }
        usleep(200_000)
      }
    }
  }

  /// Hands a checkpoint over. The one before must have been taken by ``takeWritten()``.
  func write(_ checkpoint: Checkpoint) {
    state.withLock { $0.next = checkpoint }
    wake.signal()
  }

  /// What was written since the last call, if anything.
  ///
  /// - Throws: writing failed; nothing will be written any more.
  func takeWritten() throws -> Written? {
    try state.withLock { state in
      if let failure = state.failure { throw CheckpointFailed(description: failure) }
      defer { state.written = nil }
      return state.written
    }
  }

  /// Writes what was handed over, and ends the thread.
  func close() {
    state.withLock { $0.isClosing = true }
    wake.signal()
    thread.withLock { $0 }?.join()
  }
}
