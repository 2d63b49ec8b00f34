import CZeroMQ
import Synchronization

/// Tells of the connections that a socket makes, by the library's own word. One thread's; the socket may be
/// another's.
///
/// Its reader must go on reading, or ``stop(_:)`` it before it goes: the library waits for it.
package struct ConnectionMonitor: ~Copyable, @unchecked Sendable {
  // It can't be copied, so whoever has it is the only one.
  package enum Event: Sendable {
    /// Connected, and the other side speaks ZMTP.
    case connected
    /// A connection that was there is not any more, or never came to speak.
    case broke
  }

  private let pair: Socket
  private static let numbers = Atomic<UInt64>(0)

  /// Of a socket that has not connected yet. The corresponding C function is `zmq_socket_monitor`.
  package init(_ socket: borrowing Socket, in context: ZeroMQContext) throws(ZeroMQError) {
    let endpoint = "inproc://monitor-\(Self.numbers.add(1, ordering: .relaxed).newValue)"
    let pair = try Socket(.pair, in: context)
    pair.setHighWaterMarks(send: 0, receive: 0)
    let events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED
    guard zmq_socket_monitor(socket.handle, endpoint, events) == 0 else {
      throw ZeroMQError(code: zmq_errno(), operation: "zmq_socket_monitor")
    }
    try pair.connect(endpoint)
    self.pair = pair
  }

  package var pollItem: PollItem { pair.pollItem }

  /// What happened next; nil: nothing more yet.
  package func next(_ message: inout Message) throws(ZeroMQError) -> Event? {
    while try pair.receive(into: &message) {
      // `event u16 | value u32`, of this machine's byte order; then a frame with the address.
      guard message.hasMore, message.bytes.count >= 2 else { continue }
      let event = Int32(message.bytes.loadUnaligned(as: UInt16.self))
      if event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED { return .connected }
      if event == ZMQ_EVENT_DISCONNECTED { return .broke }
    }
    return nil
  }

  /// No more events of `socket`. Call it before the monitor goes.
  package static func stop(_ socket: borrowing Socket) { zmq_socket_monitor(socket.handle, nil, 0) }
}
