import Cluster
import Replication
import TestReplication
import Testing

struct RulesTests {
  private func envelope(_ epoch: UInt64, _ node: String, _ incarnation: UInt64 = 1) -> PeerEnvelope {
    PeerEnvelope(
      cluster: Group.cluster, partition: Group.partition, epoch: Epoch(epoch), node: node,
      incarnation: Incarnation(incarnation))
  }

  @Test func `rule 1: a lower epoch is not acted on, and is told so`() throws {
    let group = Group(["a", "b"])
    group.crash("a")
    group.run(300)
    #expect(group.record.primary == "b")
    let before = try #require(group.replicas["b"])
    group.replicas["b"]!.receive(
      .beacon(.init(sentAt: 1, committed: .empty, digest: nil, isProbe: false)), envelope(1, "a"),
      now: group.now, wall: 0)
    let effects = group.replicas["b"]!.takeEffects()
    guard case .send("a", let sent, .stale) = effects.first else { Issue.record("\(effects)"); return }
    #expect(effects.count == 1 && sent.epoch == Epoch(2))
    #expect(group.replicas["b"]!.committed == before.committed)
  }

  @Test func `rule 1: a higher epoch is durable before it is acted on`() {
    var replica = Replica(
      .init(cluster: Group.cluster, partition: Group.partition, node: "b", incarnation: Incarnation(1)),
      .empty, now: 0)
    var record = GroupRecord(
      partition: Group.partition, epoch: Epoch(4), primary: "a", incarnation: Incarnation(1),
      secondaries: ["b"], isOpened: true)
    replica.configurationWasRead(record, now: 1)
    #expect(replica.takeEffects().contains(.makeEpochDurable(Epoch(4))))
    #expect(replica.epoch == Epoch(0))
    replica.receive(
      .beacon(.init(sentAt: 1, committed: .empty, digest: nil, isProbe: true)), envelope(4, "a"), now: 2,
      wall: 0)
    #expect(!replica.takeEffects().contains { if case .send = $0 { true } else { false } })
    replica.epochIsDurable(Epoch(4), now: 3)
    #expect(replica.role == .secondary && replica.epoch == Epoch(4))
    record.epoch = Epoch(5)
    replica.configurationWasRead(record, now: 4)
    replica.epochCouldNotBeMadeDurable()
    #expect(replica.role == .inactive(.epochNotDurable))
  }

  @Test func `rule 4: a block is committed when it is durable everywhere, and not before`() throws {
    let group = Group(["a", "b", "c"])
    #expect(group.replicas["a"]!.isActive)
    group.unsynced = ["c"]
    let head = try #require(group.write("a"))
    #expect(group.replicas["a"]!.committed.sn < head.last)
    group.unsynced = []
    group.sync("c")
    group.run(50)
    #expect(group.replicas["a"]!.committed == head.mark)
    #expect(group.replicas["b"]!.committed == head.mark)
  }

  @Test func `a group of one commits with its own disk alone`() throws {
    let group = Group(["a"])
    let head = try #require(group.write("a"))
    #expect(group.replicas["a"]!.committed == head.mark)
    group.unsynced = ["a"]
    let next = try #require(group.write("a"))
    #expect(group.replicas["a"]!.committed == head.mark)
    group.replicas["a"]!.durable(through: next.mark, now: group.now)
    #expect(group.replicas["a"]!.committed == next.mark)
  }

