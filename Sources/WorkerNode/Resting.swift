import Foundation
import NodeSupport
import Synchronization

/// Makes the thread that made it rest when it is due (``Rests``), as one of those of this process.
final class Resting {
  private static let readers = Atomic(0)
  private static let cores = ProcessInfo.processInfo.activeProcessorCount

  private var rests = Rests(now: Clock.steadyMicroseconds(), ran: Clock.ranMicroseconds())

  init() { Self.readers.add(1, ordering: .relaxed) }
  deinit { Self.readers.subtract(1, ordering: .relaxed) }

  func whenDue() {
    let due = rests.due(
      now: Clock.steadyMicroseconds(), ran: Clock.ranMicroseconds(),
      readers: Self.readers.load(ordering: .relaxed), cores: Self.cores)
    if let due { usleep(UInt32(clamping: due)) }
  }
}
