extension Books {
  /// Reserves every line, or none.
  ///
  /// Precedence: arguments, shop known, shop active, SKUs known (all that are not are
  /// named), amounts, stock (all short lines are named).
  mutating func place(
    _ command: Command.PlaceOrder, channel: String, at time: Milliseconds, sequenceNumber: UInt64
  ) -> Answer {
    if let wrong = invalidArgument(of: command) { return .no(.invalid(wrong)) }
    guard let shop = shops.find(ShopID(command.shop)) else { return .no(Refusal(.unknownShop)) }
    guard shops[shop].status == .active else { return .no(Refusal(.shopSuspended)) }

    slotsOfLines.removeAll(keepingCapacity: true)
    var problems: [Refusal.LineProblem] = []
    for (index, line) in command.lines.enumerated() {
      if let slot = skus.find(SKUKey(shop: command.shop, sku: line.sku)) {
        slotsOfLines.append(slot)
      } else {
        problems.append(problem(index, line, available: 0))
      }
    }
    guard problems.isEmpty else { return .no(Refusal(.unknownSKU, lines: problems)) }

    var lines: [OrderLine] = []
    lines.reserveCapacity(command.lines.count)
    var goods: Money = 0
    for (index, line) in command.lines.enumerated() {
      let unitPrice = line.unitPrice ?? skus[slotsOfLines[index]].price
      let (amount, tooLarge) = unitPrice.multipliedReportingOverflow(by: Money(line.quantity))
      let (sum, overflow) = goods.addingReportingOverflow(amount)
      guard !tooLarge, !overflow else { return .no(Refusal(.amountOverflow)) }
      goods = sum
      lines.append(OrderLine(sku: line.sku, quantity: line.quantity, unitPrice: unitPrice))
    }
    let (total, overflow) = goods.addingReportingOverflow(command.shippingFee)
    guard !overflow else { return .no(Refusal(.amountOverflow)) }

    // A SKU may stand in several lines, so each line is judged by what the earlier ones left.
    for (index, line) in command.lines.enumerated() {
      let onHand = skus[slotsOfLines[index]].onHand
      if onHand < Int64(line.quantity) {
        problems.append(problem(index, line, available: onHand))
      } else {
        skus.update(slotsOfLines[index]) { sku in
          sku.onHand -= Int64(line.quantity)
          sku.reserved += Int64(line.quantity)
        }
      }
    }
    if !problems.isEmpty {
      let short = Set(problems.map(\.index))
      for (index, line) in lines.enumerated() where !short.contains(UInt32(index)) {
        release(slotsOfLines[index], Int64(line.quantity))
      }
      return .no(Refusal(.outOfStock, lines: problems))
    }

    let reserve =
      command.reserveMilliseconds == 0 ? terms.reserveMilliseconds : command.reserveMilliseconds
    var order = Order(
      id: OrderID(at: time, partition: partition, sequenceNumber: sequenceNumber), shop: command.shop,
      buyer: command.buyer, channel: channel, reference: command.reference, state: .placed, lines: lines,
      goods: goods, shippingFee: command.shippingFee, total: total, placedAt: time,
      expiresAt: time + Milliseconds(reserve))
    if total == 0 {  // Nothing to wait for.
      order.state = .ready
      order.paidAt = time
    } else {
      reservations.insert(at: order.expiresAt, sequenceNumber)
    }
    orders.insert(OrderKey(sequenceNumber), order, isNew: true)
    return .orderPlaced(order: order.id, total: total, expiresAt: order.expiresAt)
  }

  private func problem(_ index: Int, _ line: Command.PlaceOrder.Line, available: Int64)
    -> Refusal.LineProblem
  {
    .init(index: UInt32(index), sku: line.sku, wanted: Int64(line.quantity), available: available)
  }

  private func invalidArgument(of command: Command.PlaceOrder) -> String? {
    if command.shop == 0 { return "shop_id must not be 0" }
    if command.buyer == 0 { return "buyer_id must not be 0" }
    if command.lines.isEmpty { return "lines must not be empty" }
    if command.shippingFee < 0 { return "shipping_fee must not be negative" }
    if command.reserveMilliseconds > Limits.reserveMillisecondsMax {
      return "reserve_milliseconds must be at most \(Limits.reserveMillisecondsMax)"
    }
    for (index, line) in command.lines.enumerated() {
      if line.sku == 0 { return "lines[\(index)].sku_id must not be 0" }
      if line.quantity == 0 || line.quantity > Limits.quantityMax {
        return "lines[\(index)].quantity must be 1 to \(Limits.quantityMax)"
      }
      if let price = line.unitPrice, price < 0 {
        return "lines[\(index)].unit_price must not be negative"
      }
    }
    return nil
  }

  /// Back from reserved to on hand.
  private mutating func release(_ slot: Int, _ quantity: Int64) {
    skus.update(slot) { sku in
      sku.onHand += quantity
      sku.reserved -= quantity
    }
  }

