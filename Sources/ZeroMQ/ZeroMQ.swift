import CZeroMQ
import Glibc

/// A ZeroMQ call failed.
package struct ZeroMQError: Error, CustomStringConvertible {
  package let code: Int32
  package let operation: String

  /// Nothing to receive, or no room to send.
  package var wouldBlock: Bool { code == EAGAIN }
  /// The peer that was named is not connected.
  package var isUnreachable: Bool { code == EHOSTUNREACH }
  package var isAddressInUse: Bool { code == EADDRINUSE }

  package var description: String { "\(operation): \(String(cString: zmq_strerror(code)))" }
}

/// The process's ZeroMQ context. Shared by its threads.
package final class ZeroMQContext: @unchecked Sendable {
  // libzmq's contexts are thread safe.
  fileprivate let handle: UnsafeMutableRawPointer

  package init(ioThreads: Int32 = 1) {
    guard let handle = zmq_ctx_new() else { fatalError("zmq_ctx_new: out of memory") }
    zmq_ctx_set(handle, ZMQ_IO_THREADS, ioThreads)
    zmq_ctx_set(handle, ZMQ_MAX_SOCKETS, 8192)
    self.handle = handle
  }

  /// Waits for its sockets to be closed; what lingers is bounded by their linger.
  deinit { zmq_ctx_term(handle) }
}

