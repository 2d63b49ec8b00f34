/// Field numbers of `Request.command`.
package enum CommandField: UInt32, Sendable {
  case placeOrder = 4
  case settlePayment = 5
  case adjustStock = 6
  case putSKU = 7
  case cancelOrder = 8
  case shipOrder = 9
  case deliverOrder = 10
  case completeOrder = 11
  case registerShop = 12
  case getOrder = 32
  case getSKU = 33
  case getShop = 34
  case getPayment = 35
  case getStatus = 48
  case auditPartition = 49

  /// What field 1 of the command is.
  package enum Key: Sendable { case shop, order, partition, none }

  package var key: Key {
    switch self {
    case .placeOrder, .adjustStock, .putSKU, .registerShop, .getSKU, .getShop: .shop
    case .settlePayment, .cancelOrder, .shipOrder, .deliverOrder, .completeOrder, .getOrder, .getPayment:
      .order
    case .auditPartition: .partition
    case .getStatus: .none
    }
  }
}
