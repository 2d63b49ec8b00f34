import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import SwiftProtobuf
import TestMarketplace
import Testing
import Wire

/// Replies that the lean encoder writes, as SwiftProtobuf reads them.
struct ReplyTests {
  private let id = RequestID(high: 0x0102_0304_0506_0708, low: 0x090A_0B0C_0D0E_0F10)

  private func peek(_ bytes: [UInt8]) throws -> ReplyPeek {
    try bytes.withUnsafeBytes { try ReplyPeek($0) }
  }

  private func state(_ values: inout RandomValues) -> OrderState {
    OrderState(rawValue: UInt8(values.random.pick(1...8))) ?? .placed
  }

  private func payment(_ values: inout RandomValues) -> Payment {
    Payment(
      provider: values.text(32), reference: values.text(64), order: values.order(), amount: values.signed(),
      method: PaymentMethod(rawValue: UInt8(values.random.pick(0...6))) ?? .unspecified,
      instalments: values.small(), rejectedReason: values.text(128), settledAt: values.signed(),
      settlement: Settlement(rawValue: UInt8(values.random.pick(1...5))) ?? .exact, held: values.signed(),
      refunded: values.signed(), outstanding: values.signed(), stateAfter: state(&values))
  }

  private func order(_ values: inout RandomValues) -> Order {
    var order = Order(
      id: values.order(), shop: values.unsigned(), buyer: values.unsigned(), channel: values.text(32),
      reference: values.text(64), state: state(&values), lines: [], goods: values.signed(),
      shippingFee: values.signed(), total: values.signed(), placedAt: values.signed(),
      expiresAt: values.signed())
    for _ in 0..<values.random.pick([0, 1, 30]) {
      order.lines.append(
        OrderLine(sku: values.unsigned(), quantity: values.small(), unitPrice: values.signed()))
    }
    order.received = values.signed()
    order.held = values.signed()
    order.refunded = values.signed()
    order.released = values.signed()
    order.fee = values.signed()
    order.paidAt = values.signed()
    order.shippedAt = values.signed()
    order.deliveredAt = values.signed()
    order.endedAt = values.signed()
    order.cancelledBy = values.random.pick([.buyer, .shop, .platform])
    order.cancelReason = values.text(128)
    return order
  }

  private func answer(_ values: inout RandomValues) -> Answer {
    switch values.random.pick(0...9) {
    case 0: return .orderPlaced(order: values.order(), total: values.signed(), expiresAt: values.signed())
    case 1: return .paymentSettled(payment(&values))
    case 2:
      return .orderChanged(
        order: values.order(), state: state(&values), refunded: values.signed(), released: values.signed(),
        fee: values.signed())
    case 3:
      return .stockChanged(
        shop: values.unsigned(), sku: values.unsigned(), price: values.signed(), onHand: values.signed(),
        reserved: values.signed())
    case 4: return .shopRegistered(values.unsigned())
    case 5: return .order(order(&values))
    case 6:
      return .sku(
        SKU(
          shop: values.unsigned(), sku: values.unsigned(), name: values.text(128), price: values.signed(),
          onHand: values.signed(), reserved: values.signed(), consumed: values.signed(),
          writtenOff: values.signed(), given: values.signed()))
    case 7:
      return .shop(
        Shop(
          id: values.unsigned(), name: values.text(128), city: values.text(64), province: values.text(64),
          market: values.text(64), category: values.text(64),
          origin: values.random.pick([.domestic, .crossBorder]),
          status: values.random.pick([.active, .suspended]), ownerHash: values.bytes(32),
          registeredAt: values.signed()), balance: values.signed(), escrow: values.signed())
    case 8: return .payment(payment(&values))
    default:
      var refusal = Refusal(values.random.pick(Reason.allCases))
      for _ in 0..<values.random.pick([0, 1, 3]) {
        refusal.lines.append(
          .init(
            index: values.small(), sku: values.unsigned(), wanted: values.signed(),
            available: values.signed()))
      }
      if refusal.reason == .invalidArgument { refusal.detail = values.text(60) }
      return .no(refusal)
    }
  }

