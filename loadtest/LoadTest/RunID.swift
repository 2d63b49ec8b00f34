import Cluster
import Foundation
import LarisClient

/// Names a replay. The same run id sends the same request ids again, so a replay that is repeated
/// changes nothing; another run id is another replay.
package struct RunID: Equatable, Sendable, CustomStringConvertible {
  /// A UUIDv7: its time is the time of every request id of the run.
  package let id: RequestID

  package init(_ id: RequestID) { self.id = id }

  /// A new one of now.
  package static func fresh() -> RunID { RunID(RequestID.fresh()) }

  /// - Parameter text: a UUIDv7, as ``description`` writes it.
  /// - Returns: nil where it is none.
  package init?(_ text: String) {
    let digits = text.filter { $0 != "-" }
    guard digits.utf8.count == 32, let high = UInt64(digits.prefix(16), radix: 16),
      let low = UInt64(digits.suffix(16), radix: 16)
    else { return nil }
    let id = RequestID(high: high, low: low)
    guard id.isVersion7 else { return nil }
    self.id = id
  }

  package var description: String { id.description }

  /// The id of the run's request number `index`: below 2^32. Ids rise with their numbers.
  ///
  /// Layout: the run's 48 bits of time | 7 | 12 high bits of the number | `10` | 20 low bits of the
  /// number | 42 bits of the run's own.
  package func request(_ index: Int) -> RequestID {
    precondition(index >= 0 && index < 1 << 32)
    let number = UInt64(index)
    return RequestID(
      high: id.high & ~0xFFF | number >> 20,
      low: 2 << 62 | (number & 0xFFFFF) << 42 | (id.low ^ id.high << 30) & (1 << 42 - 1))
  }

  /// Eight digits that tell runs apart, for references that must not repeat.
  package var suffix: String {
    let bits = (id.low ^ id.high << 30) & 0xFFFF_FFFF
    let digits = String(bits, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
