/// Rule 5, a secondary's side: until when the primary may believe in this member's silence.
///
/// A value of its own, so that whoever answers beacons can have it, and nobody else.
package struct Grace: Sendable {
  /// Receipt of the last beacon + G.
  package private(set) var until: Int64
  /// It ran out: nothing is acknowledged any more in this epoch.
  package private(set) var isAbandoned = false
  /// Nothing is acknowledged until the next beacon.
  package private(set) var isDisconnected = false
  /// An earlier process of this member accepted the epoch, and may have proposed itself in it: nothing
  /// is acknowledged in it any more.
  package let isBarred: Bool

  package init(from now: Int64, _ milliseconds: Int64, isBarred: Bool = false) {
    until = now + milliseconds
    self.isBarred = isBarred
  }

  package var mayAcknowledge: Bool { !isAbandoned && !isDisconnected && !isBarred }

  /// - Returns: whether the beacon may be acknowledged.
  package mutating func beacon(at now: Int64, _ milliseconds: Int64) -> Bool {
    // Too late, whether or not somebody has looked at the clock since.
    if now >= until { isAbandoned = true }
    guard !isAbandoned else { return false }
    isDisconnected = false
    until = max(until, now + milliseconds)
    return !isBarred
  }

  package mutating func disconnect() { isDisconnected = true }

  /// - Returns: whether it has run out just now.
  package mutating func runOut(at now: Int64) -> Bool {
    guard !isAbandoned, now >= until else { return false }
    isAbandoned = true
    return true
  }

  package mutating func end() { isAbandoned = true }
}
