import NodeSupport
import Synchronization

/// Something that is read of a partition's tables, of one moment, on a thread of its own.
final class TablesReading<Value: Sendable>: Sendable {
  private struct State {
    var isBegun = false
    var result: Result<Value, any Error>?
  }
  private let state = Mutex(State())

  /// - Parameter read: calls what it gets once the moment is fixed.
  init(_ read: @escaping @Sendable (_ began: () -> Void) throws -> Value) {
    _ = NodeThread("audit") { [self] in
      Scheduling.worksInBackground()
      let result = Result { try read { state.withLock { $0.isBegun = true } } }
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
