import Cluster
import Files
import ReplicationLog
import SimulatedDisk
import TestSupport
import Testing

/// A segment cut at every byte, and with every byte flipped, one at a time: it is recovered up to a torn tail,
/// or refused with its file, the place and what to do; never is anything else made of it.
struct SegmentDamageTests {
  enum Kind: String, CaseIterable, Sendable {
    /// The last of a log, in a file of its own.
    case active
    /// The last of a log, over the blocks of an earlier use.
    case recycled
    /// Begun, and without a block.
    case begun
    /// Followed by others.
    case sealed
    /// Made ahead of time, and not yet used.
    case spare
  }

  private static let directory = "/log"

  private struct Log {
    var snapshot: Snapshot
    var path: String
    var size: Int
    var applied: UInt64
    /// Those after `applied`.
    var blocks: [WrittenBlock]
    /// How many of them may be a torn tail: none where the mark says that they were synced.
    var tail: Int
  }

  private static func open(
    _ disk: SimulatedDisk, applied: UInt64 = 0, _ body: (inout ReplicationLog) throws -> Void = { _ in }
  ) throws -> [WrittenBlock] {
    var blocks: [WrittenBlock] = []
    var log = try ReplicationLog(
      directory: directory, identity: TestLog.identity, applied: SequenceNumber(applied), segmentBytes: 1_024,
      files: disk
    ) { header, entries in
      blocks.append(
        WrittenBlock(
          first: header.first.rawValue, count: header.count, tag: header.tag.rawValue, time: header.time,
          entries: Array(entries)))
    }
    try body(&log)
    return blocks
  }

  private static func made(_ kind: Kind, isMarked: Bool) throws -> Log {
    let disk = SimulatedDisk()
    try disk.makeDirectory(directory)
    var maker = BlockMaker(seed: 77)
    var blocks: [WrittenBlock] = []
    var applied: UInt64 = 0
    func segments() throws -> [String] { try LogScan.names(in: directory, files: disk) }
    _ = try open(disk) { log in
      func write() throws {
        blocks.append(maker.block(bytes: 70))
        try log.write(blocks[blocks.count - 1])
      }
      switch kind {
      case .active, .spare: for _ in 0..<3 { try write() }
      case .begun: break
      case .sealed: while try segments().count < 3 { try write() }
      case .recycled:
        while try segments().last.map({ $0 < "00000000000000000040.lz4" })! {
          applied = maker.next - 1
          try write()
          try ReplicationLog.trim(
            in: directory, through: SequenceNumber(applied), tail: .none, now: 0, segmentBytes: 1_024,
            files: disk
          )
        }
        for _ in 0..<2 { try write() }
      }
    }
    if kind == .spare { try ReplicationLog.prepareSpare(in: directory, segmentBytes: 1_024, files: disk) }
    if !isMarked { try disk.remove(directory + "/synced") }
    let names = try segments()
    let name = kind == .spare ? "spare" : kind == .sealed ? names[0] : names[names.count - 1]
    let path = directory + "/" + name
    let bytes = try disk.open(path, .read).contents()
    if kind == .recycled {
      #expect(
        bytes[(TestLog.offsets(bytes).end + Layout.rest)...].contains { $0 != 0 },
        "old blocks are behind the end")
      applied = try #require(UInt64(name.prefix(20))) - 1
    }
    return Log(
      snapshot: disk.snapshot, path: path, size: bytes.count, applied: applied,
      blocks: blocks.filter { $0.first > applied },
      tail: isMarked || kind == .sealed || kind == .spare || kind == .begun ? 0 : 1)
  }

  private static func check(_ log: Log, _ what: String, _ damage: (SimulatedDisk) throws -> Void) throws {
    let disk = log.snapshot.afterCrash(.keeping)
    try damage(disk)
    do {
      let found = try open(disk, applied: log.applied)
      let isWhole = found == log.blocks
      #expect(isWhole || found == Array(log.blocks.dropLast(log.tail)), "\(what): \(found.count) blocks")
      // It goes on over a segment change, and stays what it is.
      let last = found.last.map { $0.first + UInt64($0.count) } ?? (log.applied + 1)
      let more = (0..<8).map { index in
        WrittenBlock(
          first: last + index, count: 1, tag: 99, time: 2_000_000_000_000,
          entries: [UInt8](repeating: 7, count: 90))
      }
      _ = try open(disk, applied: log.applied) { log in for block in more { try log.write(block) } }
      #expect(
        try open(disk.snapshot.afterCrash(.forgetting), applied: log.applied) == found + more, "\(what)")
    } catch let error as LogError {
      #expect(log.path != directory + "/spare", "\(what): \(error)")
      // A segment that does not follow may be named by the one after it.
      #expect(error.place.path.hasPrefix(directory + "/"), "\(what)")
      #expect(error.description.contains(error.place.path), "\(what)")
      let advice = ["Keep the file", "restore the partition", "Start a newer laris", "does not belong here"]
      #expect(advice.contains { error.description.contains($0) }, "\(what): \(error)")
    }
  }

  @Test(arguments: Kind.allCases, [true, false])
  func `cut at every byte`(_ kind: Kind, _ isMarked: Bool) throws {
    let log = try Self.made(kind, isMarked: isMarked)
    for cut in 0..<log.size {
      try Self.check(log, "\(kind) cut at byte \(cut)") { disk in
        try disk.open(log.path, .update).truncate(to: cut)
      }
    }
  }

  @Test(arguments: Kind.allCases, [true, false])
  func `with every byte flipped`(_ kind: Kind, _ isMarked: Bool) throws {
    let log = try Self.made(kind, isMarked: isMarked)
    for mask in [0xFF, 0x01, 0x80] as [UInt8] {
      for place in 0..<log.size {
        try Self.check(log, "\(kind), byte \(place), mask \(mask)") {
          $0.flip(log.path, at: place, mask: mask)
        }
      }
    }
  }
}