  @Test func `rule 2: the window is bounded`() {
    var settings = Replica.Settings()
    settings.windowBlocks = 4
    let group = Group(["a", "b"], settings: settings)
    group.unsynced = ["b"]
    for _ in 0..<4 { #expect(group.write("a") != nil) }
    #expect(group.write("a") == nil)
    #expect(group.refusal("a", at: group.now) == .windowFull)
  }

  @Test func `rule 5: a lease runs from the sending, and its end stops writes and reads at once`() {
    let group = Group(["a", "b"])
    group.swapOutcome = { _ in .notAsked }
    group.cut = ["ba"]
    let until = group.now
    #expect(group.replicas["a"]!.isActing(at: until))
    #expect(!group.replicas["a"]!.isActing(at: until + 161))
    #expect(group.refusal("a", at: until + 161) == .suspended(.leaseLost))
    #expect(!group.mayRead("a", at: until + 161))
  }

  @Test func `rule 5: a late acknowledgement gives no lease from its receipt`() {
    let group = Group(["a", "b"])
    group.cut = ["ba"]
    group.swapOutcome = { _ in .notAsked }
    let sent = group.now
    group.run(200)
    #expect(!group.replicas["a"]!.isActive)
    group.deliver(
      .ack(
        .init(
          sentAt: sent, durable: group.replicas["b"]!.durable, checkpointed: .zero, rules: 1,
          isClockBehind: false)), envelope(1, "b"), to: "a")
    #expect(!group.replicas["a"]!.isActive)
  }

  @Test func `rule 5: once its grace is gone, a secondary never acknowledges that epoch again`() {
    let group = Group(["a", "b"])
    group.swapOutcome = { _ in .unknown }
    group.cut = ["ab"]
    group.run(250)
    #expect(group.swaps.contains { $0.primary == "b" && $0.secondaries.isEmpty })
    group.cut = []
    group.run(100)
    #expect(!group.replicas["a"]!.isActive)
    #expect(group.record.epoch == Epoch(1))
  }

  @Test func `rule 5: a proof of death starts a takeover, a broken connection alone does not`() {
    let group = Group(["a", "b"])
    group.crash("a")
    group.act("b") { $0.connectionBroke(to: "a", now: group.now) }
    #expect(group.record.primary == "a")
    group.act("b") { $0.died("a", Incarnation(9), now: group.now) }
    #expect(group.record.primary == "a")
    group.act("b") { $0.died("a", Incarnation(1), now: group.now) }
    #expect(group.record.primary == "b" && group.replicas["b"]!.isActive)
  }

  @Test func `rule 7: a promotion of unknown outcome keeps the learner's acknowledgement required`() throws {
    let group = Group(["a", "b", "c"], secondaries: ["b"])
    group.swapOutcome = { _ in .unknown }
    group.record.proposal = .join("c")
    for name in ["a", "c"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.run(100)
    #expect(group.swaps.contains { $0.secondaries == ["b", "c"] })
    group.cut = ["ca"]
    group.run(100)
    // It may be a member at any time: without its lease nothing is answered.
    group.run(100)
    #expect(!group.replicas["a"]!.isActive)
    group.swapOutcome = nil
    group.run(200)
    #expect(group.record.primary == "a" && group.record.secondaries == ["b"])
    #expect(group.replicas["a"]!.isActive)
    let head = try #require(group.write("a"))
    #expect(group.replicas["a"]!.committed == head.mark)
  }

  @Test func `rule 7: what is refused settles nothing of what was asked before and is in doubt`() {
    let group = Group(["a", "b", "c"], secondaries: ["b"])
    group.swapOutcome = { _ in .unknown }
    group.record.proposal = .join("c")
    for name in ["a", "c"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.run(100)
    #expect(group.swaps.contains { $0.secondaries == ["b", "c"] })
    // As a dispatcher refuses what rule 7 does not allow. The first one may come true yet.
    group.swapOutcome = { [unowned group] _ in .refused(group.record) }
    group.run(100)
    group.cut = ["ca"]
    group.run(200)
    #expect(group.record.epoch == Epoch(1) && !group.replicas["a"]!.isActive)
    group.swapOutcome = nil
    group.run(200)
    #expect(group.record.secondaries == ["b"] && group.replicas["a"]!.isActive)
  }

  @Test func `rule 11: a learner that nobody wants any more makes room for the next`() {
    let group = Group(["a", "b", "c", "d"], secondaries: ["b"])
    group.swapOutcome = { _ in .unknown }
    group.record.proposal = .join("c")
    for name in ["a", "c"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.run(100)
    #expect(group.swaps.contains { $0.secondaries == ["b", "c"] })
    group.record.proposal = .join("d")
    // Rule 7 has no place for who was not asked to join.
    group.swapOutcome = { [unowned group] in $0.secondaries.contains("c") ? .refused(group.record) : nil }
    for name in ["a", "d"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.crash("c")
    group.run(1_000)
    #expect(group.record.primary == "a" && group.record.secondaries == ["b", "d"])
    #expect(group.replicas["a"]!.isActive)
  }

  /// It is "c", and joins "a" and "b".
  private func joinInEpoch2(_ replica: inout Replica) {
    let record = GroupRecord(
      partition: Group.partition, epoch: Epoch(2), primary: "a", incarnation: Incarnation(1),
      secondaries: ["b"], isOpened: true, proposal: .join("c"))
    replica.configurationWasRead(record, now: 1)
    replica.epochIsDurable(Epoch(2), now: 2)
  }

  @Test func `rule 11: a learner that was left behind takes a snapshot, and one that was not takes none`() {
    var replica = Replica(
      .init(cluster: Group.cluster, partition: Group.partition, node: "c", incarnation: Incarnation(1)),
      .empty, now: 0)
    joinInEpoch2(&replica)
    let head = BlockHead(
      tag: Epoch(2), first: SequenceNumber(1), count: 3, time: 0, entriesHash: 1, previousHash: 0)
    replica.receive(.prepare(head, committed: .empty), envelope(2, "a"), now: 3, wall: 0)
    replica.durable(through: head.mark, now: 4)
    for base in [0, 3] as [UInt64] {
      replica.receive(.snapshotNeeded(base: SequenceNumber(base)), envelope(2, "a"), now: 5, wall: 0)
      #expect(!replica.isAwaitingSnapshot, "the log goes on from \(base): the message is a late one")
    }
    // The primary forgot the learner for a while, and trimmed its log.
    replica.receive(.snapshotNeeded(base: SequenceNumber(4)), envelope(2, "a"), now: 6, wall: 0)
    #expect(replica.isAwaitingSnapshot)
    #expect(replica.takeEffects().contains(.wantSnapshot(from: "a")))
    let mark = LogMark(sn: SequenceNumber(9), tag: Epoch(2), hash: 9)
    replica.snapshotIsInstalled(mark, time: 0, now: 7)
    replica.receive(.snapshotNeeded(base: SequenceNumber(4)), envelope(2, "a"), now: 8, wall: 0)
    #expect(!replica.isAwaitingSnapshot && replica.durable == mark)
  }

  @Test func `rule 9: a learner that lost what it acknowledged is not promoted for it`() throws {
    let group = Group(["a", "b", "c"], secondaries: ["b"])
    group.write("a")
    // It catches up, and its promotion is refused for now.
    group.swapOutcome = { $0.secondaries.contains("c") ? .notAsked : nil }
    group.record.proposal = .join("c")
    for name in ["a", "c"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.run(100)
    #expect(group.replicas["c"]!.last == group.replicas["a"]!.last)
    let epoch = group.record.epoch
    group.crash("c")
    group.heads["c"] = []
    group.start("c", incarnation: 2, isClean: false)
    group.swaps = []
    group.run(60)
    // First a new epoch with the members that there are.
    let first = try #require(group.swaps.first { $0.epoch == epoch.next })
    #expect(first.primary == "a" && first.secondaries == ["b"])
    group.swapOutcome = nil
    group.run(300)
    // It waits for a snapshot, and vouches for nothing.
    #expect(group.snapshots.contains("c") && group.record.secondaries == ["b"])
    #expect(group.replicas["c"]!.isAwaitingSnapshot && group.replicas["a"]!.isActive)
  }

  @Test func `rule 8: a longer secondary is cut to what the new primary has`() throws {
    let group = Group(["a", "b", "c"])
    group.cut = ["ab", "ba"]
    group.swapOutcome = { $0.primary == "b" ? nil : .notAsked }
    let lost = try #require(group.write("a"))
    #expect(group.replicas["c"]!.last == lost.mark)
    group.crash("a")
    group.run(300)
    group.swapOutcome = nil
    group.run(600)
    #expect(group.record.primary == "b" && group.replicas["b"]!.isActive)
    #expect(group.replicas["c"]!.last == group.replicas["b"]!.last)
    #expect(group.replicas["c"]!.count(.rule3Cut) == 1)
    #expect(group.alarms.isEmpty)
  }

  @Test
  func `rule 3: a member whose committed entry is another one in the group stops, and keeps what it has`()
    throws
  {
    let group = Group(["a", "b"])
    let head = try #require(group.write("a"))
    group.run(200)
    var replica = group.replicas["b"]!
    try #require(replica.committed.sn >= head.last && replica.role == .secondary)
    let last = replica.last
    let other = BlockHead(
      tag: head.tag, first: head.first, count: head.count, time: head.time,
      entriesHash: head.entriesHash &+ 1, previousHash: head.previousHash)
    replica.receive(
      .prepare(other, committed: other.mark), envelope(group.record.epoch.rawValue, "a"), now: group.now,
      wall: 0)
    #expect(replica.takeEffects().contains(.alarm(.divergence(head.first))))
    #expect(replica.role == .inactive(.diverged) && replica.isHalted && replica.last == last)
    #expect(replica.count(.rule3Diverged) == 1)
    replica.tick(now: group.now + 10_000)
    replica.configurationWasRead(group.record, now: group.now + 10_000)
    #expect(replica.role == .inactive(.diverged), "only a new start changes that")
  }

  @Test
  func `rule 10: a learner whose committed entry is another one in the group relies on nothing of its own`() {
    // Only a group whose I3 was broken comes here.
    let mine = BlockHead(
      tag: Epoch(1), first: SequenceNumber(1), count: 1, time: 0, entriesHash: 1, previousHash: 0)
    let theirs = BlockHead(
      tag: Epoch(2), first: SequenceNumber(1), count: 1, time: 0, entriesHash: 2, previousHash: 0)
    var replica = Replica(
      .init(cluster: Group.cluster, partition: Group.partition, node: "c", incarnation: Incarnation(1)),
      .init(
        epoch: Epoch(1), base: .empty, blocks: [mine.mark], time: 0, committed: SequenceNumber(1),
        checkpointed: SequenceNumber(1), isClean: true),
      now: 0)
    joinInEpoch2(&replica)
    #expect(replica.role == .learner && !replica.isAwaitingSnapshot)
    _ = replica.takeEffects()
    replica.receive(.prepare(theirs, committed: theirs.mark), envelope(2, "a"), now: 3, wall: 0)
    let effects = replica.takeEffects()
    #expect(effects.contains(.alarm(.quarantined(SequenceNumber(1)))))
    #expect(replica.isAwaitingSnapshot && replica.count(.rule10Quarantined) == 1)
    // It has nothing to show, so that it gets a snapshot; and none of the group's blocks goes behind its own.
    #expect(effects.contains { if case .send("a", _, .nack([])) = $0 { true } else { false } })
    #expect(!effects.contains { if case .append = $0 { true } else { false } })
  }

  @Test func `rule 10: a learner whose log begins with another history than the group's says so`() {
    func mark(_ sn: UInt64, _ hash: UInt64) -> LogMark {
      LogMark(sn: SequenceNumber(sn), tag: Epoch(1), hash: hash)
    }
    // Committed through 5, and has a block behind that.
    var replica = Replica(
      .init(cluster: Group.cluster, partition: Group.partition, node: "c", incarnation: Incarnation(1)),
      .init(
        epoch: Epoch(1), base: mark(5, 50), blocks: [mark(7, 70)], time: 0, committed: SequenceNumber(5),
        checkpointed: SequenceNumber(5), isClean: true),
      now: 0)
    joinInEpoch2(&replica)
    _ = replica.takeEffects()
    // Of what it had before; of what may never have been committed; of nothing.
    for stranger in [mark(5, 51), mark(7, 70), nil] {
      replica.receive(
        .snapshotNeeded(base: SequenceNumber(3), stranger: stranger), envelope(2, "a"), now: 3, wall: 0)
      #expect(!replica.isAwaitingSnapshot && replica.takeEffects().isEmpty, "\(stranger as Any)")
    }
    replica.receive(
      .snapshotNeeded(base: SequenceNumber(3), stranger: mark(5, 50)), envelope(2, "a"), now: 4, wall: 0)
    #expect(replica.takeEffects().contains(.alarm(.quarantined(SequenceNumber(5)))))
    #expect(replica.isAwaitingSnapshot && replica.count(.rule10Quarantined) == 1)
  }

  @Test func `rule 11: a primary names what its log would have to have of a learner's`() {
    let group = Group(["a", "b", "c"], secondaries: ["b"])
    for _ in 0..<3 { group.write("a") }
    group.record.proposal = .join("c")
    group.act("a") { $0.configurationWasTold(group.record, now: group.now) }
    func mark(_ sn: UInt64) -> LogMark { LogMark(sn: SequenceNumber(sn), tag: Epoch(1), hash: 99) }
    let last = group.replicas["a"]!.last.sn.rawValue
    var replica = group.replicas["a"]!
    let epoch = replica.epoch.rawValue
    _ = replica.takeEffects()
    replica.receive(
      .nack([mark(last + 1), mark(last), mark(1)]), envelope(epoch, "c"), now: group.now + 1_000, wall: 0)
    let strangers = replica.takeEffects().compactMap { effect -> LogMark? in
      guard case .send("c", _, .snapshotNeeded(_, let stranger)) = effect else { return nil }
      return stranger
    }
    #expect(strangers == [mark(1)])
  }

  @Test func `rule 8: a restarted primary takes a new epoch, and a restarted secondary gets one`() {
    let group = Group(["a", "b"])
    group.crash("a")
    group.start("a", incarnation: 2)
    group.run(60)
    #expect(group.record.epoch == Epoch(2) && group.record.incarnation == Incarnation(2))
    #expect(group.replicas["a"]!.isActive)
    group.crash("b")
    group.start("b", incarnation: 2)
    group.run(100)
    #expect(group.record.epoch == Epoch(3) && group.record.primary == "a")
    #expect(group.replicas["a"]!.isActive)
  }

  @Test func `a primary that lost its place throws away what it applied above the commit point`() throws {
    let group = Group(["a", "b"])
    group.unsynced = ["b"]
    let head = try #require(group.write("a"))
    group.act("a") { $0.applied(through: head.last, digest: nil) }
    group.cut = ["ab", "ba"]
    group.swapOutcome = { $0.primary == "b" ? nil : .notAsked }
    group.run(400)
    #expect(group.record.primary == "b")
    group.cut = []
    group.run(100)
    #expect(group.rebuilds["a"]?.sn == SequenceNumber(head.first.rawValue - 1))
    #expect(group.replicas["a"]!.activity == .inactive(.notAMember))
  }

  @Test func `rule 9: a damaged member acknowledges nothing, and is dropped`() {
    let group = Group(["a", "b", "c"])
    group.crash("c")
    group.start("c", incarnation: 2, isClean: false)
    group.run(700)
    #expect(group.record.secondaries == ["b"])
    #expect(group.replicas["c"]!.activity == .inactive(.damaged))
  }

  @Test func `rule 13: a switchover drains, and hands over by name`() {
    let group = Group(["a", "b", "c"])
    group.write("a")
    group.record.proposal = .switchover("c")
    group.act("a") { $0.configurationWasTold(group.record, now: group.now) }
    // The target learns of it when its grace is out.
    group.run(600)
    #expect(group.record.primary == "c" && group.record.secondaries == ["b", "a"])
    #expect(group.replicas["c"]!.isActive)
    #expect(group.replicas["a"]!.role == .secondary)
    #expect(group.record.proposal == nil)
  }

  @Test func `rule 14: below the least number of members writes are refused, reads are not`() {
    var settings = Replica.Settings()
    settings.minReplicas = 2
    let group = Group(["a", "b"], settings: settings)
    group.crash("b")
    group.run(400)
    #expect(group.record.secondaries.isEmpty && group.replicas["a"]!.isActive)
    #expect(group.refusal("a", at: group.now) == .tooFewReplicas(1))
    #expect(group.mayRead("a", at: group.now))
  }

  @Test func `rule 16: a block from the future is refused until the clock is there`() throws {
    let group = Group(["a", "b"])
    group.wall["b"] = -10_000
    let head = try #require(group.write("a"))
    #expect(group.alarms["b"]?.isEmpty == false)
    #expect(group.replicas["a"]!.committed.sn < head.last)
    group.wall["b"] = 1_000_000
    group.run(100)
    #expect(group.replicas["a"]!.committed == head.mark)
  }

  /// What a replica knows from its start on, in the version that its program has.
  private func settings(rules: UInt16) -> Replica.Settings {
    var settings = Replica.Settings()
    settings.rules = rules
    return settings
  }

  @Test func `rule 17: the members agree on what all of them know, and never on less than what holds`() {
    let group = Group(["a", "b", "c"], settings: settings(rules: 3))
    func agreed(_ name: String) -> UInt16 { group.replicas[name]!.agreedRules() }
    #expect(agreed("a") == 3)
    #expect(agreed("b") == 1, "who is no primary agrees on what holds")
    group.crash("c")
    group.start("c", incarnation: 2, settings: settings(rules: 2))
    group.run(200)
    #expect(group.record.members == ["a", "b", "c"] && agreed("a") == 2)
    group.act("a") { $0.rulesHold(2) }
    group.crash("b")
    group.start("b", incarnation: 2, settings: settings(rules: 1))
    group.run(200)
    #expect(agreed("a") == 2)
  }

  @Test func `rule 17: a learner that does not know what holds is not promoted before it does`() {
    let group = Group(["a", "b", "c"], secondaries: ["b"], settings: settings(rules: 2))
    group.act("a") { $0.rulesHold(2) }
    group.crash("c")
    group.start("c", incarnation: 2, settings: settings(rules: 1))
    group.record.proposal = .join("c")
    for name in ["a", "c"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.run(300)
    #expect(group.replicas["c"]!.last == group.replicas["a"]!.last)
    #expect(group.record.members == ["a", "b"] && group.replicas["a"]!.count(.rule17Withheld) > 0)
    #expect(group.write("a") != nil && group.replicas["a"]!.isActive)
    group.crash("c")
    group.start("c", incarnation: 3, settings: settings(rules: 2))
    group.run(1_500)
    #expect(group.record.members == ["a", "b", "c"])
  }

  @Test func `rule 18: a message of another cluster is not acted on`() {
    let group = Group(["a", "b"])
    var foreign = envelope(9, "a")
    foreign.cluster = 8
    group.deliver(.stale, foreign, to: "b")
    #expect(group.alarms["b"] == [.foreignCluster("a")])
    #expect(group.replicas["b"]!.epoch == Epoch(1))
  }

  @Test func `rule 18: a store that knows less than the replica had accepted is not followed`() {
    var start = Replica.Start.empty
    start.epoch = Epoch(5)
    var replica = Replica(
      .init(cluster: Group.cluster, partition: Group.partition, node: "b", incarnation: Incarnation(2)),
      start, now: 0)
    var record = GroupRecord(
      partition: Group.partition, epoch: Epoch(4), primary: "b", incarnation: Incarnation(2),
      secondaries: ["a"], isOpened: true)
    _ = replica.takeEffects()
    // What somebody tells of may be late.
    replica.configurationWasTold(record, now: 1)
    #expect(replica.activity == .inactive(.configurationUnknown) && replica.takeEffects().isEmpty)
    // An older copy of the store is in its place.
    replica.configurationWasRead(record, now: 2)
    #expect(replica.activity == .inactive(.configurationLost))
    #expect(
      replica.takeEffects() == [
        .alarm(.configurationLost(Epoch(4))), .activity(.inactive(.configurationLost)),
      ])
    replica.tick(now: 1_000)
    #expect(replica.takeEffects() == [.readConfiguration], "it proposes nothing, and looks again")
    replica.receive(
      .beacon(.init(sentAt: 1, committed: .empty, digest: nil, isProbe: true)), envelope(5, "a"), now: 1_001,
      wall: 0)
    #expect(replica.takeEffects().isEmpty && replica.refusal(now: 1_002) == .notPrimary)
    #expect(replica.epoch == Epoch(5))
    // The one that it had followed is back.
    (record.epoch, record.primary, record.secondaries) = (Epoch(6), "a", ["b"])
    replica.configurationWasRead(record, now: 1_003)
    replica.epochIsDurable(Epoch(6), now: 1_004)
    #expect(replica.role == .secondary && replica.activity == .following)
  }

  @Test func `leases that don't fit each other are not begun with`() {
    var settings = Replica.Settings()
    #expect(settings.areLeasesSafe)
    settings.graceMilliseconds = settings.leaseMilliseconds + settings.driftMilliseconds
    #expect(!settings.areLeasesSafe)
  }
}
