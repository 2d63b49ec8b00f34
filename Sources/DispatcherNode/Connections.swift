import Bytes
import ZeroMQ

/// The services' connections, and what each may cost.
///
/// A peer that does not read, or sends what no client sends, is bounded: its replies are counted
/// until they have left, and above a limit its requests are dropped unread. It would not hear a refusal.
struct Connections {
  final class Connection {
    /// As the socket names it.
    let id: [UInt8]
    let outstanding = OutstandingBytes()
    fileprivate(set) var heardAt: Int64 = 0
    /// Requests that were none, in the present second.
    fileprivate var malformed = 0
    fileprivate var malformedSecond: Int64 = 0

    fileprivate init(_ id: UnsafeRawBufferPointer) { self.id = Array(id) }

    fileprivate func has(_ id: UnsafeRawBufferPointer) -> Bool {
      self.id.count == id.count && self.id.elementsEqual(id)
    }
  }

  /// Bytes of replies that may wait for one connection, and for all.
  static let outstandingMax = 16 << 20
  static let outstandingTotalMax = 256 << 20
  /// Of one that may go on while all together are above their limit.
  static let outstandingFree = 64 << 10
  /// Refusals a second for what is no request; then it is not listened to until the second is over.
  static let malformedPerSecondMax = 100
  /// One that was silent for so long, and for which nothing waits, is forgotten.
  static let forgetMilliseconds: Int64 = 60_000

  private var byHash: [UInt64: Connection] = [:]
  /// As of the last look.
  private var outstandingTotal = 0

  /// The one that was found last: messages come, and replies go, several at a time.
  private var latest: Connection?

  /// The connection with this name.
  mutating func find(_ id: UnsafeRawBufferPointer, now: Int64) -> Connection {
    let found = latest.flatMap { $0.has(id) ? $0 : nil } ?? lookUp(id)
    found.heardAt = now
    latest = found
    return found
  }

  /// Names are bytes that the peer may choose, so two may hash alike.
  private mutating func lookUp(_ id: UnsafeRawBufferPointer) -> Connection {
    var hash = XXH64.hash(id)
    while let known = byHash[hash] {
      if known.has(id) { return known }
      hash &+= 1
    }
    let new = Connection(id)
    byHash[hash] = new
    return new
  }

  /// Whether it is listened to: it reads its replies, and most of what it sends is requests.
  func mayBeServed(_ connection: Connection, now: Int64) -> Bool {
    guard connection.malformed <= Self.malformedPerSecondMax || connection.malformedSecond != now / 1_000
    else {
      return false
    }
    let count = connection.outstanding.count
    return count <= Self.outstandingFree
      || (count <= Self.outstandingMax && outstandingTotal <= Self.outstandingTotalMax)
  }

  /// Notes requests that were none.
  func malformed(_ connection: Connection, _ count: Int, now: Int64) {
    if now / 1_000 != connection.malformedSecond {
      connection.malformedSecond = now / 1_000
      connection.malformed = 0
    }
    connection.malformed += count
  }

  /// Adds up what waits, and forgets who is gone. Some times a second.
  mutating func tick(now: Int64) {
    outstandingTotal = byHash.values.reduce(0) { $0 + $1.outstanding.count }
    guard byHash.count > 64 else { return }
    let gone = byHash.filter {
      now - $0.value.heardAt > Self.forgetMilliseconds && $0.value.outstanding.count == 0
    }
    latest = nil
    // Of names that hash alike the later could not be found without the earlier; it is made anew.
    for hash in gone.keys { byHash[hash] = nil }
  }
}
