import Replication

/// What many seeds did together; what none of them did proves nothing.
package struct Tally: Codable, Sendable {
  package var seeds: UInt64 = 0
  package var commands: UInt64 = 0
  package var reads: UInt64 = 0
  package var events: UInt64 = 0
  package var epochs: UInt64 = 0
  package var faults = [UInt64](repeating: 0, count: Fault.allCases.count)
  package var branches = [UInt64](repeating: 0, count: Branch.allCases.count)
  /// Seeds that failed, with the first thing that was wrong.
  package var failures: [String] = []

  package init() {}

  package mutating func add(_ result: Simulation.Result) {
    seeds += 1
    commands += result.commands
    reads += result.reads
    events += result.events
    epochs += result.epochs
    for place in faults.indices { faults[place] += result.faults[place] }
    for place in branches.indices { branches[place] += result.branches[place] }
    if let failure = result.failure {
      failures.append("seed \(result.seed): \(failure)\n  again: laris-sim --seed \(result.seed) --events")
    }
  }

  /// A branch that nothing but a broken group comes to: I3 does not hold there.
  private static let forbidden: Set<Branch> = [.rule10Quarantined]

  /// Faults and branches with their counts.
  package var lines: [String] {
    Fault.allCases.map { "fault \($0) \(faults[$0.rawValue])" }
      + Branch.allCases.map { "branch \($0) \(branches[$0.rawValue])" }
  }

  /// What never happened and should have.
  package var missing: [String] {
    Fault.allCases.filter { faults[$0.rawValue] == 0 }.map { "fault \($0)" }
      + Branch.allCases.filter { branches[$0.rawValue] == 0 && !Self.forbidden.contains($0) }
      .map { "branch \($0)" }
  }
}
