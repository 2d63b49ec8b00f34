/// The files of the published data set.
package enum OlistFile: String, CaseIterable, Sendable {
  // In the order of their names, which is the order of a trace's files.
  case categories, customers, items, orders, payments, products, reviews, sellers

  package var path: String {
    switch self {
    case .categories: "product_category_name_translation.csv"
    case .customers: "olist_customers_dataset.csv"
    case .items: "olist_order_items_dataset.csv"
    case .orders: "olist_orders_dataset.csv"
    case .payments: "olist_order_payments_dataset.csv"
    case .products: "olist_products_dataset.csv"
    case .reviews: "olist_order_reviews_dataset.csv"
    case .sellers: "olist_sellers_dataset.csv"
    }
  }
}

/// An id of the data set: an MD5 of 32 hex digits.
package struct OlistID: Hashable, Sendable {
  private let high: UInt64
  private let low: UInt64

  /// - Returns: nil where the text is not 32 hex digits, or its number would be 0.
  package init?(_ text: String) {
    guard text.utf8.count == 32 else { return nil }
    var words: [UInt64] = [0, 0]
    for (place, byte) in text.utf8.enumerated() {
      guard let digit = OlistID.digit(byte) else { return nil }
      words[place / 16] = words[place / 16] << 4 | digit
    }
    (high, low) = (words[0], words[1])
    guard number != 0 else { return nil }
  }

  /// The first 15 digits: 60 bits, so that it is positive in a signed column too. Never 0.
  package var number: UInt64 { high >> 4 }

  package var text: String { OlistID.hex(high) + OlistID.hex(low) }

  /// The first 8 digits, for people.
  package var short: String { String(OlistID.hex(high).prefix(8)) }

  private static func digit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
  }

  private static func hex(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

/// Amounts with two decimals, as whole cents.
package enum OlistMoney {
  /// A milliard: ten thousand rows of it in one order still fit.
  package static let centsMax: Int64 = 100_000_000_000

  /// Reads `12`, `12.5` or `12.50`, with a minus or without; digits after the second must be zeros.
  /// - Returns: nil where it is anything else, or more than `centsMax`.
  package static func cents(_ text: String) -> Int64? {
    var digits = text.utf8[...]
    let isNegative = digits.first == UInt8(ascii: "-")
    if isNegative { digits.removeFirst() }
    let parts = digits.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    guard let whole = parts.first, !whole.isEmpty, parts.count == 1 || !parts[1].isEmpty else { return nil }
    var fraction = parts.count == 1 ? [] : Array(parts[1])
    while fraction.count > 2 {
      guard fraction.removeLast() == UInt8(ascii: "0") else { return nil }
    }
    while fraction.count < 2 { fraction.append(UInt8(ascii: "0")) }
    var cents: Int64 = 0
    for byte in Array(whole) + fraction {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
      cents = cents * 10 + Int64(byte - UInt8(ascii: "0"))
      guard cents <= centsMax else { return nil }
    }
    return isNegative ? -cents : cents
  }

  package static func text(_ cents: Int64) -> String {
    let fraction = cents.magnitude % 100
    return "\(cents < 0 ? "-" : "")\(cents.magnitude / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }
}

/// Times such as `2017-09-15 18:04:37`. The data set names no zone; they are read as UTC.
package enum OlistTime {
  /// - Returns: milliseconds since the Unix epoch; nil where it is no such time of the years 1970 to 9999.
  package static func milliseconds(_ text: String) -> Int64? {
    let bytes = Array(text.utf8)
    guard bytes.count == 19 else { return nil }
    for (place, mark) in [(4, "-"), (7, "-"), (10, " "), (13, ":"), (16, ":")] {
      guard bytes[place] == mark.utf8.first else { return nil }
    }
    func number(_ places: Range<Int>) -> Int64? {
      var number: Int64 = 0
      for byte in bytes[places] {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
        number = number * 10 + Int64(byte - UInt8(ascii: "0"))
      }
      return number
    }
    guard let year = number(0..<4), year >= 1970 else { return nil }
    guard let month = number(5..<7), (1...12).contains(month) else { return nil }
    guard let day = number(8..<10), day >= 1, day <= daysOfMonth(month, year) else { return nil }
    guard let hour = number(11..<13), hour < 24 else { return nil }
    guard let minute = number(14..<16), minute < 60 else { return nil }
    guard let second = number(17..<19), second < 60 else { return nil }
    return (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000
  }

  /// - Parameter milliseconds: of the years 1970 to 9999; what is less than a second is dropped.
  package static func text(_ milliseconds: Int64) -> String {
    let seconds = milliseconds / 1_000
    let (year, month, day) = date(seconds / 86_400)
    func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let clock = [seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60].map(two).joined(separator: ":")
    return "\(year)-\(two(month))-\(two(day)) \(clock)"
  }

  private static func isLeap(_ year: Int64) -> Bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
  }

  private static func daysOfMonth(_ month: Int64, _ year: Int64) -> Int64 {
    switch month {
    case 2: isLeap(year) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// Days since 1970-01-01.
  private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let before = year - 1
    let leaps = before / 4 - before / 100 + before / 400 - 477  // 477: those before 1970
    let months = (1..<month).reduce(0) { $0 + daysOfMonth($1, year) }
    return (year - 1970) * 365 + leaps + months + day - 1
  }

  private static func date(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    var year = 1970 + days / 366
    while self.days(year + 1, 1, 1) <= days { year += 1 }
    var month: Int64 = 1
    while month < 12, self.days(year, month + 1, 1) <= days { month += 1 }
    return (year, month, days - self.days(year, month, 1) + 1)
  }
}
