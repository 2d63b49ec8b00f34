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
  case resolve = 14
  case getOrder = 32
  case getSKU = 33
  case getShop = 34
  case getPayment = 35
  case getRequest = 36
  case getStatus = 48
  case auditPartition = 49
  case getGroupHistory = 50
  case switchPrimary = 51
  case moveReplica = 52
  case drainWorker = 53
  case removeWorker = 54
  case restartGroup = 55

  /// Whether it begins something new, or only looks: what waits first when there is too much.
  package var isDeferrable: Bool {
    switch self {
    case .placeOrder, .getOrder, .getSKU, .getShop, .getPayment: true
    default: false
    }
  }

  /// What the command is routed by: field 1, or of a `place` the first of order (2), shop (1) and
  /// partition (4) that is there.
  package enum Key: Sendable { case shop, order, partition, place, none }

  package var key: Key {
    switch self {
    case .placeOrder, .adjustStock, .putSKU, .registerShop, .getSKU, .getShop: .shop
    case .settlePayment, .cancelOrder, .shipOrder, .deliverOrder, .completeOrder, .getOrder, .getPayment:
      .order
    case .auditPartition: .partition
    case .resolve, .getRequest: .place
    case .getStatus, .getGroupHistory, .switchPrimary, .moveReplica, .drainWorker, .removeWorker,
      .restartGroup:
      .none
    }
  }
}
