import Referee

/// What many seeds did together; what none of them did proves nothing.
package struct Tally: Codable, Sendable {
  package var seeds: UInt64 = 0
  package var commands: UInt64 = 0
  /// Commands and reads of the seed that had the fewest.
  package var commandsLeast: UInt64?
  package var reads: UInt64 = 0
  package var events: UInt64 = 0
  package var epochs: UInt64 = 0
  package var kinds = [UInt64](repeating: 0, count: CommandKind.allCases.count)
  package var faults = [UInt64](repeating: 0, count: Fault.allCases.count)
  package var branches = [UInt64](repeating: 0, count: Branch.allCases.count)
  /// Seeds that failed, with the first thing that was wrong.
  package var failures: [String] = []

  package init() {}

  /// Whether it counts what this program counts: one that was kept may be of another.
  package var isOfThisProgram: Bool {
    kinds.count == CommandKind.allCases.count && faults.count == Fault.allCases.count
      && branches.count == Branch.allCases.count
  }

  package mutating func add(_ result: Simulation.Result) {
    seeds += 1
    commands += result.commands
    commandsLeast = min(commandsLeast ?? .max, result.commands + result.reads)
    reads += result.reads
    events += result.events
    epochs += result.epochs
    for place in kinds.indices { kinds[place] += result.kinds[place] }
    for place in faults.indices { faults[place] += result.faults[place] }
    for place in branches.indices { branches[place] += result.branches[place] }
    if let failure = result.failure {
      failures.append("seed \(result.seed): \(failure)\n  again: \(Self.again(result.seed))")
    }
  }

  /// The command that replays a seed, with all that happens.
  package static func again(_ seed: UInt64, _ bug: DeliberateBug? = nil) -> String {
    "laris-sim\(bug.map { "-bugs --bug \($0.rawValue)" } ?? "") --seed \(seed) --events"
  }

  /// Commands, faults and branches with their counts.
  package var lines: [String] {
    CommandKind.allCases.map { "command \($0) \(kinds[$0.rawValue])" }
      + Fault.allCases.map { "fault \($0) \(faults[$0.rawValue])" }
      + Branch.allCases.map { "branch \($0) \(branches[$0.rawValue])" }
  }

  /// What never happened and should have.
  package var missing: [String] {
    CommandKind.allCases.filter { kinds[$0.rawValue] == 0 }.map { "command \($0)" }
      + Fault.allCases.filter { faults[$0.rawValue] == 0 }.map { "fault \($0)" }
      + Branch.allCases.filter { branches[$0.rawValue] == 0 }.map { "branch \($0)" }
      + ((commandsLeast ?? .max) < Simulation.commandsMin
        ? ["\(Simulation.commandsMin) commands and reads in each seed"] : [])
  }
}
