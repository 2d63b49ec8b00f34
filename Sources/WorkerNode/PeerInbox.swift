import CLinux
import Cluster
import Glibc
import Synchronization
import ZeroMQ

/// What waits for one partition's thread, from whoever has something for it: messages, as they came from the
/// socket, and what happened to its peers. A descriptor is readable as long as something waits.
///
/// Bounded: a thread that does not read loses messages, which the protocol sends again; never what happened.
final class PeerInbox: Sendable {
  static let bytesMax = 64 << 20
  static let messagesMax = 4_096

  private struct State {
    /// Messages from `next` on wait.
    var messages: [PeerFrame] = []
    var next = 0
    var bytes = 0
    /// Few: each at most once.
    var events: [PeerEvent] = []
    /// For messages to come.
    var spare: [PeerFrame] = []
    var isSignalled = false
  }

  private let state = Mutex(State())
  let descriptor: Int32
  let desk: PeerDesk

  init(desk: PeerDesk) {
    self.desk = desk
    descriptor = laris_eventfd()
    precondition(descriptor >= 0, "eventfd: \(String(cString: strerror(errno)))")
  }

  deinit { close(descriptor) }

  private func signal(_ state: inout State) {
    guard !state.isSignalled else { return }
    state.isSignalled = true
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)
  }

  private func quiet(_ state: inout State) {
    guard state.isSignalled else { return }
    state.isSignalled = false
    var count: UInt64 = 0
    _ = read(descriptor, &count, 8)
  }

  /// Takes the frame's message, and leaves it an empty one.
  ///
  /// - Returns: false: there is no room, nothing was taken.
  func put(_ frame: PeerFrame) -> Bool {
    let count = frame.bytes.count
    return state.withLock { state in
      guard state.messages.count - state.next < Self.messagesMax, state.bytes + count <= Self.bytesMax else {
        return false
      }
      let mine = state.spare.popLast() ?? PeerFrame()
      mine.exchange(with: frame)
      if state.next == Self.messagesMax {
        state.messages.removeFirst(state.next)
        state.next = 0
      }
      state.messages.append(mine)
      state.bytes += count
      signal(&state)
      return true
    }
  }

  func put(_ event: PeerEvent) {
    state.withLock { state in
      if !state.events.contains(event) { state.events.append(event) }
      signal(&state)
    }
  }

  /// What waits next: what happened first, then the messages in their order.
  ///
  /// - Parameter frame: gets the message; what was in it is let go of.
  func take(into frame: PeerFrame) -> PeerEvent? {
    state.withLock { state in
      if !state.events.isEmpty { return state.events.removeFirst() }
      guard state.next < state.messages.count else {
        quiet(&state)
        return nil
      }
      let mine = state.messages[state.next]
      state.next += 1
      state.bytes -= mine.bytes.count
      mine.exchange(with: frame)
      mine.clear()
      if state.spare.count < 64 { state.spare.append(mine) }
      if state.next == state.messages.count {
        state.messages.removeAll(keepingCapacity: true)
        state.next = 0
      }
      return .message
    }
  }
}

/// A message of a peer; stays where it is until something else is received into it.
package final class PeerFrame: @unchecked Sendable {
  // Handed from thread to thread, under the inbox's lock: one has it at a time.
  private var message = Message()
  package init() {}
  package var bytes: UnsafeRawBufferPointer { message.bytes }
  var hasMore: Bool { message.hasMore }

  func exchange(with other: PeerFrame) { swap(&message, &other.message) }
  func clear() { message.clear() }
  func receive(_ socket: borrowing Socket) throws(ZeroMQError) -> Bool { try socket.receive(into: &message) }
}

/// What a partition's thread gets from its ``PeerLink``.
package enum PeerEvent: Equatable, Sendable {
  /// It is in the frame.
  case message
  /// The connection to a node broke; it is made again where the node is there.
  case connectionBroke(String)
  /// It is proven that this process acts no more.
  case died(String, Incarnation)
  /// ``PeerHub/poke(_:)``.
  case poked
}
