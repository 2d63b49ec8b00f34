import Marketplace
import Testing

struct PlacementTests {
  @Test func `placing reserves every line and says what is owed until when`() {
    let market = Market.open()
    let id = market.nextOrder
    #expect(
      market.tell(.place(1, [(10, 3), (11, 5)], shippingFee: 900))
        == .orderPlaced(order: id, total: 5_150, expiresAt: Market.start + Milliseconds(Market.reserve)))
    #expect(market.sku(10).onHand == 97)
    #expect(market.sku(10).reserved == 3)
    #expect(market.sku(11).onHand == 0)
    #expect(market.sku(11).reserved == 5)
    let order = market.order(id)
    #expect(order.state == .placed)
    #expect(order.goods == 4_250)
    #expect(order.shippingFee == 900)
    #expect(order.channel == "app")
    #expect(order.lines.map(\.unitPrice) == [1_000, 250])
    #expect(order.placedAt == Market.start)
  }

  @Test func `an order's id says its time, partition and entry`() {
    let market = Market.open()
    let id = market.placed()
    #expect(id.isWellFormed)
    #expect(id.partition == 7)
    #expect(id.sequenceNumber == 5)
    #expect(Milliseconds(id.high >> 16) == Market.start)
  }

  @Test func `its own time to pay wins over the cluster's`() {
    let market = Market.open()
    guard case .orderPlaced(_, _, let expiresAt) = market.tell(.place(1, [(10, 1)], reserveMilliseconds: 5))
    else {
      Issue.record("not placed")
      return
    }
    #expect(expiresAt == Market.start + 5)
  }

  @Test func `every short line is named, and nothing is reserved`() {
    let market = Market.open()
    let before = market.contents()
    let answer = market.tell(.place(1, [(10, 101), (11, 5), (12, 1), (10, 100)]))
    #expect(answer.reason == .outOfStock)
    #expect(
      answer.problems == [
        .init(index: 0, sku: 10, wanted: 101, available: 100),
        .init(index: 2, sku: 12, wanted: 1, available: 0),
      ])
    #expect(market.contents() == before)
  }

  @Test func `a SKU in several lines is judged by what the earlier lines left`() {
    let market = Market.open()
    let before = market.contents()
    let answer = market.tell(.place(1, [(11, 3), (11, 3), (10, 1), (11, 2)]))
    #expect(answer.reason == .outOfStock)
    #expect(answer.problems == [.init(index: 1, sku: 11, wanted: 3, available: 2)])
    #expect(market.contents() == before)
    #expect(market.tell(.place(1, [(11, 3), (10, 1), (11, 2)])).reason == nil)
    #expect(market.sku(11).onHand == 0)
    #expect(market.sku(11).reserved == 5)
  }

  @Test func `a line behind a short one is judged by what the lines between them left`() {
    // Five of SKU 11 are there. Line 0 is short of another SKU; lines 1 and 2 want six together.
    let market = Market.open()
    let before = market.contents()
    let answer = market.tell(.place(1, [(12, 1), (11, 3), (11, 3)]))
    #expect(answer.reason == .outOfStock)
    #expect(
      answer.problems == [
        .init(index: 0, sku: 12, wanted: 1, available: 0),
        .init(index: 2, sku: 11, wanted: 3, available: 2),
      ])
    #expect(market.contents() == before)
  }

  @Test func `every unknown SKU is named, also twice, and known ones are not`() {
    let market = Market.open()
    let before = market.contents()
    let answer = market.tell(.place(1, [(77, 1), (10, 1), (78, 4), (77, 2), (12, 1)]))
    #expect(answer.reason == .unknownSKU)
    #expect(
      answer.problems == [
        .init(index: 0, sku: 77, wanted: 1, available: 0),
        .init(index: 2, sku: 78, wanted: 4, available: 0),
        .init(index: 3, sku: 77, wanted: 2, available: 0),
      ])
    #expect(market.contents() == before)
  }

  @Test func `a price that was agreed wins over the SKU's, line by line`() {
    let market = Market.open()
    let id = market.nextOrder
    market.tell(.place(1, [(10, 2), (10, 1), (11, 1)], prices: [900, nil, 0]))
    let order = market.order(id)
    #expect(order.lines.map(\.unitPrice) == [900, 1_000, 0])
    #expect(order.total == 2_800)
  }

  @Test func `an order keeps its price when the SKU's changes`() {
    let market = Market.open()
    let id = market.placed()
    market.tell(.put(1, 10, price: 1))
    #expect(market.settle(id, 2_000).payment?.settlement == .exact)
  }

  @Test func `an order that costs nothing is ready at once and never expires`() {
    let market = Market.open()
    let id = market.nextOrder
    market.tell(.place(1, [(10, 2)], prices: [0]))
    #expect(market.order(id).state == .ready)
    #expect(market.order(id).paidAt == Market.start)
    market.now += Milliseconds(Market.reserve) * 2
    market.expireDue()
    market.expire([id.sequenceNumber])
    #expect(market.order(id).state == .ready)
    #expect(market.tell(.shipOrder(id)).reason == nil)
    #expect(market.tell(.deliverOrder(id)).reason == nil)
    #expect(
      market.tell(.completeOrder(id))
        == .orderChanged(order: id, state: .completed, refunded: 0, released: 0, fee: 0))
    #expect(market.books.transfers.isEmpty)
  }

  @Test(
    arguments: [
      // quantity, unit price, shipping: a line, a sum of lines, and the shipping that overflow.
      ([(10, 2)], [Money.max], Money(0)),
      ([(10, 1), (10, 1)], [Money.max, 1], 0),
      ([(10, 1)], [Money.max], 1),
      ([(10, 3)], [Money.max / 2], 0),
    ] as [([(UInt64, UInt32)], [Money?], Money)])
  func `amounts that do not fit are refused`(
    lines: [(UInt64, UInt32)], prices: [Money?], shippingFee: Money
  ) {
    let market = Market.open()
    let before = market.contents()
    let command = Command.place(1, lines, shippingFee: shippingFee, prices: prices)
    #expect(market.tell(command).reason == .amountOverflow)
    #expect(market.contents() == before)
  }

  @Test func `the largest amount that fits is placed`() {
    let market = Market.open()
    guard
      case .orderPlaced(_, let total, _) = market.tell(
        .place(1, [(10, 1)], shippingFee: 7, prices: [.max - 7]))
    else {
      Issue.record("not placed")
      return
    }
    #expect(total == .max)
  }

  @Test func `an order is not known to its own block`() {
    let market = Market.open()
    let id = market.nextOrder
    let commands: [Command] = [
      .place(1, [(10, 2)]), .settle(id, 2_000), .cancel(id, by: .platform), .shipOrder(id),
      .deliverOrder(id), .completeOrder(id),
    ]
    let answers = market.tellTogether(commands)
    #expect(answers[0].reason == nil)
    for answer in answers[1...] { #expect(answer.reason == .unknownOrder) }
    #expect(market.books.answer(.order(id)).reason == .unknownOrder)
    #expect(
      market.books.answer(.payment(order: id, PaymentKey(provider: "bank", reference: "r"))).reason
        == .unknownOrder)
    // And known to the next.
    #expect(market.tell(.settle(id, 2_000)).payment?.settlement == .exact)
  }

  @Test func `orders of one block compete for the same stock`() {
    let market = Market.open()
    let answers = market.tellTogether([.place(1, [(11, 3)]), .place(1, [(11, 3)]), .place(1, [(11, 2)])])
    #expect(answers.map(\.reason) == [nil, .outOfStock, nil])
  }
}
