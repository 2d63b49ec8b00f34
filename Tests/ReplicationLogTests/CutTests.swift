import Cluster
import ReplicationLog
import SimulatedDisk
import Synchronization
import TestSupport
import Testing

/// A secondary's tail that was never committed gives way to another history.
struct CutTests {
  private struct Written {
    var block: WrittenBlock
    var hash: UInt64
  }

  private static func write(_ block: WrittenBlock, to log: inout ReplicationLog) throws -> Written {
    try log.write(block, committed: .zero)
    return Written(block: block, hash: log.hash)
  }

  private static func cut(_ log: inout ReplicationLog, to written: Written?) throws {
    let last = written.map { $0.block.first + UInt64($0.block.count) - 1 } ?? 0
    try log.cut(
      to: SequenceNumber(last), hash: written?.hash ?? 0, tag: Epoch(written?.block.tag ?? 0))
  }

  @Test func `a log may be cut at every block, over segments, and goes on from there`() throws {
    for place in 0...24 {
      let log = try TestLog(segmentBytes: 1_024)
      var maker = BlockMaker(seed: 5)
      var kept: [Written] = []
      var expected: [WrittenBlock] = []
      try log.open { log, _ in
        for _ in 0..<24 { kept.append(try Self.write(maker.block(bytes: 70), to: &log)) }
        // A rest in between must not part the histories.
        try log.prove()
        kept = Array(kept[..<place])
        try Self.cut(&log, to: kept.last)
        #expect(log.hash == kept.last?.hash ?? 0)
        maker.next = log.last.rawValue + 1
        for _ in 0..<3 { kept.append(try Self.write(maker.block(bytes: 50), to: &log)) }
        expected = kept.map(\.block)
      }
      #expect(try log.blocks() == expected, "cut after \(place) blocks")
      // Once more, from what a start found.
      try log.open { log, found in
        #expect(found == expected)
        try Self.cut(&log, to: kept[kept.count - 2])
      }
      #expect(try log.blocks() == Array(expected.dropLast()), "cut after \(place) blocks, and again")
    }
  }

  @Test func `an empty block is no part of the chain`() throws {
    func hash(resting: Bool) throws -> UInt64 {
      let log = try TestLog(segmentBytes: 1_024)
      var maker = BlockMaker(seed: 6)
      return try log.open { log, _ in
        for _ in 0..<12 {
          try log.write(maker.block(bytes: 90))
          if resting { try log.prove() }
        }
        return log.hash
      }
    }
    #expect(try hash(resting: true) == hash(resting: false))
  }

  @Test func `a log remembers a lower bound of what was committed`() throws {
    let log = try TestLog()
    try log.open { log, _ in
      for (count, committed) in [(3, 0), (2, 1), (4, 3), (1, 2)] as [(UInt32, UInt64)] {
        try [UInt8](repeating: 7, count: 30).withUnsafeBytes {
          try log.append(
            $0, count: count, tag: Epoch(1), time: 1, committed: SequenceNumber(committed))
        }
        try log.sync()
      }
      #expect(log.committed == SequenceNumber(3))
    }
    try log.open { log, _ in #expect(log.committed == SequenceNumber(3)) }
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `a cut that is cut short leaves the log as it was, or shorter, or cut`(_ seed: UInt64) throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/log")
    func open(
      _ disk: SimulatedDisk, _ body: (inout ReplicationLog) throws -> Void = { _ in }
    ) throws -> [UInt64] {
      var hashes: [UInt64] = []
      var log = try ReplicationLog(
        directory: "/log", identity: TestLog.identity, applied: .zero, segmentBytes: 1_024, files: disk
      ) { header, _ in hashes.append(header.hash) }
      try body(&log)
      return hashes
    }
    var random = SplitMix64(seed: seed)
    var maker = BlockMaker(seed: seed)
    var before: [Written] = []
    var after: [Written] = []
    let moments = Mutex<[(Snapshot, Int)]>([])
    let synced = Mutex(0)
    _ = try open(disk) { log in
      for _ in 0..<20 { before.append(try Self.write(maker.block(bytes: 70), to: &log)) }
      let place = Int(random.next() % 20)
      after = Array(before[..<place])
      disk.setObserver { operation, snapshot in
        moments.withLock { $0.append((snapshot, synced.withLock { $0 })) }
      }
      try Self.cut(&log, to: after.last)
      maker.next = log.last.rawValue + 1
      for _ in 0..<8 {
        after.append(try Self.write(maker.block(bytes: 70), to: &log))
        synced.withLock { $0 = after.count }
      }
    }
    let all = moments.withLock { $0 }
    #expect(all.count > 20)
    let (old, new) = (before.map(\.hash), after.map(\.hash))
    let common = zip(old, new).prefix { $0 == $1 }.count
    for (index, (snapshot, synced)) in all.enumerated() {
      for crash in [Snapshot.Crash.forgetting, .keeping, .tearing(seed: UInt64(index))] {
        do {
          let found = try open(snapshot.afterCrash(crash))
          let isOld = synced == 0 && found.count >= common && found == Array(old.prefix(found.count))
          let isNew = found.count >= max(common, synced) && found == Array(new.prefix(found.count))
          #expect(isOld || isNew, "seed \(seed), operation \(index), \(crash)")
        } catch { Issue.record("seed \(seed), operation \(index), \(crash): \(error)") }
      }
    }
  }
}
