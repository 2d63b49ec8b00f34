import Histogram
import RunHistory

package typealias SaleOutcome = HistoryRecord.Outcome
/// Of microseconds, to three digits.
package typealias Latencies = Histogram<UInt64>

extension Histogram where Count == UInt64 {
  package static var longest: UInt64 { 600_000_000 }

  package static func latencies() -> Latencies {
    Latencies(highestTrackableValue: longest, numberOfSignificantValueDigits: .three)
  }

  package func milliseconds(_ percentile: Double) -> Double {
    totalCount == 0 ? 0 : Double(valueAtPercentile(percentile)) / 1_000
  }
}

/// What became of requests, by command and outcome, and how long each took.
package struct Tally: Sendable {
  package struct Cell: Sendable {
    package var latencies: Latencies?
    package var count: Int { Int(latencies?.totalCount ?? 0) }
  }

  private var cells = [Cell](repeating: Cell(), count: index(.getSKU, .unknown) + 1)
  /// Of those that are *no*, *not executed* and *unknown*, by code; 0: nobody said anything.
  package private(set) var codes: [SaleOutcome: [UInt16: Int]] = [:]
  /// Attempts beyond the first, and those that nobody answered in time.
  package var repeated = 0
  package var silent = 0
  /// Replies that nobody waited for any more, and those of them that differ from the first.
  package var stray = 0
  package var contradictions: [String] = []
  /// Of planned sendings: how many went out more than 5 ms late, and the latest, in microseconds.
  package var sent = 0
  package var late = 0
  package var latest: Int64 = 0
  /// Planned, but never sent within the time.
  package var neverSent = 0
  /// More was due than could be in flight.
  package var wasFull = false

  package init() {}

  package subscript(command: SaleCommand, outcome: SaleOutcome) -> Cell {
    cells[Self.index(command, outcome)]
  }

  private static func index(_ command: SaleCommand, _ outcome: SaleOutcome) -> Int {
    Int(command.rawValue) * (Int(SaleOutcome.unknown.rawValue) + 1) + Int(outcome.rawValue)
  }

  @inline(__always)
  package mutating func record(
    _ command: SaleCommand, _ outcome: SaleOutcome, code: UInt16, microseconds: UInt64
  ) {
    let index = Self.index(command, outcome)
    if cells[index].latencies == nil { cells[index].latencies = .latencies() }
    cells[index].latencies!.record(microseconds)
    if outcome != .done { codes[outcome, default: [:]][code, default: 0] += 1 }
  }

  package mutating func add(_ other: Tally) {
    for index in cells.indices {
      guard let more = other.cells[index].latencies else { continue }
      if cells[index].latencies == nil { cells[index].latencies = .latencies() }
      cells[index].latencies!.add(more)
    }
    for (outcome, counts) in other.codes {
      codes[outcome, default: [:]].merge(counts) { $0 + $1 }
    }
    repeated += other.repeated
    silent += other.silent
    stray += other.stray
    contradictions += other.contradictions
    sent += other.sent
    late += other.late
    latest = max(latest, other.latest)
    neverSent += other.neverSent
    wasFull = wasFull || other.wasFull
  }

  package func count(_ outcome: SaleOutcome) -> Int {
    SaleCommand.allCases.reduce(0) { $0 + self[$1, outcome].count }
  }

  /// Of all commands, with one of these outcomes.
  package func latencies(_ outcomes: [SaleOutcome]) -> Latencies {
    var sum = Latencies.latencies()
    for command in SaleCommand.allCases {
      for outcome in outcomes { if let more = self[command, outcome].latencies { sum.add(more) } }
    }
    return sum
  }
}

/// One second of a run: what was sent and what was answered in it.
package struct SecondTally: Sendable {
  /// From 0.
  package var second: Int
  package var sent = 0
  package var done = 0
  package var no = 0
  package var notExecuted = 0
  package var unknown = 0
  /// Of *done* and *no*; of *not executed*.
  package var answered = Latencies.latencies()
  package var refused = Latencies.latencies()

  package init(second: Int) { self.second = second }

  @inline(__always)
  mutating func record(_ outcome: SaleOutcome, microseconds: UInt64) {
    switch outcome {
    case .done:
      done += 1
      answered.record(microseconds)
    case .no:
      no += 1
      answered.record(microseconds)
    case .notExecuted:
      notExecuted += 1
      refused.record(microseconds)
    case .unknown: unknown += 1
    }
  }

  package mutating func add(_ other: SecondTally) {
    sent += other.sent
    done += other.done
    no += other.no
    notExecuted += other.notExecuted
    unknown += other.unknown
    answered.add(other.answered)
    refused.add(other.refused)
  }

  package static let csvHeader =
    "second,sent,done,no,not_executed,unknown,p50_ms,p99_ms,max_ms,not_executed_p99_ms"

  package var csv: String {
    let latencies = [answered.milliseconds(50), answered.milliseconds(99), answered.milliseconds(100)]
    let isEmpty = answered.totalCount == 0
    let times =
      latencies.map { isEmpty ? "" : "\($0)" } + [
        refused.totalCount == 0 ? "" : "\(refused.milliseconds(99))"
      ]
    return "\(second),\(sent),\(done),\(no),\(notExecuted),\(unknown)," + times.joined(separator: ",")
  }
}
