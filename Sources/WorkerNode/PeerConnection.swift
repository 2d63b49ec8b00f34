import Cluster
import NodeSupport
import Synchronization
import ZeroMQ

/// Another worker, as assignments tell of it.
package struct PeerAddress: Equatable, Sendable {
  package var node: String
  package var incarnation: Incarnation
  /// Where it listens for its peers: `tcp://HOST:PORT`.
  package var endpoint: String
  /// `Machine.bootID` there. Empty: not told.
  package var host: String
  /// The text of its `LifeLock.Place`. Empty: not told.
  package var lockPath: String

  package init(node: String, incarnation: Incarnation, endpoint: String, host: String, lockPath: String) {
    self.node = node
    self.incarnation = incarnation
    self.endpoint = endpoint
    self.host = host
    self.lockPath = lockPath
  }
}

/// The connection to one peer, for sending. Any thread sends, one at a time: a socket is nobody's but the
/// lock's.
final class PeerConnection: Sendable {
  /// Messages and bytes that may wait for a peer that does not read.
  static let messagesMax: Int32 = 4_096
  static let outstandingMax = 64 << 20
  /// Something unacknowledged for so long breaks a connection: after a fault in the network a new one gets
  /// through sooner than the system's retransmissions, which back off.
  private static let unacknowledgedMilliseconds: Int32 = 2_000

  let address: PeerAddress
  private let outstanding = OutstandingBytes()
  /// nil: closed.
  private let socket: Mutex<Socket?>

  /// - Throws: `ZeroMQError`: the endpoint is no address.
  init(_ address: PeerAddress, in context: ZeroMQContext) throws(ZeroMQError) {
    let socket = try Socket(.push, in: context)
    socket.setHighWaterMarks(send: Self.messagesMax, receive: 1)
    // Nothing is kept for a connection that may come: what is old then is not wanted.
    socket.setImmediate()
    socket.setReconnect(milliseconds: 20, max: 100)
    socket.setConnectTimeout(milliseconds: 1_000)
    socket.setUnacknowledged(milliseconds: Self.unacknowledgedMilliseconds)
    self.address = address
    self.socket = Mutex(socket)
  }

  /// - Returns: its monitor, whose reader closes the connection first.
  func connect(in context: ZeroMQContext) throws(ZeroMQError) -> ConnectionMonitor {
    try socket.withLock { (socket: inout Socket?) throws(ZeroMQError) -> ConnectionMonitor in
      let monitor = try ConnectionMonitor(socket!, in: context)
      do throws(ZeroMQError) { try socket!.connect(address.endpoint) } catch {
        ConnectionMonitor.stop(socket!)
        throw error
      }
      return monitor
    }
  }

  func close() {
    socket.withLock { socket in
      if let socket = socket.take() { ConnectionMonitor.stop(socket) }
    }
  }

  enum Sent { case sent, full, notConnected }

  func send(_ bytes: UnsafeRawBufferPointer) throws(ZeroMQError) -> Sent {
    guard outstanding.count + bytes.count <= Self.outstandingMax else { return .full }
    var message = Message(copying: bytes, counting: outstanding)
    return try socket.withLock { (socket: inout Socket?) throws(ZeroMQError) -> Sent in
      guard socket != nil else { return .notConnected }
      do throws(ZeroMQError) { try socket!.send(moving: &message) } catch {
        guard error.wouldBlock else { throw error }
        return .notConnected
      }
      return .sent
    }
  }
}
