import Cluster
import DurablePartition
import PartitionStore
import Replication
import SQLite
import SimulatedDisk
import TestSupport
import Testing
import WorkerCore

/// Rule 15, on disks: what each replica makes of the log is compared, by the entry and by the table.
struct DigestTests {
  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `replicas with other caches, checkpoints and starts have equal digests after every entry`(
    _ seed: UInt64
  ) throws {
    var random = SplitMix64(seed: seed)
    let pair = try Pair(rowsMax: random.pick([(0, 1_000_000), (40, 3), (1_000_000, 0)]))
    var traffic = Traffic(seed: seed)
    for step in 0..<250 {
      try pair.a.work(traffic.group(random.pick(1...6)), at: traffic.now)
      try traffic.learn(pair.a.answers())
      try pair.run(50)
      try #require(pair.b.durable.core.applied == pair.a.durable.core.applied)
      try #require(pair.b.durable.core.digest == pair.a.durable.core.digest, "seed \(seed), step \(step)")
      for member in [pair.a, pair.b] where random.chance(10) { try member.checkpoint() }
      if random.chance(3) {
        try pair.restart("b")
        // The primary takes a new epoch with it.
        try pair.run(300)
        try #require(pair.a.durable.replica.activity == .active)
      }
    }
    #expect(pair.a.alarms.isEmpty && pair.b.alarms.isEmpty)
    #expect(pair.b.durable.replica.count(.rule15Compared) > 0, "seed \(seed)")
    for member in [pair.a, pair.b] { try member.checkpoint() }
    let (tables, others) = (try pair.a.tables(), try pair.b.tables())
    #expect(tables == others, "seed \(seed): \(others.differences(from: tables))")
    #expect(tables.appliedDigest == pair.a.durable.core.digest)
    #expect(tables.tables.filter { $0.rows == 0 }.count <= 1, "seed \(seed): \(tables)")
  }

  /// What a partition that was never written, forgotten or started again makes of the blocks.
  private static func digest(of blocks: [Worker.Block]) throws -> UInt64 {
    let setup = Worker.setup(SimulatedDisk(), epoch: 1, mayCreate: true)
    var core = PartitionCore(
      partition: setup.partition, terms: setup.terms, windowMilliseconds: setup.windowMilliseconds,
      applied: .zero, time: 0, ordersPlaced: 0, horizon: 0)
    for block in blocks {
      try block.entries.withUnsafeBytes {
        try core.takeLogged($0, first: SequenceNumber(block.first), count: block.count, time: block.time)
        core.replay()
      }
    }
    return core.digest
  }

