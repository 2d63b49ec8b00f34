import Marketplace

/// Reads the command off a request's bytes, without any code of Laris, so that a fault there does not hide
/// itself. Only what the model goes by: no names, no limits.
package enum LoggedRequest {
  /// nil: this is no request for an effect.
  package static func command(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var command: Command?
    let isWhole = Fields.read(bytes) { field, value in
      guard case .bytes(let inner) = value, let kind = readers[field] else { return true }
      command = kind(inner)
      return command != nil
    }
    return isWhole ? command : nil
  }

  private static let readers: [UInt64: @Sendable (UnsafeRawBufferPointer) -> Command?] = [
    4: { placeOrder($0) }, 5: { settlePayment($0) }, 6: { adjustStock($0) }, 7: { putSKU($0) },
    8: { cancelOrder($0) }, 9: { order($0).map { .shipOrder($0) } },
    10: { order($0).map { .deliverOrder($0) } }, 11: { order($0).map { .completeOrder($0) } },
    12: { registerShop($0) },
  ]

  private static func id(_ bytes: UnsafeRawBufferPointer) -> OrderID? {
    Fields.id(bytes).map { OrderID(high: $0.high, low: $0.low) }
  }

  private static func text(_ bytes: UnsafeRawBufferPointer) -> String {
    String(decoding: bytes, as: UTF8.self)
  }

  private static func order(_ bytes: UnsafeRawBufferPointer) -> OrderID? {
    var order: OrderID?
    let isWhole = Fields.read(bytes) { field, value in
      if case (1, .bytes(let bytes)) = (field, value) { order = id(bytes) }
      return true
    }
    return isWhole ? order : nil
  }

  private static func registerShop(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var it = Command.RegisterShop()
    let isWhole = Fields.read(bytes) { field, value in
      if case (1, .number(let number)) = (field, value) { it.shop = number }
      return true
    }
    return isWhole ? .registerShop(it) : nil
  }

  private static func putSKU(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var it = Command.PutSKU()
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (1, .number(let number)): it.shop = number
      case (2, .number(let number)): it.sku = number
      case (3, .number(let number)): it.price = Int64(bitPattern: number)
      case (4, .number(let number)): it.onHand = Int64(bitPattern: number)
      default: break
      }
      return true
    }
    return isWhole ? .putSKU(it) : nil
  }

  private static func adjustStock(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var it = Command.AdjustStock()
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (1, .number(let number)): it.shop = number
      case (2, .number(let number)): it.sku = number
      // Zigzag: the sign stands in the lowest bit.
      case (3, .number(let number)): it.delta = Int64(bitPattern: number >> 1) ^ -Int64(number & 1)
      default: break
      }
      return true
    }
    return isWhole ? .adjustStock(it) : nil
  }

  private static func placeOrder(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var it = Command.PlaceOrder()
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (1, .number(let number)): it.shop = number
      case (2, .number(let number)): it.buyer = number
      case (3, .bytes(let bytes)):
        guard let line = line(bytes) else { return false }
        it.lines.append(line)
      case (4, .number(let number)): it.shippingFee = Int64(bitPattern: number)
      case (6, .number(let number)): it.reserveMilliseconds = number
      default: break
      }
      return true
    }
    return isWhole ? .placeOrder(it) : nil
  }

  private static func line(_ bytes: UnsafeRawBufferPointer) -> Command.PlaceOrder.Line? {
    var line = Command.PlaceOrder.Line()
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (1, .number(let number)): line.sku = number
      case (2, .number(let number)): line.quantity = UInt32(truncatingIfNeeded: number)
      case (3, .number(let number)): line.unitPrice = Int64(bitPattern: number)
      default: break
      }
      return true
    }
    return isWhole ? line : nil
  }

  private static func settlePayment(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var it = Command.SettlePayment()
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (1, .bytes(let bytes)): it.order = id(bytes) ?? it.order
      case (2, .bytes(let bytes)): it.provider = text(bytes)
      case (3, .bytes(let bytes)): it.reference = text(bytes)
      case (4, .number(let number)): it.amount = Int64(bitPattern: number)
      case (7, .bytes(let bytes)): it.rejectedReason = text(bytes)
      default: break
      }
      return true
    }
    return isWhole ? .settlePayment(it) : nil
  }

  private static func cancelOrder(_ bytes: UnsafeRawBufferPointer) -> Command? {
    var it = Command.CancelOrder()
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (1, .bytes(let bytes)): it.order = id(bytes) ?? it.order
      case (2, .number(let number)): it.by = Actor(rawValue: UInt8(truncatingIfNeeded: number)) ?? it.by
      default: break
      }
      return true
    }
    return isWhole ? .cancelOrder(it) : nil
  }
}
