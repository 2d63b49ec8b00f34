import Cluster
import Files
import ReplicationLog
import SimulatedDisk
import Synchronization
import TestSupport
import Testing

/// Segments are begun in files that were trimmed, so that the disk need not find room for new ones.
struct RecyclingTests {
  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `in a long run the number of files that are made stays bounded`(_ seed: UInt64) throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/log")
    let made = Atomic(0)
    let begun = Atomic(0)
    disk.setObserver { operation, _ in
      if operation.kind == .open, !operation.path.hasSuffix("synced") { made.add(1, ordering: .relaxed) }
      if operation.kind == .rename, operation.path.hasSuffix("/next") { begun.add(1, ordering: .relaxed) }
    }
    var maker = BlockMaker(seed: seed)
    var log = try ReplicationLog(
      directory: "/log", identity: TestLog.identity, applied: .zero, segmentBytes: 1_024, files: disk
    ) { _, _ in }
    func checkpoint() throws {
      try ReplicationLog.trim(
        in: "/log", through: log.last, tail: LogTail(milliseconds: .max, bytes: 2_048), now: 0,
        segmentBytes: 1_024, files: disk)
      try ReplicationLog.prepareSpare(in: "/log", segmentBytes: 1_024, files: disk)
    }
    var madeEarly = 0
    for round in 0..<200 {
      // Up to four segments between two checkpoints.
      for _ in 0..<maker.random.pick(1...12) { try log.write(maker.block(bytes: 90)) }
      try checkpoint()
      if round == 50 { madeEarly = made.load(ordering: .relaxed) }
    }
    #expect(begun.load(ordering: .relaxed) > 200, "seed \(seed)")
    #expect(made.load(ordering: .relaxed) == madeEarly, "seed \(seed): all of them at the beginning")
    #expect(madeEarly <= 12, "seed \(seed)")
    let names = try disk.names(in: "/log")
    #expect(names.count <= 3 + 4 + 2, "\(names)")
  }

  @Test func `a larger segment is removed, not recycled`() throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/log")
    var maker = BlockMaker(seed: 5)
    var log = try ReplicationLog(
      directory: "/log", identity: TestLog.identity, applied: .zero, segmentBytes: 1_024, files: disk
    ) { _, _ in }
    var large = maker.block()
    large.entries = maker.random.bytes(9_000)
    try log.write(large)
    for _ in 0..<20 { try log.write(maker.block(bytes: 90)) }
    try ReplicationLog.trim(
      in: "/log", through: log.last, tail: .none, now: 0, segmentBytes: 1_024, files: disk)
    for name in try disk.names(in: "/log") where name != "synced" {
      #expect(try disk.open("/log/" + name, .read).size() == 1_024, "\(name)")
    }
  }
}
