/// A trace: what happened on a marketplace, in the order in which it happened, to be replayed.
///
/// Format: JSON lines in UTF-8. The first line is the header, then one event a line, in the order of
/// `at`. docs/OLIST.md describes both and shows an example.
///
/// Each event names the rows of the source that it stands for, and each row of the source is in one
/// event at least, so that a replay can tell what became of every row (`TraceAccount`).
package enum Trace {
  package static let version = "laris-trace/1"
  package static let lineBytesMax = 1 << 20
  package static let linesPerOrderMax = 2_000
  package static let filesMax = 64
  package static let rowsMax = 20_000_000
  package static let keyBytesMax = 128
}

/// The first line of a trace.
package struct TraceHeader: Equatable, Sendable {
  /// What the trace was made from, such as "olist".
  package var source: String
  /// ISO 4217.
  package var currency: String
  /// How many events follow.
  package var events: Int
  /// The times of the first event that is not a preparation (`isSetup`), and of the last event.
  package var startsAt: Int64
  package var endsAt: Int64
  /// By name, each name once.
  package var files: [TraceFile]
  /// What was refused already when the trace was made: the sums of its `refused` events.
  package var refused: [TraceRefusal]
  /// Rules by which events were moved in time, and how many were.
  package var moved: [TraceCount]

  package init(
    source: String, currency: String, events: Int, startsAt: Int64, endsAt: Int64,
    files: [TraceFile], refused: [TraceRefusal], moved: [TraceCount]
  ) {
    self.source = source
    self.currency = currency
    self.events = events
    self.startsAt = startsAt
    self.endsAt = endsAt
    self.files = files
    self.refused = refused
    self.moved = moved
  }

  /// Of all files.
  package var rows: Int { files.reduce(0) { $0 + $1.rows } }
}

/// A file of the source.
package struct TraceFile: Equatable, Sendable, Codable {
  /// Short, as events call it.
  package var file: String
  package var path: String
  package var rows: Int

  package init(file: String, path: String, rows: Int) {
    self.file = file
    self.path = path
    self.rows = rows
  }
}

/// Rows of one file that were refused for one reason.
package struct TraceRefusal: Equatable, Sendable, Codable {
  package var file: String
  package var reason: String
  package var rows: Int
  /// The money in them.
  package var cents: Int64

  package init(file: String, reason: String, rows: Int, cents: Int64) {
    self.file = file
    self.reason = reason
    self.rows = rows
    self.cents = cents
  }
}

package struct TraceCount: Equatable, Sendable, Codable {
  package var name: String
  package var count: Int

  package init(name: String, count: Int) {
    self.name = name
    self.count = count
  }
}

/// Rows of one file, numbered from 1; the header does not count.
package struct TraceRows: Equatable, Sendable {
  package var file: String
  package var numbers: [Int]

  package init(_ file: String, _ numbers: [Int]) {
    self.file = file
    self.numbers = numbers
  }
}

/// One line of a trace.
package struct TraceEvent: Equatable, Sendable {
  /// Milliseconds since the Unix epoch.
  package var at: Int64
  package var action: TraceAction
  /// The rows that it stands for, by file name. A row may stand in several events.
  package var rows: [TraceRows]

  package init(at: Int64, action: TraceAction, rows: [TraceRows]) {
    self.at = at
    self.action = action
    self.rows = rows
  }
}

