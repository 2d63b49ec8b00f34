import Bytes
import Cluster
import ZeroMQ

/// A partition's connection to a dispatcher. Its thread's only.
final class DispatcherLink {
  /// A frame that was received; stays where it is while its group is worked on.
  final class Frame {
    fileprivate var message = Message()
    var bytes: UnsafeRawBufferPointer { message.bytes }
  }

  private let socket: Socket

  init(to endpoint: String, as routingID: String, in context: ZeroMQContext) throws {
    let socket = try Socket(.dealer, in: context)
    // What is under way is bounded by credit; without a connection, sending says so at once.
    socket.setHighWaterMarks(send: 0, receive: 0)
    socket.setImmediate()
    socket.setReconnect(milliseconds: 20, max: 200)
    socket.setLinger(milliseconds: 500)
    socket.setRoutingID(routingID)
    try socket.connect(endpoint)
    self.socket = socket
  }

  /// - Returns: false where there is no connection; nothing was sent.
  func send(_ bytes: UnsafeRawBufferPointer) throws -> Bool {
    do {
      try socket.send(bytes)
      return true
    } catch {
      guard error.wouldBlock else { throw error }
      return false
    }
  }

  func receive(into frame: Frame) throws -> Bool { try socket.receive(into: &frame.message) }

  /// For `Socket.wait`.
  var pollItem: PollItem { socket.pollItem }
}
