import Bytes

/// A partition of a cluster, from 0.
package struct PartitionID: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let rawValue: UInt16
  package init(_ rawValue: UInt16) { self.rawValue = rawValue }
  package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  package var description: String { "p\(rawValue)" }

  /// Four digits, so that folders sort.
  package var folderName: String {
    let digits = String(rawValue)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}

/// A configuration of a group. Grows with every change of its members; 0 is before the first.
package struct Epoch: Hashable, Comparable, Sendable, CustomStringConvertible {
  package var rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
  package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  package var next: Epoch { Epoch(rawValue + 1) }
  package var description: String { "e\(rawValue)" }
}

/// Place of an entry in a partition's log: 1, 2, 3, … without a gap. 0 is before the first.
package struct SequenceNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
  package var rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
  package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  package static let zero = SequenceNumber(0)
  package var next: SequenceNumber { SequenceNumber(rawValue + 1) }
  package func advanced(by count: UInt64) -> SequenceNumber { SequenceNumber(rawValue + count) }
  package var description: String { "\(rawValue)" }
}

/// One life of a process: new at every start.
package struct Incarnation: Hashable, Sendable, CustomStringConvertible {
  package let rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
  package var description: String { hexadecimal(rawValue) }
}

/// 128 bits that a caller chose for a request: a UUIDv7, compared big endian, so that
/// their order is the order of their times.
package struct RequestID: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// The first id of all that carry a time of `milliseconds` or later.
  package init(firstAt milliseconds: Int64) {
    self.init(high: UInt64(bitPattern: max(0, milliseconds)) << 16, low: 0)
  }

  /// Milliseconds since the Unix epoch, as the caller's clock had it.
  package var milliseconds: Int64 { Int64(high >> 16) }
  package var isVersion7: Bool { (high >> 12) & 0xF == 7 && low >> 62 == 2 }

  package static func < (a: Self, b: Self) -> Bool {
    a.high < b.high || (a.high == b.high && a.low < b.low)
  }

  package var description: String {
    let digits = Array(hexadecimal(high) + hexadecimal(low))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index == 8 || index == 12 || index == 16 || index == 20 { text.append("-") }
      text.append(digit)
    }
    return text
  }
}
