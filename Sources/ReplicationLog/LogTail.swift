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

  /// A segment that nobody needs.
  package struct Segment: Equatable, Sendable {
    /// When the next one was begun, by the log's time.
    package var endedAt: Int64
    package var bytes: Int
    package init(endedAt: Int64, bytes: Int) {
      self.endedAt = endedAt
      self.bytes = bytes
    }
  }

  /// - Parameter segments: the earliest first.
  /// - Returns: how many of them go, from the first on.
  package func surplus(of segments: [Segment], now: Int64) -> Int {
    var kept = 0
    var bytesKept = 0
    for segment in segments.reversed() {
      bytesKept += segment.bytes
      guard now - segment.endedAt < milliseconds, bytesKept <= bytes else { break }
      kept += 1
    }
    return segments.count - kept
  }
}
