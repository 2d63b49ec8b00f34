import Foundation
import Histogram
import RunHistory

/// What became of a sale's requests.
package struct SaleSummary: Sendable {
  /// What `Resolve` told of the requests whose fate was unknown at the end.
  package struct Resolutions: Sendable, Equatable, Codable {
    /// Done, or refused by the rules: it took effect or was judged.
    package var executed = 0
    /// Not executed, and never will be.
    package var sealed = 0
    /// Nobody could say.
    package var unresolved = 0
    package init() {}
  }

  package var run = ""
  package var tally = Tally()
  package var resolutions = Resolutions()
  package var sellingSeconds: Double = 0
  /// Of this process's threads while it sold, busiest first.
  package var threads: [ThreadLoads.Load] = []
  /// Entries that SQLite was behind at most, from 5 to 10 s and in the last 5 s.
  package var lagAt10Seconds: UInt64?
  package var lagAtEnd: UInt64?
  /// The history could not be written, or a generator could not go on.
  package var failures: [String] = []

  package var done: Int { tally.count(.done) }
  package var no: Int { tally.count(.no) }
  package var notExecuted: Int { tally.count(.notExecuted) }
  package var unknown: Int { tally.count(.unknown) }
  /// With an end of whatever kind.
  package var finished: Int { done + no + notExecuted + unknown }
  /// Final answers, *done* and *no*, a second.
  package var answeredPerSecond: Double { Double(done + no) / max(0.001, sellingSeconds) }
}
