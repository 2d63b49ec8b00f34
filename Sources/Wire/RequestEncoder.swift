import Bytes
import Cluster
import Marketplace

/// Writes a `Request` as SwiftProtobuf would, without it.
package enum RequestEncoder {
  package static func write(
    id: RequestID, channel: String, deadlineMilliseconds: UInt32, _ command: Command,
    into writer: inout ByteWriter
  ) {
    header(id, channel, deadlineMilliseconds, into: &writer)
    switch command {
    case .placeOrder(let command): place(command, into: &writer)
    case .settlePayment(let command):
      writer.field(CommandField.settlePayment.rawValue) { writer in
        writer.field(1, high: command.order.high, low: command.order.low)
        writer.field(2, string: command.provider)
        writer.field(3, string: command.reference)
        writer.field(4, int64: command.amount)
        writer.field(5, varint: UInt64(command.method.rawValue))
        writer.field(6, varint: UInt64(command.instalments))
        writer.field(7, string: command.rejectedReason)
      }
    case .adjustStock(let command):
      writer.field(CommandField.adjustStock.rawValue) { writer in
        writer.field(1, varint: command.shop)
        writer.field(2, varint: command.sku)
        writer.field(3, sint64: command.delta)
      }
    case .putSKU(let command):
      writer.field(CommandField.putSKU.rawValue) { writer in
        writer.field(1, varint: command.shop)
        writer.field(2, varint: command.sku)
        writer.field(3, int64: command.price)
        if let onHand = command.onHand {
          writer.field(4, Tag.varint)
          writer.append(varint: UInt64(bitPattern: onHand))
        }
        writer.field(5, string: command.name)
      }
    case .registerShop(let command):
      writer.field(CommandField.registerShop.rawValue) { writer in
        writer.field(1, varint: command.shop)
        writer.field(2, string: command.name)
        writer.field(3, string: command.city)
        writer.field(4, string: command.province)
        writer.field(5, string: command.market)
        writer.field(6, string: command.category)
        writer.field(7, varint: UInt64(command.origin.rawValue))
        command.ownerHash.withUnsafeBytes { writer.field(8, bytes: $0) }
      }
    case .cancelOrder(let command):
      writer.field(CommandField.cancelOrder.rawValue) { writer in
        writer.field(1, high: command.order.high, low: command.order.low)
        writer.field(2, varint: UInt64(command.by.rawValue))
        writer.field(3, string: command.reason)
      }
    case .shipOrder(let order): step(.shipOrder, order, into: &writer)
    case .deliverOrder(let order): step(.deliverOrder, order, into: &writer)
    case .completeOrder(let order): step(.completeOrder, order, into: &writer)
    }
  }

  package static func write(
    id: RequestID, channel: String, deadlineMilliseconds: UInt32, _ query: Query,
    into writer: inout ByteWriter
  ) {
    header(id, channel, deadlineMilliseconds, into: &writer)
    switch query {
    case .order(let order): step(.getOrder, order, into: &writer)
    case .sku(let key):
      writer.field(CommandField.getSKU.rawValue) { writer in
        writer.field(1, varint: key.shop)
        writer.field(2, varint: key.sku)
      }
    case .shop(let id):
      writer.field(CommandField.getShop.rawValue) { $0.field(1, varint: id.rawValue) }
    case .payment(let order, let key):
      writer.field(CommandField.getPayment.rawValue) { writer in
        writer.field(1, high: order.high, low: order.low)
        writer.field(2, string: key.provider)
        writer.field(3, string: key.reference)
      }
    }
  }

  /// Where another request went, for ``write(id:channel:deadlineMilliseconds:fateOf:at:sealing:into:)``.
  package enum Place: Sendable {
    case shop(UInt64)
    case order(OrderID)
    case partition(UInt32)
  }

  /// A `Resolve`, or a `GetRequest`.
  package static func write(
    id: RequestID, channel: String, deadlineMilliseconds: UInt32, fateOf target: RequestID, at place: Place,
    sealing: Bool, into writer: inout ByteWriter
  ) {
    header(id, channel, deadlineMilliseconds, into: &writer)
    let field = sealing ? CommandField.resolve : .getRequest
    writer.field(field.rawValue) { writer in
      switch place {
      case .shop(let shop): writer.field(1, varint: shop)
      case .order(let order): writer.field(2, high: order.high, low: order.low)
      case .partition: break
      }
      writer.field(3, high: target.high, low: target.low)
      if case .partition(let partition) = place {
        writer.field(4, Tag.varint)
        writer.append(varint: UInt64(partition))
      }
    }
  }

  private static func header(
    _ id: RequestID, _ channel: String, _ deadlineMilliseconds: UInt32, into writer: inout ByteWriter
  ) {
    writer.field(1, high: id.high, low: id.low)
    writer.field(2, string: channel)
    writer.field(3, varint: UInt64(deadlineMilliseconds))
  }

  private static func place(_ command: Command.PlaceOrder, into writer: inout ByteWriter) {
    writer.field(CommandField.placeOrder.rawValue) { writer in
      writer.field(1, varint: command.shop)
      writer.field(2, varint: command.buyer)
      for line in command.lines {
        writer.field(3) { writer in
          writer.field(1, varint: line.sku)
          writer.field(2, varint: UInt64(line.quantity))
          if let price = line.unitPrice {
            writer.field(3, Tag.varint)
            writer.append(varint: UInt64(bitPattern: price))
          }
        }
      }
      writer.field(4, int64: command.shippingFee)
      writer.field(5, string: command.reference)
      writer.field(6, varint: command.reserveMilliseconds)
    }
  }

  private static func step(_ field: CommandField, _ order: OrderID, into writer: inout ByteWriter) {
    writer.field(field.rawValue) { $0.field(1, high: order.high, low: order.low) }
  }
}
