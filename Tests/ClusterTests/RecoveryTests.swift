import Cluster
import TestSupport
import Testing

struct RecoveryTests {
  private static let partition = PartitionID(3)

  private static func replica(
    _ node: String, _ epoch: UInt64?, _ members: [String] = ["a", "b", "c"], last: UInt64 = 100,
    tag: UInt64 = 1, fault: String? = nil
  ) -> Recovery.Replica {
    let accepted = epoch.flatMap {
      members.isEmpty
        ? AcceptedEpoch(Epoch($0))
        : AcceptedEpoch(Epoch($0), primary: members[0], secondaries: Array(members.dropFirst()))
    }
    return Recovery.Replica(
      node: node, accepted: accepted, last: SequenceNumber(last), tag: Epoch(tag), fault: fault)
  }

  private static func decide(
    _ replicas: [Recovery.Replica], choice: String? = nil, workers: Set<String>? = nil
  ) -> Recovery.Decision {
    Recovery(workers: workers ?? Set(replicas.map(\.node))).decide(partition, replicas, choice: choice)
  }

  private static func record(_ decision: Recovery.Decision) -> GroupRecord? {
    if case .restart(let record, _) = decision { record } else { nil }
  }

  private static func refusal(_ decision: Recovery.Decision) -> String {
    if case .refused(let why) = decision { why } else { "" }
  }

  @Test func `the primary of the last configuration goes on, with its members, far above the old epochs`()
    throws
  {
    let decision = Self.decide([Self.replica("c", 7), Self.replica("a", 7), Self.replica("b", 6)])
    let record = try #require(Self.record(decision))
    #expect(record.primary == "a" && record.secondaries == ["b", "c"] && record.isOpened)
    #expect(record.epoch == Epoch(7 + Recovery.leap) && record.problem == nil && record.proposal == nil)
  }

  @Test func `a replica that had left is no member, however long its log is`() throws {
    let replicas = [
      Self.replica("a", 9, ["a", "b"]), Self.replica("b", 9, ["a", "b"], last: 120),
      Self.replica("c", 7, last: 900, tag: 7),
    ]
    let record = try #require(Self.record(Self.decide(replicas)))
    #expect(record.members == ["a", "b"])
    // Not even where it is the only clean one.
    let lost = replicas.map { replica in
      var replica = replica
      if replica.node != "c" { replica.fault = "it is damaged" }
      return replica
    }
    let why = Self.refusal(Self.decide(lost))
    #expect(why.contains("no member of e9 is clean") && why.contains("c, no member, has entry 900"), "\(why)")
    let chosen = Self.decide(lost, choice: "c")
    #expect(Self.record(chosen)?.members == ["c"])
    #expect("\(chosen)".contains("is no member of e9"))
  }

  @Test func `where the primary is damaged, the member with the longest log goes on`() throws {
    let replicas = [
      Self.replica("a", 7, fault: "it is damaged"), Self.replica("b", 7, last: 100, tag: 7),
      Self.replica("c", 7, last: 130, tag: 6),
    ]
    #expect(Self.record(Self.decide(replicas))?.members == ["b", "c"], "the later epoch counts for more")
  }

