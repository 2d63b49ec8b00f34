/// Rows that must be in memory, if they exist, before something is applied.
package struct Needs: Sendable {
  package var shops: [ShopID] = []
  package var skus: [SKUKey] = []
  package var orders: [OrderKey] = []
  package var payments: [PaymentKey] = []
  package var accounts: [AccountKey] = []
  package init() {}

  package var isEmpty: Bool {
    shops.isEmpty && skus.isEmpty && orders.isEmpty && payments.isEmpty && accounts.isEmpty
  }
}

/// Two steps, since an order must be here before it can say which SKUs it is about:
/// collect ``addNeeds(of:to:)``, load, collect ``addNeeds(ofOrder:to:)``, load.
extension Books {
  /// What `command` names and memory lacks.
  package func addNeeds(of command: Command, to needs: inout Needs) {
    switch command {
    case .placeOrder(let command):
      need(ShopID(command.shop), &needs)
      for line in command.lines { need(SKUKey(shop: command.shop, sku: line.sku), &needs) }
    case .putSKU(let command):
      need(ShopID(command.shop), &needs)
      need(SKUKey(shop: command.shop, sku: command.sku), &needs)
    case .adjustStock(let command):
      need(ShopID(command.shop), &needs)
      need(SKUKey(shop: command.shop, sku: command.sku), &needs)
    case .registerShop(let command):
      need(ShopID(command.shop), &needs)
    case .settlePayment(let command):
      need(command.order, &needs)
      need(PaymentKey(provider: command.provider, reference: command.reference), &needs)
      need(AccountKey(.providerClearing), &needs)
    case .cancelOrder(let command):
      need(command.order, &needs)
    case .shipOrder(let order), .deliverOrder(let order), .completeOrder(let order):
      need(order, &needs)
      need(AccountKey(.fees), &needs)
    }
  }

  /// What `query` names and memory lacks.
  package func addNeeds(of query: Query, to needs: inout Needs) {
    switch query {
    case .order(let id): need(id, &needs)
    case .sku(let key):
      need(ShopID(key.shop), &needs)
      need(key, &needs)
    case .shop(let id):
      need(id, &needs)
      need(AccountKey(.balance, owner: id.rawValue), &needs)
      need(AccountKey(.escrow, owner: id.rawValue), &needs)
    case .payment(let order, let key):
      need(order, &needs)
      if payments.find(key) == nil { needs.payments.append(key) }
    }
  }

  /// What a command about `order`, which is here now if it exists, may touch besides it.
  package func addNeeds(ofOrder id: OrderID, to needs: inout Needs) {
    guard let slot = find(id) else { return }
    addNeeds(ofOrderIn: slot, to: &needs)
  }

  /// The same for an expiry entry's order.
  package func addNeeds(ofOrder key: OrderKey, to needs: inout Needs) {
    guard let slot = orders.find(key) else { return }
    addNeeds(ofOrderIn: slot, to: &needs)
  }

  private func addNeeds(ofOrderIn slot: Int, to needs: inout Needs) {
    let order = orders[slot]
    for line in order.lines { need(SKUKey(shop: order.shop, sku: line.sku), &needs) }
    need(AccountKey(.escrow, owner: order.shop), &needs)
    need(AccountKey(.balance, owner: order.shop), &needs)
    need(AccountKey(.wallet, owner: order.buyer), &needs)
  }

  private func need(_ id: ShopID, _ needs: inout Needs) {
    if shops.find(id) == nil { needs.shops.append(id) }
  }
  private func need(_ key: SKUKey, _ needs: inout Needs) {
    if skus.find(key) == nil { needs.skus.append(key) }
  }
  private func need(_ id: OrderID, _ needs: inout Needs) {
    guard id.isWellFormed, id.partition == partition else { return }
    if orders.find(OrderKey(id.sequenceNumber)) == nil { needs.orders.append(OrderKey(id.sequenceNumber)) }
  }
  private func need(_ key: PaymentKey, _ needs: inout Needs) {
    if payments.find(key) == nil { needs.payments.append(key) }
  }
  private func need(_ key: AccountKey, _ needs: inout Needs) {
    if accounts.find(key) == nil { needs.accounts.append(key) }
  }

  /// The order that a command is about, whose own needs are known once it is here.
  package static func order(of command: Command) -> OrderID? {
    switch command {
    case .settlePayment(let command): command.order
    case .cancelOrder(let command): command.order
    case .shipOrder(let order), .deliverOrder(let order), .completeOrder(let order): order
    case .placeOrder, .putSKU, .adjustStock, .registerShop: nil
    }
  }
}
