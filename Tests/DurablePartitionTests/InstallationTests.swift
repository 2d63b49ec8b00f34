import DurablePartition
import Files
import PartitionStore
import Replication
import ReplicationLog
import SQLite
import SimulatedDisk
import Synchronization
import TestSupport
import Testing

/// A snapshot that came in takes the place of what a learner had.
struct InstallationTests {
  /// What a partition holds: how far it goes, and its tables.
  private struct Content: Equatable {
    let applied: UInt64
    let tables: UInt64
  }

  /// A snapshot of a primary, and a learner's disk that has it, and tables and a log of its own.
  private struct Learner {
    let disk = SimulatedDisk()
    let mark: LogMark
    let snapshot: [UInt8]
    let before: Content
    let after: Content
    var setup: DurablePartition.Setup { InstallationTests.setup(disk) }

    init() throws {
      let primary = SimulatedDisk()
      let source = try InstallationTests.worker(on: primary, seed: 1, groups: 120)
      let setup = InstallationTests.setup(primary)
      mark = source.durable.replica.last
      #expect(
        try PartitionSnapshot.make(of: setup.databasePath, at: setup.snapshotPath, files: primary) == mark.sn)
      snapshot = try primary.open(setup.snapshotPath, .read).contents()
      after = Content(
        applied: mark.sn.rawValue, tables: try TablesDigest.of(setup.snapshotPath, files: primary))
      let own = try InstallationTests.worker(on: disk, seed: 2, groups: 70)
      before = Content(
        applied: own.applied,
        tables: try TablesDigest.of(InstallationTests.setup(disk).databasePath, files: disk))
      try Self.receive(snapshot, on: disk)
    }

    /// As a worker does it with the snapshot that came in.
    func install(on disk: SimulatedDisk) throws {
      let setup = InstallationTests.setup(disk)
      try setup.install(try setup.checkIncoming(mark))
    }

    static func receive(_ snapshot: [UInt8], on disk: SimulatedDisk) throws {
      let file = try disk.open(InstallationTests.setup(disk).incomingPath, .create)
      try snapshot.withUnsafeBytes { try file.write($0, at: 0) }
      try file.sync()
    }
  }

  private static func setup(_ disk: SimulatedDisk) -> DurablePartition.Setup {
    Worker.setup(disk, epoch: 1, mayCreate: true)
  }

  /// All that it did is in its tables.
  private static func worker(on disk: SimulatedDisk, seed: UInt64, groups: Int) throws -> Worker {
    try disk.makeDirectory("/worker")
    let worker = try Worker(setup(disk))
    var traffic = Traffic(seed: seed)
    for _ in 0..<groups { try traffic.learn(worker.tell(traffic.group(9), at: traffic.now)) }
    try worker.checkpoint()
    return worker
  }

  /// What a start finds, and whether it relies on it.
  private static func start(_ setup: DurablePartition.Setup, _ disk: SimulatedDisk) throws -> (
    Content, isClean: Bool
  ) {
    let durable = try DurablePartition(setup, now: 1)
    return (
      Content(
        applied: durable.core.applied.rawValue, tables: try TablesDigest.of(setup.databasePath, files: disk)),
      durable.replica.isClean
    )
  }

  @Test func `a snapshot takes the place of what was there, which waits to be removed`() throws {
    let learner = try Learner()
    let bytes = try learner.disk.open(learner.setup.databasePath, .read).size()
    try learner.install(on: learner.disk)
    #expect(try Self.start(learner.setup, learner.disk) == (learner.after, true))
    let left = try learner.setup.givenUp()
    #expect(try left.map { try learner.disk.open($0, .read).size() } == [bytes])
    #expect(try !learner.disk.exists(learner.setup.incomingPath))
    // The next one finds that the first is not removed yet.
    try Learner.receive(learner.snapshot, on: learner.disk)
    try learner.install(on: learner.disk)
    #expect(try learner.setup.givenUp().count == 2)
    #expect(try Self.start(learner.setup, learner.disk) == (learner.after, true))
  }

  @Test
  func `a crash while a snapshot takes its place leaves the one or the other, or what is not relied on`()
    throws
  {
    let learner = try Learner()
    let moments = Mutex<[(operation: SimulatedDisk.Operation, snapshot: Snapshot)]>([])
    learner.disk.setObserver { operation, snapshot in moments.withLock { $0.append((operation, snapshot)) } }
    try learner.install(on: learner.disk)
    learner.disk.setObserver(nil)
    let all = moments.withLock { $0 }
    #expect(all.count > 20)
    var found = (old: 0, new: 0, unclean: 0)
    for (index, moment) in all.enumerated() {
      for crash in [Snapshot.Crash.forgetting, .keeping, .tearing(seed: UInt64(index))] {
        let disk = moment.snapshot.afterCrash(crash)
        let setup = Self.setup(disk)
        let (content, isClean) = try Self.start(setup, disk)
        if !isClean {
          found.unclean += 1
        } else if content == learner.before {
          found.old += 1
        } else {
          #expect(content == learner.after, "\(crash) at \(moment.operation)")
          found.new += 1
        }
        // A learner gets another one.
        try Learner.receive(learner.snapshot, on: disk)
        try learner.install(on: disk)
        #expect(try Self.start(setup, disk) == (learner.after, true), "\(crash) at \(moment.operation)")
      }
    }
    #expect(found.old > 0 && found.new > 0 && found.unclean > 0)
  }

  @Test func `what was given up is not kept where a folder is set aside`() throws {
    let folder = try TestFolder()
    let files = SystemFiles()
    let setup = Worker.setup(files, epoch: 1, mayCreate: true, directory: folder.path + "/0003")
    try files.makeDirectory(setup.directory)
    for path in [setup.databasePath, setup.snapshotPath] { _ = try files.open(path, .create) }
    try setup.giveUp(setup.snapshotPath)
    let kept = try setup.setAside(suffix: "damaged-1")
    #expect(kept == folder.path + "/0003.damaged-1")
    #expect(try files.names(in: folder.path + "/0003.damaged-1") == ["partition.sqlite"])
    #expect(try files.names(in: setup.directory) == ["unclean"])
  }

  @Test func `what is no snapshot of that entry is refused, and nothing is changed`() throws {
    let learner = try Learner()
    let other = LogMark(sn: learner.mark.sn.next, tag: learner.mark.tag, hash: learner.mark.hash)
    #expect(throws: StoreError.self) { try learner.setup.checkIncoming(other) }
    learner.disk.flip(learner.setup.incomingPath, at: 4_096 * 3 + 5, mask: 0xff)
    #expect(throws: (any Error).self) { try learner.setup.checkIncoming(learner.mark) }
    #expect(try Self.start(learner.setup, learner.disk) == (learner.before, true))
  }
}
