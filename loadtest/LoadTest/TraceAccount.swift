/// What became of every row of a trace's source.
///
/// Feed it each event with its outcome, in the order of the trace. A row is done if everything that it
/// asked for was done; refused, if anything was not, and the first reason counts, because what follows
/// a refusal is refused for it. At the end, for each file: done + refused = rows, if none was forgotten.
package struct TraceAccount: Sendable {
  package struct File: Equatable, Sendable, Codable {
    package var file: String
    package var rows: Int
    package var done: Int
    /// By reason, in the order of the reasons' names.
    package var refused: [TraceCount]
    /// Rows that no event named. More than 0 means that rows were lost.
    package var unaccounted: Int

    package init(file: String, rows: Int, done: Int, refused: [TraceCount], unaccounted: Int) {
      self.file = file
      self.rows = rows
      self.done = done
      self.refused = refused
      self.unaccounted = unaccounted
    }
  }

  /// 0: not named yet; 1: done so far; n: refused for `reasons[n - 2]`.
  private var states: [[UInt16]]
  private let files: [TraceFile]
  private let places: [String: Int]
  private var reasons: [String] = []
  private var reasonNumbers: [String: UInt16] = [:]

  package init(_ header: TraceHeader) {
    files = header.files
    places = Dictionary(uniqueKeysWithValues: header.files.enumerated().map { ($1.file, $0) })
    states = header.files.map { [UInt16](repeating: 0, count: $0.rows) }
  }

  /// - Parameters:
  ///   - event: of this trace; a file or row that the header has not traps (`TraceReader` checks them).
  ///   - refusal: nil: it was done. A `refused` event brings its own reason.
  package mutating func record(_ event: TraceEvent, refusal: String? = nil) {
    var state: UInt16 = 1
    if case .refused(let refused) = event.action {
      state = number(of: refused.reason)
      mark(refused.file, refused.row, state)
    } else if let refusal {
      state = number(of: refusal)
    }
    for part in event.rows {
      for row in part.numbers { mark(part.file, row, state) }
    }
  }

  package func totals() -> [File] {
    zip(files, states).map { file, states in
      var counts = [Int](repeating: 0, count: reasons.count + 2)
      for state in states { counts[Int(state)] += 1 }
      let refused = zip(reasons, counts.dropFirst(2)).filter { $1 > 0 }.sorted { $0.0 < $1.0 }
      return File(
        file: file.file, rows: file.rows, done: counts[1],
        refused: refused.map { TraceCount(name: $0, count: $1) }, unaccounted: counts[0])
    }
  }

  package var isComplete: Bool { states.allSatisfy { !$0.contains(0) } }

  private mutating func mark(_ file: String, _ row: Int, _ state: UInt16) {
    guard let place = places[file] else { preconditionFailure("no such file in the trace") }
    if states[place][row - 1] <= 1 { states[place][row - 1] = state }
  }

  private mutating func number(of reason: String) -> UInt16 {
    if let number = reasonNumbers[reason] { return number }
    // Reasons are codes, a few dozen. A trace that invents thousands gets one for the rest.
    guard reasons.count < 10_000 || reason == "other" else { return number(of: "other") }
    reasons.append(reason)
    let number = UInt16(reasons.count + 1)
    reasonNumbers[reason] = number
    return number
  }
}
