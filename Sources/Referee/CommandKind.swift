import Marketplace

/// What was asked and took effect, or was refused by the rules; counted as it is committed, reads as they are
/// answered.
package enum CommandKind: Int, CaseIterable, Sendable {
  case registerShopDone, registerShopNo, putSKUDone, putSKUNo, adjustStockDone, adjustStockNo
  case placeOrderDone, placeOrderNo, settlePaymentDone, settlePaymentNo, cancelOrderDone, cancelOrderNo
  case shipOrderDone, shipOrderNo, deliverOrderDone, deliverOrderNo, completeOrderDone, completeOrderNo
  case reservationExpired, sealed, rulesSwitched
  case readSKUDone, readSKUNo, readOrderDone, readOrderNo, fateTold, fateUnknown

  init(_ command: Command, isDone: Bool) {
    self =
      switch command {
      case .registerShop: isDone ? .registerShopDone : .registerShopNo
      case .putSKU: isDone ? .putSKUDone : .putSKUNo
      case .adjustStock: isDone ? .adjustStockDone : .adjustStockNo
      case .placeOrder: isDone ? .placeOrderDone : .placeOrderNo
      case .settlePayment: isDone ? .settlePaymentDone : .settlePaymentNo
      case .cancelOrder: isDone ? .cancelOrderDone : .cancelOrderNo
      case .shipOrder: isDone ? .shipOrderDone : .shipOrderNo
      case .deliverOrder: isDone ? .deliverOrderDone : .deliverOrderNo
      case .completeOrder: isDone ? .completeOrderDone : .completeOrderNo
      }
  }
}
