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
      for round in 0..<24 {
        let block = maker.block()
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
    #expect(try TestLog.number(TestLog.read(#require(log.segments.last)), 24, 8) > 4, "segments were recycled")
    let applied = TestLog.number(try TestLog.read(log.segments[0]), 32, 8) - 1
    _ = try log.blocks(applied: applied)
    try Self.checkAll(log, blocks, "opened again")
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

  @Test(arguments: 0...24)
  func `lz4 reads a segment however little of it is left`(_ left: Int) throws {
    // The frame of an incompressible block of n bytes is n and some; so every room is met once.
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 3)
    var blocks: [WrittenBlock] = []
    try log.open { test, _ in
      for bytes in [300, 300] {
        let entries = maker.random.bytes(bytes)
        let first = blocks.last.map { $0.first + 1 } ?? 1
        blocks.append(WrittenBlock(first: first, count: 1, tag: 1, time: 1, entries: entries))
        try test.write(blocks.last!)
      }
    }
    let end = TestLog.offsets(try TestLog.read(log.segments[0])).end
    // Frame overhead: magic 4, descriptor 3 + 8, block size 4, end mark 4.
    let room = 1_024 - end - Layout.blockHeader - 23 - Layout.rest
    let last = WrittenBlock(first: 3, count: 1, tag: 1, time: 1, entries: maker.random.bytes(room - left + 8))
    try log.open { test, _ in try test.write(last) }
    blocks.append(last)
    try Self.checkAll(log, blocks, "room \(left)")
    #expect(try log.blocks() == blocks)
    #expect(try log.segments.count == (left < 8 ? 2 : 1))
  }
}
