import Foundation

/// What people see.
enum Terminal {
  /// Written at once, also where nobody looks at a terminal.
  static func print(_ text: String, terminator: String = "\n") {
    let bytes = Array((text + terminator).utf8)
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      done += count
    }
  }

  static func error(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }

  static var isInteractive: Bool { isatty(STDOUT_FILENO) != 0 }

  /// Columns padded to their widest cell; numbers to the right.
  static func table(_ header: [String], _ rows: [[String]], right: Set<Int> = []) -> String {
    var widths = header.map(\.count)
    for row in rows {
      for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
    }
    func line(_ cells: [String]) -> String {
      var text = ""
      for (column, cell) in cells.enumerated() {
        let pad = String(repeating: " ", count: widths[column] - cell.count)
        text += right.contains(column) ? pad + cell : cell + pad
        if column + 1 < cells.count { text += "  " }
      }
      while text.hasSuffix(" ") { text.removeLast() }
      return text
    }
    return ([line(header)] + rows.map(line)).joined(separator: "\n")
  }

  /// 1234567 → 1,234,567
  static func grouped<Number: BinaryInteger>(_ number: Number) -> String {
    let digits = Array(String(number.magnitude))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return number < 0 ? "-" + text : text
  }

  static func bytes(_ count: UInt64) -> String {
    switch count {
    case ..<1_024: "\(count) B"
    case ..<(1 << 20): "\(count >> 10) KiB"
    default: "\(count >> 20) MiB"
    }
  }

  /// 2026-01-31T08:09:10Z
  static func time(milliseconds: Int64) -> String {
    var seconds = time_t(milliseconds / 1_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1_900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
  }

  static func duration(milliseconds: Int64) -> String {
    let seconds = milliseconds / 1_000
    switch seconds {
    case ..<120: return "\(seconds) s"
    case ..<7_200: return "\(seconds / 60) min"
    case ..<172_800: return "\(seconds / 3_600) h"
    default: return "\(seconds / 86_400) d"
    }
  }
}
