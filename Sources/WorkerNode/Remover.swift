import DurablePartition
import Files
import Foundation
import NodeSupport
import Synchronization

/// Takes away long files that nobody needs any more, on a thread of its own, and slowly.
///
/// What a system must do to forget gigabytes stops everybody's syncs: it tells the disk which blocks are free, and a
/// virtual machine gives the memory that had them back to its host, which stands still meanwhile. As slowly as this, what
/// becomes free is used again first (docs/SPEED.md).
package final class Remover {
  /// 32 MB a second.
  private static let pieceBytes = 8 << 20
  private static let restMilliseconds: UInt32 = 250

  private let setup: DurablePartition.Setup
  private var thread: NodeThread?
  private let ending = StopFlag()
  private let isUrgent = Switch()

  private final class Switch: Sendable { let isOn = Atomic(false) }

  package init(_ setup: DurablePartition.Setup) { self.setup = setup }

  deinit {
    ending.set()
    thread?.join()
  }

  /// The room is needed now, or not any more.
  package func hurry(_ isNeeded: Bool) { isUrgent.isOn.store(isNeeded, ordering: .relaxed) }

  /// Takes these away, where they are there, and what was left of others.
  package func remove(_ paths: String...) {
    // What can't be renamed stays, until something else takes its place.
    for path in paths where (try? setup.files.exists(path)) == true { try? setup.giveUp(path) }
    guard let left = try? setup.givenUp(), !left.isEmpty else { return }
    thread = NodeThread("remover-\(setup.partition.rawValue)") { [setup, thread, ending, isUrgent] in
      Scheduling.worksInBackground()
      thread?.join()
      for path in (try? setup.givenUp()) ?? [] {
        do {
          try setup.files.removeInPieces(path, bytes: Self.pieceBytes) {
            if ending.isSet { throw CancellationError() }
            if !isUrgent.isOn.load(ordering: .relaxed) { usleep(1_000 * Self.restMilliseconds) }
          }
        } catch is CancellationError { return } catch { try? setup.files.remove(path) }
      }
    }
  }
}