/// A socket, owned by one thread.
package struct Socket: ~Copyable {
  package enum Kind: Sendable {
    case router, dealer, req, push, pull, pair
    fileprivate var code: Int32 {
      switch self {
      case .router: ZMQ_ROUTER
      case .dealer: ZMQ_DEALER
      case .req: ZMQ_REQ
      case .push: ZMQ_PUSH
      case .pull: ZMQ_PULL
      case .pair: ZMQ_PAIR
      }
    }
  }

  let handle: UnsafeMutableRawPointer
  private let context: ZeroMQContext

  package init(_ kind: Kind, in context: ZeroMQContext) throws(ZeroMQError) {
    guard let handle = zmq_socket(context.handle, kind.code) else {
      throw ZeroMQError(code: zmq_errno(), operation: "zmq_socket")
    }
    self.handle = handle
    self.context = context
    setOption(ZMQ_LINGER, 0)
  }

  deinit { zmq_close(handle) }

  /// The corresponding C function is `zmq_setsockopt`; an option of ours that is refused is a bug.
  private func setOption(_ option: Int32, _ value: Int32) {
    var value = value
    let code = zmq_setsockopt(handle, option, &value, MemoryLayout<Int32>.size)
    precondition(code == 0, "zmq_setsockopt \(option): \(String(cString: zmq_strerror(zmq_errno())))")
  }

  /// How long what was not sent yet is kept when the socket is closed.
  package func setLinger(milliseconds: Int32) { setOption(ZMQ_LINGER, milliseconds) }
  /// Messages that may wait in each direction, for each peer. 0: no bound.
  package func setHighWaterMarks(send: Int32, receive: Int32) {
    setOption(ZMQ_SNDHWM, send)
    setOption(ZMQ_RCVHWM, receive)
  }
  /// A peer that sends more in one message part is disconnected.
  package func setMessageBytesMax(_ bytes: Int64) {
    var bytes = bytes
    zmq_setsockopt(handle, ZMQ_MAXMSGSIZE, &bytes, MemoryLayout<Int64>.size)
  }
  /// A router then says `isUnreachable` or `wouldBlock` where it would drop silently.
  package func setRouterMandatory() { setOption(ZMQ_ROUTER_MANDATORY, 1) }
  /// A router then gives an identity to the connection that took it last.
  package func setRouterHandover() { setOption(ZMQ_ROUTER_HANDOVER, 1) }
  /// Messages then wait for connections that exist only; without one, sending says `wouldBlock`.
  package func setImmediate() { setOption(ZMQ_IMMEDIATE, 1) }
  /// A connection that has not said what it is by then is closed.
  package func setHandshake(milliseconds: Int32) { setOption(ZMQ_HANDSHAKE_IVL, milliseconds) }
  /// The system finds out about peers that are gone without a word.
  package func setKeepalive(afterSeconds: Int32) {
    setOption(ZMQ_TCP_KEEPALIVE, 1)
    setOption(ZMQ_TCP_KEEPALIVE_IDLE, afterSeconds)
  }
  /// Which of the context's I/O threads serve its connections, as bits.
  package func setIOThreads(_ mask: UInt64) {
    var mask = mask
    zmq_setsockopt(handle, ZMQ_AFFINITY, &mask, MemoryLayout<UInt64>.size)
  }
  /// How long one attempt to connect may take.
  package func setConnectTimeout(milliseconds: Int32) { setOption(ZMQ_CONNECT_TIMEOUT, milliseconds) }
  /// A connection on which something that was sent stays unacknowledged by the other system for so long,
  /// or that takes nothing for so long, is broken.
  package func setUnacknowledged(milliseconds: Int32) { setOption(ZMQ_TCP_MAXRT, milliseconds) }
  package func setReconnect(milliseconds: Int32, max: Int32) {
    setOption(ZMQ_RECONNECT_IVL, milliseconds)
    setOption(ZMQ_RECONNECT_IVL_MAX, max)
  }
  /// Asks a silent peer for a sign of life so often, and takes the connection for broken where none
  /// comes in time. Both sides' libraries see to it, whatever the program does.
  package func setHeartbeat(milliseconds: Int32, timeout: Int32) {
    setOption(ZMQ_HEARTBEAT_IVL, milliseconds)
    setOption(ZMQ_HEARTBEAT_TIMEOUT, timeout)
  }
  package func setRoutingID(_ id: String) {
    let bytes = Array(id.utf8)
    precondition(!bytes.isEmpty && bytes.count <= 255)
    zmq_setsockopt(handle, ZMQ_ROUTING_ID, bytes, bytes.count)
  }

  /// Listens on `endpoint`. The corresponding C function is `zmq_bind`.
  package func bind(_ endpoint: String) throws(ZeroMQError) {
    guard zmq_bind(handle, endpoint) == 0 else {
      throw ZeroMQError(code: zmq_errno(), operation: "listen on \(endpoint)")
    }
  }

  /// Connects in the background, again and again. Fails only where the endpoint's text is wrong.
  package func connect(_ endpoint: String) throws(ZeroMQError) {
    guard zmq_connect(handle, endpoint) == 0 else {
      throw ZeroMQError(code: zmq_errno(), operation: "connect to \(endpoint)")
    }
  }

  /// Where it listens, the port that the system chose included.
  package var lastEndpoint: String {
    var buffer = [CChar](repeating: 0, count: 256)
    var size = buffer.count
    zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &buffer, &size)
    return String(decoding: buffer.prefix(max(0, size - 1)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Sends one frame without waiting; the bytes are copied.
  ///
  /// - Throws: `wouldBlock`, `isUnreachable`: nothing was sent.
  ///   The corresponding C function is `zmq_send`.
  @inline(__always)
  package func send(_ bytes: UnsafeRawBufferPointer, more: Bool = false) throws(ZeroMQError) {
    let flags = more ? ZMQ_DONTWAIT | ZMQ_SNDMORE : ZMQ_DONTWAIT
    guard zmq_send(handle, bytes.baseAddress, bytes.count, flags) >= 0 else {
      throw ZeroMQError(code: zmq_errno(), operation: "send")
    }
  }

  package func send(_ bytes: [UInt8], more: Bool = false) throws(ZeroMQError) {
    let flags = more ? ZMQ_DONTWAIT | ZMQ_SNDMORE : ZMQ_DONTWAIT
    guard zmq_send(handle, bytes, bytes.count, flags) >= 0 else {
      throw ZeroMQError(code: zmq_errno(), operation: "send")
    }
  }

  /// As ``send(_:more:)``, and `outstanding` tells how much has not left the process yet.
  ///
  /// The corresponding C functions are `zmq_msg_init_data` and `zmq_msg_send`.
  package func send(_ bytes: UnsafeRawBufferPointer, more: Bool, counting outstanding: OutstandingBytes)
    throws(ZeroMQError)
  {
    var message = zmq_msg_t()
    outstanding.fill(&message, bytes)
    guard zmq_msg_send(&message, handle, more ? ZMQ_DONTWAIT | ZMQ_SNDMORE : ZMQ_DONTWAIT) >= 0 else {
      let error = ZeroMQError(code: zmq_errno(), operation: "send")
      zmq_msg_close(&message)
      throw error
    }
  }

  /// Sends one frame without waiting; what was in `message` is the socket's now.
  ///
  /// - Throws: `wouldBlock`: nothing was sent, and `message` is as it was.
  ///   The corresponding C function is `zmq_msg_send`.
  package func send(moving message: inout Message) throws(ZeroMQError) {
    guard message.send(handle) >= 0 else { throw ZeroMQError(code: zmq_errno(), operation: "send") }
  }

  /// Receives one frame without waiting into `message`.
  ///
  /// - Returns: false where nothing waits. The corresponding C function is `zmq_msg_recv`.
  @inline(__always)
  package func receive(into message: inout Message) throws(ZeroMQError) -> Bool {
    while true {
      if message.receive(handle) >= 0 { return true }
      let code = zmq_errno()
      if code == EAGAIN { return false }
      if code == EINTR { continue }
      throw ZeroMQError(code: code, operation: "receive")
    }
  }

  /// Whether there is something to receive.
  package func wait(milliseconds: Int) -> Bool {
    var item = zmq_pollitem_t(socket: handle, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0)
    return zmq_poll(&item, 1, milliseconds) > 0
  }

  /// Waits until there is something to receive or a connection takes what is sent.
  package func waitForConnection(milliseconds: Int) {
    var item = zmq_pollitem_t(
      socket: handle, fd: 0, events: Int16(ZMQ_POLLIN) | Int16(ZMQ_POLLOUT), revents: 0)
    zmq_poll(&item, 1, milliseconds)
  }

  /// Whether a connection would take a message now. With `setImmediate` and no high-water mark: whether
  /// there is a connection.
  package var canSend: Bool {
    var events: Int32 = 0
    var size = MemoryLayout<Int32>.size
    guard zmq_getsockopt(handle, ZMQ_EVENTS, &events, &size) == 0 else { return false }
    return events & Int32(ZMQ_POLLOUT) != 0
  }

  /// For ``wait(for:milliseconds:)``.
  package var pollItem: PollItem { PollItem(socket: handle) }

  /// Waits until one of them has something to receive; each then says whether it has. The corresponding
  /// C function is `zmq_poll`.
  ///
  /// - Returns: whether one has.
  @discardableResult
  package static func wait(for items: inout [PollItem], milliseconds: Int) -> Bool {
    items.withUnsafeMutableBufferPointer { items in
      items.withMemoryRebound(to: zmq_pollitem_t.self) {
        zmq_poll($0.baseAddress, Int32($0.count), milliseconds) > 0
      }
    }
  }

  /// Waits until one of the two has something to receive. The corresponding C function is `zmq_poll`.
  package static func wait(_ first: borrowing Socket, _ second: borrowing Socket, milliseconds: Int)
    -> (first: Bool, second: Bool)
  {
    let input = Int16(ZMQ_POLLIN)
    return withUnsafeTemporaryAllocation(of: zmq_pollitem_t.self, capacity: 2) { items in
      items[0] = zmq_pollitem_t(socket: first.handle, fd: 0, events: input, revents: 0)
      items[1] = zmq_pollitem_t(socket: second.handle, fd: 0, events: input, revents: 0)
      guard zmq_poll(items.baseAddress, 2, milliseconds) > 0 else { return (false, false) }
      return (items[0].revents & input != 0, items[1].revents & input != 0)
    }
  }
}

/// Something that may have input: a socket, or a descriptor of the system's. Valid as long as that is.
package struct PollItem {
  private var item: zmq_pollitem_t

  fileprivate init(socket: UnsafeMutableRawPointer) {
    item = zmq_pollitem_t(socket: socket, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0)
  }

  package init(descriptor: Int32) {
    item = zmq_pollitem_t(socket: nil, fd: descriptor, events: Int16(ZMQ_POLLIN), revents: 0)
  }

  /// As of the last wait.
  package var isReady: Bool { item.revents & Int16(ZMQ_POLLIN) != 0 }
}

/// A received frame, owned; its bytes stay where they are until it is received into again or goes.
package struct Message: ~Copyable {
  private let storage: UnsafeMutablePointer<zmq_msg_t>

  package init() {
    storage = .allocate(capacity: 1)
    zmq_msg_init(storage)
  }

  /// A copy of `bytes`, for sending; `outstanding` counts it until libzmq lets go of it.
  package init(copying bytes: UnsafeRawBufferPointer, counting outstanding: OutstandingBytes) {
    storage = .allocate(capacity: 1)
    outstanding.fill(&storage.pointee, bytes)
  }

  deinit {
    zmq_msg_close(storage)
    storage.deallocate()
  }

  fileprivate mutating func send(_ socket: UnsafeMutableRawPointer) -> Int32 {
    zmq_msg_send(storage, socket, ZMQ_DONTWAIT)
  }

  /// Lets go of the bytes.
  package mutating func clear() {
    zmq_msg_close(storage)
    zmq_msg_init(storage)
  }

  @inline(__always)
  fileprivate mutating func receive(_ socket: UnsafeMutableRawPointer) -> Int32 {
    zmq_msg_recv(storage, socket, ZMQ_DONTWAIT)
  }

  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: zmq_msg_data(storage), count: zmq_msg_size(storage))
  }

  /// Whether more frames of the same message follow.
  package var hasMore: Bool { zmq_msg_more(storage) != 0 }
}
