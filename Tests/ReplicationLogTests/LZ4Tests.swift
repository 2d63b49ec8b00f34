import Cluster
import Foundation
import ReplicationLog
import Testing

enum LZ4Program {
  static let path = ["/usr/bin/lz4", "/usr/local/bin/lz4", "/opt/homebrew/bin/lz4"]
    .first { FileManager.default.isExecutableFile(atPath: $0) }
}

/// A segment is a stream that the `lz4` of any system reads.
@Suite(.enabled(if: LZ4Program.path != nil, "lz4 is not installed"))
struct LZ4Tests {
  /// `lz4 -t` accepts the file, and `lz4 -dc` gives `expected`.
  private static func check(_ path: String, _ expected: [UInt8], _ what: String) throws {
    for flags in ["-t", "-dc"] {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: try #require(LZ4Program.path))
      process.arguments = [flags, path]
      let output = Pipe()
      let errors = Pipe()
      process.standardOutput = output
      process.standardError = errors
      process.standardInput = FileHandle.nullDevice
      try process.run()
      let bytes = Array(output.fileHandleForReading.readDataToEndOfFile())
      let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0, "\(what): lz4 \(flags) \(path): \(said)")
      #expect(bytes == (flags == "-t" ? [] : expected), "\(what): lz4 \(flags) \(path)")
    }
  }

  /// What the segments hold of `blocks`, by their first entries.
  private static func checkAll(_ log: TestLog, _ blocks: [WrittenBlock], _ what: String) throws {
    let segments = try log.segments
    let firsts = try segments.map { TestLog.number(try TestLog.read($0), 32, 8) } + [.max]
    for (index, path) in segments.enumerated() {
      let own = blocks.filter { $0.first >= firsts[index] && $0.first < firsts[index + 1] }
      try check(path, own.flatMap(\.entries), what)
    }
  }

  @Test func `lz4 reads every segment at every moment`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 1)
    var blocks: [WrittenBlock] = []
    try log.open { test, _ in
      try Self.checkAll(log, blocks, "fresh")
      for round in 0..<30 {
        let block = maker.block(bytes: 60 + Int(maker.random.next() % 60))
        blocks.append(block)
        try test.write(block, sync: false)
        try Self.checkAll(log, blocks, "appended \(round), not synced")
        try test.sync()
        if round % 4 == 3 {
          try test.trim(through: test.last, tailSegments: 1)
          try Self.checkAll(log, blocks, "trimmed \(round)")
        }
      }
    }
    #expect(
      try TestLog.number(TestLog.read(#require(log.segments.last)), 24, 8) > 4, "segments were recycled")
    let applied = TestLog.number(try TestLog.read(log.segments[0]), 32, 8) - 1
    _ = try log.blocks(applied: applied)
    try Self.checkAll(log, blocks, "opened again")
  }

  /// A log whose segments are gone, with a spare that held blocks under a use number.
  private static func leftover(use: UInt64) throws -> (log: TestLog, next: UInt64) {
    let log = try TestLog(segmentBytes: 1_024)
    let spare = log.directory + "/spare"
    var maker = BlockMaker(seed: 4)
    try log.open { test, _ in
      repeat {
        try test.write(maker.block(bytes: 60))
        try test.trim(through: test.last, tailSegments: 0)
      } while try !FileManager.default.fileExists(atPath: spare)
        || TestLog.number(try TestLog.read(spare), 24, 8) != use
    }
    for path in try log.segments { try FileManager.default.removeItem(atPath: path) }
    return (log, maker.next)
  }

  @Test func `lz4 reads a segment that was begun and never written`() throws {
    let (log, next) = try Self.leftover(use: 3)
    #expect(try log.blocks(applied: next - 1) == [])
    let path = try log.segments[0]
    try Self.check(path, [], "begun")
    #expect(try log.blocks(applied: next - 1) == [])
  }

  /// Whoever removes a damaged log's segments, because SQLite has it all, leaves its spare.
  @Test func `a log begun anew never takes its spare's old blocks for its own`() throws {
    let (log, next) = try Self.leftover(use: 1)
    #expect(try log.blocks(applied: next - 1) == [])
  }

  @Test func `lz4 reads a spare, made ahead of time or trimmed`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    let spare = log.directory + "/spare"
    try ReplicationLog.prepareSpare(in: log.directory, segmentBytes: 1_024)
    try Self.check(spare, [], "made ahead")
    var maker = BlockMaker(seed: 5)
    var blocks: [WrittenBlock] = []
    try log.open { test, _ in
      repeat {
        blocks.append(maker.block(bytes: 60))
        try test.write(blocks[blocks.count - 1])
        try test.trim(through: test.last, tailSegments: 0)
      } while try !FileManager.default.fileExists(atPath: spare)
        || TestLog.number(try TestLog.read(spare), 24, 8) != 3
    }
    let first = TestLog.number(try TestLog.read(spare), 32, 8)
    let next = TestLog.number(try TestLog.read(log.segments[0]), 32, 8)
    let own = blocks.filter { $0.first >= first && $0.first < next }
    try Self.check(spare, own.flatMap(\.entries), "trimmed")
  }

  @Test func `lz4 reads a segment whose torn tail was cut`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 2)
    let blocks = (0..<4).map { _ in maker.block(bytes: 50) }
    try log.open { test, _ in for block in blocks { try test.write(block) } }
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    let (starts, end) = TestLog.offsets(whole)
    for cut in stride(from: starts[3] + 1, to: end, by: 7) {
      var bytes = whole
      for place in cut..<bytes.count { bytes[place] = UInt8(truncatingIfNeeded: maker.random.next()) }
      try TestLog.write(bytes, to: path)
      #expect(try log.blocks() == Array(blocks[..<3]))
      try Self.check(path, blocks[..<3].flatMap(\.entries), "torn at \(cut)")
    }
  }

  @Test func `lz4 reads a segment however little of it is left`() throws {
    var left: Set<Int> = []
    var rolled = 0
    for size in 222...266 {
      let log = try TestLog(segmentBytes: 1_024)
      var maker = BlockMaker(seed: 3)
      let blocks = [300, size].enumerated().map { index, bytes in
        WrittenBlock(
          first: UInt64(index) + 1, count: 1, tag: 1, time: 1, entries: maker.random.bytes(bytes + 70))
      }
      try log.open { test, _ in for block in blocks { try test.write(block) } }
      try Self.checkAll(log, blocks, "size \(size)")
      #expect(try log.blocks() == blocks)
      if try log.segments.count == 1 {
        left.insert(1_024 - TestLog.offsets(try TestLog.read(log.segments[0])).end - Layout.rest)
      } else {
        rolled += 1
      }
    }
    #expect(left.isSuperset(of: 0...12), "each small room was met: \(left.sorted())")
    #expect(rolled > 0)
  }
}
