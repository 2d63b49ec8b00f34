import Cluster
import ReplicationLog
import SimulatedDisk
import Synchronization
import TestSupport
import Testing

/// A log alone, whose trimmed segments are begun again at once, on a disk that crashes at every operation.
struct LogCrashTests {
  private struct Moment: Sendable {
    var snapshot: Snapshot
    /// What SQLite holds durably.
    var applied: UInt64
    /// Blocks that were synced.
    var synced: Int
    var operation: SimulatedDisk.Operation
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `a log that recycles its segments keeps what was synced, wherever it crashes`(_ seed: UInt64) throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/log")
    let moments = Mutex<[Moment]>([])
    let progress = Mutex<(applied: UInt64, synced: Int)>((0, 0))
    disk.setObserver { operation, snapshot in
      let (applied, synced) = progress.withLock { $0 }
      moments.withLock {
        $0.append(Moment(snapshot: snapshot, applied: applied, synced: synced, operation: operation))
      }
    }
    func open(
      _ disk: SimulatedDisk, applied: UInt64, _ body: (inout ReplicationLog) throws -> Void = { _ in }
    ) throws -> [UInt64] {
      var firsts: [UInt64] = []
      var log = try ReplicationLog(
        directory: "/log", identity: TestLog.identity, applied: SequenceNumber(applied), segmentBytes: 1_024,
        files: disk
      ) { header, _ in firsts.append(header.first.rawValue) }
      try body(&log)
      return firsts
    }
    var maker = BlockMaker(seed: seed)
    var blocks: [WrittenBlock] = []
    _ = try open(disk, applied: 0) { log in
      for _ in 0..<80 {
        blocks.append(maker.block(bytes: 70))
        try log.write(blocks[blocks.count - 1])
        progress.withLock { $0 = (maker.random.chance(30) ? log.last.rawValue : $0.applied, blocks.count) }
        try ReplicationLog.trim(
          in: "/log", through: SequenceNumber(progress.withLock { $0.applied }), tail: .none, now: 0,
          segmentBytes: 1_024, files: disk)
      }
    }
    let all = moments.withLock { $0 }
    #expect(all.count(where: { $0.operation.kind == .rename }) > 20, "segments were recycled")
    for moment in all {
      for crash in [Snapshot.Crash.forgetting, .keeping, .tearing(seed: UInt64(moment.operation.index))] {
        let what = "seed \(seed), \(crash) at \(moment.operation)"
        do {
          let found = try open(moment.snapshot.afterCrash(crash), applied: moment.applied)
          let wanted = blocks.map(\.first).filter { $0 > moment.applied }
          let synced = blocks[..<moment.synced].filter { $0.first > moment.applied }.count
          #expect(found.count >= synced && found == Array(wanted.prefix(found.count)), "\(what)")
        } catch { Issue.record("\(what): \(error)") }
      }
    }
  }
}