  @Test func `a member that is not at hand may have gone on alone, so an operator must choose`() throws {
    let replicas = [Self.replica("a", 7), Self.replica("b", 7)]
    #expect(Self.refusal(Self.decide(replicas)).contains("c of e7 may have gone on"))
    let chosen = Self.decide(replicas, choice: "b")
    #expect(Self.record(chosen)?.members == ["b", "a"])
    #expect("\(chosen)".contains("later entries may be missing"))
    // At hand, but its folder has nothing of the partition any more.
    #expect(
      Self.refusal(Self.decide(replicas, workers: ["a", "b", "c"])).contains("c of e7 has lost which epoch"))
    #expect(
      Self.refusal(Self.decide(replicas + [Self.replica("c", nil, fault: "unclean")])).contains("has lost"))
  }

  @Test func `what cannot be known is refused`() {
    #expect(Self.refusal(Self.decide([])).contains("none of these workers has it"))
    #expect(Self.refusal(Self.decide([Self.replica("a", nil)])).contains("none of these workers has it"))
    // The latest epoch was written by a version that kept no members.
    let old = [Self.replica("a", 6), Self.replica("b", 6), Self.replica("c", 7, [])]
    #expect(Self.refusal(Self.decide(old)).contains("whose e7 was is not known"))
    #expect(Self.record(Self.decide(old, choice: "b"))?.members == ["b"])
    let torn = [Self.replica("a", 7, ["a", "b"]), Self.replica("b", 7, ["b", "a"])]
    #expect(Self.refusal(Self.decide(torn)).contains("do not agree"))
    #expect(Self.refusal(Self.decide(torn, choice: "c")).contains("has nothing of it"))
    let damaged = [Self.replica("a", 7, ["a"], fault: "it is damaged")]
    #expect(Self.refusal(Self.decide(damaged, choice: "a")).contains("it is damaged"))
  }

  // MARK: By chance

  /// A group that changes by rules 7 and 11, as seen from outside, with what is committed and who has it.
  private struct World {
    var random: SplitMix64
    let names: [String]
    /// By epoch.
    var store: [UInt64: [String]]
    var present: UInt64 = 1
    var accepted: [String: UInt64] = [:]
    /// How many of the committed entries a node's log begins with; those of a new epoch are one history.
    var logs: [String: Int] = [:]
    var committed = 0
    /// Whose acknowledgement the primary of an epoch waits for, besides its members'.
    var promised: [UInt64: String] = [:]
    var learners: Set<String> = []

    init(seed: UInt64) {
      random = SplitMix64(seed: seed)
      names = (0..<random.pick(2...5)).map { "w\($0)" }
      let first = Array(names.prefix(random.pick(1...min(3, names.count))))
      store = [1: first]
    }

    /// Whether a node acts in an epoch: it has accepted it, and no later one.
    private func acts(_ node: String, in epoch: UInt64) -> Bool { accepted[node] == epoch }

    mutating func step() {
      let node = random.pick(names)
      switch random.pick(0...9) {
      case 0...2:
        // Whoever hears of a configuration accepts it, member or not.
        if present > accepted[node, default: 0] { accepted[node] = present }
      case 3...6: commit()
      case 7: promise()
      default: propose(node)
      }
    }

    private mutating func commit() {
      let epoch = random.pick(max(1, Int(present) - 2)...Int(present))
      guard let members = store[UInt64(epoch)], members.allSatisfy({ acts($0, in: UInt64(epoch)) }) else {
        return
      }
      committed += 1
      for node in members + (promised[UInt64(epoch)].map { [$0] } ?? []) { logs[node] = committed }
    }

    /// Rule 11: the primary decides to wait for a learner, which has all.
    private mutating func promise() {
      let members = store[present]!
      guard acts(members[0], in: present), promised[present] == nil,
        logs[members[0], default: 0] == committed, let learner = names.first(where: { !members.contains($0) })
      else { return }
      logs[learner] = committed
      learners.insert(learner)
      promised[present] = learner
    }

    private mutating func propose(_ node: String) {
      let members = store[present]!
      guard members.contains(node), acts(node, in: present) else { return }
      var next = members
      if node != members[0] {
        next = [node] + members.dropFirst().filter { $0 != node }
      } else if let learner = promised[present], random.chance(50) {
        next.append(learner)
      } else if members.count > 1 {
        next.remove(at: random.pick(1...members.count - 1))
      }
      present += 1
      store[present] = next
    }

    func replicas(_ given: Set<String>, damaged: Set<String>) -> [Recovery.Replica] {
      given.sorted().compactMap { node in
        guard let epoch = accepted[node] else { return nil }
        let members = store[epoch]!
        return Recovery.Replica(
          node: node,
          accepted: AcceptedEpoch(Epoch(epoch), primary: members[0], secondaries: Array(members.dropFirst())),
          last: SequenceNumber(UInt64(logs[node, default: 0])), tag: Epoch(epoch),
          fault: damaged.contains(node) ? "damaged" : nil)
      }
    }
  }

  @Test func `whoever goes on without being chosen has all that was committed`() {
    var counts = (restarted: 0, refused: 0, partial: 0)
    let first = UInt64.random(in: 0 ... .max)
    for seed in (0..<4_000).map({ first &+ $0 }) {
      var world = World(seed: seed)
      for _ in 0..<world.random.pick(5...60) { world.step() }
      var given = Set(world.names)
      // A learner is always among those that are known, and so given.
      for name in world.names where world.random.chance(15) && !world.learners.contains(name) {
        given.remove(name)
      }
      var damaged: Set<String> = []
      for name in world.names where world.random.chance(10) { damaged.insert(name) }
      let decision = Recovery(workers: given).decide(
        Self.partition, world.replicas(given, damaged: damaged))
      guard let record = Self.record(decision) else {
        counts.refused += 1
        continue
      }
      counts.restarted += 1
      if given.count < world.names.count { counts.partial += 1 }
      #expect(record.problem == nil && record.epoch.rawValue > world.present, "seed \(seed): \(record)")
      for member in record.members {
        #expect(!damaged.contains(member), "seed \(seed): \(member)")
        let has = world.logs[member, default: 0]
        #expect(has == world.committed, "seed \(seed): \(member) of \(decision); \(world)")
      }
    }
    #expect(
      counts.restarted > 500 && counts.refused > 200 && counts.partial > 20, "\(counts), from seed \(first)")
  }
}
