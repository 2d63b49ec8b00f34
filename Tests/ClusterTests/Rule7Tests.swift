import Cluster
import TestSupport
import Testing

struct Rule7Tests {
  private static let present = GroupRecord(
    partition: PartitionID(2), epoch: Epoch(4), primary: "a", incarnation: Incarnation(1),
    secondaries: ["b", "c"], isOpened: true, proposal: .join("d"))

  private static func next(
    _ primary: String, _ incarnation: UInt64, _ secondaries: [String], asked: GroupProposal? = nil,
    epoch: UInt64 = 5, partition: UInt16 = 2
  ) -> GroupRecord {
    GroupRecord(
      partition: PartitionID(partition), epoch: Epoch(epoch), primary: primary,
      incarnation: Incarnation(incarnation), secondaries: secondaries, isOpened: true, proposal: asked)
  }

  @Test(arguments: [
    ("drops one", next("a", 1, ["c"], asked: .join("d"))), ("drops all", next("a", 1, [])),
    ("keeps all", next("a", 1, ["b", "c"], asked: .join("d"))),
    ("started again", next("a", 2, ["b", "c"], asked: .join("d"))),
    ("adds who was asked for", next("a", 1, ["b", "c", "d"])),
    ("drops one and adds one", next("a", 1, ["b", "d"])),
    ("hands over", next("b", 9, ["c", "a"])), ("hands over to the only other", next("c", 9, ["a"])),
  ])
  func `what a primary may do`(_ what: String, _ next: GroupRecord) {
    let life = next.primary == "a" ? next.incarnation : Incarnation(1)
    #expect(Self.present.objection(to: next, by: "a", life) == nil, "\(what)")
  }

  @Test(arguments: [
    ("a stranger", "a", next("a", 1, ["b", "c", "e"])),
    ("a process that is not its own", "a", next("a", 3, ["b"])),
    ("to a stranger", "a", next("e", 1, ["b", "c"])), ("to the learner", "a", next("d", 1, ["b", "c", "a"])),
    ("with the learner", "a", next("b", 1, ["c", "a", "d"])),
    ("asks for what nobody asked for", "a", next("a", 1, ["b"], asked: .join("e"))),
    ("two epochs", "a", next("a", 1, ["b"], epoch: 6)), ("no epoch", "a", next("a", 1, ["b"], epoch: 4)),
    ("another partition", "a", next("a", 1, ["b"], partition: 3)),
    ("nobody's epoch", "a", next("a", 1, ["a"])),
    ("a secondary for another", "b", next("c", 1, ["b"])),
    ("a secondary as another process", "b", next("b", 3, ["c"])),
    ("a secondary with the old primary", "b", next("b", 1, ["c", "a"])),
    ("a secondary without the others", "b", next("b", 1, [])),
    ("a secondary with the learner", "b", next("b", 1, ["c", "d"])),
    ("a secondary for the primary", "b", next("a", 1, ["b"])),
    ("the learner", "d", next("d", 1, ["b", "c"])), ("a stranger itself", "e", next("e", 1, ["b", "c"])),
    ("nobody", "", next("a", 1, ["b"])),
  ])
  func `what nobody may do`(_ what: String, _ node: String, _ next: GroupRecord) {
    #expect(Self.present.objection(to: next, by: node, Incarnation(1)) != nil, "\(what)")
  }

  @Test func `a secondary may make itself the primary with all others`() {
    for (node, other) in [("b", "c"), ("c", "b")] {
      for asked in [nil, GroupProposal.join("d")] {
        let next = Self.next(node, 1, [other], asked: asked)
        #expect(Self.present.objection(to: next, by: node, Incarnation(1)) == nil)
      }
    }
    var two = Self.present
    two.secondaries = ["b"]
    #expect(two.objection(to: Self.next("b", 1, []), by: "b", Incarnation(1)) == nil, "rule 12")
  }

  /// Whatever is accepted, one of the old members leads and a quorum of it is kept: the data lives on.
  @Test func `no accepted change gives a group to strangers, or empties it`() {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SplitMix64(seed: seed)
    let names = ["a", "b", "c", "d", "e", ""]
    var accepted = 0
    for _ in 0..<60_000 {
      let secondaries = names.filter { _ in random.chance(40) }
      let next = Self.next(
        random.pick(names), UInt64(random.pick(1...2)), secondaries,
        asked: random.chance(50) ? Self.present.proposal : .remove(random.pick(names)),
        epoch: UInt64(random.pick(4...6)))
      let node = random.pick(names)
      guard Self.present.objection(to: next, by: node, Incarnation(1)) == nil else { continue }
      accepted += 1
      #expect(Self.present.members.contains(next.primary!), "seed \(seed): \(next)")
      #expect(next.members.allSatisfy { Self.present.members.contains($0) || $0 == "d" }, "seed \(seed)")
      #expect(next.epoch == Epoch(5) && next.problem == nil, "seed \(seed)")
      #expect(Self.present.members.contains(node), "seed \(seed): \(node)")
    }
    #expect(accepted > 50, "seed \(seed)")
  }
}
