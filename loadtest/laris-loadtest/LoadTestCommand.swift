import ArgumentParser
import Foundation
import LarisClient
import LoadTest
import NodeSupport
import RunHistory

@main
struct LoadTestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "laris-loadtest",
    abstract: "Load for a Laris cluster: a sale, or a real marketplace's orders replayed.",
    discussion: """
        laris-loadtest run --seconds 20
        laris-loadtest run --rate 20000 --history sale.history.lz4
        laris-loadtest judge --history sale.history.lz4 --log laris-data/worker-1
        laris-loadtest import olist DIR --out olist.trace.jsonl
        laris-loadtest replay olist.trace.jsonl

      Exit codes: 0 done; 1 something is unresolved, unaccounted for or judged wrong; 64 wrong usage; 69 nobody
      answers; 99 a threshold or a check does not hold.
      """,
    version: "0.1.0",
    subcommands: [
      Run.self, HistoryCommand.self, JudgeCommand.self, Replay.self, Import.self, Generate.self,
    ])

  static func main() {
    // What it measures must not be its own waiting for the processor.
    Scheduling.answersSoon()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let error as ReplayFailure {
      Output.error("laris-loadtest: \(error)")
      Foundation.exit(64)
    } catch let error as OlistImport.Failure {
      Output.error("laris-loadtest: \(error)")
      Foundation.exit(64)
    } catch let error as TraceError {
      Output.error("laris-loadtest: \(error)")
      Foundation.exit(64)
    } catch let error as HistoryError {
      Output.error("laris-loadtest: \(error)")
      Foundation.exit(error.kind == .damaged ? 1 : 64)
    } catch let error as JudgeCommand.Failure {
      Output.error("laris-loadtest: \(error)")
      Foundation.exit(64)
    } catch let error as Sale.Failure {
      Output.error("laris-loadtest: \(error)")
      if case .setup = error { Foundation.exit(69) }
      Foundation.exit(64)
    } catch {
      exit(withError: error)
    }
  }
}

typealias ReplayFailure = LoadTest.Replay.Failure

/// Of every command that sends something.
struct DispatcherOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Where the dispatcher listens for services. More of them, with commas or by repeating it: the next takes "
        + "over where one can't be reached or says nothing. Also LARIS_DISPATCHER. "
        + "(default: tcp://127.0.0.1:12120)",
      valueName: "dispatcher"))
  var dispatcher: [String] = []

  var dispatchers: [String] { LarisClient.dispatchers(named: dispatcher) }
}

enum Output {
  static func line(_ text: String) { write(STDOUT_FILENO, text + "\n") }
  static func error(_ text: String) { write(STDERR_FILENO, text + "\n") }

  /// Over the line before, where a person looks at it.
  static func live(_ text: String) {
    write(STDERR_FILENO, isatty(STDERR_FILENO) != 0 ? "\r\u{1B}[K\(text)" : text + "\n")
  }
  static func endLive() { if isatty(STDERR_FILENO) != 0 { write(STDERR_FILENO, "\r\u{1B}[K") } }

  private static func write(_ descriptor: Int32, _ text: String) {
    let bytes = Array(text.utf8)
    _ = Foundation.write(descriptor, bytes, bytes.count)
  }

  static func grouped(_ number: Int) -> String {
    let digits = Array(String(number.magnitude))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return number < 0 ? "-" + text : text
  }
}