  @Test(arguments: 1...5 as ClosedRange<UInt64>)
  func `a start goes on with the digest that is kept with the tables`(_ seed: UInt64) throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/worker")
    var traffic = Traffic(seed: seed)
    var blocks: [Worker.Block] = []
    for life in 1...5 as ClosedRange<UInt64> {
      let worker = try Worker(Worker.setup(disk, epoch: life, mayCreate: life == 1))
      for _ in 0..<traffic.random.pick(1...40) {
        try traffic.learn(try worker.tell(traffic.group(5), at: traffic.now))
        if traffic.random.chance(10) { try worker.checkpoint() }
      }
      blocks += worker.blocks
      #expect(try worker.durable.core.digest == Self.digest(of: blocks), "seed \(seed), life \(life)")
      if traffic.random.chance(50) {
        try worker.checkpoint()
        let kept = try PartitionReader(path: Worker.directory + "/partition.sqlite", files: disk).state()
        #expect(kept.digest == worker.durable.core.digest, "seed \(seed), life \(life)")
      }
    }
  }

  @Test func `a row that is another on a secondary's disk is found, and the primary goes on`() throws {
    let pair = try Pair()
    var traffic = Traffic(seed: 7)
    for _ in 0..<80 {
      try pair.a.work(traffic.group(5), at: traffic.now)
      try traffic.learn(pair.a.answers())
      try pair.run(30)
    }
    for member in [pair.a, pair.b] { try member.checkpoint() }
    #expect(pair.b.durable.replica.count(.rule15Compared) > 5)
    try pair.restart("b") { gone in
      let database = try Database(gone.setup.databasePath, mode: .readWrite, vfs: gone.disk.sqliteVFS)
      try database.execute("UPDATE skus SET name = name || '?'")
    }
    try pair.run(300)
    #expect(pair.b.durable.replica.role == .secondary)
    for _ in 0..<40 {
      try pair.a.work(traffic.group(5), at: traffic.now)
      try traffic.learn(pair.a.answers())
      try pair.run(50)
      if pair.b.durable.replica.role != .secondary { break }
    }
    #expect(pair.b.durable.replica.role == .inactive(.rowsDiffer))
    #expect(pair.b.alarms.count == 1 && pair.b.durable.replica.count(.rule15Differed) == 1)
    // It is dropped, and its silence costs nothing more.
    try pair.run(1_000)
    #expect(pair.record.members == ["a"] && pair.a.alarms.isEmpty)
    let before = pair.a.durable.core.applied
    try pair.a.work(traffic.group(5), at: traffic.now)
    try pair.run(50)
    #expect(pair.a.durable.replica.committed.sn > before)
    // A start does not rely on what it has; that is kept.
    let files = try pair.b.disk.names(in: pair.b.setup.logDirectory)
    let error = #expect(throws: OpeningError.self) { try pair.restart("b") }
    guard case .diverged(Worker.partition, _, let what) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(what.hasPrefix("whose rows are others at entry "))
    #expect(try pair.a.disk.exists(pair.a.setup.divergedPath) == false && !files.isEmpty)
  }

  @Test func `what was applied above the commit point is thrown away with its digest`() throws {
    let pair = try Pair()
    var traffic = Traffic(seed: 11)
    for _ in 0..<30 {
      try pair.a.work(traffic.group(5), at: traffic.now)
      try traffic.learn(pair.a.answers())
      try pair.run(30)
      if traffic.random.chance(10) { try pair.a.checkpoint() }
    }
    let (committed, digest) = (pair.a.durable.core.applied, pair.a.durable.core.digest)
    pair.isolated = ["a"]
    try pair.a.work(traffic.group(5), at: traffic.now)
    #expect(pair.a.durable.core.applied > committed && pair.a.durable.core.digest != digest)
    // The secondary takes over; who was the primary hears of it later.
    try pair.run(1_500)
    try #require(pair.record.members == ["b"])
    pair.isolated = []
    try pair.run(1_500)
    #expect(pair.a.durable.core.applied == committed && pair.a.durable.core.digest == digest)
    // And comes back as a learner, whose log is cut.
    try pair.ask(.join("a"))
    for _ in 0..<20 {
      try pair.run(200)
      if pair.record.members.count == 2 { break }
    }
    try #require(pair.record.members == ["b", "a"])
    for _ in 0..<20 {
      try pair.b.work(traffic.group(5), at: traffic.now)
      try pair.run(50)
    }
    #expect(pair.a.durable.core.digest == pair.b.durable.core.digest)
    #expect(pair.a.durable.replica.count(.rule15Compared) > 0 && pair.a.alarms.isEmpty)
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>)
  func `both write a checkpoint of the entry that is named, while requests go on`(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let pair = try Pair()
    var traffic = Traffic(seed: seed)
    for round in 0..<12 {
      for _ in 0..<random.pick(1...9) {
        try pair.a.work(traffic.group(4), at: traffic.now)
        try traffic.learn(pair.a.answers())
        if random.chance(50) { try pair.run(20) }
      }
      // The primary names what it applied last; the secondary may have to wait for it.
      let named = pair.a.durable.core.applied
      pair.a.durable.freeze()
      let mayStop = pair.b.durable.freeze(at: named)
      #expect(mayStop, "seed \(seed), round \(round)")
      for _ in 0..<random.pick(0...5) {
        try pair.a.work(traffic.group(4), at: traffic.now)
        try traffic.learn(pair.a.answers())
      }
      try pair.run(50)
      for member in [pair.a, pair.b] {
        try member.write()
        #expect(member.durable.checkpointed == named, "seed \(seed), round \(round): \(member.name)")
      }
      let (tables, others) = (try pair.a.tables(), try pair.b.tables())
      #expect(tables == others && tables.applied == named, "seed \(seed), round \(round)")
    }
    // What is behind can't be named any more.
    let passed = pair.b.durable.core.applied
    try pair.a.work(traffic.group(4), at: traffic.now)
    try pair.run(50)
    let mayStop = pair.b.durable.freeze(at: passed)
    #expect(!mayStop && pair.b.durable.core.applied > passed)
  }
}
