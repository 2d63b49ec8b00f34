/// What changes a partition's books. Decoded and bounded, not yet judged.
package enum Command: Equatable, Sendable {
  case registerShop(RegisterShop)
  case putSKU(PutSKU)
  case adjustStock(AdjustStock)
  case placeOrder(PlaceOrder)
  case settlePayment(SettlePayment)
  case cancelOrder(CancelOrder)
  case shipOrder(OrderID)
  case deliverOrder(OrderID)
  case completeOrder(OrderID)

  package struct RegisterShop: Equatable, Sendable {
    package var shop: UInt64 = 0
    package var name = ""
    package var city = ""
    package var province = ""
    package var market = ""
    package var category = ""
    package var origin: Origin = .domestic
    package var ownerHash: [UInt8] = []
    package init() {}
  }

  package struct PutSKU: Equatable, Sendable {
    package var shop: UInt64 = 0
    package var sku: UInt64 = 0
    package var price: Money = 0
    package var onHand: Int64?
    package var name = ""
    package init() {}
  }

  package struct AdjustStock: Equatable, Sendable {
    package var shop: UInt64 = 0
    package var sku: UInt64 = 0
    package var delta: Int64 = 0
    package init() {}
  }

  package struct PlaceOrder: Equatable, Sendable {
    package struct Line: Equatable, Sendable {
      package var sku: UInt64 = 0
      package var quantity: UInt32 = 0
      package var unitPrice: Money?
      package init(sku: UInt64 = 0, quantity: UInt32 = 0, unitPrice: Money? = nil) {
        self.sku = sku
        self.quantity = quantity
        self.unitPrice = unitPrice
      }
    }
    package var shop: UInt64 = 0
    package var buyer: UInt64 = 0
    package var lines: [Line] = []
    package var shippingFee: Money = 0
    package var reference = ""
    package var reserveMilliseconds: UInt64 = 0
    package init() {}
  }

  package struct SettlePayment: Equatable, Sendable {
    package var order = OrderID(high: 0, low: 0)
    package var provider = ""
    package var reference = ""
    package var amount: Money = 0
    package var method: PaymentMethod = .unspecified
    package var instalments: UInt32 = 0
    package var rejectedReason = ""
    package init() {}
  }

  package struct CancelOrder: Equatable, Sendable {
    package var order = OrderID(high: 0, low: 0)
    package var by: Actor = .buyer
    package var reason = ""
    package init() {}
  }
}

/// What only looks.
package enum Query: Equatable, Sendable {
  case order(OrderID)
  case sku(SKUKey)
  case shop(ShopID)
  case payment(order: OrderID, PaymentKey)
}

/// What a partition answers.
package enum Answer: Equatable, Sendable {
  case orderPlaced(order: OrderID, total: Money, expiresAt: Milliseconds)
  case paymentSettled(Payment)
  case orderChanged(order: OrderID, state: OrderState, refunded: Money, released: Money, fee: Money)
  case stockChanged(shop: UInt64, sku: UInt64, price: Money, onHand: Int64, reserved: Int64)
  case shopRegistered(UInt64)
  case no(Refusal)
  // Of queries.
  case order(Order)
  case sku(SKU)
  case shop(Shop, balance: Money, escrow: Money)
  case payment(Payment)
}

/// A "no" of the rules.
package struct Refusal: Equatable, Sendable {
  package struct LineProblem: Equatable, Sendable {
    /// Place in the command's lines, from 0.
    package var index: UInt32
    package var sku: UInt64
    package var wanted: Int64
    /// What was on hand for this line.
    package var available: Int64
    package init(index: UInt32, sku: UInt64, wanted: Int64, available: Int64) {
      self.index = index
      self.sku = sku
      self.wanted = wanted
      self.available = available
    }
  }

  package var reason: Reason
  package var lines: [LineProblem]
  /// With ``Reason/invalidArgument``: which argument, and what it must be.
  package var detail = ""
  package init(_ reason: Reason, lines: [LineProblem] = []) {
    self.reason = reason
    self.lines = lines
  }
}

/// Why the rules say no. Raw values are the contract's `Code`; they never change.
package enum Reason: UInt8, Sendable, CaseIterable {
  case invalidArgument = 1
  case unknownShop = 2
  case shopSuspended = 3
  case unknownSKU = 4
  case amountOverflow = 5
  case outOfStock = 6
  case unknownOrder = 7
  case unknownPayment = 8
  case shopExists = 9
  case referenceReused = 10
  case notPaid = 11
  case alreadyShipped = 12
  case notShipped = 13
  case notDelivered = 14
  case orderCancelled = 15
  case alreadyDelivered = 16
  case alreadyCompleted = 17
  case cancelNotAllowed = 18
  case stockNegative = 19
  // Of the requests that a partition keeps, not of its books.
  case requestSealed = 20
  case unknownRequest = 21
}
