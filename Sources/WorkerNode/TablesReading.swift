import Foundation
import NodeSupport
import Synchronization

/// Keeps those that read tables of this process, which nobody waits for, to a quarter of the machine's cores together.
///
/// Their low priority does not do it. Where each process is a group of its own to the scheduler, as services and sessions
/// are, a thread that answers weighs next to nothing on a core where its group did little, beside threads of another
/// group that never rest: it waited for up to 0.8 s, and leases of half a second ended (docs/SPEED.md).
private final class Rests {
  private static let underWay = Atomic(0)
  private static let atOnceMilliseconds: Int64 = 2
  private static let restMillisecondsMax = 500.0
  private static let coresForAll = Double(ProcessInfo.processInfo.activeProcessorCount) / 4

  private var rested = Clock.ranMilliseconds()

  init() { Self.underWay.add(1, ordering: .relaxed) }
  deinit { Self.underWay.subtract(1, ordering: .relaxed) }

  func take() {
    let ran = Clock.ranMilliseconds() - rested
    guard ran >= Self.atOnceMilliseconds else { return }
    let sharers = Double(Self.underWay.load(ordering: .relaxed))
    let rest = Double(ran) * max(0, sharers / Self.coresForAll - 1)
    usleep(UInt32(1_000 * min(rest, Self.restMillisecondsMax)))
    rested = Clock.ranMilliseconds()
  }
}

/// Something that is read of a partition's tables, of one moment, on a thread of its own.
final class TablesReading<Value: Sendable>: Sendable {
  private struct State {
    var isBegun = false
    var result: Result<Value, any Error>?
  }
  private let state = Mutex(State())

  /// - Parameter read: calls `began` once the moment is fixed, and `pause` now and then.
  init(_ read: @escaping @Sendable (_ began: () -> Void, _ pause: @escaping () -> Void) throws -> Value) {
    _ = NodeThread("audit") { [self] in
      Scheduling.worksInBackground()
      let rests = Rests()
      let result = Result { try read({ state.withLock { $0.isBegun = true } }, rests.take) }
      state.withLock { state in
        state.isBegun = true
        state.result = result
      }
    }
  }

  /// Whatever is written from now on makes no difference.
  var isBegun: Bool { state.withLock { $0.isBegun } }

  /// nil: not yet.
  var result: Result<Value, any Error>? { state.withLock { $0.result } }
}
