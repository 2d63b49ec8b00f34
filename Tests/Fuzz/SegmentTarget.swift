import Bytes
import Cluster
import Foundation
import LZ4
import Marketplace
import ReplicationLog
import TestSupport
import Wire
import WorkerCore

/// Whole segments on disk, as a restart reads them: `count u8`, then of each
/// `first sn of its name u64 | length u32 | bytes`.
///
/// What opens must go on: a block appended to it is there after the next opening, with all before it.
struct SegmentTarget: FuzzTarget {
  let name = "segment"
  let about = "segment files: LogScan, ReplicationLog, its replay into a partition, and appending to it"

  static let identity = ReplicationLog.Identity(
    cluster: 0xC1, partition: PartitionID(RandomCommands.partition))
  private static let segmentBytes = 2_048

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var seeds: [[UInt8]] = []
    for blocks in [0, 1, 3, 12] {
      var commands = RandomCommands(random)
      let folder = try ScratchFolder.fresh("segment-seed")
      let partition = Partitions.Live()
      let basics = Partitions.basics.map { commands.request(of: $0, channel: "") }
      for block in 0..<blocks {
        let requests = block == 0 ? basics : (0..<3).map { _ in commands.commandRequest() }
        let now = RandomCommands.start + Int64(block)
        try Frames.batch(requests).withUnsafeBytes { try partition.group([$0], now: now) }
      }
      var log = try ReplicationLog(
        directory: folder, identity: Self.identity, applied: .zero, segmentBytes: Self.segmentBytes
      ) { _, _ in }
      for block in partition.log {
        try block.bytes.withUnsafeBytes {
          try log.append($0, count: block.count, tag: Epoch(2), time: block.time)
        }
        try log.sync()
      }
      try log.prove()
      seeds.append(try Self.packed(folder))
      random = commands.random
    }
    return seeds
  }

  private static func packed(_ folder: String) throws -> [UInt8] {
    var writer = ByteWriter()
    let names = try LogScan.names(in: folder).suffix(3)
    writer.append(UInt8(names.count))
    for name in names {
      let bytes = try ScratchFolder.read(folder + "/" + name)
      writer.append(littleEndian: UInt64(name.dropLast(4)) ?? 0)
      writer.append(littleEndian: UInt32(bytes.count))
      writer.append(bytes)
    }
    return Array(writer.bytes)
  }

  /// Where the segments stand.
  private static func segments(_ bytes: UnsafeRawBufferPointer) -> [(first: UInt64, bytes: Range<Int>)] {
    var reader = ByteReader(bytes)
    var segments: [(UInt64, Range<Int>)] = []
    guard let count = try? reader.number(UInt8.self) else { return [] }
    for _ in 0..<min(3, count) {
      guard let first = try? reader.number(UInt64.self), let length = try? reader.number(UInt32.self) else {
        break
      }
      let start = reader.offset
      let end = min(bytes.count, start + Int(length))
      segments.append((first, start..<end))
      guard (try? reader.slice(end - start)) != nil else { break }
    }
    return segments
  }

  func repair(_ bytes: inout [UInt8], _ random: inout SplitMix64) {
    // Unrepaired damage is what disks do; repaired damage is what lies behind the checksums.
    guard random.chance(80) else { return }
    let isChained = random.chance(70)
    let segments = bytes.withUnsafeBytes { Self.segments($0) }
    var previous: UInt64?
    var next: UInt64?
    for segment in segments where segment.bytes.count >= Seal.segmentHeader {
      let start = segment.bytes.lowerBound
      // The file is as long as it says, mostly.
      if random.chance(80) { Seal.put(UInt64(segment.bytes.count), 4, into: &bytes, at: start + 20) }
      if isChained, let previous, let next {
        Seal.put(next, 8, into: &bytes, at: start + 32)
        Seal.put(previous, 8, into: &bytes, at: start + 40)
      }
      Seal.header(&bytes, start)
      previous = Seal.get(bytes, start + 40, 8)
      next = Seal.get(bytes, start + 32, 8)
      var offset = start + Seal.segmentHeader
      while offset + Seal.blockHeader <= segment.bytes.upperBound, Seal.get(bytes, offset, 4) == 0x184D_2A51 {
        Seal.block(&bytes, offset, segment: segment.bytes, isChained ? (previous!, next!) : nil)
        previous = Seal.get(bytes, offset + 88, 8)
        next = Seal.get(bytes, offset + 24, 8) &+ Seal.get(bytes, offset + 32, 4)
        let frame = Int(Seal.get(bytes, offset + 40, 4))
        offset += Seal.blockHeader + frame
      }
      // The rest's length too.
      if offset + 8 <= segment.bytes.upperBound, Seal.get(bytes, offset, 4) == 0x184D_2A5F, random.chance(80)
      {
        Seal.put(UInt64(segment.bytes.upperBound - offset - 8), 4, into: &bytes, at: offset + 4)
      }
    }
  }

  private struct Seen: Equatable {
    var header: BlockHeader
    var entries: [UInt8]
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let folder = try ScratchFolder.fresh("segment")
    for segment in Self.segments(bytes) {
      let digits = String(segment.first)
      let name = String(repeating: "0", count: 20 - digits.count) + digits + ".lz4"
      try ScratchFolder.write(UnsafeRawBufferPointer(rebasing: bytes[segment.bytes]), to: folder + "/" + name)
    }
    let names = try LogScan.names(in: folder)
    guard !names.isEmpty else { return "nothing" }
    var seen: [Seen] = []
    var scanned = "scan"
    do {
      let scan = try LogScan(directory: folder, names: names) { block, _, _, entries in
        seen.append(Seen(header: block, entries: Array(entries)))
      }
      if case .torn(_, let what) = scan.last.end { scanned = "torn \(what)" }
    } catch {
      scanned = try outcome(of: error, folder: folder)
    }
    let opened: [Seen]
    do { opened = try open(folder, appending: nil).blocks } catch let error as LogError {
      return try "\(scanned.prefix(40)) " + outcome(of: error, folder: folder).suffix(120)
    }
    // A torn tail was cut: all that is whole before it is there.
    let wanted = seen.filter { $0.header.count > 0 }
    try require(opened == wanted, "opening gives other blocks than scanning")
    let more: (blocks: [Seen], last: SequenceNumber, appended: [UInt8])
    do {
      more = try open(folder, appending: [1, 2, 3], at: seen.last?.header.time ?? 0)
      let again = try open(folder, appending: nil)
      try require(again.last == more.last, "what was appended and synced is gone")
      try require(
        again.blocks.dropLast() == opened[...] && again.blocks.last?.entries == more.appended,
        "after an append the blocks are others")
    } catch let error as LogError {
      throw Finding("what was opened can't go on: \(error)")
    }
    return "open \(size(opened.count)) \(names.count) \(scanned.prefix(60))"
  }

  /// Opens the log as a restart does, replays it into a partition, and maybe appends a block.
  private func open(_ folder: String, appending entry: [UInt8]?, at time: Int64 = 0) throws -> (
    blocks: [Seen], last: SequenceNumber, appended: [UInt8]
  ) {
    let box = Box()
    var blocks: [Seen] = []
    var log = try ReplicationLog(
      directory: folder, identity: Self.identity, applied: .zero, segmentBytes: Self.segmentBytes
    ) { block, entries in
      if entry == nil, box.isReadable {
        // A block that a newer program wrote ends the replay; the log itself is as good as before.
        do {
          try box.core.takeLogged(entries, first: block.first, count: block.count, time: block.time)
          _ = box.core.needsOfLogged()
          _ = box.core.needsOfLoggedOrders()
          box.core.replay()
        } catch { box.isReadable = false }
      }
      blocks.append(Seen(header: block, entries: Array(entries)))
    }
    if let entry {
      try entry.withUnsafeBytes { try log.append($0, count: 1, tag: Epoch(3), time: time) }
      try log.sync()
    }
    return (blocks, log.last, entry ?? [])
  }

  private final class Box {
    var core = Partitions.core()
    var isReadable = true
  }
}

