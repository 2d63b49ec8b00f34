import Cluster
import ReplicationLog
import TestSupport
import Testing

/// A log that rests ends with an empty block that says what was synced before it.
struct ProofTests {
  /// Two synced blocks and the proof; where each begins, and where the proof ends.
  private static func rested() throws -> (log: TestLog, blocks: [WrittenBlock], starts: [Int], end: Int) {
    let log = try TestLog(segmentBytes: 2_048)
    var maker = BlockMaker(seed: 8)
    let blocks = (0..<2).map { _ in maker.block(bytes: 60) }
    try log.open { log, _ in
      Self.expect(log.needsProof, false)
      for block in blocks { try log.write(block) }
      Self.expect(log.needsProof, true)
      try log.prove()
      Self.expect(log.needsProof, false)
      Self.expect(log.last == log.synced, true)
    }
    let offsets = TestLog.offsets(try TestLog.read(try log.segments[0]))
    return (log, blocks, offsets.starts, offsets.end)
  }

  /// The macro can't look into what is not copyable.
  private static func expect(_ value: Bool, _ expected: Bool) { #expect(value == expected) }

  @Test func `a proof adds no entry, and a log at rest needs no second one`() throws {
    let (log, blocks, starts, _) = try Self.rested()
    #expect(starts.count == 3)
    #expect(try log.blocks() == blocks)
    try log.open { log, _ in
      Self.expect(log.needsProof, false)
      Self.expect(log.last.rawValue == blocks[1].first + UInt64(blocks[1].count) - 1, true)
    }
  }

  @Test func `damage to the last entries of a log at rest is never taken for a torn tail`() throws {
    let (log, _, starts, _) = try Self.rested()
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    for at in starts[1]..<starts[2] {
      var bytes = whole
      bytes[at] ^= 0x41
      try TestLog.write(bytes, to: path)
      #expect(throws: LogError.self, "byte \(at)") { try log.blocks() }
    }
  }

  @Test func `damage to the proof costs nothing`() throws {
    let (log, blocks, starts, end) = try Self.rested()
    let path = try log.segments[0]
    let whole = try TestLog.read(path)
    for at in starts[2]..<end {
      var bytes = whole
      bytes[at] ^= 0x41
      try TestLog.write(bytes, to: path)
      // Refusing is not losing; but what it gives must be all.
      if let found = try? log.blocks() { #expect(found == blocks, "byte \(at)") }
    }
  }

  @Test func `a log goes on after a proof, over segments too`() throws {
    let log = try TestLog(segmentBytes: 1_024)
    var maker = BlockMaker(seed: 9)
    let blocks = (0..<12).map { _ in maker.block(bytes: 90) }
    for block in blocks {
      try log.open { log, _ in
        try log.write(block)
        try log.prove()
      }
    }
    #expect(try log.segments.count > 1)
    #expect(try log.blocks() == blocks)
  }
}
