import Marketplace

/// How enumerations are spelt in tables: for people who read them with sqlite3.
protocol Spelt: CaseIterable {
  var spelling: String { get }
}

extension Spelt {
  init?(spelling: String) {
    guard let match = Self.allCases.first(where: { $0.spelling == spelling }) else { return nil }
    self = match
  }
}

extension OrderState: Spelt, CaseIterable {
  package static let allCases: [OrderState] = [
    .placed, .paid, .ready, .shipped, .delivered, .completed, .cancelled, .expired,
  ]
  package var spelling: String {
    switch self {
    case .placed: "placed"
    case .paid: "paid"
    case .ready: "ready"
    case .shipped: "shipped"
    case .delivered: "delivered"
    case .completed: "completed"
    case .cancelled: "cancelled"
    case .expired: "expired"
    }
  }
}

extension Origin: Spelt, CaseIterable {
  package static let allCases: [Origin] = [.domestic, .crossBorder]
  var spelling: String { self == .domestic ? "domestic" : "cross_border" }
}

extension ShopStatus: Spelt, CaseIterable {
  package static let allCases: [ShopStatus] = [.active, .suspended]
  var spelling: String { self == .active ? "active" : "suspended" }
}

extension Actor: Spelt, CaseIterable {
  package static let allCases: [Actor] = [.buyer, .shop, .platform]
  var spelling: String {
    switch self {
    case .buyer: "buyer"
    case .shop: "shop"
    case .platform: "platform"
    }
  }
}

extension PaymentMethod: Spelt, CaseIterable {
  package static let allCases: [PaymentMethod] = [
    .unspecified, .bankTransfer, .eWallet, .card, .payLater, .cashOnDelivery, .voucherBalance,
  ]
  var spelling: String {
    switch self {
    case .unspecified: "unspecified"
    case .bankTransfer: "bank_transfer"
    case .eWallet: "e_wallet"
    case .card: "card"
    case .payLater: "pay_later"
    case .cashOnDelivery: "cash_on_delivery"
    case .voucherBalance: "voucher_balance"
    }
  }
}

extension Settlement: Spelt, CaseIterable {
  package static let allCases: [Settlement] = [.exact, .under, .over, .late, .rejected]
  var spelling: String {
    switch self {
    case .exact: "exact"
    case .under: "under"
    case .over: "over"
    case .late: "late"
    case .rejected: "rejected"
    }
  }
}

/// An order's lines, `[[sku, quantity, unit price], …]`: one row an order, and SQLite's JSON
/// functions show them as rows. Ids are written signed, as in every INTEGER column.
enum LinesText {
  /// Of a line: three numbers, brackets and commas.
  private static let lineBytesMax = 3 * DecimalWriter.numberBytesMax + 5

  /// Hands over the text of lines.
  static func withText(of lines: [OrderLine], _ body: (UnsafeRawBufferPointer) -> Void) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: lines.count * lineBytesMax + 2) { room in
      var text = DecimalWriter(room)
      text.append("[")
      for (index, line) in lines.enumerated() {
        if index > 0 { text.append(",") }
        text.append("[")
        text.append(Int64(bitPattern: line.sku))
        text.append(",")
        text.append(Int64(line.quantity))
        text.append(",")
        text.append(line.unitPrice)
        text.append("]")
      }
      text.append("]")
      body(UnsafeRawBufferPointer(text.written))
    }
  }

  /// - Returns: nil where the text is none of ours.
  static func read(_ text: String) -> [OrderLine]? {
    var numbers: [Int64] = []
    var current: Int64?
    var negative = false
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        let digit = Int64(byte - UInt8(ascii: "0"))
        let (tens, tooLarge) = (current ?? 0).multipliedReportingOverflow(by: 10)
        // Counts down, so that the least number fits too.
        let (sum, overflow) = tens.subtractingReportingOverflow(digit)
        guard !tooLarge, !overflow else { return nil }
        current = sum
      case UInt8(ascii: "-"):
        guard current == nil, !negative else { return nil }
        negative = true
      case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "["):
        if let value = current {
          guard negative || value != .min else { return nil }
          numbers.append(negative ? value : -value)
        }
        current = nil
        negative = false
      default: return nil
      }
    }
    guard current == nil, numbers.count % 3 == 0, text.hasPrefix("["), text.hasSuffix("]") else { return nil }
    var lines: [OrderLine] = []
    lines.reserveCapacity(numbers.count / 3)
    for start in stride(from: 0, to: numbers.count, by: 3) {
      guard let quantity = UInt32(exactly: numbers[start + 1]) else { return nil }
      lines.append(
        OrderLine(
          sku: UInt64(bitPattern: numbers[start]), quantity: quantity, unitPrice: numbers[start + 2]))
    }
    return lines
  }
}
