import Cluster
import ReplicationLog
import TestSupport
import Testing

struct LogTailTests {
  private func kept(_ tail: LogTail, _ segments: [(endedAt: Int64, bytes: Int)], now: Int64 = 100) -> Int {
    segments.count - tail.surplus(of: segments.map(\.bytes), now: now) { segments[$0].endedAt }
  }

  @Test func `a segment stays for the time and in the bytes that are given`() {
    let segments: [(endedAt: Int64, bytes: Int)] = [(10, 5), (50, 5), (70, 5), (100, 5)]
    #expect(kept(.none, segments) == 0)
    #expect(kept(LogTail(milliseconds: 1, bytes: 100), segments) == 1)
    #expect(kept(LogTail(milliseconds: 30, bytes: 100), segments) == 1)
    #expect(kept(LogTail(milliseconds: 31, bytes: 100), segments) == 2)
    #expect(kept(LogTail(milliseconds: 31, bytes: 9), segments) == 1)
    #expect(kept(LogTail(milliseconds: .max, bytes: 15), segments) == 3)
    #expect(kept(LogTail(milliseconds: .max, bytes: 4), segments) == 0)
    #expect(kept(LogTail(milliseconds: .max, bytes: .max >> 1), segments) == 4)
    #expect(kept(LogTail(), []) == 0)
  }

  @Test func `what stays is one piece, up to what is needed`() {
    #expect(kept(LogTail(milliseconds: 50, bytes: 10), [(90, 1), (90, 20), (95, 1)]) == 1)
  }

  @Test func `a log is trimmed by the time of what follows a segment`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var random = SplitMix64(seed: 1)
    try log.open { log, _ in
      // Each block fills a segment; entry n is of time 10 n.
      for number in 1...6 as ClosedRange<Int64> {
        let noise = (0..<800).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        try noise.withUnsafeBytes { try log.append($0, count: 1, tag: Epoch(1), time: number * 10) }
        try log.sync()
      }
    }
    for (keep, first) in [(60, 1), (41, 1), (40, 2), (21, 3), (11, 4), (0, 6)] as [(Int64, UInt64)] {
      // At time 60: the segment of entry n ended at 10 (n + 1).
      let left = try ReplicationLog.trim(
        in: log.directory, through: SequenceNumber(6), tail: LogTail(milliseconds: keep, bytes: 1 << 20),
        now: 60, segmentBytes: 1_024)
      #expect(left == SequenceNumber(first), "\(keep) ms")
    }
  }
}
