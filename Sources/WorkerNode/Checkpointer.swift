import Cluster
import DurablePartition
import Foundation
import Logging
import NodeSupport
import SQLite
import Synchronization
import WorkerCore

/// Writes checkpoints, one at a time, each on a thread of its own, so that answering never waits for SQLite.
///
/// Where cores are few, what answers goes first: this work can wait, answers can't. But a partition that has
/// most of the load has one such thread against all others, and what gives way to everybody falls behind for
/// ever. So a checkpoint after one that took long gives way no more. A thread may not raise its own priority
/// without privileges; so it is a new one that never lowered it.
final class Checkpointer: Sendable {
  /// A checkpoint that took longer, in milliseconds, makes the next one urgent.
  private static let urgentAfter: Int64 = 2_000

  private struct State {
    var thread: NodeThread?
    /// How long the last one took.
    var milliseconds: Int64 = 0
    var written: CheckpointWriter.Written?
    var failure: (any Error)?
    var isClosing = false
  }

  private let state = Mutex(State())
  /// Used by the thread that writes, one at a time.
  private let writer: Mutex<CheckpointWriter>
  private let name: String
  private let stop: StopFlag
  private let logger: Logger

  /// - Throws: as `CheckpointWriter`.
  init(_ setup: DurablePartition.Setup, stop: StopFlag, logger: Logger) throws {
    writer = Mutex(try CheckpointWriter(setup))
    name = "checkpoint-\(setup.partition.rawValue)"
    self.stop = stop
    self.logger = logger
  }

  /// Hands a checkpoint over. The one before must have been taken by ``takeWritten()``.
  func write(_ checkpoint: Checkpoint, mayTrim: SequenceNumber) {
    state.withLock { state in
      precondition(state.written == nil, "one checkpoint at a time")
      let isUrgent = state.milliseconds > Self.urgentAfter
      state.thread = NodeThread(name) { [self] in
        Scheduling.worksInBackground(isUrgent: isUrgent)
        let began = Clock.steadyMilliseconds()
        let result = Result { try writer.withLock { try write(checkpoint, mayTrim: mayTrim, by: &$0) } }
        self.state.withLock { state in
          state.milliseconds = Clock.steadyMilliseconds() - began
          switch result {
          case .success(let written): state.written = written
          case .failure(let error): state.failure = error
          }
        }
      }
    }
  }

  /// Somebody else's lock, or a full disk, may pass: the log has it all meanwhile.
  private func write(
    _ checkpoint: Checkpoint, mayTrim: SequenceNumber, by writer: inout CheckpointWriter
  ) throws -> CheckpointWriter.Written {
    while true {
      do {
        return try writer.write(checkpoint, mayTrim: mayTrim)
      } catch let error as SQLiteError where error.isBusy || error.isDiskFull {
        logger.warning("a checkpoint waits: \(error)")
        // A node that is to stop does not wait: the next start has the log.
        guard !stop.isSet, !state.withLock({ $0.isClosing }) else { throw error }
        usleep(200_000)
      }
    }
  }

  /// What was written since the last call, if anything.
  ///
  /// - Throws: why writing failed; nothing will be written any more.
  func takeWritten() throws -> CheckpointWriter.Written? {
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      defer { state.written = nil }
      return state.written
    }
  }

  /// Waits until what was handed over is written, or has failed.
  func close() {
    let thread = state.withLock { state in
      state.isClosing = true
      return state.thread
    }
    thread?.join()
  }
}
