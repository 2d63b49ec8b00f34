/// A JSON array of whole numbers: what SQLite's JSON functions show as rows.
struct NumbersText {
  private var bytes: [UInt8] = [UInt8(ascii: "[")]

  mutating func append(_ number: Int64) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: DecimalWriter.numberBytesMax) { room in
      var digits = DecimalWriter(room)
      digits.append(number)
      bytes.append(contentsOf: digits.written)
    }
  }

  func text() -> String { String(decoding: bytes + [UInt8(ascii: "]")], as: UTF8.self) }

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

/// Text and whole numbers in decimal, into room that somebody else has.
struct DecimalWriter {
  /// A sign and 19 digits.
  static let numberBytesMax = 20
  private let room: UnsafeMutableBufferPointer<UInt8>
  private var count = 0

  init(_ room: UnsafeMutableBufferPointer<UInt8>) { self.room = room }

  var written: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(rebasing: room[..<count]) }

  mutating func append(_ character: Unicode.Scalar) {
    room[count] = UInt8(ascii: character)
    count += 1
  }

  mutating func append(_ number: Int64) {
    if number < 0 { append("-") }
    var rest = number.magnitude
    var end = count + 1
    while rest >= 10 {
      rest /= 10
      end += 1
    }
    count = end
    rest = number.magnitude
    // From the last digit to the first.
    repeat {
      end -= 1
      room[end] = UInt8(ascii: "0") + UInt8(rest % 10)
      rest /= 10
    } while rest > 0
  }
}
