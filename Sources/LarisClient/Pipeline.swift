import Cluster
import Foundation
import LarisProtocol
import Wire
import ZeroMQ

/// Many requests at once over one connection, each retried with its id until it has a final answer.
///
/// Retries are what makes an answer honest: *not executed* is tried again after the time that it
/// names, *unknown* and silence at once with the same bytes, so that nothing happens twice.
/// One thread's.
package struct Pipeline: ~Copyable {
  package struct Options: Sendable {
    /// How long to wait for a reply before the request is sent again.
    package var silenceMilliseconds: Int64 = 2_000
    /// How long to try in all; then the request comes back as given up.
    package var budgetMilliseconds: Int64 = 30_000
    package init() {}
  }

  package struct Finished {
    package let id: RequestID
    /// The final reply, or the last one that there was when the budget ran out; nil: none ever came.
    package let reply: [UInt8]?
    package let isGivenUp: Bool
    package let attempts: Int
    /// From the first sending to now.
    package let milliseconds: Int64
  }

  private struct Pending {
    let bytes: [UInt8]
    let firstAt: Int64
    var sentAt: Int64
    /// When it is sent (again), if it is not under way.
    var resendAt: Int64?
    var attempts: Int
    var last: [UInt8]?
  }

  private let socket: Socket
  private let options: Options
  private var pending: [RequestID: Pending] = [:]
  /// When what waits was last looked through.
  private var scanAt: Int64 = 0
  private var finished: [Finished] = []
  private var random = SystemRandomNumberGenerator()

  package init(dispatcher: String, context: ZeroMQContext, options: Options = Options()) throws(ZeroMQError) {
    let socket = try Socket(.dealer, in: context)
    socket.setHighWaterMarks(send: 100_000, receive: 0)
    socket.setImmediate()
    socket.setReconnect(milliseconds: 20, max: 200)
    try socket.connect(dispatcher)
    self.socket = socket
    self.options = options
  }

  /// Requests that have no final answer yet.
  package var count: Int { pending.count }

  /// Sends a request. `bytes` are a `Request` with this id.
  package mutating func submit(_ id: RequestID, _ bytes: [UInt8]) {
    let now = Self.now()
    var entry = Pending(bytes: bytes, firstAt: now, sentAt: now, resendAt: nil, attempts: 0, last: nil)
    send(&entry, now: now)
    pending[id] = entry
  }

  private mutating func send(_ entry: inout Pending, now: Int64) {
    do {
      try socket.send(entry.bytes)
      entry.attempts += 1
      entry.sentAt = now
      entry.resendAt = nil
    } catch {
      // No connection yet, or none any more: soon again.
      entry.resendAt = now + 20
    }
  }

  /// Takes what came, waiting at most so long for the first, and sends again what must be.
  ///
  /// - Returns: requests that are over.
  package mutating func poll(milliseconds: Int) -> [Finished] {
    if socket.wait(milliseconds: milliseconds) {
      var message = Message()
      while (try? socket.receive(into: &message)) == true { take(message.bytes) }
    }
    let now = Self.now()
    if now - scanAt >= 10 {
      scanAt = now
      scan(now: now)
    }
    defer { finished.removeAll(keepingCapacity: true) }
    return finished
  }

  private mutating func take(_ bytes: UnsafeRawBufferPointer) {
    guard let peek = try? ReplyPeek(bytes) else { return }
    // A reply without an id is to a message whose id could not be read: with one under way, that one.
    guard let id = peek.id ?? (pending.count == 1 ? pending.keys.first : nil), var entry = pending[id] else {
      return
    }
    let now = Self.now()
    entry.last = Array(bytes)
    let isFinal: Bool
    switch Outcome(rawValue: peek.outcome) {
    case .done, .no: isFinal = true
    case .notExecuted: isFinal = peek.retryAfterMilliseconds == 0
    case .unknown, nil: isFinal = peek.retryAfterMilliseconds == 0
    }
    if isFinal {
      finish(id, entry, isGivenUp: false, now: now)
    } else {
      // Half of it fixed, half at random, and longer with every attempt.
      let base = Int64(min(peek.retryAfterMilliseconds, 1_000)) * Int64(min(entry.attempts, 8))
      entry.resendAt = now + base / 2 + Int64.random(in: 0...max(1, base / 2), using: &random)
      pending[id] = entry
    }
  }

  private mutating func scan(now: Int64) {
    // The dictionary's order means nothing, so what is sent again goes by age.
    var due: [(id: RequestID, firstAt: Int64)] = []
    for (id, entry) in pending {
      let isOver = now - entry.firstAt >= options.budgetMilliseconds
      let isDue = entry.resendAt.map { $0 <= now } ?? (now - entry.sentAt >= options.silenceMilliseconds)
      if isOver || isDue { due.append((id, entry.firstAt)) }
    }
    due.sort { ($0.firstAt, $0.id) < ($1.firstAt, $1.id) }
    for (id, firstAt) in due {
      guard var entry = pending[id] else { continue }
      if now - firstAt >= options.budgetMilliseconds {
        finish(id, entry, isGivenUp: true, now: now)
      } else {
        send(&entry, now: now)
        pending[id] = entry
      }
    }
  }

  private mutating func finish(_ id: RequestID, _ entry: Pending, isGivenUp: Bool, now: Int64) {
    pending[id] = nil
    finished.append(
      Finished(
        id: id, reply: entry.last, isGivenUp: isGivenUp, attempts: entry.attempts,
        milliseconds: now - entry.firstAt))
  }

  private static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
  }
}
