import DurablePartition
import NodeSupport
import Replication
import Synchronization

/// Checks a snapshot that came in, on a thread of its own: gigabytes take a core for many seconds, in which others
/// answer, and in which the primary must hear of the learner, or it lets go of the log that goes on from there.
///
/// Who does not want it any more lets go of it: the thread ends by itself, and changes nothing.
final class SnapshotCheck {
  private final class Outcome: Sendable {
    let result = Mutex<Result<DurablePartition.CheckedSnapshot, any Error>?>(nil)
  }

  private let outcome = Outcome()

  /// nil: it is not over.
  var result: Result<DurablePartition.CheckedSnapshot, any Error>? { outcome.result.withLock { $0 } }

  init(_ setup: DurablePartition.Setup, _ mark: LogMark) {
    _ = NodeThread("check-\(setup.partition.rawValue)") { [outcome] in
      // The log that goes on from there grows meanwhile.
      Scheduling.worksInBackground(isUrgent: true)
      let result = Result { try setup.checkIncoming(mark) }
      outcome.result.withLock { $0 = result }
    }
  }
}
