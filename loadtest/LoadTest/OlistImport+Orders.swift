// From rows to events: what is put up before the start, and the life of each order.

extension OlistImport {
  /// Refuses what one command cannot hold, then every order that has no lines (left), with its payments.
  mutating func refuseOrdersThatCannotBePlaced() {
    for place in orders.indices {
      for shopOrder in orders[place].shopOrders where shopOrder.isTooLong {
        for item in shopOrder.items { refuse(.items, item.row, .tooManyLines, cents: item.cents) }
      }
      orders[place].shopOrders.removeAll(where: \.isTooLong)
      let order = orders[place]
      guard order.shopOrders.isEmpty else { continue }
      refuse(.orders, order.row, .noLines)
      for payment in order.payments { refuse(.payments, payment.row, .noLines, cents: payment.cents) }
      if !order.payments.isEmpty { note(.orderWithoutLinesPaid) }
    }
  }

  // MARK: Before the start

  private struct SkuKey: Hashable {
    let shop: OlistID
    let product: OlistID
  }

  private struct SkuDemand {
    let key: SkuKey
    /// The price at which it was ordered first.
    var price: Int64
    var orderedAt: Int64
    var quantity: Int64
  }

  mutating func makeSetup() {
    let at = setupAt
    for shop in shops {
      let action = TraceAction.RegisterShop(
        shop: shop.id.number, name: "Shop \(shop.id.short)", city: shop.city, province: shop.province)
      add(at, .registerShop(action), [.sellers: [shop.row]])
    }
    for demand in demands() {
      var rows: [OlistFile: [Int]] = [:]
      var name = "product"
      if let product = products[demand.key.product] {
        rows[.products] = [product.row]
        if let category = categories[product.category] {
          rows[.categories] = [category.row]
          name = category.english
        } else if !product.category.isEmpty {
          note(.categoryUnlisted)
          name = product.category
        }
      } else {
        note(.productUnlisted)
      }
      name = "\(OlistImport.cut(name, bytesMax: 64)) \(demand.key.product.short)"
      let action = TraceAction.PutSku(
        shop: demand.key.shop.number, sku: demand.key.product.number, price: demand.price,
        onHand: demand.quantity * options.stockPerMille / 1_000, name: name)
      add(at, .putSku(action), rows)
    }
  }

  /// What is ordered of each SKU, in the order of the orders' rows.
  private func demands() -> [SkuDemand] {
    var demands: [SkuDemand] = []
    var places: [SkuKey: Int] = [:]
    for order in orders {
      for shopOrder in order.shopOrders {
        for line in shopOrder.lines {
          let key = SkuKey(shop: shopOrder.shop, product: line.product)
          guard let place = places[key] else {
            places[key] = demands.count
            demands.append(
              SkuDemand(
                key: key, price: line.price, orderedAt: order.purchasedAt, quantity: Int64(line.quantity)))
            continue
          }
          demands[place].quantity += Int64(line.quantity)
          if order.purchasedAt < demands[place].orderedAt {
            demands[place].orderedAt = order.purchasedAt
            demands[place].price = line.price
          }
        }
      }
    }
    return demands
  }

  // MARK: Orders

  mutating func makeOrders() {
    for order in orders where !order.shopOrders.isEmpty {
      noteOddities(of: order)
      let shares = order.shares()
      for (place, shopOrder) in order.shopOrders.enumerated() {
        makeEvents(of: shopOrder, order, shares[place])
      }
    }
  }

  /// The life of one shop's order. No event is earlier than the one that it depends on.
  private mutating func makeEvents(of shopOrder: ShopOrder, _ order: Order, _ shares: [Share]) {
    let key = "\(order.id.text)/\(shopOrder.shop.text)"
    var last = order.purchasedAt
    let placing = TraceAction.PlaceOrder(
      key: key, shop: shopOrder.shop.number, buyer: order.customer.buyer,
      shippingFee: shopOrder.shippingCents, reference: "\(order.id.text)/\(shopOrder.shop.short)",
      lines: shopOrder.lines.map {
        TraceAction.Line(sku: $0.product.number, quantity: $0.quantity, unitPrice: $0.price)
      })
    add(
      last, .placeOrder(placing),
      [.orders: [order.row], .items: shopOrder.items.map(\.row), .customers: [order.customer.row]])

    if !shares.isEmpty {
      let rule: Move = order.approvedAt == nil ? .approvalMissing : .approvalBeforeOrder
      let at = moved(order.approvedAt, notBefore: last, by: rule, events: shares.count)
      for share in shares {
        let settling = TraceAction.SettlePayment(
          key: key, provider: OlistImport.provider, reference: share.reference, amount: share.cents,
          method: share.payment.method, instalments: share.payment.instalments)
        add(at, .settlePayment(settling), [.payments: [share.payment.row]])
      }
      last = at
    }
    if let shippedAt = order.shippedAt {
      last = moved(shippedAt, notBefore: last, by: .shipmentBeforePayment)
      add(last, .shipOrder(key: key), [.orders: [order.row]])
    } else if let deliveredAt = order.deliveredAt {
      last = moved(nil, notBefore: max(last, deliveredAt), by: .shipmentMissing)
      add(last, .shipOrder(key: key), [.orders: [order.row]])
    }
    if let deliveredAt = order.deliveredAt {
      last = moved(deliveredAt, notBefore: last, by: .deliveryBeforeShipment)
      add(last, .deliverOrder(key: key), [.orders: [order.row]])
    }
    if order.isCancelled {
      let at = max(last, order.approvedAt ?? last) + OlistImport.cancelMilliseconds
      let cancelling = TraceAction.CancelOrder(key: key, by: .platform, reason: order.status)
      add(at, .cancelOrder(cancelling), [.orders: [order.row]])
    } else if order.deliveredAt != nil {
      add(last + OlistImport.complaintMilliseconds, .completeOrder(key: key), [.orders: [order.row]])
    }
  }

  /// The time, or the earliest possible one where it is missing or too early; then it is counted.
  private mutating func moved(
    _ at: Int64?, notBefore earliest: Int64, by rule: Move, events: Int = 1
  ) -> Int64 {
    if let at, at >= earliest { return at }
    moved[rule, default: 0] += events
    return earliest
  }

  private mutating func noteOddities(of order: Order) {
    let owed = order.shopOrders.reduce(0) { $0 + $1.totalCents }
    let paid = order.payments.reduce(0) { $0 + $1.cents }
    if order.shopOrders.count > 1 { note(.checkoutOfSeveralShops) }
    if order.payments.isEmpty {
      note(.checkoutUnpaid)
    } else if paid != owed {
      note(paid > owed ? .checkoutOverpaid : .checkoutUnderpaid)
      if abs(paid - owed) > 1 { note(.checkoutOffByOverACent) }
    }
    for payment in order.payments where payment.cents == 0 { note(.paymentOfZero) }
    if order.isApprovedLate { note(.approvalOver24HoursPlaced) }
    if order.isCancelled && order.deliveredAt != nil { note(.cancelledAfterDelivery) }
    if order.status == "delivered" && order.deliveredAt == nil { note(.deliveredWithoutDates) }
  }
}

extension OlistImport.ShopOrder {
  fileprivate var isTooLong: Bool {
    lines.count > Trace.linesPerOrderMax || items.count > OlistImport.itemRowsPerOrderMax
  }
}
