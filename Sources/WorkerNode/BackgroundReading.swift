import NodeSupport
import Synchronization

/// Gigabytes that are read on a thread of their own, beside the partition's, which goes on serving.
///
/// Who does not want it any more lets go of it: the thread ends soon, by itself.
package final class BackgroundReading<Value: Sendable>: Sendable {
  private struct State {
    var isBegun = false
    var isWanted = true
    var result: Result<Value, any Error>?
  }
  /// The thread's too.
  private final class Shared: Sendable { let state = Mutex(State()) }

  private let shared = Shared()

  /// - Parameters:
  ///   - name: the thread's.
  ///   - isUrgent: something is behind until it is done, so that it does not rest.
  ///   - read: calls `began` once whatever is written makes no difference any more; asks `mayGoOn` now and then, and
  ///     throws where it may not.
  package init(
    _ name: String, isUrgent: Bool = false,
    _ read: @escaping @Sendable (_ began: () -> Void, _ mayGoOn: @escaping () -> Bool) throws -> Value
  ) {
    _ = NodeThread(name) { [shared] in
      Scheduling.worksInBackground(isUrgent: isUrgent)
      let resting = isUrgent ? nil : Resting()
      let result = Result {
        try read(
          { shared.state.withLock { $0.isBegun = true } },
          {
            resting?.whenDue()
            return shared.state.withLock { $0.isWanted }
          })
      }
      shared.state.withLock { state in
        state.isBegun = true
        state.result = result
      }
    }
  }

  deinit { shared.state.withLock { $0.isWanted = false } }

  /// Whatever is written from now on makes no difference.
  package var isBegun: Bool { shared.state.withLock { $0.isBegun } }

  /// nil: not yet.
  package var result: Result<Value, any Error>? { shared.state.withLock { $0.result } }
}
