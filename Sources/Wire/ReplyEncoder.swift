import Bytes
import Cluster
import Marketplace

/// Writes replies. A reply is its request's id, a body that is kept for whoever asks
/// again, and sentences that are the same for every reply with that code.
package enum ReplyEncoder {
  /// The body of an answer: fields 2, 3, 8 and the result.
  ///
  /// - Returns: the code, 0 for done; ``write(id:code:body:into:)`` wants it again.
  package static func writeBody(_ answer: Answer, into writer: inout ByteWriter) -> UInt8 {
    if case .no(let refusal) = answer {
      writer.field(2, varint: UInt64(Outcome.no.rawValue))
      writer.field(3, varint: UInt64(refusal.reason.rawValue))
      writer.field(4, string: refusal.detail)
      for line in refusal.lines {
        writer.field(8) { writer in
          writer.field(1, varint: UInt64(line.index))
          writer.field(2, varint: line.sku)
          writer.field(3, int64: line.wanted)
          writer.field(4, int64: line.available)
        }
      }
      return refusal.reason.rawValue
    }
    writer.field(2, varint: UInt64(Outcome.done.rawValue))
    switch answer {
    case .no: break
    case .orderPlaced(let order, let total, let expiresAt):
      writer.field(9) { writer in
        writer.field(1, high: order.high, low: order.low)
        writer.field(2, int64: total)
        writer.field(3, int64: expiresAt)
      }
    case .paymentSettled(let payment):
      writer.field(10) { writer in
        writer.field(1, high: payment.order.high, low: payment.order.low)
        writer.field(2, varint: UInt64(payment.settlement.rawValue))
        writer.field(3, int64: payment.held)
        writer.field(4, int64: payment.refunded)
        writer.field(5, int64: payment.outstanding)
        writer.field(6, varint: UInt64(payment.stateAfter.rawValue))
      }
    case .orderChanged(let order, let state, let refunded, let released, let fee):
      writer.field(11) { writer in
        writer.field(1, high: order.high, low: order.low)
        writer.field(2, varint: UInt64(state.rawValue))
        writer.field(3, int64: refunded)
        writer.field(4, int64: released)
        writer.field(5, int64: fee)
      }
    case .stockChanged(let shop, let sku, let price, let onHand, let reserved):
      writer.field(12) { writer in
        writer.field(1, varint: shop)
        writer.field(2, varint: sku)
        writer.field(3, int64: price)
        writer.field(4, int64: onHand)
        writer.field(5, int64: reserved)
      }
    case .shopRegistered(let shop):
      writer.field(13) { $0.field(1, varint: shop) }
    case .order(let order): write(order, into: &writer)
    case .sku(let sku): write(sku, into: &writer)
    case .shop(let shop, let balance, let escrow): write(shop, balance, escrow, into: &writer)
    case .payment(let payment): write(payment, into: &writer)
    }
    return 0
  }

  /// A whole reply of a body that ``writeBody(_:into:)`` made, now or long ago.
  package static func write(
    id: RequestID, code: UInt8, body: UnsafeRawBufferPointer, into writer: inout ByteWriter
  ) {
    writer.field(1, high: id.high, low: id.low)
    writer.append(body)
    if code != 0, let reason = Reason(rawValue: code) {
      let sentences = reason.sentences
      // An argument's refusal says more exactly in its body what is wrong.
      if reason != .invalidArgument { writer.field(4, string: sentences.english) }
      writer.field(5, string: sentences.indonesian)
      writer.field(6, string: sentences.next)
    }
  }

  /// The body of the reply that tells another request's: fields 2 and 14.
  package static func writeFate(
    of id: RequestID, code: UInt8, body: UnsafeRawBufferPointer, into writer: inout ByteWriter
  ) {
    writer.field(2, varint: UInt64(Outcome.done.rawValue))
    writer.field(14) { writer in
      writer.field(1) { write(id: id, code: code, body: body, into: &$0) }
    }
  }

  /// A reply that no rule made.
  ///
  /// - Parameters:
  ///   - id: nil where the request had none that could be read.
  ///   - detail: instead of the code's sentence.
  package static func write(
    id: RequestID?, _ code: DeliveryCode, detail: String? = nil, into writer: inout ByteWriter
  ) {
    if let id { writer.field(1, high: id.high, low: id.low) }
    let sentences = code.sentences
    writer.field(2, varint: UInt64(code.outcome.rawValue))
    writer.field(3, varint: UInt64(code.rawValue))
    writer.field(4, string: detail ?? sentences.english)
    writer.field(5, string: sentences.indonesian)
    writer.field(6, string: sentences.next)
    writer.field(7, varint: UInt64(code.retryAfterMilliseconds ?? 0))
  }

  private static func write(_ order: Order, into writer: inout ByteWriter) {
    writer.field(32) { writer in
      writer.field(1, high: order.id.high, low: order.id.low)
      writer.field(2, varint: order.shop)
      writer.field(3, varint: order.buyer)
      writer.field(4, string: order.channel)
      writer.field(5, string: order.reference)
      writer.field(6, varint: UInt64(order.state.rawValue))
      for line in order.lines {
        writer.field(7) { writer in
          writer.field(1, varint: line.sku)
          writer.field(2, varint: UInt64(line.quantity))
          writer.field(3, Tag.varint)
          writer.append(varint: UInt64(bitPattern: line.unitPrice))
        }
      }
      writer.field(8, int64: order.shippingFee)
      writer.field(9, int64: order.total)
      writer.field(10, int64: order.received)
      writer.field(11, int64: order.held)
      writer.field(12, int64: order.refunded)
      writer.field(13, int64: order.released)
      writer.field(14, int64: order.fee)
      writer.field(15, int64: order.placedAt)
      writer.field(16, int64: order.expiresAt)
      writer.field(17, int64: order.paidAt)
      writer.field(18, int64: order.shippedAt)
      writer.field(19, int64: order.deliveredAt)
      writer.field(20, int64: order.endedAt)
      writer.field(21, varint: UInt64(order.cancelledBy.rawValue))
      writer.field(22, string: order.cancelReason)
    }
  }

  private static func write(_ sku: SKU, into writer: inout ByteWriter) {
    writer.field(33) { writer in
      writer.field(1, varint: sku.shop)
      writer.field(2, varint: sku.sku)
      writer.field(3, string: sku.name)
      writer.field(4, int64: sku.price)
      writer.field(5, int64: sku.onHand)
      writer.field(6, int64: sku.reserved)
      writer.field(7, int64: sku.consumed)
      writer.field(8, int64: sku.writtenOff)
      writer.field(9, int64: sku.given)
    }
  }

  private static func write(_ shop: Shop, _ balance: Money, _ escrow: Money, into writer: inout ByteWriter) {
    writer.field(34) { writer in
      writer.field(1, varint: shop.id)
      writer.field(2, string: shop.name)
      writer.field(3, string: shop.city)
      writer.field(4, string: shop.province)
      writer.field(5, string: shop.market)
      writer.field(6, string: shop.category)
      writer.field(7, varint: UInt64(shop.origin.rawValue))
      writer.field(8, varint: UInt64(shop.status.rawValue))
      writer.field(9, int64: shop.registeredAt)
      writer.field(10, int64: balance)
      writer.field(11, int64: escrow)
    }
  }

  private static func write(_ payment: Payment, into writer: inout ByteWriter) {
    writer.field(35) { writer in
      writer.field(1, high: payment.order.high, low: payment.order.low)
      writer.field(2, string: payment.provider)
      writer.field(3, string: payment.reference)
      writer.field(4, int64: payment.amount)
      writer.field(5, varint: UInt64(payment.method.rawValue))
      writer.field(6, varint: UInt64(payment.instalments))
      writer.field(7, varint: UInt64(payment.settlement.rawValue))
      writer.field(8, int64: payment.held)
      writer.field(9, int64: payment.refunded)
      writer.field(10, string: payment.rejectedReason)
      writer.field(11, int64: payment.settledAt)
    }
  }
}
