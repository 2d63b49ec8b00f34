import Bytes
import ClientCore
import Cluster
import TestSupport
import Wire

/// A client without a socket: what it sends is written down, what it hears is up to the test.
final class Client {
  struct Message: Equatable {
    let at: Int64
    let dispatcher: Int
    let requests: [Int]
  }

  private var core: ClientCore
  /// In milliseconds, as everything here; the core's clock has microseconds.
  var now: Int64 = 1_000
  var isUp = true
  private(set) var sent: [Message] = []
  private(set) var finished: [Int: ClientCore.Finished] = [:]
  /// In the order in which they were over.
  private(set) var order: [Int] = []
  private var connection: UInt64
  private var submittedAt: [Int: Int64] = [:]
  private var taken: [ClientCore.Finished] = []

  init(dispatchers: Int = 1, seed: UInt64 = 1, _ change: (inout ClientCore.Options) -> Void = { _ in }) {
    var options = ClientCore.Options()
    change(&options)
    core = ClientCore(dispatchers: dispatchers, options: options, random: SplitMix64(seed: seed))
    connection = core.connection
  }

  static func id(_ number: Int) -> RequestID { RequestID(high: 7 << 12, low: 2 << 62 | UInt64(number)) }
  static func number(_ id: RequestID) -> Int { Int(id.low & 0xFFFF_FFFF) }

  var count: Int { core.count }
  var dispatcher: Int { core.dispatcher }
  var connections: UInt64 { core.connection }
  var nextDueAt: Int64? { core.nextDueAt.map { $0 / 1_000 } }

  /// The bytes are the number, `size` of them.
  func submit(_ number: Int, size: Int = 8, silence: Int64? = nil) {
    var bytes = [UInt8](repeating: 0, count: size)
    for place in 0..<min(8, size) { bytes[place] = UInt8(truncatingIfNeeded: number >> (8 * place)) }
    bytes.withUnsafeBytes {
      core.submit(Self.id(number), $0, silenceMilliseconds: silence, now: 1_000 * now)
    }
    submittedAt[number] = now
  }

  /// Sends what is to be sent, as the shell does.
  func flush() {
    connection = core.connection
    while core.prepareMessage() {
      guard isUp else { return core.connection(isUp: false, now: 1_000 * now) }
      let requests = (0..<core.frames).map { frame in
        core.frame(frame).prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
      }
      sent.append(Message(at: now, dispatcher: core.dispatcher, requests: requests))
      core.sent(now: 1_000 * now)
    }
  }

  struct Word {
    let number: Int
    let outcome: UInt8
    var code: UInt32 = 0
    var retry: UInt32 = 0

    static func done(_ number: Int) -> Word { Word(number: number, outcome: 1) }
    static func no(_ number: Int) -> Word { Word(number: number, outcome: 2, code: 6) }
    static func busy(_ number: Int, retry: UInt32 = 50) -> Word {
      Word(number: number, outcome: 3, code: 100, retry: retry)
    }
    static func malformed(_ number: Int) -> Word { Word(number: number, outcome: 3, code: 104) }
    static func noAnswer(_ number: Int) -> Word { Word(number: number, outcome: 4, code: 150, retry: 100) }
    static func tooOld(_ number: Int) -> Word { Word(number: number, outcome: 4, code: 151) }
  }

  /// One message from the dispatcher.
  func hear(_ words: Word...) { hear(words) }
  func hear(_ words: [Word]) {
    for word in words {
      var writer = ByteWriter(capacity: 64)
      let id = Self.id(word.number)
      writer.field(1, high: id.high, low: id.low)
      writer.field(2, varint: UInt64(word.outcome))
      writer.field(3, varint: UInt64(word.code))
      writer.field(7, varint: UInt64(word.retry))
      core.take(writer.bytes, now: 1_000 * now)
    }
    core.endMessage(now: 1_000 * now)
    collect()
  }

  func hear(bytes: [UInt8]) {
    bytes.withUnsafeBytes { core.take($0, now: 1_000 * now) }
    core.endMessage(now: 1_000 * now)
    collect()
  }

  /// Time passes in steps of ten milliseconds.
  func pass(_ milliseconds: Int64) {
    let end = now + milliseconds
    while now < end {
      now = min(end, now + 10)
      step()
    }
  }

  func step() {
    if core.count > 0 { core.connection(isUp: isUp, now: 1_000 * now) }
    core.tick(now: 1_000 * now)
    flush()
    collect()
  }

  /// How long a request took that is over.
  func milliseconds(_ number: Int) -> Int64? {
    guard let over = finished[number], let began = submittedAt[number] else { return nil }
    return over.endedAt / 1_000 - began
  }

  func takeLate() -> [[UInt8]] { core.takeLate() }
  var requestsSent: Int { core.requestsSent }
  var attemptsSent: Int { core.attemptsSent }

  /// Requests of all messages since the last call.
  func takeSent() -> [Message] {
    defer { sent = [] }
    return sent
  }

  private func collect() {
    core.takeFinished(into: &taken)
    for over in taken {
      let number = Self.number(over.id)
      finished[number] = over
      order.append(number)
    }
  }
}
