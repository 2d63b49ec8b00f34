import DurablePartition
import Foundation
import Logging
import NodeSupport
import SQLite
import Synchronization
import WorkerCore

/// Writes checkpoints on a thread of its own, one at a time, so that answering never waits for SQLite.
final class Checkpointer: Sendable {
  private struct State {
    var next: Checkpoint?
    var written: CheckpointWriter.Written?
    var failure: (any Error)?
    var isClosing = false
  }

  private let state = Mutex(State())
  private let stop: StopFlag
  private let logger: Logger
  private let wake = DispatchSemaphore(value: 0)
  private let thread = Mutex<NodeThread?>(nil)

  init(_ setup: DurablePartition.Setup, stop: StopFlag, logger: Logger) {
    self.stop = stop
    self.logger = logger
    thread.withLock { thread in
      thread = NodeThread("checkpoint-\(setup.partition.rawValue)") { [self] in
        // What answers goes first where cores are few: this work can wait, answers can't.
        Scheduling.worksInBackground()
        do {
          var writer = try CheckpointWriter(setup)
          while true {
            wake.wait()
            let (next, isClosing) = state.withLock { state in
              defer { state.next = nil }
              return (state.next, state.isClosing)
            }
            if let next {
              let written = try write(next, by: &writer)
              state.withLock { $0.written = written }
            }
            if isClosing { return }
          }
        } catch {
          state.withLock { $0.failure = error }
        }
      }
    }
  }

  /// Somebody else's lock, or a full disk, may pass: the log has it all meanwhile.
  private func write(
    _ checkpoint: Checkpoint, by writer: inout CheckpointWriter
  ) throws -> CheckpointWriter.Written {
    while true {
      do {
        return try writer.write(checkpoint)
      } catch let error as SQLiteError where error.isBusy || error.isDiskFull {
        logger.warning("a checkpoint waits: \(error)")
        // A node that is to stop does not wait: the next start has the log.
        guard !stop.isSet, !state.withLock({ $0.isClosing }) else { throw error }
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
  /// - Throws: why writing failed; nothing will be written any more.
  func takeWritten() throws -> CheckpointWriter.Written? {
    try state.withLock { state in
      if let failure = state.failure { throw failure }
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