/// What an event asks for. The payloads are within the limits of the protocol, but for amounts of 0,
/// which real payments have: those are for the server to refuse.
package enum TraceAction: Equatable, Sendable {
  case refused(Refused)
  case registerShop(RegisterShop)
  case putSku(PutSku)
  case placeOrder(PlaceOrder)
  case settlePayment(SettlePayment)
  case shipOrder(key: String)
  case deliverOrder(key: String)
  case completeOrder(key: String)
  case cancelOrder(CancelOrder)

  /// The events' names in the file, in the order in which events of one instant stand.
  package enum Kind: String, CaseIterable, Codable, Sendable {
    case refused
    case registerShop = "register_shop"
    case putSku = "put_sku"
    case placeOrder = "place_order"
    case settlePayment = "settle_payment"
    case shipOrder = "ship_order"
    case deliverOrder = "deliver_order"
    case completeOrder = "complete_order"
    case cancelOrder = "cancel_order"
  }

  /// A row that nothing is asked for.
  package struct Refused: Equatable, Sendable {
    package var file: String
    package var row: Int
    package var reason: String
    /// The money in it.
    package var cents: Int64

    package init(file: String, row: Int, reason: String, cents: Int64) {
      self.file = file
      self.row = row
      self.reason = reason
      self.cents = cents
    }
  }

  package struct RegisterShop: Equatable, Sendable {
    package var shop: UInt64
    package var name: String
    package var city: String
    package var province: String

    package init(shop: UInt64, name: String, city: String, province: String) {
      self.shop = shop
      self.name = name
      self.city = city
      self.province = province
    }
  }

  package struct PutSku: Equatable, Sendable {
    package var shop: UInt64
    package var sku: UInt64
    package var price: Int64
    package var onHand: Int64
    package var name: String

    package init(shop: UInt64, sku: UInt64, price: Int64, onHand: Int64, name: String) {
      self.shop = shop
      self.sku = sku
      self.price = price
      self.onHand = onHand
      self.name = name
    }
  }

  package struct PlaceOrder: Equatable, Sendable {
    /// What later events of the trace call the order. Unique in the trace.
    package var key: String
    package var shop: UInt64
    package var buyer: UInt64
    package var shippingFee: Int64
    package var reference: String
    package var lines: [Line]

    package init(
      key: String, shop: UInt64, buyer: UInt64, shippingFee: Int64, reference: String, lines: [Line]
    ) {
      self.key = key
      self.shop = shop
      self.buyer = buyer
      self.shippingFee = shippingFee
      self.reference = reference
      self.lines = lines
    }
  }

  package struct Line: Equatable, Sendable {
    package var sku: UInt64
    package var quantity: UInt32
    package var unitPrice: Int64

    package init(sku: UInt64, quantity: UInt32, unitPrice: Int64) {
      self.sku = sku
      self.quantity = quantity
      self.unitPrice = unitPrice
    }
  }

  package struct SettlePayment: Equatable, Sendable {
    package var key: String
    package var provider: String
    package var reference: String
    package var amount: Int64
    package var method: Method
    package var instalments: UInt32

    package init(
      key: String, provider: String, reference: String, amount: Int64, method: Method, instalments: UInt32
    ) {
      self.key = key
      self.provider = provider
      self.reference = reference
      self.amount = amount
      self.method = method
      self.instalments = instalments
    }
  }

  package enum Method: String, CaseIterable, Codable, Sendable {
    case unspecified = "method_unspecified"
    case bankTransfer = "bank_transfer"
    case eWallet = "e_wallet"
    case card
    case payLater = "pay_later"
    case cashOnDelivery = "cash_on_delivery"
    case voucherBalance = "voucher_balance"
  }

  package struct CancelOrder: Equatable, Sendable {
    package var key: String
    package var by: Actor
    package var reason: String

    package init(key: String, by: Actor, reason: String) {
      self.key = key
      self.by = by
      self.reason = reason
    }
  }

  package enum Actor: String, CaseIterable, Codable, Sendable {
    case buyer, shop, platform
  }

  package var kind: Kind {
    switch self {
    case .refused: .refused
    case .registerShop: .registerShop
    case .putSku: .putSku
    case .placeOrder: .placeOrder
    case .settlePayment: .settlePayment
    case .shipOrder: .shipOrder
    case .deliverOrder: .deliverOrder
    case .completeOrder: .completeOrder
    case .cancelOrder: .cancelOrder
    }
  }

  /// The order that it is about, if it is about one.
  package var orderKey: String? {
    switch self {
    case .refused, .registerShop, .putSku: nil
    case .placeOrder(let order): order.key
    case .settlePayment(let payment): payment.key
    case .shipOrder(let key), .deliverOrder(let key), .completeOrder(let key): key
    case .cancelOrder(let cancellation): cancellation.key
    }
  }

  /// Whether it prepares the marketplace, before trade begins.
  package var isSetup: Bool {
    switch self {
    case .refused, .registerShop, .putSku: true
    default: false
    }
  }
}

/// Why a trace could not be read or written.
package struct TraceError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Kind: Equatable, Sendable {
    case unreadable, unwritable, lineTooLong, invalidUTF8, notJSON, otherVersion, invalid, cutOff
  }
  package let kind: Kind
  package let file: String
  /// From 1; 0 where the problem is of no line.
  package let line: Int
  /// What is wrong, and what to do. Never quotes the line.
  package let problem: String
  package let hint: String

  package var description: String { "\(file):\(line): \(problem). \(hint)" }
}
