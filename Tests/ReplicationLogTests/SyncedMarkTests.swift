import Bytes
import Cluster
import Files
import ReplicationLog
import SimulatedDisk
import TestSupport
import Testing

/// The mark of what was synced tells damage to the last block from a torn tail.
struct SyncedMarkTests {
  private static let directory = "/log"
  private static let mark = directory + "/synced"

  /// A log of 2,048 bytes a segment on `disk`; the blocks that opening it gives.
  @discardableResult
  private static func open(
    _ disk: SimulatedDisk, applied: UInt64 = 0, _ body: (inout ReplicationLog) throws -> Void = { _ in }
  ) throws -> [WrittenBlock] {
    var blocks: [WrittenBlock] = []
    var log = try ReplicationLog(
      directory: directory, identity: TestLog.identity, applied: SequenceNumber(applied), segmentBytes: 2_048,
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

  private struct Log {
    let disk = SimulatedDisk()
    var blocks: [WrittenBlock] = []
    var maker: BlockMaker
    var path = ""
    /// Where each block begins, and where the last one ends.
    var starts: [Int] = []
    var end = 0

    /// - Parameter unsynced: so many more are appended and not synced.
    init(_ synced: Int, unsynced: Int = 0, seed: UInt64) throws {
      maker = BlockMaker(seed: seed)
      blocks = (0..<synced + unsynced).map { [maker = self.maker] index in
        var own = maker
        return (0...index).map { _ in own.block(bytes: 90) }.last!
      }
      for _ in blocks { _ = maker.block(bytes: 90) }
      try disk.makeDirectory(directory)
      try open(disk) { [blocks] log in
        for (index, block) in blocks.enumerated() { try log.write(block, sync: index < synced) }
      }
      path = try directory + "/" + LogScan.names(in: directory, files: disk).last!
      (starts, end) = TestLog.offsets(try disk.open(path, .read).contents())
    }

    var synced: UInt64 {
      get throws { try SyncedMark.read(in: directory, files: disk)!.rawValue }
    }
  }

  private static func last(_ block: WrittenBlock) -> UInt64 { block.first + UInt64(block.count) - 1 }

  @Test func `the mark follows every sync, and is text`() throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory(Self.directory)
    var maker = BlockMaker(seed: 1)
    #expect(try SyncedMark.read(in: Self.directory, files: disk) == nil)
    try Self.open(disk) { log in
      #expect(try SyncedMark.read(in: Self.directory, files: disk) == .zero)
      for _ in 0..<40 {
        let block = maker.block()
        try log.write(block, sync: false)
        #expect(
          try SyncedMark.read(in: Self.directory, files: disk)!.rawValue < maker.next - 1 || block.count == 0)
        try log.sync()
        #expect(try SyncedMark.read(in: Self.directory, files: disk)!.rawValue == maker.next - 1)
      }
    }
    let bytes = try disk.open(Self.mark, .read).contents()
    let digits = String(maker.next - 1)
    let line = String(repeating: "0", count: 20 - digits.count) + digits
    let hash = XXH64.hash(line)
    let hex = String(hash, radix: 16)
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == line + " " + String(repeating: "0", count: 16 - hex.count) + hex + "\n")
  }

  @Test func `a mark that is damaged or cut says nothing`() throws {
    let log = try Log(3, seed: 2)
    let whole = try log.disk.open(Self.mark, .read).contents()
    let expected = try log.synced
    #expect(whole.count == 38)
    for place in whole.indices {
      for mask in 1...255 as ClosedRange<UInt8> {
        var bytes = whole
        bytes[place] ^= mask
        let read = bytes.withUnsafeBytes { SyncedMark.sequenceNumber(in: $0) }
        // A letter of the hash may be large.
        #expect(read == nil || read?.rawValue == expected, "byte \(place), mask \(mask)")
      }
      #expect(whole[..<place].withUnsafeBytes { SyncedMark.sequenceNumber(in: $0) } == nil)
      // The log is opened by the old rule.
      let disk = log.disk.snapshot.afterCrash(.keeping)
      disk.flip(Self.mark, at: place, mask: 0x80)
      #expect(try Self.open(disk) == log.blocks)
    }
  }

  @Test(arguments: [1, 2, 5])
  func `after a sync damage to the last block is refused at every byte, never cut`(_ count: Int) throws {
    let log = try Log(count, seed: 3)
    var same = 0
    for place in log.starts[count - 1]..<log.end {
      for mask in [0x01, 0x80, 0xFF] as [UInt8] {
        let disk = log.disk.snapshot.afterCrash(.keeping)
        disk.flip(log.path, at: place, mask: mask)
        let before = try disk.open(log.path, .read).contents()
        do {
          // Another frame may hold the same entries.
          #expect(try Self.open(disk) == log.blocks, "byte \(place), mask \(mask)")
          same += 1
        } catch let error as LogError {
          #expect(error.place.path == log.path)
          #expect(error.place.offset == log.starts[count - 1], "byte \(place), mask \(mask)")
          #expect(error.description.contains("restore the partition from a copy"))
          #expect(try disk.open(log.path, .read).contents() == before, "nothing was changed")
        }
      }
    }
    #expect(same <= 2)
  }

  /// Zeros, or what an earlier use left: what a disk that lost a write would show.
  @Test func `a last block that is not there at all is refused too`() throws {
    let log = try Log(3, seed: 4)
    let disk = log.disk.snapshot.afterCrash(.keeping)
    let file = try disk.open(log.path, .update)
    var rest = [UInt8](repeating: 0, count: log.end - log.starts[2] + 8)
    TestLog.put(0x184D_2A5F, 4, into: &rest, at: 0)
    TestLog.put(UInt64(2_048 - log.starts[2] - 8), 4, into: &rest, at: 4)
    try rest.withUnsafeBytes { try file.write($0, at: log.starts[2]) }
    let error = #expect(throws: LogError.self) { try Self.open(disk) }
    #expect(error?.place.offset == log.starts[2])
    #expect(
      error?.description.contains(
        "/log/synced says that entry \(Self.last(log.blocks[2])) was synced, "
          + "and entry \(log.blocks[2].first) is missing") == true, "\(String(describing: error))")
  }

  @Test func `what was not synced is cut, wherever it is torn`() throws {
    let log = try Log(2, unsynced: 1, seed: 5)
    let whole = try log.disk.open(log.path, .read).contents()
    for cut in log.starts[2]..<log.end {
      let disk = log.disk.snapshot.afterCrash(.keeping)
      let zeros = [UInt8](repeating: 0, count: log.end - cut)
      try zeros.withUnsafeBytes { try disk.open(log.path, .update).write($0, at: cut) }
      let isWhole = whole[cut..<log.end].allSatisfy { $0 == 0 }
      #expect(try Self.open(disk) == Array(log.blocks[..<(isWhole ? 3 : 2)]), "cut at byte \(cut)")
      // It goes on, and the mark with it.
      var maker = log.maker
      maker.next = log.blocks[isWhole ? 2 : 1].first + UInt64(log.blocks[isWhole ? 2 : 1].count)
      let more = maker.block(bytes: 30)
      try Self.open(disk) { try $0.write(more) }
      #expect(try Self.open(disk.snapshot.afterCrash(.forgetting)).last == more)
      disk.flip(log.path, at: log.starts[isWhole ? 2 : 1] + 50, mask: 1)
      #expect(throws: LogError.self) { try Self.open(disk) }
    }
  }

  @Test func `without the mark, as after a power cut, the last block may be cut`() throws {
    let log = try Log(3, seed: 6)
    for crash in [Snapshot.Crash.forgetting, .keeping] {
      let disk = log.disk.snapshot.afterCrash(crash)
      if crash == .keeping { try disk.remove(Self.mark) }
      disk.flip(log.path, at: log.starts[2] + 60, mask: 4)
      #expect(try Self.open(disk) == Array(log.blocks[..<2]))
      #expect(
        try SyncedMark.read(in: Self.directory, files: disk)?.rawValue == Self.last(log.blocks[1]),
        "from the start on it is there")
    }
  }

  @Test func `damage to a proof costs nothing, with the mark too`() throws {
    let log = try Log(2, seed: 7)
    try Self.open(log.disk) { try $0.prove() }
    let end = TestLog.offsets(try log.disk.open(log.path, .read).contents()).end
    #expect(end == log.end + Layout.blockHeader + Int(end - log.end - Layout.blockHeader))
    for place in log.end..<end {
      let disk = log.disk.snapshot.afterCrash(.keeping)
      disk.flip(log.path, at: place, mask: 0x41)
      #expect(try Self.open(disk) == log.blocks, "byte \(place)")
    }
  }

  @Test func `a log without its last segments is refused`() throws {
    let log = try Log(30, seed: 8)
    let names = try LogScan.names(in: Self.directory, files: log.disk)
    #expect(names.count > 2)
    for count in 0..<names.count {
      let disk = log.disk.snapshot.afterCrash(.keeping)
      for name in names[count...] { try disk.remove(Self.directory + "/" + name) }
      let error = #expect(throws: LogError.self) { try Self.open(disk) }
      if count == 0 {
        guard case .missing = error else {
          Issue.record("\(String(describing: error))")
          continue
        }
      } else {
        #expect(error?.place.path == Self.directory + "/" + names[count - 1])
      }
    }
    // Where SQLite has it all a log may begin anew.
    let applied = Self.last(log.blocks[29])
    let disk = log.disk.snapshot.afterCrash(.keeping)
    for name in names { try disk.remove(Self.directory + "/" + name) }
    #expect(try Self.open(disk, applied: applied).isEmpty)
  }

  @Test func `a disk without room for the mark has a log without one`() throws {
    let log = try Log(2, seed: 9)
    let disk = log.disk.snapshot.afterCrash(.keeping)
    try disk.remove(Self.mark)
    disk.setFault { $0.path == Self.mark ? 28 : nil }
    var maker = log.maker
    let more = maker.block(bytes: 20)
    #expect(try Self.open(disk) { try $0.write(more) } == log.blocks)
    disk.setFault(nil)
    #expect(try Self.open(disk) == log.blocks + [more])
    // Any other failure ends the process, as of every file of the log.
    disk.setFault { $0.kind == .write && $0.path == Self.mark ? 5 : nil }
    #expect(throws: FileError(.write, Self.mark, code: 5)) {
      try Self.open(disk) { try $0.write(maker.block()) }
    }
  }
}
