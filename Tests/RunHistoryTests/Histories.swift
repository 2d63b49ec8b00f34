import Bytes
import Cluster
import Foundation
import Marketplace
import RunHistory
import TestSupport

/// Histories and the replies that belong to them.
enum Histories {
  static let header = HistoryHeader(
    run: "019a8e3c-5e00-7a1b-b2c3-d4e5f6071829", seed: 7, startedAt: 1_700_000_000_000, cluster: "c",
    partitions: 2, ordersBefore: 5, load: "test")

  static func request(_ number: UInt64, at milliseconds: UInt64 = 1_700_000_000_000) -> RequestID {
    RequestID(high: milliseconds << 16 | 0x7000, low: 2 << 62 | number)
  }

  static func order(_ number: UInt64, partition: UInt16 = 0) -> OrderID {
    OrderID(at: 1_700_000_000_000, partition: partition, sequenceNumber: number)
  }

  static func hash(_ bytes: [UInt8]) -> UInt64 { bytes.withUnsafeBytes { XXH64.hash($0) } }

  static func random(_ random: inout SplitMix64) -> HistoryRecord {
    var record = HistoryRecord(
      random.pick(HistoryRecord.Command.allCases), random.pick(HistoryRecord.Outcome.allCases),
      request: RequestID(high: random.next(), low: random.next()),
      key: random.chance(50)
        ? .order(OrderID(high: random.next(), low: random.next())) : .shop(random.next()))
    record.code = UInt16(truncatingIfNeeded: random.next())
    record.attempts = UInt16(truncatingIfNeeded: random.next())
    record.connection = UInt8(truncatingIfNeeded: random.next())
    record.isResolution = random.chance(20)
    record.isRepeated = random.chance(20)
    record.plannedAt = random.next()
    record.sentAfter = UInt32(truncatingIfNeeded: random.next())
    record.endedAfter = UInt32(truncatingIfNeeded: random.next())
    record.replyHash = random.next()
    return record
  }

  /// Writes a history; `parts`: records that are handed over together.
  static func write(_ parts: [[HistoryRecord]], to path: String, ends: Bool = true) throws {
    let writer = try HistoryWriter(path: path, header: header)
    for part in parts {
      var bytes = ByteWriter()
      for record in part { record.write(into: &bytes) }
      writer.append(bytes.bytes)
    }
    try writer.finish(endedAt: 1_700_000_060_000)
    guard !ends else { return }
    // As after a kill: without the frame at the end.
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    let end = bytes.lastRange(of: Data("LARISHIS".utf8))?.lowerBound ?? 8
    try bytes.prefix(end - 8).write(to: URL(fileURLWithPath: path))
  }

  static func read(_ path: String) throws -> (records: [HistoryRecord], end: HistoryEnd?, cut: String?) {
    let reader = try HistoryReader(path: path)
    var records: [HistoryRecord] = []
    while let record = try reader.next() { records.append(record) }
    return (records, reader.end, reader.cut)
  }
}
