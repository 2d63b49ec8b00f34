import Bytes
import Cluster
import Foundation
import ReplicationLog
import TestSupport
import Testing

/// Sizes of the format, as docs/FORMATS.md has them.
enum Layout {
  static let segmentHeader = 72
  static let blockHeader = 104
  static let rest = 8
}

/// A block as it was appended.
struct WrittenBlock: Equatable {
  var first: UInt64
  var count: UInt32
  var tag: UInt64
  var time: Int64
  var entries: [UInt8]
}

/// A folder with a log in it, opened anew for each act as a process would.
struct TestLog {
  static let identity = ReplicationLog.Identity(cluster: 0xC1C2_C3C4_C5C6_C7C8, partition: PartitionID(3))

  let folder: TestFolder
  var directory: String { folder.path }
  let segmentBytes: Int

  init(segmentBytes: Int = 2_048) throws {
    folder = try TestFolder()
    self.segmentBytes = segmentBytes
  }

  /// Opens the log and lets `body` work with it.
  @discardableResult
  func open<Result>(
    applied: UInt64 = 0, identity: ReplicationLog.Identity = identity,
    _ body: (inout ReplicationLog, [WrittenBlock]) throws -> Result
  ) throws -> Result {
    var blocks: [WrittenBlock] = []
    var log = try ReplicationLog(
      directory: directory, identity: identity, applied: SequenceNumber(applied),
      segmentBytes: segmentBytes
    ) { header, entries in
      blocks.append(
        WrittenBlock(
          first: header.first.rawValue, count: header.count, tag: header.tag.rawValue, time: header.time,
          entries: Array(entries)))
    }
    return try body(&log, blocks)
  }

  func blocks(applied: UInt64 = 0) throws -> [WrittenBlock] { try open(applied: applied) { $1 } }

  /// The path of every segment, in order.
  var segments: [String] {
    get throws {
      try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasSuffix(".lz4") }.sorted()
        .map { directory + "/" + $0 }
    }
  }

  static func read(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// Replaces a segment by what a power cut left of it, and of the mark nothing.
  static func write(_ bytes: [UInt8], to path: String) throws {
    let mark = URL(fileURLWithPath: path).deletingLastPathComponent().path + "/synced"
    if FileManager.default.fileExists(atPath: mark) { try FileManager.default.removeItem(atPath: mark) }
    try Data(bytes).write(to: URL(fileURLWithPath: path))
  }

  static func size(_ path: String) throws -> Int { try read(path).count }

  /// Offsets of the blocks of a segment that is whole, and where the last one ends.
  static func offsets(_ segment: [UInt8]) -> (starts: [Int], end: Int) {
    var starts: [Int] = []
    var offset = Layout.segmentHeader
    while offset + 4 <= segment.count, number(segment, offset, 4) == 0x184D_2A51 {
      starts.append(offset)
      offset += Layout.blockHeader + Int(number(segment, offset + 40, 4))
    }
    return (starts, offset)
  }

  static func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
  }

  static func put(_ value: UInt64, _ count: Int, into bytes: inout [UInt8], at offset: Int) {
    for byte in 0..<count { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
  }

  /// Makes the header's checksum right again, of a segment or a block, and a block's hash with it.
  static func rehash(_ bytes: inout [UInt8], at offset: Int, size: Int) {
    var seed: UInt64 = 0
    if size == Layout.blockHeader {
      seed = number(bytes, 56, 8)
      // Tag, first, count, time, entries hash, previous hash.
      let parts: [(Int, Int)] = [(16, 8), (24, 8), (32, 4), (48, 8), (72, 8), (80, 8)]
      let named = parts.flatMap { place, count in
        Array(bytes[offset + place..<offset + place + count]) + [UInt8](repeating: 0, count: 8 - count)
      }
      put(named.withUnsafeBytes { XXH64.hash($0) }, 8, into: &bytes, at: offset + 88)
    }
    let hash = bytes.withUnsafeBytes {
      XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[offset..<offset + size - 8]), seed: seed)
    }
    put(hash, 8, into: &bytes, at: offset + size - 8)
  }
}

extension ReplicationLog {
  /// Trims as another thread does; of segments of 1,024 bytes it makes spares.
  func trim(through sequenceNumber: SequenceNumber, tailSegments: Int) throws {
    let tail = LogTail(milliseconds: tailSegments == 0 ? 0 : .max, bytes: tailSegments * 1_024)
    try Self.trim(
      in: directory, through: sequenceNumber, tail: tail, now: 0, segmentBytes: 1_024)
  }

  /// Appends a block, and syncs it.
  mutating func write(
    _ block: WrittenBlock, sync isSynced: Bool = true, committed: SequenceNumber? = nil
  ) throws {
    try block.entries.withUnsafeBytes {
      try append($0, count: block.count, tag: Epoch(block.tag), time: block.time, committed: committed)
    }
    if isSynced { try sync() }
  }
}

/// Makes blocks: some compress well, some not at all, some are empty.
struct BlockMaker {
  var random: SplitMix64
  var next: UInt64 = 1
  var time: Int64 = 1_763_323_200_000

  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  mutating func block(bytes: Int? = nil) -> WrittenBlock {
    let count = UInt32(1 + random.next() % 5)
    let size = bytes ?? Int(random.next() % 120)
    let entries: [UInt8]
    if random.next() % 2 == 0 {
      entries = random.bytes(size)
    } else {
      entries = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: size)
    }
    time += Int64(random.next() % 3)
    defer { next += UInt64(count) }
    return WrittenBlock(first: next, count: count, tag: 1 + next / 9, time: time, entries: entries)
  }
}

extension LogError {
  /// The file that it is about, and where in it.
  var place: (path: String, offset: Int?) {
    switch self {
    case .unsupportedVersion(let path, _), .foreign(let path, _), .gap(let path, _, _):
      (path, nil)
    case .missing(let directory): (directory, nil)
    case .damaged(let path, let offset, _), .replay(let path, let offset, _): (path, offset)
    }
  }
}
