import Bytes
import Cluster
import Files
import Foundation
import ReplicationLog
import TestSupport
import Testing

/// What a crash, a disk or a hand can do to a log, and what becomes of it.
struct RecoveryTests {
  /// One segment of `count` blocks, each of them synced.
  private static func written(_ count: Int, seed: UInt64, segmentBytes: Int = 2_048) throws
    -> (log: TestLog, blocks: [WrittenBlock])
  {
    let log = try TestLog(segmentBytes: segmentBytes)
    var maker = BlockMaker(seed: seed)
    let blocks = (0..<count).map { _ in maker.block(bytes: 20 + Int(maker.random.next() % 100)) }
    try log.open { log, _ in for block in blocks { try log.write(block) } }
    return (log, blocks)
  }

  /// Opens a damaged log: its blocks, or why not. Traps are the failure that this looks for.
  private static func recovered(_ log: TestLog) throws -> Result<[WrittenBlock], LogError> {
    do { return .success(try log.blocks()) } catch let error as LogError { return .failure(error) }
  }

  /// After a recovery the log goes on, and nothing of what was cut comes back.
  private static func goesOn(_ log: TestLog, after kept: [WrittenBlock], _ what: String) throws {
    let last = kept.last.map { $0.first + UInt64($0.count) } ?? 1
    let block = WrittenBlock(
      first: last, count: 1, tag: 99, time: 2_000_000_000_000, entries: Array("after".utf8))
    try log.open { log, _ in try log.write(block) }
    #expect(try log.blocks() == kept + [block], "\(what)")
  }

  // MARK: Torn tails: the file keeps its length, since it was written in full before

  @Test(arguments: 1...3 as ClosedRange<UInt64>)
  func `a write that was torn at any byte leaves the blocks before it`(_ seed: UInt64) throws {
    let (log, blocks) = try Self.written(3, seed: seed)
    let path = try log.segments[0]
    let before = try TestLog.read(path)
    var maker = BlockMaker(seed: seed &+ 100)
    maker.next = blocks.last!.first + UInt64(blocks.last!.count)
    maker.time = blocks.last!.time
    let torn = maker.block(bytes: 90)
    try log.open { log, _ in try log.write(torn) }
    let after = try TestLog.read(path)
    let start = TestLog.offsets(before).end
    let end = TestLog.offsets(after).end
    for cut in start...end + Layout.rest {
      // Its beginning reached the disk, or its end did.
      for isHead in [true, false] {
        let bytes = Array(isHead ? after[..<cut] + before[cut...] : before[..<cut] + after[cut...])
        try TestLog.write(bytes, to: path)
        // What stood there may happen to be what was to be written.
        let isWhole = bytes[start..<end] == after[start..<end]
        let expected = isWhole ? blocks + [torn] : blocks
        let what = "seed \(seed), \(isHead ? "head" : "tail") torn at byte \(cut) of \(start)...\(end)"
        #expect(try log.blocks() == expected, "\(what)")
        try Self.goesOn(log, after: expected, what)
      }
    }
  }

