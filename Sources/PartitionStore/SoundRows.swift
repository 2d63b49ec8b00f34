import Marketplace
import WorkerCore

// What must be true of a row by itself before the rules may work with it. They count on it, and trap where
// it is not so, which would end every partition of the process; a row that is refused ends its own.
// What must be true between rows is for the audit to see.

extension StoreState {
  /// Sequence numbers beyond this one, and times, don't fit into an order's id.
  private static let appliedMax: UInt64 = 1 << 45
  private static let timeMax: Int64 = 1 << 47

  /// What is wrong with it; nil: nothing.
  var damage: String? {
    if applied.rawValue > Self.appliedMax { return "applied_sn is \(applied)" }
    if !(0..<Self.timeMax).contains(time) { return "time is \(time)" }
    if ordersPlaced > applied.rawValue { return "orders_placed is \(ordersPlaced) at entry \(applied)" }
    if rules == 0 { return "rules is no version of the rules" }
    return nil
  }
}

extension SKU {
  var damage: String? {
    let counts = [onHand, reserved, consumed, writtenOff]
    var rest = given
    for count in counts {
      guard count >= 0, rest >= count else {
        return "on hand \(onHand), reserved \(reserved), given \(given)"
      }
      rest -= count
    }
    if rest != 0 { return "on hand \(onHand), reserved \(reserved), given \(given)" }
    if price < 0 { return "price \(price)" }
    return nil
  }
}

extension Order {
  /// - Parameter key: what it was found by.
  func damage(key: OrderKey) -> String? {
    if id.sequenceNumber != key.sequenceNumber { return "its order_id is of sn \(id.sequenceNumber)" }
    if lines.isEmpty || lines.contains(where: { $0.quantity == 0 || $0.unitPrice < 0 }) { return "its lines" }
    guard goods >= 0, shippingFee >= 0, total >= goods, total - goods == shippingFee else {
      return "goods \(goods), shipping_fee \(shippingFee), total \(total)"
    }
    var rest = received
    for part in [held, refunded, released, fee] {
      guard part >= 0, rest >= part else { return "received \(received), held \(held)" }
      rest -= part
    }
    return rest == 0 && received <= total ? nil : "received \(received), held \(held), total \(total)"
  }
}

extension Account {
  /// Only what providers owe us is below zero.
  var damage: String? {
    let isSound = key.kind == .providerClearing ? balance <= 0 && balance > .min : balance >= 0
    return isSound ? nil : "balance \(balance)"
  }
}
