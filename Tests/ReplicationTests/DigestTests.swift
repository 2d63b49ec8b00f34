import Cluster
import Replication
import TestReplication
import Testing

/// Rule 15.
struct DigestTests {
  /// A primary and two secondaries that compare after every other block.
  private static func group() -> Group {
    var settings = Replica.Settings()
    settings.digestBlocks = 2
    return Group(["a", "b", "c"], settings: settings)
  }

  /// Blocks that everybody applies; `digest` says what each makes of them.
  private static func apply(
    _ blocks: Int, on group: Group, _ digest: (_ node: String, _ sn: SequenceNumber) -> UInt64?
  ) throws {
    for _ in 0..<blocks {
      let head = try #require(group.write("a"))
      for node in ["a", "b", "c"] {
        group.act(node) { $0.applied(through: head.last, digest: digest(node, head.last)) }
      }
      group.run(50)
    }
  }

  @Test func `replicas whose rows are equal compare, and go on`() throws {
    let group = Self.group()
    try Self.apply(10, on: group) { $1.rawValue * 3 }
    for node in ["b", "c"] {
      #expect(group.replicas[node]!.count(.rule15Compared) >= 4)
      #expect(group.replicas[node]!.count(.rule15Differed) == 0)
    }
    #expect(group.record.members == ["a", "b", "c"] && group.alarms.isEmpty)
  }

  @Test func `a secondary whose rows differ stops, says so, and is dropped; the others go on`() throws {
    let group = Self.group()
    let first = group.replicas["a"]!.last.sn.rawValue
    try Self.apply(12, on: group) { node, sn in
      node == "b" && sn.rawValue > first + 4 ? 1 : sn.rawValue * 3
    }
    group.run(1_000)
    #expect(group.replicas["b"]!.role == .inactive(.rowsDiffer))
    #expect(group.activities["b"]?.last == .inactive(.rowsDiffer))
    let alarms = try #require(group.alarms["b"])
    guard alarms.count == 1, case .digest(let sn) = alarms[0] else {
      Issue.record("\(alarms)")
      return
    }
    // At the first entry that was named after it.
    #expect(sn.rawValue > first + 4 && sn.rawValue <= first + 6)
    #expect(group.record.members == ["a", "c"])
    #expect(group.replicas["a"]!.isActive)
    #expect(group.replicas["c"]!.count(.rule15Differed) == 0)
    // Nothing but a new start changes it.
    group.record.proposal = .join("b")
    group.run(2_000)
    #expect(group.replicas["b"]!.role == .inactive(.rowsDiffer))
    #expect(group.record.members == ["a", "c"])
  }

  @Test func `what was not applied yet is compared when it is`() throws {
    let group = Self.group()
    var heads: [BlockHead] = []
    for _ in 0..<4 {
      let head = try #require(group.write("a"))
      heads.append(head)
      group.act("a") { $0.applied(through: head.last, digest: head.last.rawValue) }
      group.act("c") { $0.applied(through: head.last, digest: head.last.rawValue) }
      group.run(50)
    }
    #expect(group.replicas["b"]!.role == .secondary)
    // One of the others was named.
    group.act("b") { $0.applied(through: heads[0].last, digest: heads[0].last.rawValue) }
    #expect(group.replicas["b"]!.role == .secondary)
    for head in heads[1...] { group.act("b") { $0.applied(through: head.last, digest: 0) } }
    #expect(group.replicas["b"]!.role == .inactive(.rowsDiffer))
  }

  @Test func `one that does not know its digest of that entry compares the next`() throws {
    let group = Self.group()
    let first = group.replicas["a"]!.last.sn.rawValue
    try Self.apply(4, on: group) { node, sn in node == "b" ? nil : sn.rawValue }
    #expect(group.replicas["b"]!.count(.rule15Compared) == 0)
    try Self.apply(6, on: group) { node, sn in sn.rawValue }
    #expect(group.replicas["b"]!.count(.rule15Compared) > 0)
    #expect(group.record.members == ["a", "b", "c"] && first > 0)
  }
}
