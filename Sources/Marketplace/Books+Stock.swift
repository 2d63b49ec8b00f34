extension Books {
  /// Precedence: arguments, then whether the shop is known already.
  mutating func register(_ command: Command.RegisterShop, at time: Milliseconds) -> Answer {
    guard command.shop != 0 else { return .no(.invalid("shop_id must not be 0")) }
    guard !command.name.isEmpty else { return .no(.invalid("name must not be empty")) }
    guard shops.find(ShopID(command.shop)) == nil else { return .no(Refusal(.shopExists)) }
    let shop = Shop(
      id: command.shop, name: command.name, city: command.city, province: command.province,
      market: command.market, category: command.category, origin: command.origin, status: .active,
      ownerHash: command.ownerHash, registeredAt: time)
    shops.insert(ShopID(command.shop), shop, isNew: true)
    return .shopRegistered(command.shop)
  }

  /// Precedence: arguments, shop, overflow of what was ever given.
  mutating func put(_ command: Command.PutSKU) -> Answer {
    guard command.shop != 0 else { return .no(.invalid("shop_id must not be 0")) }
    guard command.sku != 0 else { return .no(.invalid("sku_id must not be 0")) }
    guard command.price >= 0 else { return .no(.invalid("price must not be negative")) }
    if let onHand = command.onHand, onHand < 0 {
      return .no(.invalid("on_hand must not be negative"))
    }
    guard shops.find(ShopID(command.shop)) != nil else { return .no(Refusal(.unknownShop)) }
    let key = SKUKey(shop: command.shop, sku: command.sku)
    let slot: Int
    if let found = skus.find(key) {
      let old = skus[found]
      let (given, overflow) = old.given.addingReportingOverflow((command.onHand ?? old.onHand) - old.onHand)
      guard !overflow else { return .no(Refusal(.amountOverflow)) }
      slot = found
      skus.update(slot) { sku in
        sku.price = command.price
        sku.onHand = command.onHand ?? sku.onHand
        sku.given = given
        if !command.name.isEmpty { sku.name = command.name }
      }
    } else {
      let onHand = command.onHand ?? 0
      let sku = SKU(
        shop: command.shop, sku: command.sku, name: command.name, price: command.price, onHand: onHand,
        reserved: 0, consumed: 0, writtenOff: 0, given: onHand)
      slot = skus.insert(key, sku, isNew: true)
    }
    return stockAnswer(slot)
  }

  /// Precedence: arguments, shop, SKU, below zero, overflow.
  mutating func adjust(_ command: Command.AdjustStock) -> Answer {
    guard command.shop != 0 else { return .no(.invalid("shop_id must not be 0")) }
    guard command.sku != 0 else { return .no(.invalid("sku_id must not be 0")) }
    guard command.delta != 0 else { return .no(.invalid("delta must not be 0")) }
    guard shops.find(ShopID(command.shop)) != nil else { return .no(Refusal(.unknownShop)) }
    guard let slot = skus.find(SKUKey(shop: command.shop, sku: command.sku)) else {
      return .no(Refusal(.unknownSKU))
    }
    let sku = skus[slot]
    // onHand >= 0, so only a positive delta can overflow, and given >= onHand does so first.
    let (given, overflow) = sku.given.addingReportingOverflow(command.delta)
    if !overflow, sku.onHand + command.delta < 0 {
      return .no(
        Refusal(
          .stockNegative,
          lines: [.init(index: 0, sku: command.sku, wanted: command.delta, available: sku.onHand)]))
    }
    guard !overflow else { return .no(Refusal(.amountOverflow)) }
    skus.update(slot) { sku in
      sku.onHand += command.delta
      sku.given = given
    }
    return stockAnswer(slot)
  }

  private func stockAnswer(_ slot: Int) -> Answer {
    let sku = skus[slot]
    return .stockChanged(
      shop: sku.shop, sku: sku.sku, price: sku.price, onHand: sku.onHand, reserved: sku.reserved)
  }
}
