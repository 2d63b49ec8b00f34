/// A JSON array of whole numbers: what SQLite's JSON functions show as rows.
struct NumbersText {
  private var bytes: [UInt8] = [UInt8(ascii: "[")]

  mutating func append(_ number: Int64) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    Self.append(number, to: &bytes)
  }

  func text() -> String { String(decoding: bytes + [UInt8(ascii: "]")], as: UTF8.self) }

  static func append(_ number: Int64, to text: inout [UInt8]) {
    if number < 0 { text.append(UInt8(ascii: "-")) }
    var rest = number.magnitude
    // From the last digit to the first; UInt64 has 20 at most.
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
      var first = digits.count
      repeat {
        first -= 1
        digits[first] = UInt8(ascii: "0") + UInt8(rest % 10)
        rest /= 10
      } while rest > 0
      for place in first..<digits.count { text.append(digits[place]) }
    }
  }

  /// - Returns: nil where the text is none of ours.
  static func read(_ text: String) -> [Int64]? {
    guard text.hasPrefix("["), text.hasSuffix("]") else { return nil }
    let inner = text.utf8.dropFirst().dropLast()
    var numbers: [Int64] = []
    var (current, isNegative) = (nil as Int64?, false)
    func end() -> Int64? {
      guard let current, isNegative || current != .min else { return nil }
      return isNegative ? current : -current
    }
    for byte in inner {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        // Counts down, so that the least number fits too.
        let (tens, tooLarge) = (current ?? 0).multipliedReportingOverflow(by: 10)
        let (sum, overflow) = tens.subtractingReportingOverflow(Int64(byte - UInt8(ascii: "0")))
        guard !tooLarge, !overflow else { return nil }
        current = sum
      case UInt8(ascii: "-"):
        guard current == nil, !isNegative else { return nil }
        isNegative = true
      case UInt8(ascii: ","):
        guard let number = end() else { return nil }
        numbers.append(number)
        (current, isNegative) = (nil, false)
      default: return nil
      }
    }
    if inner.isEmpty { return numbers }
    guard let number = end() else { return nil }
    numbers.append(number)
    return numbers
  }
}
