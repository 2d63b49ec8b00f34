import Marketplace

/// Commands in short, for tests.
extension Command {
  package static func register(_ shop: UInt64, name: String = "Toko Sari") -> Command {
    var command = RegisterShop()
    command.shop = shop
    command.name = name
    return .registerShop(command)
  }

  package static func put(
    _ shop: UInt64, _ sku: UInt64, price: Money, onHand: Int64? = nil, name: String = ""
  ) -> Command {
    var command = PutSKU()
    command.shop = shop
    command.sku = sku
    command.price = price
    command.onHand = onHand
    command.name = name
    return .putSKU(command)
  }

  package static func adjust(_ shop: UInt64, _ sku: UInt64, _ delta: Int64) -> Command {
    var command = AdjustStock()
    command.shop = shop
    command.sku = sku
    command.delta = delta
    return .adjustStock(command)
  }

  package static func place(
    _ shop: UInt64, buyer: UInt64 = 9, _ lines: [(UInt64, UInt32)], shippingFee: Money = 0,
    reserveMilliseconds: UInt64 = 0, prices: [Money?] = []
  ) -> Command {
    var command = PlaceOrder()
    command.shop = shop
    command.buyer = buyer
    for (index, line) in lines.enumerated() {
      command.lines.append(
        .init(sku: line.0, quantity: line.1, unitPrice: index < prices.count ? prices[index] : nil))
    }
    command.shippingFee = shippingFee
    command.reserveMilliseconds = reserveMilliseconds
    return .placeOrder(command)
  }

  package static func settle(
    _ order: OrderID, _ amount: Money, provider: String = "bank", reference: String = "r",
    rejected: String = ""
  ) -> Command {
    var command = SettlePayment()
    command.order = order
    command.provider = provider
    command.reference = reference
    command.amount = amount
    command.method = .bankTransfer
    command.rejectedReason = rejected
    return .settlePayment(command)
  }

  package static func cancel(_ order: OrderID, by actor: Actor, reason: String = "") -> Command {
    var command = CancelOrder()
    command.order = order
    command.by = actor
    command.reason = reason
    return .cancelOrder(command)
  }
}