/// Checksums of segments and blocks, made right. docs/FORMATS.md has the offsets.
enum Seal {
  static let segmentHeader = 72
  static let blockHeader = 104

  static func get(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
  }

  static func put(_ value: UInt64, _ count: Int, into bytes: inout [UInt8], at offset: Int) {
    for byte in 0..<count { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
  }

  private static func hash(_ bytes: [UInt8], _ range: Range<Int>, seed: UInt64 = 0) -> UInt64 {
    bytes.withUnsafeBytes { XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[range]), seed: seed) }
  }

  static func header(_ bytes: inout [UInt8], _ start: Int) {
    put(hash(bytes, start..<start + 64), 8, into: &bytes, at: start + 64)
  }

  /// - Parameter chain: the hash and the sequence number that it must follow.
  static func block(
    _ bytes: inout [UInt8], _ offset: Int, segment: Range<Int>, _ chain: (hash: UInt64, first: UInt64)?
  ) {
    let frame = Int(get(bytes, offset + 40, 4))
    let count = Int(get(bytes, offset + 36, 4))
    let start = offset + blockHeader
    if count <= 1 << 20, start + frame <= segment.upperBound {
      var content = [UInt8](repeating: 0, count: count)
      let isWhole = bytes[start..<start + frame].withUnsafeBytes { frame in
        content.withUnsafeMutableBytes { (try? LZ4Frame.decompress(frame, into: $0)) != nil }
      }
      if isWhole { put(hash(content, 0..<count), 8, into: &bytes, at: offset + 72) }
    }
    if let chain {
      put(chain.first, 8, into: &bytes, at: offset + 24)
      put(get(bytes, segment.lowerBound + 24, 8), 8, into: &bytes, at: offset + 56)
      put(chain.hash, 8, into: &bytes, at: offset + 80)
    }
    // Tag, first, count, time, entries hash, previous hash.
    let parts: [(Int, Int)] = [(16, 8), (24, 8), (32, 4), (48, 8), (72, 8), (80, 8)]
    var named: [UInt8] = []
    for (place, width) in parts {
      named += bytes[offset + place..<offset + place + width]
      named += [UInt8](repeating: 0, count: 8 - width)
    }
    put(hash(named, 0..<48), 8, into: &bytes, at: offset + 88)
    let salt = get(bytes, segment.lowerBound + 56, 8)
    put(hash(bytes, offset..<offset + 96, seed: salt), 8, into: &bytes, at: offset + 96)
  }
}
