import Cluster
import NodeSupport
import Replication
import Synchronization

/// A partition's `BeaconDesk`, for its own thread and the hub's.
package final class PeerDesk: Sendable {
  private let desk = Mutex(BeaconDesk())

  private let whenOpened: @Sendable () -> Void

  init(whenOpened: @escaping @Sendable () -> Void) { self.whenOpened = whenOpened }

  /// Tells the replica of something. All that may be told so is, from the first time on; nothing that waits
  /// may be in it.
  package func step<R: Sendable>(
    _ replica: inout Replica, _ body: (inout Replica) throws -> R
  ) rethrows -> R {
    let (result, isNew) = try desk.withLock { desk in
      let wasOpen = desk.isOpen
      let result = try desk.step(&replica, body)
      return (result, desk.isOpen && !wasOpen)
    }
    if isNew { whenOpened() }
    return result
  }

  /// Nothing is answered or sent any more: the replica goes, or starts anew.
  package func close() { desk.withLock { $0.close() } }

  func receive(_ message: PeerMessage, _ envelope: PeerEnvelope) -> BeaconDesk.Outgoing? {
    desk.withLock { $0.receive(message, envelope, now: Clock.steadyMilliseconds()) }
  }

  func beacons() -> [BeaconDesk.Outgoing] {
    desk.withLock { $0.beacons(now: Clock.steadyMilliseconds()) }
  }

  /// Whether anything can be expected of it.
  var isOpen: Bool { desk.withLock { $0.isOpen } }
}
