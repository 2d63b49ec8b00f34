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

  @Test func `a run of a thousand seeds in which something never occurred fails, and says what`() throws {
    struct Progress: Codable {
      var range = "laris-sim --seeds 1..1000"
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
      return try Programs.run("laris-sim", ["--seeds", "1..1000", "--progress", file.path()])
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
    let first = try Programs.run("laris-sim", ["--seed", "12", "--events"])
    #expect(first.code == 0 && first.output.contains("trace "))
    #expect(try Programs.run("laris-sim", ["--seed", "12", "--events"]).output == first.output)
  }
}
