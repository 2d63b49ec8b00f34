import DurablePartition
import Files
import Foundation
import Logging
import NodeSupport
import Synchronization

/// Takes away long files of a partition that nobody needs any more, on a thread of its own, and slowly.
///
/// What a system must do to forget gigabytes stops everybody's syncs: it tells the disk which blocks are free, and a
/// virtual machine tells its host which memory is (docs/SPEED.md).
package final class Remover: Sendable {
  /// 32 MB a second.
  private static let pieceBytes = 8 << 20
  private static let restMilliseconds = 250
  /// Within a rest it is seen so soon that there is no time for it.
  private static let lookMilliseconds = 10

  private struct State {
    var thread: NodeThread?
    /// Since the thread looked there may be more.
    var isWanted = false
  }

  private let setup: DurablePartition.Setup
  private let logger: Logger
  private let state = Mutex(State())
  private let isUrgent = Atomic(false)
  private let ending = StopFlag()

  package init(_ setup: DurablePartition.Setup, logger: Logger) {
    self.setup = setup
    self.logger = logger
  }

  /// The room is needed now, or not any more.
  package func hurry(_ isNeeded: Bool) { isUrgent.store(isNeeded, ordering: .relaxed) }

  /// Takes these away, where they are there, and what was left of others. Their names are free when it returns.
  package func remove(_ paths: String...) {
    for path in paths {
      do {
        if try setup.files.exists(path) { try setup.giveUp(path) }
      } catch {
        logger.warning("partition \(setup.partition.rawValue): \(path) is not needed, and stays: \(error)")
      }
    }
    state.withLock { state in
      state.isWanted = true
      guard state.thread == nil else { return }
      state.thread = NodeThread("remover-\(setup.partition.rawValue)") { [self] in
        Scheduling.worksInBackground()
        while mayGoOn() { removeAll() }
      }
    }
  }

  /// Leaves the rest to the next process.
  package func close() {
    ending.set()
    state.withLock { $0.thread }?.join()
  }

  private func mayGoOn() -> Bool {
    state.withLock { state in
      guard state.isWanted, !ending.isSet else {
        state.thread = nil
        return false
      }
      state.isWanted = false
      return true
    }
  }

  private func removeAll() {
    guard let paths = try? setup.givenUp() else { return }
    for path in paths {
      do {
        try setup.files.removeInPieces(path, bytes: Self.pieceBytes, pause: rest)
        try rest()
      } catch is CancellationError { return } catch {
        // Its folder may have been set aside.
        guard (try? setup.files.exists(path)) != false else { continue }
        logger.warning("partition \(setup.partition.rawValue): \(path) is not needed, and stays: \(error)")
      }
    }
  }

  private func rest() throws {
    for _ in 0..<Self.restMilliseconds / Self.lookMilliseconds {
      if ending.isSet { throw CancellationError() }
      if isUrgent.load(ordering: .relaxed) { return }
      usleep(UInt32(1_000 * Self.lookMilliseconds))
    }
  }
}
