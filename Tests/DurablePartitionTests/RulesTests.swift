import Cluster
import DurablePartition
import Files
import PartitionStore
import Replication
import SimulatedDisk
import Testing
import WorkerCore

/// Rule 17: a group goes over to other rules, and keeps to them.
struct RulesTests {
  private static func setup(_ disk: SimulatedDisk, life: UInt64, rules: UInt16) -> DurablePartition.Setup {
    var setup = Worker.setup(disk, epoch: life, mayCreate: life == 1)
    setup.replication.rules = rules
    return setup
  }

  @Test(arguments: [false, true])
  func `a start goes on by the rules that held, from its tables or its log`(isWritten: Bool) throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/worker")
    var traffic = Traffic(seed: 5)
    var worker = try Worker(Self.setup(disk, life: 1, rules: 1))
    try traffic.learn(worker.tell(traffic.group(5), at: traffic.now))
    try worker.checkpoint()
    worker = try Worker(Self.setup(disk, life: 2, rules: 2))
    #expect(worker.durable.core.rules == 1)
    #expect(worker.hasWork(at: traffic.now))
    try traffic.learn(worker.tell(traffic.group(5), at: traffic.now))
    #expect(worker.durable.core.rules == 2)
    // Of the block that is the log's last nothing says that it is committed.
    var digest = worker.durable.core.digest
    try traffic.learn(worker.tell(traffic.group(5), at: traffic.now))
    if isWritten {
      try worker.checkpoint()
      digest = worker.durable.core.digest
    }

    // A program that does not know them leaves everything as it is.
    let error = #expect(throws: (any Error).self) { try Worker(Self.setup(disk, life: 3, rules: 1)) }
    #expect("\(error!)".contains("Start a newer laris; nothing is lost."), "\(error!)")
    if isWritten {
      guard case .unsupportedRules(_, version: 2, known: 1) = error as? StoreError else {
        Issue.record("\(error!)")
        return
      }
    } else {
      guard case .rulesUnknown(_, asked: 2, known: 1) = error as? PartitionCore.ReplayError else {
        Issue.record("\(error!)")
        return
      }
    }
    let opened = try DurablePartition(Self.setup(disk, life: 3, rules: 2), now: 1)
    let found = (opened.core.rules, opened.core.digest)
    #expect(found == (2, digest))
  }

  @Test func `a group switches when both of it know the new rules, and not before`() throws {
    let pair = try Pair()
    var traffic = Traffic(seed: 9)
    func work(_ member: Pair.Member) throws {
      try member.work(traffic.group(5), at: traffic.now)
      try traffic.learn(member.answers())
      try pair.run(60)
    }
    pair.rules = ["a": 1, "b": 2]
    try work(pair.a)
    try pair.restart("b")
    try pair.run(300)
    try work(pair.a)
    #expect(pair.record.members == ["a", "b"] && pair.a.durable.core.rules == 1)
    // The other one is upgraded too; its partner leads meanwhile, and goes on with it.
    try pair.ask(.switchover("b"))
    try pair.run(300)
    try #require(pair.record.primary == "b")
    try work(pair.b)
    #expect(pair.b.durable.core.rules == 1)
    pair.rules["a"] = 2
    try pair.restart("a")
    try pair.run(300)
    #expect(pair.b.hasWork(at: 0))
    try pair.b.work([], at: traffic.now)
    try pair.run(100)
    #expect(!pair.b.hasWork(at: 0))
    for member in [pair.a, pair.b] {
      #expect(member.durable.core.rules == 2)
      #expect(member.durable.replica.rulesInForce == 2)
      try member.checkpoint()
      let kept = try PartitionReader(path: member.setup.databasePath, files: member.disk).state()
      #expect(kept.rules == 2)
    }
    #expect(pair.a.durable.core.digest == pair.b.durable.core.digest)
    #expect(try pair.a.tables() == pair.b.tables())
  }

  @Test func `rules that held above the commit point are forgotten with it`() throws {
    let pair = try Pair()
    var traffic = Traffic(seed: 10)
    try pair.a.work(traffic.group(5), at: traffic.now)
    try pair.run(60)
    for name in ["b", "a"] {
      pair.rules[name] = 2
      try pair.restart(name)
      try pair.run(400)
    }
    let leader = try #require(pair.record.primary)
    let primary = try #require(pair.members[leader])
    try #require(pair.record.members.count == 2 && primary.durable.core.rules == 1)
    pair.isolated = [primary.name]
    try primary.work(traffic.group(5), at: traffic.now)
    #expect(primary.durable.core.rules == 2)
    try pair.run(1_500)
    try #require(pair.record.members.count == 1 && pair.record.primary != primary.name)
    pair.isolated = []
    try pair.run(1_500)
    #expect(primary.durable.core.rules == 1 && primary.durable.replica.rulesInForce == 1)
  }
}
