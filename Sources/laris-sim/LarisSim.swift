import ArgumentParser
import Foundation

#if DELIBERATE_BUGS
  import SimulationWithBugs
#else
  import Simulation
#endif

@main
struct LarisSim: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: commandName,
    abstract: "Runs groups of replicas in a world of faults, and judges what they do.",
    discussion: """
      laris-sim --seeds 1..10000 --progress FILE   many seeds; the same again goes on where it stopped
      laris-sim --seed 42 --events                 one seed, and everything that happens in it
      laris-sim-bugs --seeds 1..500 --bug NAME     with a deliberate fault: ends at the first seed that finds it
      laris-sim-bugs --bugs                        names the deliberate faults

      laris-sim-bugs is the same program with the deliberate faults compiled in.
      Exit code: 0 nothing was found, 1 something was, or some command, fault or branch of a rule never occurred \
      in 1,000 seeds or more.
      """)

  @Option(help: "One seed.")
  var seed: UInt64?

  @Option(help: "A range of seeds, A..B, both included.")
  var seeds: String?

  #if DELIBERATE_BUGS
    static let commandName = "laris-sim-bugs"

    @Option(help: "A deliberate fault to run with.")
    var bug: DeliberateBug?

    @Flag(help: "Name the deliberate faults.")
    var bugs = false
  #else
    static let commandName = "laris-sim"

    private var bug: DeliberateBug? { nil }
  #endif

  @Flag(help: "Print everything that happens.")
  var events = false

  @Option(help: "A file that keeps what was done, so that a run can be made in pieces.")
  var progress: String?

  @Option(help: "Stop after so many seconds.")
  var seconds: Double?

  private struct Progress: Codable {
    var range: String
    var next: UInt64
    var tally: Tally
  }

  func run() throws {
    #if DELIBERATE_BUGS
      if bugs { return DeliberateBug.allCases.forEach { print($0.rawValue) } }
    #endif
    if let seed {
      let result = result(seed, say: events ? { print($0) } : nil)
      print(
        "seed \(seed): \(result.commands) commands, \(result.reads) reads, \(result.epochs) epochs, \(result.events) events, \(result.simulatedMilliseconds) ms; trace \(String(result.traceHash, radix: 16))"
      )
      guard let failure = result.failure else { return }
      print("seed \(seed): \(failure)")
      throw ExitCode(1)
    }
    guard let seeds, let range = Self.range(seeds) else {
      throw ValidationError("Say --seed N, or --seeds A..B.")
    }
    try run(range, named: "\(Self.commandName)\(bug.map { " --bug \($0.rawValue)" } ?? "") --seeds \(seeds)")
  }

  private func result(_ seed: UInt64, say: ((String) -> Void)? = nil) -> Simulation.Result {
    let simulation = Simulation(seed: seed, say: say)
    #if DELIBERATE_BUGS
      simulation.bug = bug
    #endif
    return simulation.run()
  }

  private static func range(_ text: String) -> ClosedRange<UInt64>? {
    let parts = text.components(separatedBy: "..")
    guard parts.count == 2, let low = UInt64(parts[0]), let high = UInt64(parts[1]), low <= high else {
      return nil
    }
    return low...high
  }

  private func run(_ range: ClosedRange<UInt64>, named name: String) throws {
    var state = Progress(range: name, next: range.lowerBound, tally: Tally())
    if let progress, let data = FileManager.default.contents(atPath: progress) {
      state = try JSONDecoder().decode(Progress.self, from: data)
      guard state.range == name else {
        throw ValidationError("\(progress) is of '\(state.range)', not of '\(name)'.")
      }
      guard state.tally.isOfThisProgram else {
        throw ValidationError("\(progress) is of another version of the program; begin a new one.")
      }
    }
    let began = Date()
    while state.next <= range.upperBound {
      if let seconds, Date().timeIntervalSince(began) >= seconds { break }
      let result = result(state.next)
      state.tally.add(result)
      state.next += 1
      if let failure = result.failure {
        if bug != nil {
          print("found by seed \(result.seed), the \(state.tally.seeds). seed: \(failure)")
          print("  again: \(Tally.again(result.seed, bug))")
          throw ExitCode(1)
        }
        print(state.tally.failures.last ?? failure)
      }
      if state.tally.seeds % 100 == 0 { try save(state) }
    }
    try save(state)
    try report(state, range, Date().timeIntervalSince(began))
  }

  private func save(_ state: Progress) throws {
    guard let progress else { return }
    try JSONEncoder().encode(state).write(to: URL(filePath: progress), options: .atomic)
  }

  private func report(_ state: Progress, _ range: ClosedRange<UInt64>, _ seconds: Double) throws {
    let tally = state.tally
    for line in tally.lines { print(line) }
    print(
      "\(tally.seeds) seeds, \(tally.commands) commands, \(tally.reads) reads (in each seed at least \(tally.commandsLeast ?? 0)), \(tally.epochs) epochs, \(tally.events) events; this time \((seconds * 10).rounded() / 10) s"
    )
    if state.next <= range.upperBound { print("to go on from seed \(state.next), run it again") }
    let missing = tally.seeds >= 1_000 ? tally.missing : []
    for what in missing { print("never occurred: \(what)") }
    print("\(tally.failures.count) seeds failed")
    if !tally.failures.isEmpty || !missing.isEmpty { throw ExitCode(1) }
  }
}

#if DELIBERATE_BUGS
  extension DeliberateBug: ExpressibleByArgument {}
#endif
