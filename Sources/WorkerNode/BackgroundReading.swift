import Foundation
import NodeSupport
import Synchronization

/// Gigabytes that are read on a thread of their own, beside the partition's, which goes on serving.
///
/// Who does not want it any more lets go of it: the thread ends by itself.
final class BackgroundReading<Value: Sendable>: Sendable {
  private struct State {
    var isBegun = false
    var result: Result<Value, any Error>?
  }
  private let state = Mutex(State())

  /// - Parameters:
  ///   - name: the thread's.
  ///   - isUrgent: something is behind until it is done, so that it makes way for nobody: its `pause` does nothing.
  ///   - read: calls `began` once whatever is written makes no difference any more, and `pause` now and then.
  init(
    _ name: String, isUrgent: Bool = false,
    _ read: @escaping @Sendable (_ began: () -> Void, _ pause: @escaping () -> Void) throws -> Value
  ) {
    _ = NodeThread(name) { [self] in
      Scheduling.worksInBackground(isUrgent: isUrgent)
      let result = Result {
        let began = { self.state.withLock { $0.isBegun = true } }
        return try isUrgent ? read(began, {}) : Pauses.during { try read(began, $0) }
      }
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

/// Of this process's threads that rest.
private enum Pauses {
  private static let readers = Atomic(0)
  private static let cores = ProcessInfo.processInfo.activeProcessorCount

  /// - Parameter read: gets what makes the calling thread rest when it is due.
  static func during<Value>(_ read: (_ pause: @escaping () -> Void) throws -> Value) rethrows -> Value {
    readers.add(1, ordering: .relaxed)
    defer { readers.subtract(1, ordering: .relaxed) }
    var rests = Rests(now: Clock.steadyMicroseconds(), ran: Clock.ranMicroseconds())
    return try read {
      let due = rests.due(
        now: Clock.steadyMicroseconds(), ran: Clock.ranMicroseconds(),
        readers: readers.load(ordering: .relaxed), cores: cores)
      if let due { usleep(UInt32(due)) }
    }
  }
}
