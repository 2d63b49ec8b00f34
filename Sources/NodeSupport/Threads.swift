import CLinux
import Foundation
import Synchronization

/// A thread of a node's own, with a name; hot loops stay off the cooperative pool.
package final class NodeThread: Sendable {
  private let finished = DispatchSemaphore(value: 0)

  /// Starts `body` on a new thread.
  package init(_ name: String, _ body: @escaping @Sendable () -> Void) {
    let thread = Thread { [self] in
      // Foundation keeps a name to itself; this one is in `top -H`.
      laris_name_thread(name)
      body()
      finished.signal()
    }
    thread.stackSize = 1 << 20
    thread.start()
  }

  /// Waits until `body` has returned.
  package func join() {
    finished.wait()
    finished.signal()
  }
}

/// Something that is asked to stop, once, by whoever; loops look at it every turn.
package final class StopFlag: Sendable {
  private let flag = Atomic(false)
  package init() {}
  package func set() { flag.store(true, ordering: .releasing) }
  package var isSet: Bool { flag.load(ordering: .acquiring) }
}

/// SIGTERM and SIGINT as a ``StopFlag``: the node drains and exits 0.
package enum Signals {
  /// Call on the main thread before any other is made, so that all of them leave the signals alone.
  package static func block() {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGTERM)
    sigaddset(&set, SIGINT)
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
    // A limit on the size of files fails the write that breaks it, and is told as that.
    signal(SIGXFSZ, SIG_IGN)
  }

  /// Sets `flag` when a signal comes. A second one ends the process at once.
  package static func stop(_ flag: StopFlag) {
    _ = NodeThread("signals") {
      var set = sigset_t()
      sigemptyset(&set)
      sigaddset(&set, SIGTERM)
      sigaddset(&set, SIGINT)
      var received: Int32 = 0
      while sigwait(&set, &received) == 0 {
        if flag.isSet { _exit(130) }
        flag.set()
      }
    }
  }

  /// Sets `flag` when the process `parent`, which started this one, is gone, so that nothing is left
  /// behind.
  package static func follow(parent: Int32, _ flag: StopFlag) {
    _ = NodeThread("parent") {
      while !flag.isSet {
        if getppid() != parent { flag.set() }
        usleep(100_000)
      }
    }
  }
}
