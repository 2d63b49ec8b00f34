import Bytes
import Cluster
import Foundation
import ReplicationLog
import TestSupport
import Testing

struct AppendTests {
  @Test func `a new log is one empty segment`() throws {
    let log = try TestLog()
    try log.open { log, blocks in
      #expect(log.last == .zero)
      #expect(log.synced == .zero)
      #expect(blocks.isEmpty)
    }
    let segments = try log.segments
    #expect(segments.map { ($0 as NSString).lastPathComponent } == ["00000000000000000001.lz4"])
    #expect(try TestLog.size(segments[0]) == 2_048)
    #expect(try log.blocks().isEmpty, "and still is when it is opened again")
  }

  @Test func `a log may begin after what SQLite holds already`() throws {
    let log = try TestLog()
    var maker = BlockMaker(seed: 1)
    maker.next = 42
    let block = maker.block()
    try log.open(applied: 41) { log, _ in
      #expect(log.last.rawValue == 41)
      try log.write(block)
    }
    #expect(try log.segments.map { ($0 as NSString).lastPathComponent } == ["00000000000000000042.lz4"])
    #expect(try log.blocks(applied: 41) == [block])
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `what was appended is there after every reopening`(_ seed: UInt64) throws {
    let log = try TestLog(segmentBytes: 4_096)
    var maker = BlockMaker(seed: seed)
    var written: [WrittenBlock] = []
    var hash: UInt64 = 0
    for _ in 0..<30 {
      try log.open { log, blocks in
        #expect(blocks == written)
        #expect(log.last.rawValue == maker.next - 1)
        #expect(log.synced == log.last, "what was found is synced when the log is open")
        #expect(log.hash == hash)
        for _ in 0..<(maker.random.next() % 4) {
          let block = maker.block()
          try log.write(block)
          written.append(block)
          #expect(log.last.rawValue == maker.next - 1)
        }
        hash = log.hash
      }
    }
    #expect(try log.segments.count > 1)
    for applied in [1, maker.next / 2, maker.next - 1] {
      #expect(
        try log.blocks(applied: applied) == written.filter { $0.first + UInt64($0.count) - 1 > applied })
    }
  }

  @Test func `a block is synced when sync has returned, not before`() throws {
    let log = try TestLog()
    var maker = BlockMaker(seed: 5)
    try log.open { log, _ in
      let first = maker.block()
      try log.write(first, sync: false)
      #expect(log.synced == .zero)
      try log.write(maker.block(), sync: false)
      #expect(log.synced == .zero)
      try log.sync()
      #expect(log.synced == log.last)
      try log.write(maker.block(), sync: false)
      #expect(log.synced < log.last)
    }
    // Each header says what was synced when it was written.
    let segment = try TestLog.read(log.segments[0])
    let claims = TestLog.offsets(segment).starts.map { TestLog.number(segment, $0 + 64, 8) }
    #expect(claims.count == 3)
    #expect(claims[0] == 0)
    #expect(claims[1] == 0)
    #expect(claims[2] == TestLog.number(segment, TestLog.offsets(segment).starts[2] + 24, 8) - 1)
  }

  @Test func `the hash names all that went before`() throws {
    var maker = BlockMaker(seed: 6)
    let blocks = (0..<4).map { _ in maker.block(bytes: 40) }
    func hash(_ blocks: [WrittenBlock]) throws -> UInt64 {
      try TestLog().open { log, _ in
        for block in blocks { try log.write(block) }
        return log.hash
      }
    }
    let expected = try hash(blocks)
    #expect(try hash(blocks) == expected)
    for index in blocks.indices {
      var other = blocks
      other[index].entries[0] ^= 1
      #expect(try hash(other) != expected, "block \(index) is another")
    }
  }

