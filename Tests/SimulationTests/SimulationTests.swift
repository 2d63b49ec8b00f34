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

  @Test func `every fault of the model occurs within 200 seeds`() {
    var tally = Tally()
    for seed in 1...200 as ClosedRange<UInt64> where tally.missing.contains(where: { $0.hasPrefix("fault") })
    {
      tally.add(Simulation(seed: seed).run())
    }
    #expect(!tally.missing.contains { $0.hasPrefix("fault") }, "\(tally.missing)")
  }

  @Test func `a seed makes the same run in two processes`() throws {
    func output() throws -> String {
      let process = Process()
      let pipe = Pipe()
      process.executableURL = Bundle.main.executableURL?.deletingLastPathComponent().appending(
        path: "laris-sim")
      process.arguments = ["--seed", "12", "--events"]
      process.standardOutput = pipe
      try process.run()
      let data = pipe.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      return String(decoding: data, as: UTF8.self)
    }
    let first = try output()
    #expect(first.contains("trace "))
    #expect(try output() == first)
  }

  /// A seed that finds each; docs/REPLICATION.md has them too.
  static let seeds: [String: UInt64] = [
    "answer-before-commit": 1,
    "dedupe-lost": 1,
    "truncate-by-commit-point": 1,
    "ack-after-grace": 1,
    "epoch-not-durable": 1,
    "takeover-without-grace": 7,
    "promote-without-ack": 1,
    "answer-before-sync": 7,
    "commit-by-one": 13,
    "no-chain-check": 32,
    "restart-in-old-epoch": 152,
    "apply-above-commit": 47,
    "no-rebuild": 71,
    "read-without-lease": 76,
    "unknown-is-refused": 440,
    "ack-before-sync": 272,
    "no-epoch-gate": 379,
    "lease-from-receipt": 840,
  ]

  @Test(arguments: seeds.keys.sorted()) func `a deliberate bug is found`(name: String) throws {
    let bug = try #require(DeliberateBug(rawValue: name))
    let seed = try #require(Self.seeds[name])
    #expect(Simulation(seed: seed, bug: bug).run().failure != nil)
  }
}