  private mutating func releaseReservation(of order: Order) {
    for line in order.lines {
      release(skuSlot(order, line), Int64(line.quantity))
    }
  }

  private func skuSlot(_ order: Order, _ line: OrderLine) -> Int {
    guard let slot = skus.find(SKUKey(shop: order.shop, sku: line.sku)) else {
      preconditionFailure("SKU \(order.shop)/\(line.sku) of order \(order.id) is not in memory")
    }
    return slot
  }

  /// Precedence: order known, then what its state forbids, then who asks.
  mutating func cancel(
    _ command: Command.CancelOrder, at time: Milliseconds, sequenceNumber: UInt64
  ) -> Answer {
    guard let slot = find(command.order) else { return .no(Refusal(.unknownOrder)) }
    let order = orders[slot]
    switch order.state {
    case .placed: break
    case .paid, .ready:
      guard command.by != .buyer else { return .no(Refusal(.cancelNotAllowed)) }
    case .shipped, .delivered, .completed, .cancelled, .expired:
      return .no(Refusal(Self.tooLate(order.state)))
    }
    releaseReservation(of: order)
    refundHeld(slot, at: time, sequenceNumber: sequenceNumber)
    orders.update(slot) { order in
      order.state = .cancelled
      order.endedAt = time
      order.cancelledBy = command.by
      order.cancelReason = command.reason
    }
    return changed(slot, refunded: order.held)
  }

  /// Ends reservations that ran out: those of `keys` that are still unpaid and due.
  package mutating func expire(_ keys: [UInt64], at time: Milliseconds, sequenceNumber: UInt64) {
    transfersOfEntry = 0
    for key in keys {
      guard let slot = orders.find(OrderKey(key)) else { continue }
      let order = orders[slot]
      guard order.state == .placed, order.expiresAt <= time else { continue }
      releaseReservation(of: order)
      refundHeld(slot, at: time, sequenceNumber: sequenceNumber)
      orders.update(slot) { order in
        order.state = .expired
        order.endedAt = time
      }
    }
  }

  mutating func ship(_ id: OrderID, at time: Milliseconds) -> Answer {
    guard let slot = find(id) else { return .no(Refusal(.unknownOrder)) }
    let order = orders[slot]
    switch order.state {
    case .ready: break
    case .placed, .paid: return .no(Refusal(.notPaid))
    default: return .no(Refusal(Self.tooLate(order.state)))
    }
    for line in order.lines {
      skus.update(skuSlot(order, line)) { sku in
        sku.reserved -= Int64(line.quantity)
        sku.consumed += Int64(line.quantity)
      }
    }
    orders.update(slot) { order in
      order.state = .shipped
      order.shippedAt = time
    }
    return changed(slot)
  }

  mutating func deliver(_ id: OrderID, at time: Milliseconds) -> Answer {
    guard let slot = find(id) else { return .no(Refusal(.unknownOrder)) }
    switch orders[slot].state {
    case .shipped: break
    case .placed, .paid: return .no(Refusal(.notPaid))
    case .ready: return .no(Refusal(.notShipped))
    case let state: return .no(Refusal(Self.tooLate(state)))
    }
    orders.update(slot) { order in
      order.state = .delivered
      order.deliveredAt = time
    }
    return changed(slot)
  }

  mutating func complete(_ id: OrderID, at time: Milliseconds, sequenceNumber: UInt64) -> Answer {
    guard let slot = find(id) else { return .no(Refusal(.unknownOrder)) }
    let order = orders[slot]
    switch order.state {
    case .delivered: break
    case .placed, .paid: return .no(Refusal(.notPaid))
    case .ready: return .no(Refusal(.notShipped))
    case .shipped: return .no(Refusal(.notDelivered))
    case .completed, .cancelled, .expired: return .no(Refusal(Self.tooLate(order.state)))
    }
    let (fee, released) = releaseHeld(slot, at: time, sequenceNumber: sequenceNumber)
    orders.update(slot) { order in
      order.state = .completed
      order.endedAt = time
    }
    return changed(slot, released: released, fee: fee)
  }

  /// Why an order in this state can't be stepped or cancelled any more.
  private static func tooLate(_ state: OrderState) -> Reason {
    switch state {
    case .cancelled, .expired: .orderCancelled
    case .shipped: .alreadyShipped
    case .delivered: .alreadyDelivered
    case .completed: .alreadyCompleted
    case .placed, .paid, .ready: preconditionFailure("\(state) is not the end of anything")
    }
  }

  private func changed(_ slot: Int, refunded: Money = 0, released: Money = 0, fee: Money = 0) -> Answer {
    let order = orders[slot]
    return .orderChanged(
      order: order.id, state: order.state, refunded: refunded, released: released, fee: fee)
  }
}

extension Refusal {
  /// A refusal of an argument that says which and why.
  static func invalid(_ detail: String) -> Refusal {
    var refusal = Refusal(.invalidArgument)
    refusal.detail = detail
    return refusal
  }
}
