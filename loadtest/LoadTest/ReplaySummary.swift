import Foundation

/// What became of a trace.
package struct ReplaySummary: Sendable {
  /// Where every cent of the payments went, in minor units.
  package struct Money: Sendable, Equatable {
    /// In rows that the import refused, by reason.
    package var refusedAtImport: [String: Int64] = [:]
    /// In payments that the cluster refused, or that were not sent because their order was refused.
    package var refused: [String: Int64] = [:]
    /// In escrow at the end.
    package var held: Int64 = 0
    /// To buyers' wallets: beyond the total, after the end, of orders that were cancelled.
    package var surplus: Int64 = 0
    package var late: Int64 = 0
    package var refunded: Int64 = 0
    /// Of completed orders.
    package var released: Int64 = 0
    package var fee: Int64 = 0

    package var sum: Int64 {
      refusedAtImport.values.reduce(0, +) + refused.values.reduce(0, +) + held + surplus + late + refunded
        + released + fee
    }
  }

  package let source: String
  package let currency: String
  package let run: RunID
  package let events: Int
  package var over = 0
  package var retries = 0
  /// Requests without a final answer within their budget.
  package var unresolved = 0
  package var seconds: Double = 0
  package var money = Money()
  package var account: TraceAccount
  /// By kind, then by outcome: "done", a code, or why it was not sent.
  package private(set) var outcomes: [String: [String: Int]] = [:]

  init(header: TraceHeader, run: RunID) {
    source = header.source
    currency = header.currency
    events = header.events
    self.run = run
    account = TraceAccount(header)
  }

  mutating func count(_ kind: TraceAction.Kind, _ outcome: String) {
    outcomes[kind.rawValue, default: [:]][outcome, default: 0] += 1
  }

  package var moneyRows: [(String, Int64)] {
    var rows: [(String, Int64)] = []
    for (reason, cents) in money.refusedAtImport.sorted(by: { $0.key < $1.key }) where cents != 0 {
      rows.append(("refused at import: \(reason)", cents))
    }
    for (reason, cents) in money.refused.sorted(by: { $0.key < $1.key }) {
      rows.append(("refused: \(reason)", cents))
    }
    rows += [
      ("released to shops", money.released), ("fees", money.fee), ("held in escrow", money.held),
      ("refunded: order cancelled", money.refunded), ("refunded: surplus", money.surplus),
      ("refunded: late", money.late),
    ]
    return rows
  }

  /// Readable, several lines.
  package var text: String {
    var text = "run \(run)\n"
    text += "\(over) of \(events) events in \(String(format: "%.1f", seconds)) s"
    text +=
      " (\(Int(Double(over) / max(0.001, seconds)))/s), \(retries) retries, \(unresolved) unresolved\n\n"
    for kind in TraceAction.Kind.allCases {
      guard let outcomes = outcomes[kind.rawValue] else { continue }
      for (outcome, count) in outcomes.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
        text += pad(kind.rawValue, 16) + pad(outcome, 52) + right("\(count)", 9) + "\n"
      }
    }
    text += "\nrows of the source\n"
    for file in account.totals() {
      text += "  " + pad(file.file, 14) + right("\(file.rows)", 8) + " rows: \(file.done) done"
      for reason in file.refused { text += ", \(reason.count) \(reason.name)" }
      text += file.unaccounted > 0 ? ", \(file.unaccounted) UNACCOUNTED\n" : "\n"
    }
    text += "\npayments (\(currency), minor units)\n"
    for (name, cents) in moneyRows { text += "  " + pad(name, 52) + right("\(cents)", 14) + "\n" }
    text += "  " + pad("sum", 52) + right("\(money.sum)", 14)
    return text
  }

  package var json: String {
    struct Object: Encodable {
      var run, source, currency: String
      var events, over, retries, unresolved: Int
      var seconds: Double
      var outcomes: [String: [String: Int]]
      var files: [TraceAccount.File]
      var money: [String: Int64]
      var moneySum: Int64
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let object = Object(
      run: run.description, source: source, currency: currency, events: events, over: over, retries: retries,
      unresolved: unresolved, seconds: seconds, outcomes: outcomes, files: account.totals(),
      money: Dictionary(moneyRows, uniquingKeysWith: +), moneySum: money.sum)
    return String(decoding: (try? encoder.encode(object)) ?? Data(), as: UTF8.self)
  }

  private func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }
  private func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(1, width - text.count)) + text
  }
}
