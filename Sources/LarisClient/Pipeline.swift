import ClientCore
import Cluster
import Foundation
import Wire
import ZeroMQ

/// Many requests at once over one connection, each tried again with its id until it has a final answer.
///
/// `ClientCore` decides; this owns the socket and reads the clock. One dispatcher of the list has the
/// connection at a time. One thread's.
package struct Pipeline: ~Copyable {
  package typealias Options = ClientCore.Options
  package typealias Finished = ClientCore.Finished

  package enum Failure: Error, CustomStringConvertible {
    /// The text is no address.
    case address(String)
    /// The process can have no more sockets.
    case socket(ZeroMQError)

    package var description: String {
      switch self {
      case .address(let text): "\(text) is no address; it should look like tcp://127.0.0.1:12120"
      case .socket(let cause): "no connection can be made: \(cause)"
      }
    }
  }

  private let dispatchers: [String]
  private let context: ZeroMQContext
  private var socket: Socket
  /// The core's number of what `socket` is.
  private var connection: UInt64
  /// Sending failed, and nothing has shown since that it would not.
  private var isDown = false
  private var core: ClientCore
  private let requestsPerMessageMax: Int
  private var message = Message()
  private var tickAt: Int64 = 0

  /// - Parameter dispatchers: one or more; the first has its turn first.
  /// - Throws: what is wrong with an address. Whether somebody listens there shows later.
  package init(
    dispatchers: [String], context: ZeroMQContext, options: Options = Options()
  ) throws(Failure) {
    for dispatcher in dispatchers.dropFirst() { _ = try Self.open(dispatcher, context) }
    let socket = try Self.open(dispatchers[0], context)
    self.dispatchers = dispatchers
    self.context = context
    self.socket = socket
    requestsPerMessageMax = options.requestsPerMessageMax
    core = ClientCore(
      dispatchers: dispatchers.count, options: options, random: SystemRandomNumberGenerator())
    connection = core.connection
  }

  private static func open(_ dispatcher: String, _ context: ZeroMQContext) throws(Failure) -> Socket {
    let socket: Socket
    do { socket = try Socket(.dealer, in: context) } catch { throw .socket(error) }
    // No bound but the caller's own: so that a socket that takes nothing has no connection.
    socket.setHighWaterMarks(send: 0, receive: 0)
    socket.setImmediate()
    socket.setReconnect(milliseconds: 20, max: 200)
    socket.setHeartbeat(milliseconds: 1_000, timeout: 5_000)
    do { try socket.connect(dispatcher) } catch { throw .address(dispatcher) }
    return socket
  }

  /// Requests that have no final answer yet.
  package var count: Int { core.count }

  /// Requests that were handed to a connection, and how often that was done; both only grow.
  package var requestsSent: Int { core.requestsSent }
  package var attemptsSent: Int { core.attemptsSent }

  /// Sends a request; where several go in one message, when there are enough for one or at the next
  /// ``poll(milliseconds:)``. `bytes` are a `Request` with this id, which no other pending one has. An
  /// id that came back in doubt is submitted again only when nothing else is pending: then the
  /// connection is a new one, and no late reply can be taken for one to this attempt.
  ///
  /// - Parameter silenceMilliseconds: how long to wait for its reply, where it is not as usual.
  package mutating func submit(
    _ id: RequestID, _ bytes: UnsafeRawBufferPointer, silenceMilliseconds: Int64? = nil
  ) {
    let now = Self.now()
    core.submit(id, bytes, silenceMilliseconds: silenceMilliseconds, now: now)
    if !isDown, core.queued >= requestsPerMessageMax { flush(now: now) }
  }

  package mutating func submit(_ id: RequestID, _ bytes: [UInt8], silenceMilliseconds: Int64? = nil) {
    bytes.withUnsafeBytes { submit(id, $0, silenceMilliseconds: silenceMilliseconds) }
  }

  /// Takes what came, waiting at most so long for the first, and sends (again) what must be.
  ///
  /// - Returns: requests that are over.
  package mutating func poll(milliseconds: Int) -> [Finished] {
    var finished: [Finished] = []
    poll(milliseconds: milliseconds, into: &finished)
    return finished
  }

  /// As ``poll(milliseconds:)``; what was in `finished` goes, and its room is used on.
  package mutating func poll(milliseconds: Int, into finished: inout [Finished]) {
    // Before anything comes: so that the room of the replies in it is free for new ones.
    finished.removeAll(keepingCapacity: true)
    if !isDown || connection != core.connection { flush(now: Self.now()) }
    let wait = core.hasFinished ? 0 : pause(atMost: milliseconds)
    if isDown {
      socket.waitForConnection(milliseconds: wait)
      isDown = !socket.canSend
    } else {
      _ = socket.wait(milliseconds: wait)
    }
    receive()
    let now = Self.now()
    if now - tickAt >= 10_000 {
      tickAt = now
      isDown = !socket.canSend
      if core.count > 0 { core.connection(isUp: !isDown, now: now) }
      core.tick(now: now)
    }
    if !isDown || connection != core.connection { flush(now: now) }
    core.takeFinished(into: &finished)
  }

  /// What came since the last call and is no reply to anything that is pending; only with
  /// `keepsLateReplies`.
  package mutating func takeLate() -> [[UInt8]] { core.takeLate() }

  /// Until there is something to do by the clock, ten milliseconds apart at least.
  private func pause(atMost milliseconds: Int) -> Int {
    guard let due = core.nextDueAt else { return milliseconds }
    return min(milliseconds, max(10, Int(clamping: (due - Self.now()) / 1_000 + 1)))
  }

  /// Of messages that are taken before what is due to be sent has its turn.
  private static let messagesPerPoll = 512

  private mutating func receive() {
    var messages = 0
    while messages < Self.messagesPerPoll, (try? socket.receive(into: &message)) == true {
      let now = Self.now()
      core.take(message.bytes, now: now)
      if !message.hasMore {
        core.endMessage(now: now)
        messages += 1
      }
    }
    // What was large is let go.
    if message.bytes.count > 65_536 { message = Message() }
  }

  private mutating func flush(now: Int64) {
    if connection != core.connection {
      guard let new = try? Self.open(dispatchers[core.dispatcher], context) else { return }
      socket = new
      connection = core.connection
    }
    while core.prepareMessage() {
      guard send() else {
        isDown = true
        core.connection(isUp: false, now: now)
        return
      }
      core.sent(now: now)
    }
    isDown = false
  }

  /// - Returns: false: no connection took any of the message that is prepared. Where a later frame
  ///   fails, the message counts as sent, because nobody can tell.
  private mutating func send() -> Bool {
    for index in 0..<core.frames {
      do {
        try socket.send(core.frame(index), more: index + 1 < core.frames)
      } catch {
        return index > 0
      }
    }
    return true
  }

  /// Microseconds of the clock that all its times are of: it never runs back, nor stops while the machine
  /// sleeps.
  package static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }
}
