import ArgumentParser
import Foundation
import Fuzz

@main
struct LarisFuzz: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "laris-fuzz",
    abstract: "Feeds every decoder of Laris with what it was not made for.",
    discussion: """
      laris-fuzz run --seconds 60            every target for a minute
      laris-fuzz run segment --inputs 100000
      laris-fuzz replay segment FILE         one input, in this process: a trap shows where
      """,
    subcommands: [List.self, Run.self, Replay.self, Child.self])
}

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Name the targets.")

  func run() {
    for target in FuzzTargets.all {
      print(target.name + String(repeating: " ", count: 16 - target.name.count) + target.about)
    }
  }
}

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run targets, each in a process of its own, and keep what is found.",
    discussion: "Exit code: 0 nothing was found, 1 something was.")

  @Argument(help: "Targets; all where none is named.")
  var targets: [String] = []

  @Option(help: "Inputs of each target.")
  var inputs: Int?

  @Option(help: "Seconds of each target.")
  var seconds: Double?

  @Option(help: "The same seed makes the same inputs. Default: a new one, which is printed.")
  var seed: UInt64 = .random(in: 0...UInt64.max)

  @Option(help: "A folder of past findings, one folder a target; they are run first.")
  var corpus: String = "Tests/FuzzTests/corpus"

  @Option(help: "Where inputs that found something are written.")
  var findings: String = "fuzz-findings"

  func validate() throws {
    guard inputs != nil || seconds != nil else {
      throw ValidationError("Say --inputs or --seconds, or both.")
    }
    for name in targets where FuzzTargets.named(name) == nil {
      throw ValidationError("There is no target \(name); laris-fuzz list names them.")
    }
  }

  func run() throws {
    let campaign = Campaign(program: "/proc/self/exe".resolved)
    var isClean = true
    say("seed \(seed)")
    for target in FuzzTargets.all where targets.isEmpty || targets.contains(target.name) {
      var arguments = ["child", target.name, "--seed", "\(seed)", "--corpus", corpus]
      if let inputs { arguments += ["--inputs", "\(inputs)"] }
      if let seconds { arguments += ["--seconds", "\(seconds)"] }
      let began = Date()
      let result = try campaign.run(arguments)
      let took = (Date().timeIntervalSince(began) * 10).rounded() / 10
      let name = target.name + String(repeating: " ", count: 16 - target.name.count)
      say("\(name)\(result.tally.inputs) inputs, \(result.tally.outcomes) outcomes, \(took) s")
      guard let (what, input) = result.finding else { continue }
      isClean = false
      let short = try campaign.shortened(input, of: target.name)
      let folder = findings + "/" + target.name
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let path = folder + "/" + Corpus.name(short)
      try Data(short).write(to: URL(filePath: path))
      say("  FOUND: \(what)\n  again: laris-fuzz replay \(target.name) \(path)")
    }
    if !isClean { throw ExitCode(1) }
  }
}

struct Replay: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run inputs in this process.")

  @Argument(help: "The target.")
  var target: String

  @Argument(help: "Files, each an input.")
  var files: [String]

  @Option(help: .hidden)
  var record: String?

  func run() throws {
    guard let target = FuzzTargets.named(target) else {
      throw ValidationError("There is no target \(target).")
    }
    Session.limitMemory()
    defer { ScratchFolder.remove() }
    let record = try record.map { try InputRecord(path: $0) }
    var session = try Session(target, seed: 0, known: [], record: record)
    if record == nil { session.onOutcome = { outcome, _ in print(outcome) } }
    do {
      for file in files { try session.run(Array(try Data(contentsOf: URL(filePath: file)))) }
    } catch let finding as Finding {
      ScratchFolder.remove()
      throw failure(finding)
    }
  }
}

/// What ``Run`` starts.
struct Child: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "", shouldDisplay: false)

  @Argument var target: String
  @Option var seed: UInt64
  @Option var inputs: Int?
  @Option var seconds: Double?
  @Option var corpus: String
  @Option var record: String
  /// Show each new outcome.
  @Flag var verbose = false

  func run() throws {
    guard let target = FuzzTargets.named(target) else {
      throw ValidationError("There is no target \(target).")
    }
    Session.limitMemory()
    defer { ScratchFolder.remove() }
    do {
      var session = try Session(
        target, seed: seed, known: Corpus.files(of: target.name, in: corpus).map(\.bytes),
        record: try InputRecord(path: record))
      if verbose { session.onOutcome = { outcome, _ in print("  \(outcome)") } }
      try session.run(inputs: inputs, seconds: seconds)
      print(session.tally.inputs, session.tally.outcomes)
    } catch let finding as Finding {
      ScratchFolder.remove()
      throw failure(finding)
    }
  }
}

/// At once, also into a file.
private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Its words alone on standard error.
private func failure(_ finding: Finding) -> ExitCode {
  FileHandle.standardError.write(Data((finding.description + "\n").utf8))
  return ExitCode(2)
}

extension String {
  fileprivate var resolved: String { URL(filePath: self).resolvingSymlinksInPath().path }
}