  @Test func `a full segment is followed by another`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 7)
    let written = (0..<60).map { _ in maker.block() }
    try log.open { log, _ in for block in written { try log.write(block) } }
    let segments = try log.segments
    #expect(segments.count > 5)
    for path in segments {
      let bytes = try TestLog.read(path)
      #expect(bytes.count == 1_024)
      // Named by its first entry, so that names sort as entries do.
      let first = TestLog.number(bytes, 32, 8)
      #expect(path.hasSuffix("/" + String(repeating: "0", count: 20 - "\(first)".count) + "\(first).lz4"))
    }
    #expect(try log.blocks() == written)
  }

  @Test func `a block larger than a segment gets one of its size`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 8)
    var large = maker.block()
    large.entries = maker.random.bytes(9_000)
    let written = [maker.block(), large, maker.block(), maker.block()].enumerated().map { index, block in
      var block = block
      if index == 0 { block.first = 1 }
      return block
    }
    var next: UInt64 = 1
    let ordered = written.map { block in
      var block = block
      block.first = next
      block.time = 1
      next += UInt64(block.count)
      return block
    }
    try log.open { log, _ in for block in ordered { try log.write(block) } }
    #expect(try log.blocks() == ordered)
    let sizes = try log.segments.map(TestLog.size)
    #expect(sizes.count == 3)
    #expect(sizes[0] == 1_024)
    #expect(sizes[1] > 9_000)
    #expect(sizes[2] == 1_024)
  }

  @Test func `entries of the largest allowed size fit`() throws {
    let log = try TestLog(segmentBytes: SegmentFormat.segmentBytesDefault)
    var random = SplitMix64(seed: 9)
    let piece = random.bytes(1 << 16)
    let entries = (0..<(SegmentFormat.entriesBytesMax / piece.count)).flatMap { _ in piece }
    let block = WrittenBlock(first: 1, count: 1, tag: 1, time: 1, entries: entries)
    try log.open { log, _ in try log.write(block) }
    #expect(try log.blocks() == [block])
  }

  @Test func `trimming keeps what is not in SQLite and a tail`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 10)
    let written = (0..<60).map { _ in maker.block() }
    try log.open { log, _ in for block in written { try log.write(block) } }
    let all = try log.segments
    let firsts = try all.map { TestLog.number(try TestLog.read($0), 32, 8) }
    let middle = firsts[4]

    // All but the last entry before segment 4: segment 3 has one that is needed.
    try log.open { log, _ in try log.trim(through: SequenceNumber(middle - 2), tailSegments: 0) }
    #expect(try log.segments == Array(all[3...]))
    try log.open(applied: middle - 2) { log, _ in
      try log.trim(through: SequenceNumber(middle - 1), tailSegments: 0)
    }
    #expect(try log.segments == Array(all[4...]))
    // The tail is kept, however far SQLite is.
    try log.open(applied: middle - 1) { log, _ in
      try log.trim(through: SequenceNumber(maker.next - 1), tailSegments: 2)
    }
    #expect(try log.segments == Array(all.suffix(3)))
    try log.open(applied: maker.next - 1) { log, blocks in
      #expect(blocks.isEmpty)
      try log.trim(through: SequenceNumber(maker.next - 1), tailSegments: 0)
      try log.write(maker.block())
    }
    #expect(try log.segments.count == 1, "the last segment always stays")
    #expect(FileManager.default.fileExists(atPath: log.directory + "/spare"), "one became the spare")
  }

  @Test func `a spare made ahead of time becomes the next segment`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    let spare = log.directory + "/spare"
    var maker = BlockMaker(seed: 11)
    try log.open { log, _ in try log.write(maker.block()) }
    try ReplicationLog.prepareSpare(in: log.directory, segmentBytes: 1_024)
    var rest = [UInt8](repeating: 0, count: 1_024)
    TestLog.put(0x184D_2A5F, 4, into: &rest, at: 0)
    TestLog.put(1_016, 4, into: &rest, at: 4)
    #expect(try TestLog.read(spare) == rest)
    let inode = try FileManager.default.attributesOfItem(atPath: spare)[.systemFileNumber] as? Int
    // There is one already, so it stays.
    try ReplicationLog.prepareSpare(in: log.directory, segmentBytes: 1_024)
    try log.open { log, _ in
      while FileManager.default.fileExists(atPath: spare) { try log.write(maker.block()) }
    }
    let last = try #require(log.segments.last)
    #expect(try FileManager.default.attributesOfItem(atPath: last)[.systemFileNumber] as? Int == inode)
    #expect(try log.segments.count == 2)
  }

  @Test func `a spare of another size is not used`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 12)
    try ReplicationLog.prepareSpare(in: log.directory, segmentBytes: 512)
    try log.open { log, _ in for _ in 0..<30 { try log.write(maker.block()) } }
    for segment in try log.segments { #expect(try TestLog.size(segment) == 1_024) }
    #expect(try log.blocks().count == 30)
  }

  @Test func `what a crash leaves half made is made again`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 13)
    let rubbish = maker.random.bytes(1_500)
    for name in ["next", "spare.new"] { try TestLog.write(rubbish, to: log.directory + "/" + name) }
    let written = (0..<30).map { _ in maker.block() }
    try log.open { log, _ in for block in written { try log.write(block) } }
    try ReplicationLog.prepareSpare(in: log.directory, segmentBytes: 1_024)
    #expect(try TestLog.size(log.directory + "/spare") == 1_024)
    #expect(try log.blocks() == written)
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `nothing of a segment's earlier uses shows`(_ seed: UInt64) throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: seed)
    var written: [WrittenBlock] = []
    for _ in 0..<120 {
      let applied = maker.next - 1
      try log.open(applied: applied) { log, _ in
        for _ in 0..<(1 + maker.random.next() % 3) {
          let block = maker.block()
          try log.write(block)
          written.append(block)
        }
        try log.trim(through: log.last, tailSegments: 1)
      }
      #expect(try log.segments.count <= 2)
      #expect(try log.blocks(applied: applied) == written.filter { $0.first > applied })
    }
    // Old blocks do stand behind the end, or this test shows nothing.
    let recycled = try TestLog.read(#require(log.segments.last))
    #expect(TestLog.number(recycled, 24, 8) > 10, "use number")
  }
}
