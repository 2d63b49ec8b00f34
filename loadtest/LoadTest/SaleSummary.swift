import Foundation
import Histogram

/// What became of a sale's orders.
package struct SaleSummary {
  package var done = 0
  /// Refused by the rules, and not executed for good, by code.
  package var no: [UInt32: Int] = [:]
  package var refused: [UInt32: Int] = [:]
  /// Attempts that had to be repeated, by code, and those that nobody answered.
  package var retries: [UInt32: Int] = [:]
  package var silent = 0
  /// Orders without an answer in the end.
  package var unresolved = 0
  /// Replies that nobody waited for any more.
  package var strayReplies = 0
  /// Open loop: more was due than could be in flight.
  package var sendingWasLate = false
  package var sellingSeconds: Double = 0
  /// Share of the time in which the generator's thread computed.
  package var generatorLoad: Double = 0
  /// Entries that SQLite was behind at most, from 5 to 10 s and in the last 5 s.
  package var lagAt10Seconds: UInt64?
  package var lagAtEnd: UInt64?
  /// Microseconds from the planned time to the answer.
  package var histogram = Histogram<UInt64>()

  package var finished: Int { done + no.values.reduce(0, +) + refused.values.reduce(0, +) }
  package var ordersPerSecond: Double { Double(finished) / max(0.001, sellingSeconds) }

  package func milliseconds(_ percentile: Double) -> Double {
    Double(histogram.valueAtPercentile(percentile)) / 1_000
  }
}
