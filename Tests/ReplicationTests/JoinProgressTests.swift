import Cluster
import Replication
import TestReplication
import Testing

struct JoinProgressTests {
  private func percent(
    _ last: UInt64, _ acknowledged: UInt64, _ snapshot: JoinProgress.Snapshot? = nil
  ) -> Int {
    JoinProgress(
      last: SequenceNumber(last), acknowledged: SequenceNumber(acknowledged), snapshot: snapshot
    ).percent
  }

  @Test func `what a learner acknowledged is its share of the primary's log, and all of it is 99 per cent`() {
    #expect(percent(0, 0) == 0)
    #expect(percent(1_000, 0) == 0)
    #expect(percent(1_000, 9) == 0)
    #expect(percent(1_000, 10) == 1)
    #expect(percent(1_000, 505) == 50)
    #expect(percent(1_000, 1_000) == 99)
    #expect(percent(1_000, 1_200) == 99, "the primary's log was cut since")
    #expect(percent(1 << 45, 1 << 44) == 50)
  }

  @Test func `a snapshot's bytes count as the entries whose tables they are`() {
    func copied(_ sent: Int, of bytes: Int) -> JoinProgress.Snapshot {
      JoinProgress.Snapshot(entry: SequenceNumber(800), bytesSent: sent, bytes: bytes)
    }
    #expect(percent(1_000, 0, copied(0, of: 1 << 20)) == 0)
    #expect(percent(1_000, 0, copied(1 << 19, of: 1 << 20)) == 40)
    #expect(percent(1_000, 0, copied(1 << 20, of: 1 << 20)) == 80)
    #expect(percent(1_000, 0, copied(1 << 46, of: 1 << 46)) == 80)
    // What it had before, and what came after.
    #expect(percent(1_000, 300, copied(1, of: 1 << 20)) == 30)
    #expect(percent(1_000, 900, copied(1 << 20, of: 1 << 20)) == 90)
    #expect(percent(1_000, 0, copied(0, of: 0)) == 0)
  }

  @Test func `a primary knows how far who joins it is, and nobody else does`() throws {
    let group = Group(["a", "b", "c"], secondaries: ["b"])
    for _ in 0..<4 { group.write("a") }
    #expect(group.replicas["a"]!.joinProgress(copying: nil) == nil)
    // It catches up, and its promotion is refused for now.
    group.swapOutcome = { _ in .notAsked }
    group.cut = ["ca"]
    group.record.proposal = .join("c")
    for name in ["a", "c"] { group.act(name) { $0.configurationWasTold(group.record, now: group.now) } }
    group.run(50)
    #expect(group.replicas["a"]!.learner == "c")
    #expect(group.replicas["a"]!.joinProgress(copying: nil)?.percent == 0)
    group.cut = []
    group.run(100)
    let progress = try #require(group.replicas["a"]!.joinProgress(copying: nil))
    #expect(progress.acknowledged == progress.last && progress.percent == 99)
    #expect(group.replicas["b"]!.joinProgress(copying: nil) == nil)
    group.swapOutcome = nil
    group.run(100)
    #expect(group.record.secondaries == ["b", "c"] && group.replicas["a"]!.learner == nil)
  }
}
