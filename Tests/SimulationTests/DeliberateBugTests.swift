import Foundation
import SimulationWithBugs
import Testing

/// A simulation that finds nothing in a broken program proves nothing of a sound one.
struct DeliberateBugTests {
  @Test func `where no bug is turned on, both programs make the same run`() throws {
    let run = ["--seed", "12", "--events"]
    let withBugs = try Programs.run("laris-sim-bugs", run).output
    let without = try Programs.run("laris-sim", run).output
    #expect(withBugs.replacing("ReplicationWithBugs", with: "Replication") == without)
  }

  @Test func `the program without bugs knows of none`() throws {
    #expect(try Programs.run("laris-sim", ["--seed", "1", "--bug", "ack-before-sync"]).code == 64)
  }

  @Test func `a seed that finds a deliberate bug is told with the command that replays it`() throws {
    let found = try Programs.run("laris-sim-bugs", ["--seeds", "1..500", "--bug", "answer-before-commit"])
    #expect(found.code == 1 && found.output.contains("found by seed "), "\(found)")
    let command = try #require(
      found.output.split(separator: "\n").last { $0.hasPrefix("  again: laris-sim-bugs ") })
    let again = try Programs.run(
      "laris-sim-bugs", command.split(separator: " ").dropFirst(2).map(String.init))
    #expect(again.code == 1)
    let seed = try #require(found.output.firstMatch(of: /by seed (\d+), the \d+. seed: (.*)\n/))
    #expect(again.output.contains("seed \(seed.1): \(seed.2)\n"))
    #expect(again.output.split(separator: "\n").count > 100, "everything that happened")
  }

  /// A seed that finds each; docs/REPLICATION.md has them too.
  static let seeds: [String: UInt64] = [
    "answer-before-commit": 1,
    "answer-before-sync": 1,
    "dedupe-lost": 1,
    "epoch-not-durable": 1,
    "restart-in-old-epoch": 1,
    "truncate-by-commit-point": 1,
    "promote-without-ack": 2,
    "switch-before-all-know": 2,
    "lease-from-receipt": 5,
    "commit-by-one": 6,
    "no-rebuild": 6,
    "apply-above-commit": 10,
    "no-chain-check": 14,
    "ack-before-sync": 17,
    "ack-after-grace": 22,
    "restarted-member-goes-on": 22,
    "damaged-is-eligible": 32,
    "two-graces": 43,
    "takeover-without-grace": 44,
    "no-epoch-gate": 57,
    "read-without-lease": 57,
    "sync-error-is-recorded": 119,
    "unknown-is-refused": 153,
  ]

  @Test func `every deliberate bug has a seed that finds it`() {
    #expect(Set(Self.seeds.keys) == Set(DeliberateBug.allCases.map(\.rawValue)))
  }

  @Test(arguments: seeds.keys.sorted()) func `a deliberate bug is found`(name: String) throws {
    let simulation = Simulation(seed: try #require(Self.seeds[name]))
    simulation.bug = try #require(DeliberateBug(rawValue: name))
    #expect(simulation.run().failure != nil)
  }
}
