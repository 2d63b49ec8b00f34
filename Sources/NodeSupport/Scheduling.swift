import CLinux
import Glibc

/// What the kernel may assume of a thread where cores are few.
///
/// Its scheduler lets the running thread finish its slice (some milliseconds) unless who wakes asks for a
/// shorter one; a request passes a dozen threads, so that adds up. A thread that answers asks for short
/// slices and runs soon; one that works in the background takes long ones and yields. Neither gets more
/// of the processor for it. Since Linux 6.12; before, it has no effect.
package enum Scheduling {
  /// For threads that somebody waits for. Threads made by this one inherit it.
  package static func answersSoon() { set(nice: 0, sliceMicroseconds: 200) }

  /// For threads that nobody waits for.
  ///
  /// - Parameter isUrgent: it is behind, and gets as much of the processor as those that answer.
  package static func worksInBackground(isUrgent: Bool = false) {
    set(nice: isUrgent ? 0 : 5, sliceMicroseconds: 20_000)
    // A log's sync does not queue behind a checkpoint's megabytes (where the disk's scheduler knows classes).
    _ = laris_ioprio_set(3)
  }

  /// A refusal changes nothing but the pace.
  private static func set(nice: Int32, sliceMicroseconds: UInt64) {
    _ = laris_sched_setattr(UInt32(SCHED_OTHER), nice, sliceMicroseconds * 1_000)
  }
}
