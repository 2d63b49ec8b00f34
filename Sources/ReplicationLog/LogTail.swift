/// How much of a log stays once nobody needs it, so that who was away for a short time needs no snapshot.
package struct LogTail: Equatable, Sendable {
  /// For so long after the last entry of a segment.
  package var milliseconds: Int64
  /// In so many bytes of segments at most.
  package var bytes: Int

  package init(milliseconds: Int64 = 60_000, bytes: Int = 256 << 20) {
    self.milliseconds = milliseconds
    self.bytes = bytes
  }

  package static let none = LogTail(milliseconds: 0, bytes: 0)

  /// - Parameters:
  ///   - segments: the bytes of those that nobody needs, the earliest first.
  ///   - endedAt: when the one after a segment was begun, by the log's time; never earlier than that of the one
  ///     before. Asked for few.
  /// - Returns: how many of them go, from the first on.
  package func surplus<Failure>(
    of segments: [Int], now: Int64, endedAt: (Int) throws(Failure) -> Int64
  ) throws(Failure) -> Int {
    var excess = segments.reduce(0, +) - bytes
    var surplus = 0
    while surplus < segments.count {
      if excess <= 0, now - (try endedAt(surplus)) < milliseconds { break }
      excess -= segments[surplus]
      surplus += 1
    }
    return surplus
  }
}