  @Test func `a write torn over a recycled segment leaves the blocks before it`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 21)
    // Recycle until the last segment has a block, old ones behind it, and room for another.
    var applied: UInt64 = 0
    var before: [UInt8] = []
    var path = ""
    repeat {
      try log.open(applied: applied) { log, _ in
        try log.write(maker.block(bytes: 60))
        try log.trim(through: log.last, tailSegments: 0)
      }
      applied = maker.next - 1
      path = try #require(log.segments.last)
      before = try TestLog.read(path)
    } while TestLog.number(before, 24, 8) < 5 || TestLog.offsets(before).end > 500
    let beforeFirst = TestLog.number(before, 32, 8) - 1
    let kept = try log.blocks(applied: beforeFirst)
    try #require(!kept.isEmpty, "there is a block before the torn one")
    let torn = maker.block(bytes: 60)
    try log.open(applied: applied) { log, _ in try log.write(torn) }
    try #require(try log.segments.last == path, "the block went into the same segment")
    let after = try TestLog.read(path)
    let start = TestLog.offsets(before).end
    let end = TestLog.offsets(after).end
    #expect(before[(end + Layout.rest)...].contains { $0 != 0 }, "old blocks are behind the end")
    for cut in start..<end {
      try TestLog.write(Array(after[..<cut] + before[cut...]), to: path)
      let isWhole = after[cut..<end] == before[cut..<end]
      #expect(try log.blocks(applied: beforeFirst) == kept + (isWhole ? [torn] : []), "torn at byte \(cut)")
    }
  }

  @Test(arguments: [0x00, 0xFF, 0x50] as [UInt8])
  func `a tail of one byte's value leaves the blocks before it`(_ fill: UInt8) throws {
    let (log, blocks) = try Self.written(4, seed: 31)
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    let (starts, end) = TestLog.offsets(whole)
    for cut in starts[3]..<end {
      var bytes = whole
      for place in cut..<bytes.count { bytes[place] = fill }
      try TestLog.write(bytes, to: path)
      let found = try log.blocks()
      let isUnchanged = bytes[cut..<end] == whole[cut..<end]
      #expect(found == Array(blocks[..<(isUnchanged ? 4 : 3)]), "byte \(cut)")
    }
  }

  // MARK: Cuts and flips

  @Test(arguments: 1...2 as ClosedRange<UInt64>)
  func `a segment cut at any byte gives a prefix, or is refused`(_ seed: UInt64) throws {
    let (log, blocks) = try Self.written(5, seed: seed)
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    let (starts, end) = TestLog.offsets(whole)
    let ends = starts.dropFirst() + [end]
    for cut in 0..<whole.count {
      try TestLog.write(Array(whole[..<cut]), to: path)
      let expected = Array(blocks[..<ends.filter { $0 <= cut }.count])
      switch try Self.recovered(log) {
      case .success(let found):
        #expect(cut >= Layout.segmentHeader, "no header, no log")
        #expect(found == expected, "cut at byte \(cut)")
        try Self.goesOn(log, after: expected, "cut at byte \(cut)")
      case .failure(let error):
        #expect(error.place.path == path)
        #expect(error.description.contains(path))
      }
    }
  }

  /// A segment is written in full before its first block, so one that is shorter than its header says
  /// was cut by a hand or a copy, and what is gone may have been answered.
  @Test func `a segment that is shorter than it was made is never taken for whole`() throws {
    let (log, blocks) = try Self.written(5, seed: 41)
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    for cut in TestLog.offsets(whole).starts[1...] {
      try TestLog.write(Array(whole[..<cut]), to: path)
      switch try Self.recovered(log) {
      case .success(let found): #expect(found == blocks, "synced blocks are gone, and nobody is told")
      case .failure(let error):
        #expect(error.place.path == path)
        #expect(error.place.offset == cut)
      }
    }
  }

  @Test(arguments: [0xFF, 0x01, 0x80] as [UInt8])
  func `no flipped byte goes unseen`(_ mask: UInt8) throws {
    let (log, blocks) = try Self.written(4, seed: 51)
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    let (starts, end) = TestLog.offsets(whole)
    for place in whole.indices {
      var bytes = whole
      bytes[place] ^= mask
      try TestLog.write(bytes, to: path)
      let what = "byte \(place), mask \(mask)"
      let block = starts.lastIndex { $0 <= place }
      switch try Self.recovered(log) {
      case .success(let found):
        // A flip in a frame that decompresses to the same entries does no harm.
        if place >= end || found == blocks {
          #expect(found == blocks, "the rest holds nothing: \(what)")
        } else {
          #expect(block == 3, "only what was written last may be a torn tail: \(what)")
          #expect(found == Array(blocks[..<3]), "\(what)")
        }
      case .failure(let error):
        #expect(place < starts[3], "\(what): \(error)")
        #expect(error.place.path == path)
        #expect(error.description.contains(path))
        if place < starts[0] {
          #expect(error.place.offset ?? 0 == 0, "\(what)")
        } else {
          #expect(error.place.offset == block.map { starts[$0] }, "\(what): \(error)")
        }
      }
    }
  }

  @Test func `damage is found in a segment that is not the last, wherever it is`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 61)
    let blocks = (0..<20).map { _ in maker.block(bytes: 60) }
    try log.open { log, _ in for block in blocks { try log.write(block) } }
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    let (starts, end) = TestLog.offsets(whole)
    for place in Layout.segmentHeader..<end {
      var bytes = whole
      bytes[place] ^= 0x10
      try TestLog.write(bytes, to: path)
      let error = #expect(throws: LogError.self, "byte \(place)") { try log.blocks() }
      #expect(error?.place.path == path)
      #expect(error?.place.offset == starts.last { $0 <= place })
    }
    for cut in starts {
      try TestLog.write(Array(whole[..<cut]), to: path)
      #expect(throws: LogError.self, "cut at \(cut)") { try log.blocks() }
    }
    try TestLog.write(whole, to: path)
    #expect(try log.blocks() == blocks, "put back, it is whole again")
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `many wrong bytes at once never crash it`(_ seed: UInt64) throws {
    let (log, blocks) = try Self.written(5, seed: seed)
    var random = SplitMix64(seed: seed)
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    for round in 0..<150 {
      var bytes = whole
      for _ in 0..<(1 + random.next() % 8) {
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 3 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1:
          // A piece of the file stands where another should.
          let from = Int(random.next() % UInt64(bytes.count))
          let count = min(Int(random.next() % 200), bytes.count - max(place, from))
          bytes.replaceSubrange(place..<place + count, with: whole[from..<from + count])
        default:
          let count = min(Int(random.next() % 100), bytes.count - place)
          bytes.replaceSubrange(place..<place + count, with: [UInt8](repeating: 0, count: count))
        }
      }
      try TestLog.write(bytes, to: path)
      switch try Self.recovered(log) {
      case .success(let found):
        #expect(found == Array(blocks[..<found.count]), "seed \(seed), round \(round)")
      case .failure(let error): #expect(error.place.path == path)
      }
    }
  }

  // MARK: Blocks whose checksums are right and whose contents are not

  @Test(
    arguments: [
      (14, 2, 4, "partition"), (24, 8, 77, "begins at entry 77"), (56, 8, 5, "use"),
      (80, 8, 12_345, "does not follow"), (48, 8, 1, "runs back"),
    ] as [(Int, Int, UInt64, String)])
  func `a block that belongs elsewhere is damage`(
    _ field: Int, _ size: Int, _ value: UInt64, _ what: String
  ) throws {
    let (log, _) = try Self.written(4, seed: 71)
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    // The last one too: its checksum is right, so it was written so, and is no torn tail.
    for start in TestLog.offsets(whole).starts[2...] {
      var bytes = whole
      TestLog.put(value, size, into: &bytes, at: start + field)
      TestLog.rehash(&bytes, at: start, size: Layout.blockHeader)
      try TestLog.write(bytes, to: path)
      let error = #expect(throws: LogError.self) { try log.blocks() }
      #expect(error?.place.path == path)
      #expect(error?.place.offset == start)
      #expect(error?.description.contains(what) == true, "\(error?.description ?? "")")
    }
  }

  @Test func `a block of a newer version is refused by its version`() throws {
    let (log, _) = try Self.written(3, seed: 72)
    let path = try log.segments[0]
    var bytes = try TestLog.read(path)
    let start = TestLog.offsets(bytes).starts[2]
    TestLog.put(3, 2, into: &bytes, at: start + 12)
    TestLog.rehash(&bytes, at: start, size: Layout.blockHeader)
    try TestLog.write(bytes, to: path)
    let error = #expect(throws: LogError.self) { try log.blocks() }
    guard case .unsupportedVersion(path, 3) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test(arguments: [3, 300, 65_535] as [UInt16])
  func `a segment of a newer version is refused by its version`(_ version: UInt16) throws {
    let (log, _) = try Self.written(1, seed: 73)
    let path = try log.segments[0]
    var bytes = try TestLog.read(path)
    TestLog.put(UInt64(version), 2, into: &bytes, at: 16)
    TestLog.rehash(&bytes, at: 0, size: Layout.segmentHeader)
    try TestLog.write(bytes, to: path)
    let error = #expect(throws: LogError.self) { try log.blocks() }
    guard case .unsupportedVersion(path, version) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(error?.description.contains("\(version), which is newer") == true)
  }

  // MARK: What does not belong together

  @Test func `a log of another cluster or partition is refused`() throws {
    let (log, blocks) = try Self.written(2, seed: 81)
    for identity in [
      ReplicationLog.Identity(cluster: 1, partition: PartitionID(3)),
      ReplicationLog.Identity(cluster: TestLog.identity.cluster, partition: PartitionID(4)),
    ] {
      let error = #expect(throws: LogError.self) { try log.open(identity: identity) { _, _ in } }
      guard case .foreign = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
    #expect(try log.blocks() == blocks)
  }

  @Test func `a segment that is missing is named by its first entry`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 82)
    let blocks = (0..<40).map { _ in maker.block(bytes: 60) }
    try log.open { log, _ in for block in blocks { try log.write(block) } }
    let segments = try log.segments
    try #require(segments.count >= 4)
    for (index, path) in segments.dropLast().enumerated() {
      let bytes = try TestLog.read(path)
      let first = TestLog.number(bytes, 32, 8)
      try FileManager.default.removeItem(atPath: path)
      let error = #expect(throws: LogError.self) { try log.blocks() }
      guard case .gap(segments[index + 1], first, let found) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(segments[index + 1].hasSuffix("\(found).lz4"))
      try TestLog.write(bytes, to: path)
    }
    #expect(try log.blocks() == blocks)
    // What SQLite holds need not be there.
    try FileManager.default.removeItem(atPath: segments[0])
    let second = TestLog.number(try TestLog.read(segments[1]), 32, 8)
    #expect(try log.blocks(applied: second - 1) == blocks.filter { $0.first >= second })
  }

  @Test func `a segment under another's name is refused, so that none is ever begun over it`() throws {
    let (log, _) = try Self.written(2, seed: 93)
    let path = try log.segments[0]
    let other = log.directory + "/00000000000000000002.lz4"
    try FileManager.default.moveItem(atPath: path, toPath: other)
    let error = #expect(throws: LogError.self) { try log.blocks() }
    #expect(error?.place.path == other)
    #expect(error?.description.contains("its name is not that of its first entry, 1") == true)
  }

  @Test(arguments: [0, 1 << 46, .max] as [UInt64])
  func `a segment that begins where no entry can stand is refused`(first: UInt64) throws {
    let (log, _) = try Self.written(2, seed: 94)
    let path = try log.segments[0]
    var bytes = try TestLog.read(path)
    TestLog.put(first, 8, into: &bytes, at: 32)
    TestLog.rehash(&bytes, at: 0, size: Layout.segmentHeader)
    try TestLog.write(bytes, to: path)
    let error = #expect(throws: LogError.self) { try log.blocks() }
    #expect(error?.description.contains("begins at entry \(first)") == true)
  }

  @Test func `a log that ends before what SQLite holds is refused`() throws {
    let (log, blocks) = try Self.written(3, seed: 83)
    let last = blocks[2].first + UInt64(blocks[2].count) - 1
    #expect(try log.blocks(applied: last) == [])
    let error = #expect(throws: LogError.self) { try log.blocks(applied: last + 1) }
    #expect(error?.description.contains("the log ends at entry \(last)") == true)
  }

  @Test func `what can't be replayed is named by its place`() throws {
    struct Refused: Error {}
    let (log, blocks) = try Self.written(3, seed: 84)
    let path = try log.segments[0]
    let error = #expect(throws: LogError.self) {
      _ = try ReplicationLog(
        directory: log.directory, identity: TestLog.identity, applied: .zero, segmentBytes: 2_048
      ) { header, _ in
        if header.first.rawValue == blocks[1].first { throw Refused() }
      }
    }
    #expect(error?.place.path == path)
    #expect(error?.place.offset == TestLog.offsets(try TestLog.read(path)).starts[1])
    guard case .replay = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func `a folder that is not there is an error of the system`() throws {
    let folder = try TestFolder()
    let error = #expect(throws: FileError.self) {
      _ = try ReplicationLog(
        directory: folder.path + "/no", identity: TestLog.identity, applied: .zero
      ) { _, _ in }
    }
    #expect(error == FileError(.open, folder.path + "/no", code: 2))
    #expect(error?.isDiskFull == false)
  }

  /// Rule 9: what is invalid is damage if a later block *claims that it was synced*. Here no block claims
  /// it: both were appended before one sync, and a disk may write the second first.
  @Test func `of two blocks that were not synced the second may survive alone`() throws {
    let (log, blocks) = try Self.written(2, seed: 91)
    let path = try log.segments[0]
    let before = try TestLog.read(path)
    var maker = BlockMaker(seed: 92)
    maker.next = blocks[1].first + UInt64(blocks[1].count)
    try log.open { log, _ in
      try log.write(maker.block(bytes: 50), sync: false)
      try log.write(maker.block(bytes: 50), sync: false)
    }
    let after = try TestLog.read(path)
    let lost = TestLog.offsets(after).starts[2..<4]
    try TestLog.write(Array(before[..<lost[3]] + after[lost[3]...]), to: path)
    #expect(try log.blocks() == blocks)
    try Self.goesOn(log, after: blocks, "the second never comes back")
  }
}
