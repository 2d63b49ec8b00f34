import Foundation
import LarisClient
import LarisProtocol
import LoadTest
import RunHistory

/// A sale's summary, for people and for programs.
struct SaleReport {
  let summary: SaleSummary

  private static let percentiles: [(name: String, percentile: Double)] = [
    ("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100),
  ]

  // MARK: Text

  var text: String {
    var lines: [String] = []
    let seconds = Int(summary.sellingSeconds)
    lines.append(
      "\(Output.grouped(summary.finished)) requests in \(seconds) s: "
        + "\(Output.grouped(Int(summary.answeredPerSecond))) answers/s, "
        + "\(Output.grouped(Int(Double(summary.done) / max(0.001, summary.sellingSeconds)))) done/s")
    lines.append(fates)
    let answered = summary.tally.latencies([.done, .no])
    lines.append(
      "latency in ms: "
        + Self.percentiles.map { $0.name + String(format: " %.2f", answered.milliseconds($0.percentile)) }
        .joined(separator: ", "))
    lines += table
    if summary.unknown > 0 {
      let resolutions = summary.resolutions
      lines.append(
        "unknown \(Output.grouped(summary.unknown)), of which resolved: executed "
          + "\(Output.grouped(resolutions.executed)), sealed \(Output.grouped(resolutions.sealed)), "
          + "unresolved \(Output.grouped(resolutions.unresolved))")
    }
    if let early = summary.lagAt10Seconds, let late = summary.lagAtEnd {
      lines.append(
        "checkpoint lag, entries at most: \(Output.grouped(Int(early))) from 5 to 10 s, "
          + "\(Output.grouped(Int(late))) in the last 5 s")
    }
    return (lines + notes).joined(separator: "\n")
  }

  private var fates: String {
    var parts = ["\(Output.grouped(summary.done)) done"]
    for outcome in [SaleOutcome.no, .notExecuted, .unknown] {
      for (code, count) in (summary.tally.codes[outcome] ?? [:]).sorted(by: { $0.key < $1.key }) {
        parts.append("\(Output.grouped(count)) \(outcome.name): \(name(code))")
      }
    }
    parts.append("\(Output.grouped(summary.resolutions.unresolved)) unresolved")
    parts.append("\(Output.grouped(summary.tally.repeated)) attempts repeated")
    return parts.joined(separator: ", ")
  }

  private var table: [String] {
    var rows = [["COMMAND", "OUTCOME", "COUNT", "P50", "P99", "P99.9", "MAX"]]
    for command in SaleCommand.allCases {
      for outcome in SaleOutcome.allCases {
        let cell = summary.tally[command, outcome]
        guard cell.count > 0, let latencies = cell.latencies else { continue }
        rows.append(
          [command.name, outcome.name, Output.grouped(cell.count)]
            + [50, 99, 99.9, 100].map { String(format: "%.2f", latencies.milliseconds($0)) })
      }
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).enumerated().map { column, cell in
        let pad = String(repeating: " ", count: cell.1 - cell.0.count)
        return column < 2 ? cell.0 + pad : pad + cell.0
      }.joined(separator: "  ")
    }
  }

  /// What makes the figures less than they look.
  private var notes: [String] {
    var notes: [String] = []
    let tally = summary.tally
    if let busiest = summary.threads.first, busiest.computing + busiest.waiting > 0.9 {
      notes.append(
        "note: thread \(busiest.thread) of the load generator computed \(percent(busiest.computing)) of the "
          + "time and waited \(percent(busiest.waiting)) for a core: the generator itself may be what limits")
    }
    if tally.late > 0 {
      notes.append(
        "note: \(Output.grouped(tally.late)) of \(Output.grouped(tally.sent)) requests "
          + "(\(percent(Double(tally.late) / Double(max(1, tally.sent))))) went out more than 5 ms after their "
          + String(
            format: "planned time, the latest %.1f ms; their latency has it in it",
            Double(tally.latest) / 1_000))
    }
    if tally.wasFull {
      notes.append("note: more requests were due than could be in flight; --in-flight bounds the rate")
    }
    if tally.neverSent > 0 {
      notes.append("note: \(Output.grouped(tally.neverSent)) requests were due and never sent")
    }
    if tally.stray > 0 {
      notes.append("note: \(Output.grouped(tally.stray)) replies came that nobody waited for any more")
    }
    return notes
  }

  private func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }

  private func name(_ code: UInt16) -> String {
    code == 0 ? "no answer" : Laris_Code(rawValue: Int(code))?.contractName ?? "code \(code)"
  }

  // MARK: JSON

  private struct Row: Encodable {
    var command: String, outcome: String
    var count: Int
    var p50, p90, p99, p999, max: Double
  }

  private struct Object: Encodable {
    var run: String
    var orders, done, notExecuted, unknown, unresolved, retried, silent, stray, neverSent: Int
    var no, notExecutedCodes, unknownCodes: [String: Int]
    var resolved: SaleSummary.Resolutions
    var seconds, ordersPerSecond, donePerSecond: Double
    var p50, p90, p99, p999, max, refusedP99: Double
    var late: Int
    var latestMilliseconds: Double
    var commands: [Row]
    var threads: [ThreadLoads.Load]
    var lagAt10Seconds, lagAtEnd: UInt64?
  }

  var json: String {
    let tally = summary.tally
    func codes(_ outcome: SaleOutcome) -> [String: Int] {
      Dictionary((tally.codes[outcome] ?? [:]).map { (name($0.key), $0.value) }, uniquingKeysWith: +)
    }
    var rows: [Row] = []
    for command in SaleCommand.allCases {
      for outcome in SaleOutcome.allCases {
        guard let latencies = tally[command, outcome].latencies else { continue }
        rows.append(
          Row(
            command: command.name, outcome: outcome.name, count: tally[command, outcome].count,
            p50: latencies.milliseconds(50), p90: latencies.milliseconds(90),
            p99: latencies.milliseconds(99), p999: latencies.milliseconds(99.9),
            max: latencies.milliseconds(100)))
      }
    }
    let answered = tally.latencies([.done, .no])
    let object = Object(
      run: summary.run, orders: summary.finished, done: summary.done, notExecuted: summary.notExecuted,
      unknown: summary.unknown, unresolved: summary.resolutions.unresolved, retried: tally.repeated,
      silent: tally.silent, stray: tally.stray, neverSent: tally.neverSent, no: codes(.no),
      notExecutedCodes: codes(.notExecuted), unknownCodes: codes(.unknown), resolved: summary.resolutions,
      seconds: summary.sellingSeconds, ordersPerSecond: summary.answeredPerSecond,
      donePerSecond: Double(summary.done) / max(0.001, summary.sellingSeconds),
      p50: answered.milliseconds(50), p90: answered.milliseconds(90), p99: answered.milliseconds(99),
      p999: answered.milliseconds(99.9), max: answered.milliseconds(100),
      refusedP99: tally.latencies([.notExecuted]).milliseconds(99), late: tally.late,
      latestMilliseconds: Double(tally.latest) / 1_000, commands: rows, threads: summary.threads,
      lagAt10Seconds: summary.lagAt10Seconds, lagAtEnd: summary.lagAtEnd)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    return String(decoding: (try? encoder.encode(object)) ?? Data(), as: UTF8.self)
  }
}
