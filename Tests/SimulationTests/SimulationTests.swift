import Foundation
import Simulation
import Testing

struct SimulationTests {
  /// In pieces, so that they share the machine's cores.
  @Test(arguments: [1, 51, 101, 151] as [UInt64])
  func `nothing that was answered is lost or done twice, whatever fails`(first: UInt64) {
    var tally = Tally()
    for seed in first..<first + 50 { tally.add(Simulation(seed: seed).run()) }
    #expect(tally.failures.isEmpty, "\(tally.failures.joined(separator: "\n"))")
    #expect(tally.commands > 50 * 1_000)
    #expect(tally.epochs > 50)
  }

  @Test func `every command and every fault of the model occur within 200 seeds`() {
    var tally = Tally()
    func missing() -> [String] { tally.missing.filter { !$0.hasPrefix("branch") } }
    for seed in 1...200 as ClosedRange<UInt64> where !missing().isEmpty {
      tally.add(Simulation(seed: seed).run())
    }
    #expect(missing() == [])
  }

  /// - Returns: its exit code and what it printed.
  private func larisSim(_ arguments: [String]) throws -> (code: Int32, output: String) {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = Bundle.main.executableURL?.deletingLastPathComponent().appending(
      path: "laris-sim")
    process.arguments = arguments
    process.standardOutput = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }

  @Test func `a run of a thousand seeds in which something never occurred fails, and says what`() throws {
    struct Progress: Codable {
      var range = "1..1000"
      var next: UInt64 = 1_001
      var tally: Tally
    }
    func run(seeds: UInt64, _ count: UInt64) throws -> (code: Int32, output: String) {
      var tally = Tally()
      tally.seeds = seeds
      tally.kinds = tally.kinds.map { _ in count }
      tally.faults = tally.faults.map { _ in count }
      tally.branches = tally.branches.map { _ in count }
      let file = FileManager.default.temporaryDirectory.appending(path: "laris-sim-\(UUID()).json")
      defer { try? FileManager.default.removeItem(at: file) }
      try JSONEncoder().encode(Progress(tally: tally)).write(to: file)
      return try larisSim(["--seeds", "1..1000", "--progress", file.path()])
    }
    let empty = try run(seeds: 1_000, 0)
    #expect(empty.code == 1)
    for what in ["command placeOrderDone", "fault lost", "branch rule1Stale", "branch rule10Quarantined"] {
      #expect(empty.output.contains("never occurred: \(what)\n"))
    }
    #expect(try run(seeds: 1_000, 1).code == 0)
    // Too few to say anything.
    #expect(try run(seeds: 999, 0).code == 0)
  }

  @Test func `a seed makes the same run in two processes`() throws {
    let first = try larisSim(["--seed", "12", "--events"])
    #expect(first.code == 0 && first.output.contains("trace "))
    #expect(try larisSim(["--seed", "12", "--events"]).output == first.output)
  }

  @Test func `a seed that finds a deliberate bug is told with the command that replays it`() throws {
    let found = try larisSim(["--seeds", "1..500", "--bug", "answer-before-commit"])
    #expect(found.code == 1 && found.output.contains("found by seed "), "\(found)")
    let command = try #require(
      found.output.split(separator: "\n").last { $0.hasPrefix("  again: laris-sim ") })
    let again = try larisSim(command.split(separator: " ").dropFirst(2).map(String.init))
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
    "switch-before-all-know": 2,
    "lease-from-receipt": 5,
    "no-rebuild": 6,
    "apply-above-commit": 10,
    "promote-without-ack": 11,
    "no-chain-check": 14,
    "ack-after-grace": 22,
    "restarted-member-goes-on": 22,
    "commit-by-one": 25,
    "ack-before-sync": 30,
    "damaged-is-eligible": 32,
    "two-graces": 43,
    "takeover-without-grace": 44,
    "no-epoch-gate": 57,
    "read-without-lease": 57,
    "unknown-is-refused": 179,
  ]

  @Test func `every deliberate bug has a seed that finds it`() {
    #expect(Set(Self.seeds.keys) == Set(DeliberateBug.allCases.map(\.rawValue)))
  }

  @Test(arguments: seeds.keys.sorted()) func `a deliberate bug is found`(name: String) throws {
    let bug = try #require(DeliberateBug(rawValue: name))
    let seed = try #require(Self.seeds[name])
    #expect(Simulation(seed: seed, bug: bug).run().failure != nil)
  }
}
