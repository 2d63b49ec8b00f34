package enum Origin: UInt8, Sendable { case domestic = 0, crossBorder = 1 }
package enum ShopStatus: UInt8, Sendable { case active = 0, suspended = 1 }
package enum Actor: UInt8, Sendable { case buyer = 0, shop = 1, platform = 2 }

package struct Shop: Equatable, Sendable {
  package var id: UInt64
  package var name: String
  package var city: String
  package var province: String
  package var market: String
  package var category: String
  package var origin: Origin
  package var status: ShopStatus
  package var ownerHash: [UInt8]
  package var registeredAt: Milliseconds

  package init(
    id: UInt64, name: String, city: String, province: String, market: String, category: String,
    origin: Origin, status: ShopStatus, ownerHash: [UInt8], registeredAt: Milliseconds
  ) {
    self.id = id
    self.name = name
    self.city = city
    self.province = province
    self.market = market
    self.category = category
    self.origin = origin
    self.status = status
    self.ownerHash = ownerHash
    self.registeredAt = registeredAt
  }
}

/// Always: no count is negative, and onHand + reserved + consumed + writtenOff = given.
package struct SKU: Equatable, Sendable {
  package var shop: UInt64
  package var sku: UInt64
  package var name: String
  package var price: Money
  package var onHand: Int64
  /// By orders that are placed and not yet shipped.
  package var reserved: Int64
  /// By orders that were shipped.
  package var consumed: Int64
  package var writtenOff: Int64
  /// All that stock updates ever gave, less what they took.
  package var given: Int64

  package init(
    shop: UInt64, sku: UInt64, name: String, price: Money, onHand: Int64, reserved: Int64,
    consumed: Int64, writtenOff: Int64, given: Int64
  ) {
    self.shop = shop
    self.sku = sku
    self.name = name
    self.price = price
    self.onHand = onHand
    self.reserved = reserved
    self.consumed = consumed
    self.writtenOff = writtenOff
    self.given = given
  }
}

package enum OrderState: UInt8, Sendable {
  /// Stock is reserved, payment is awaited. → ready, cancelled, expired
  case placed = 1
  /// Paid, waiting for a pre-order date. No order stays here until pre-orders exist. → ready
  case paid = 2
  /// Paid in full, to be shipped. → shipped, cancelled
  case ready = 3
  /// → delivered
  case shipped = 4
  /// → completed
  case delivered = 5
  /// The end: escrow went to the shop.
  case completed = 6
  /// The end: what was reserved is released, what was held is refunded.
  case cancelled = 7
  /// The end: like cancelled, because the reservation ran out.
  case expired = 8
}

package struct OrderLine: Equatable, Sendable {
  package var sku: UInt64
  package var quantity: UInt32
  /// What was agreed for one.
  package var unitPrice: Money
  package init(sku: UInt64, quantity: UInt32, unitPrice: Money) {
    self.sku = sku
    self.quantity = quantity
    self.unitPrice = unitPrice
  }
}

/// Always: received = held + refunded + released + fee.
package struct Order: Equatable, Sendable {
  package var id: OrderID
  package var shop: UInt64
  package var buyer: UInt64
  package var channel: String
  package var reference: String
  package var state: OrderState
  package var lines: [OrderLine]
  package var goods: Money
  package var shippingFee: Money
  /// goods + shippingFee
  package var total: Money
  /// Of this order's payments, what is or was in escrow; never more than total.
  package var received: Money = 0
  package var held: Money = 0
  package var refunded: Money = 0
  package var released: Money = 0
  package var fee: Money = 0
  package var placedAt: Milliseconds
  package var expiresAt: Milliseconds
  package var paidAt: Milliseconds = 0
  package var shippedAt: Milliseconds = 0
  package var deliveredAt: Milliseconds = 0
  package var endedAt: Milliseconds = 0
  package var cancelledBy: Actor = .buyer
  package var cancelReason: String = ""

  package init(
    id: OrderID, shop: UInt64, buyer: UInt64, channel: String, reference: String, state: OrderState,
    lines: [OrderLine], goods: Money, shippingFee: Money, total: Money, placedAt: Milliseconds,
    expiresAt: Milliseconds
  ) {
    self.id = id
    self.shop = shop
    self.buyer = buyer
    self.channel = channel
    self.reference = reference
    self.state = state
    self.lines = lines
    self.goods = goods
    self.shippingFee = shippingFee
    self.total = total
    self.placedAt = placedAt
    self.expiresAt = expiresAt
  }
}

package enum PaymentMethod: UInt8, Sendable {
  case unspecified = 0
  case bankTransfer, eWallet, card, payLater, cashOnDelivery, voucherBalance
}

package enum Settlement: UInt8, Sendable {
  case exact = 1
  case under, over, late, rejected
}

/// What a provider reported, and what we answered: kept for ever.
package struct Payment: Equatable, Sendable {
  package var provider: String
  package var reference: String
  package var order: OrderID
  package var amount: Money
  package var method: PaymentMethod
  package var instalments: UInt32
  package var rejectedReason: String
  package var settledAt: Milliseconds
  package var settlement: Settlement
  /// held + refunded = amount, unless rejected (both 0).
  package var held: Money
  package var refunded: Money
  /// The rest of the first answer, for whoever asks again.
  package var outstanding: Money
  package var stateAfter: OrderState

  package init(
    provider: String, reference: String, order: OrderID, amount: Money, method: PaymentMethod,
    instalments: UInt32, rejectedReason: String, settledAt: Milliseconds, settlement: Settlement,
    held: Money, refunded: Money, outstanding: Money, stateAfter: OrderState
  ) {
    self.provider = provider
    self.reference = reference
    self.order = order
    self.amount = amount
    self.method = method
    self.instalments = instalments
    self.rejectedReason = rejectedReason
    self.settledAt = settledAt
    self.settlement = settlement
    self.held = held
    self.refunded = refunded
    self.outstanding = outstanding
    self.stateAfter = stateAfter
  }
}

/// Balance = credits − debits of its transfers.
package struct Account: Equatable, Sendable {
  package var key: AccountKey
  package var balance: Money
  package init(key: AccountKey, balance: Money) {
    self.key = key
    self.balance = balance
  }
}

/// One debit and one credit of the same amount: the only way that money moves.
package struct Transfer: Equatable, Sendable {
  package enum Why: UInt8, Sendable {
    /// A payment into escrow.
    case settlement = 1
    /// A payment's surplus into the buyer's wallet.
    case surplus
    /// A payment that came after the order ended or was paid, into the wallet.
    case late
    /// Escrow back to the wallet: the order was cancelled or expired.
    case refund
    /// Escrow to the shop's balance: the order is completed.
    case release
    /// Escrow to the platform's fees.
    case fee

    package var name: String {
      switch self {
      case .settlement: "settlement"
      case .surplus: "surplus"
      case .late: "late"
      case .refund: "refund"
      case .release: "release"
      case .fee: "fee"
      }
    }
  }

  /// Entry that moved it, and which of the entry's transfers it is, from 0.
  package var sequenceNumber: UInt64
  package var number: UInt32
  package var debit: AccountKey
  package var credit: AccountKey
  /// More than 0.
  package var amount: Money
  package var why: Why
  package var order: OrderID
  package var at: Milliseconds
}