  /// The reply that `answer` must become, word for word.
  private func expected(_ answer: Answer) throws -> Laris_Reply {
    var reply = Laris_Reply()
    reply.requestID = Data(id.bytes)
    reply.outcome = .done
    switch answer {
    case .orderPlaced(let order, let total, let expiresAt):
      reply.orderPlaced.orderID = Data(order.bytes)
      reply.orderPlaced.total = total
      reply.orderPlaced.expiresAt = expiresAt
    case .paymentSettled(let payment):
      reply.paymentSettled.orderID = Data(payment.order.bytes)
      reply.paymentSettled.settlement = try #require(
        Laris_Settlement(rawValue: Int(payment.settlement.rawValue)))
      reply.paymentSettled.held = payment.held
      reply.paymentSettled.refunded = payment.refunded
      reply.paymentSettled.outstanding = payment.outstanding
      reply.paymentSettled.state = try #require(Laris_OrderState(rawValue: Int(payment.stateAfter.rawValue)))
    case .orderChanged(let order, let state, let refunded, let released, let fee):
      reply.orderChanged.orderID = Data(order.bytes)
      reply.orderChanged.state = try #require(Laris_OrderState(rawValue: Int(state.rawValue)))
      reply.orderChanged.refunded = refunded
      reply.orderChanged.released = released
      reply.orderChanged.fee = fee
    case .stockChanged(let shop, let sku, let price, let onHand, let reserved):
      reply.stockChanged.shopID = shop
      reply.stockChanged.skuID = sku
      reply.stockChanged.price = price
      reply.stockChanged.onHand = onHand
      reply.stockChanged.reserved = reserved
    case .shopRegistered(let shop): reply.shopRegistered.shopID = shop
    case .order(let order): reply.order = try expected(order)
    case .sku(let sku):
      reply.sku.shopID = sku.shop
      reply.sku.skuID = sku.sku
      reply.sku.name = sku.name
      reply.sku.price = sku.price
      reply.sku.onHand = sku.onHand
      reply.sku.reserved = sku.reserved
      reply.sku.consumed = sku.consumed
      reply.sku.writtenOff = sku.writtenOff
      reply.sku.given = sku.given
    case .shop(let shop, let balance, let escrow):
      reply.shop.shopID = shop.id
      reply.shop.name = shop.name
      reply.shop.city = shop.city
      reply.shop.province = shop.province
      reply.shop.market = shop.market
      reply.shop.category = shop.category
      reply.shop.origin = shop.origin == .domestic ? .domestic : .crossBorder
      reply.shop.status = shop.status == .active ? .active : .suspended
      reply.shop.registeredAt = shop.registeredAt
      reply.shop.balance = balance
      reply.shop.escrow = escrow
    case .payment(let payment):
      reply.payment.orderID = Data(payment.order.bytes)
      reply.payment.provider = payment.provider
      reply.payment.reference = payment.reference
      reply.payment.amount = payment.amount
      reply.payment.method = try #require(Laris_PaymentMethod(rawValue: Int(payment.method.rawValue)))
      reply.payment.instalments = payment.instalments
      reply.payment.settlement = try #require(Laris_Settlement(rawValue: Int(payment.settlement.rawValue)))
      reply.payment.held = payment.held
      reply.payment.refunded = payment.refunded
      reply.payment.rejectedReason = payment.rejectedReason
      reply.payment.settledAt = payment.settledAt
    case .no(let refusal):
      reply.outcome = .no
      reply.code = try #require(Laris_Code(rawValue: Int(refusal.reason.rawValue)))
      reply.message = refusal.reason == .invalidArgument ? refusal.detail : refusal.reason.sentences.english
      reply.messageIndonesian = refusal.reason.sentences.indonesian
      reply.next = refusal.reason.sentences.next
      reply.lines = refusal.lines.map { line in
        var problem = Laris_LineProblem()
        problem.index = line.index
        problem.skuID = line.sku
        problem.wanted = line.wanted
        problem.available = line.available
        return problem
      }
    }
    return reply
  }

  private func expected(_ order: Order) throws -> Laris_Order {
    var message = Laris_Order()
    message.orderID = Data(order.id.bytes)
    message.shopID = order.shop
    message.buyerID = order.buyer
    message.channel = order.channel
    message.reference = order.reference
    message.state = try #require(Laris_OrderState(rawValue: Int(order.state.rawValue)))
    message.lines = order.lines.map { line in
      var message = Laris_Line()
      message.skuID = line.sku
      message.quantity = line.quantity
      message.unitPrice = line.unitPrice
      return message
    }
    message.shippingFee = order.shippingFee
    message.total = order.total
    message.received = order.received
    message.held = order.held
    message.refunded = order.refunded
    message.released = order.released
    message.fee = order.fee
    message.placedAt = order.placedAt
    message.expiresAt = order.expiresAt
    message.paidAt = order.paidAt
    message.shippedAt = order.shippedAt
    message.deliveredAt = order.deliveredAt
    message.endedAt = order.endedAt
    message.cancelledBy = try #require(Laris_Actor(rawValue: Int(order.cancelledBy.rawValue)))
    message.cancelReason = order.cancelReason
    return message
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `every answer is read by SwiftProtobuf as it was meant`(seed: UInt64) throws {
    var values = RandomValues(seed: seed)
    for step in 0..<2_000 {
      let answer = answer(&values)
      let bytes = replyBytes(id, answer)
      let message = try Laris_Reply(serializedBytes: bytes)
      let meant = try expected(answer)
      guard message == meant else {
        Issue.record("step \(step) of seed \(seed): \(message) is not \(meant)")
        return
      }
      let peek = try peek(bytes)
      #expect(peek.id == id)
      #expect(Int(peek.outcome.rawValue) == meant.outcome.rawValue)
      #expect(peek.code == UInt32(meant.code.rawValue))
      #expect(peek.retryAfterMilliseconds == 0)
      switch answer {
      case .orderPlaced(let order, let total, _):
        #expect(peek.order == order)
        #expect(peek.owed == total)
      case .paymentSettled(let payment):
        #expect(peek.order == payment.order)
        #expect(peek.owed == payment.outstanding)
        #expect(peek.settlement == payment.settlement)
      case .orderChanged(let order, _, _, _, _): #expect(peek.order == order)
      default: #expect(peek.order == nil)
      }
      if case .paymentSettled = answer {} else { #expect(peek.settlement == nil) }
      #expect(peek.told == nil)
    }
  }

  @Test func `a reply that tells another one's reply says where that stands`() throws {
    var values = RandomValues(seed: 5)
    for _ in 0..<500 {
      let inner = replyBytes(id, answer(&values))
      let outer = try Laris_Reply.with {
        $0.requestID = Data(RequestID(high: 1, low: 2).bytes)
        $0.outcome = .done
        $0.resolved.reply = try Laris_Reply(serializedBytes: inner)
      }
      let bytes: [UInt8] = try outer.serializedBytes()
      let peek = try peek(bytes)
      let told = try #require(peek.told)
      #expect(try Laris_Reply(serializedBytes: Array(bytes[told])) == outer.resolved.reply)
      #expect(peek.id == RequestID(high: 1, low: 2))
      #expect(peek.order == nil, "that of the reply within")
    }
  }

  @Test(arguments: DeliveryCode.allCases)
  func `a reply that no rule made says what to do next`(code: DeliveryCode) throws {
    for (id, detail) in [(id, nil), (nil, nil), (id, "lines is more than 2000 long")]
      as [(RequestID?, String?)]
    {
      var writer = ByteWriter(capacity: 1)
      ReplyEncoder.write(id: id, code, detail: detail, into: &writer)
      let bytes = Array(writer.bytes)
      let message = try Laris_Reply(serializedBytes: bytes)
      #expect(message.requestID == Data(id?.bytes ?? []))
      #expect(message.outcome == (code.rawValue < 150 ? .notExecuted : .unknown))
      #expect(message.code.rawValue == Int(code.rawValue))
      #expect(message.message == detail ?? code.sentences.english)
      #expect(message.messageIndonesian == code.sentences.indonesian)
      #expect(message.next == code.sentences.next)
      #expect(message.retryAfterMilliseconds == code.retryAfterMilliseconds ?? 0)
      #expect(message.result == nil)
      let peek = try peek(bytes)
      #expect(peek.id == id)
      #expect(peek.code == UInt32(code.rawValue))
      #expect(peek.outcome == code.outcome)
      #expect(peek.retryAfterMilliseconds == code.retryAfterMilliseconds ?? 0)
    }
  }

  @Test func `a reply that is cut or damaged crashes no peek`() throws {
    var values = RandomValues(seed: 9)
    for _ in 0..<2_000 {
      var bytes = replyBytes(id, answer(&values))
      let at = values.random.pick(0...bytes.count - 1)
      _ = try? peek(Array(bytes[..<at]))
      bytes[at] = UInt8(values.random.pick(0...255))
      let message = try? Laris_Reply(serializedBytes: bytes)
      if let message, let peek = try? peek(bytes), message.outcome.rawValue < 5, message.outcome.rawValue >= 0
      {
        #expect(peek.code == UInt32(truncatingIfNeeded: message.code.rawValue))
      }
    }
  }
}
