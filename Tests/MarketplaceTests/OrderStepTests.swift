import Marketplace
import Testing

struct OrderStepTests {
  @Test func `an order runs from placed to completed`() {
    let market = Market.open()
    let id = market.placed([(10, 2)], shippingFee: 300)
    market.settle(id, 2_300)
    market.now += 10
    #expect(
      market.tell(.shipOrder(id))
        == .orderChanged(order: id, state: .shipped, refunded: 0, released: 0, fee: 0))
    #expect(market.sku(10).onHand == 98)
    #expect(market.sku(10).reserved == 0)
    #expect(market.sku(10).consumed == 2)
    market.now += 10
    #expect(
      market.tell(.deliverOrder(id))
        == .orderChanged(order: id, state: .delivered, refunded: 0, released: 0, fee: 0))
    #expect(market.escrow == 2_300)
    market.now += 10
    // 2.5 % of the goods; the shipping is the shop's without a fee.
    #expect(
      market.tell(.completeOrder(id))
        == .orderChanged(order: id, state: .completed, refunded: 0, released: 2_250, fee: 50))
    #expect(market.escrow == 0)
    #expect(market.shopBalance == 2_250)
    #expect(market.fees == 50)
    #expect(market.wallet == 0)
    let order = market.order(id)
    #expect(order.shippedAt == Market.start + 10)
    #expect(order.deliveredAt == Market.start + 20)
    #expect(order.endedAt == Market.start + 30)
    #expect(order.released == 2_250)
    #expect(order.fee == 50)
    #expect(order.held == 0)
    #expect(market.books.transfers.map(\.why) == [.settlement, .release, .fee])
  }

  @Test(
    arguments: [
      // basis points, goods, fee: rounded down, always.
      (250, 39, 0), (250, 40, 1), (250, 79, 1), (250, 80, 2), (0, 1_000, 0), (10_000, 777, 777),
      (1, 9_999, 0), (1, 10_000, 1), (3_333, 10, 3), (10_000, Money.max, Money.max),
      (5_000, Money.max, Money.max / 2), (1, Money.max, Money.max / 10_000),
    ] as [(UInt32, Money, Money)])
  func `the fee is rounded down`(basisPoints: UInt32, goods: Money, fee: Money) {
    let market = Market.open(feeBasisPoints: basisPoints)
    let id = market.nextOrder
    market.tell(.place(1, [(10, 1)], prices: [goods]))
    market.settle(id, goods)
    market.tell(.shipOrder(id))
    market.tell(.deliverOrder(id))
    #expect(
      market.tell(.completeOrder(id))
        == .orderChanged(order: id, state: .completed, refunded: 0, released: goods - fee, fee: fee))
    #expect(market.fees == fee)
    #expect(market.shopBalance == goods - fee)
  }

  @Test(arguments: [Actor.buyer, .shop, .platform])
  func `anybody may cancel what is not paid in full, and gets back what came`(actor: Actor) {
    let market = Market.open()
    let id = market.placed()
    market.settle(id, 700)
    market.now += 9
    #expect(
      market.tell(.cancel(id, by: actor, reason: "changed my mind"))
        == .orderChanged(order: id, state: .cancelled, refunded: 700, released: 0, fee: 0))
    #expect(market.wallet == 700)
    #expect(market.escrow == 0)
    #expect(market.sku(10).onHand == 100)
    #expect(market.sku(10).reserved == 0)
    let order = market.order(id)
    #expect(order.cancelledBy == actor)
    #expect(order.cancelReason == "changed my mind")
    #expect(order.endedAt == Market.start + 9)
    #expect(order.refunded == 700)
    #expect(order.held == 0)
    #expect(order.received == 700)
  }

  @Test(arguments: [OrderState.paid, .ready])
  func `what is paid is cancelled by the shop or the platform, not by the buyer`(state: OrderState) {
    for actor in [Actor.shop, .platform] {
      let market = Market.open()
      let id = market.order(in: state)
      #expect(market.tell(.cancel(id, by: .buyer)).reason == .cancelNotAllowed)
      #expect(
        market.tell(.cancel(id, by: actor))
          == .orderChanged(order: id, state: .cancelled, refunded: 2_000, released: 0, fee: 0))
      #expect(market.wallet == 2_000)
      #expect(market.sku(10).onHand == 100)
    }
  }

  static let states: [OrderState] = [
    .placed, .paid, .ready, .shipped, .delivered, .completed, .cancelled, .expired,
  ]

  /// What a command says in each of ``states``; nil: yes.
  struct Row: Sendable, CustomTestStringConvertible {
    let name: String
    let command: @Sendable (OrderID) -> Command
    let reasons: [Reason?]
    var testDescription: String { name }
  }

  static let table: [Row] = [
    Row(
      name: "cancel by the buyer", command: { .cancel($0, by: .buyer) },
      reasons: [
        nil, .cancelNotAllowed, .cancelNotAllowed, .alreadyShipped, .alreadyDelivered, .alreadyCompleted,
        .orderCancelled, .orderCancelled,
      ]),
    Row(
      name: "cancel by the shop", command: { .cancel($0, by: .shop) },
      reasons: [
        nil, nil, nil, .alreadyShipped, .alreadyDelivered, .alreadyCompleted, .orderCancelled,
        .orderCancelled,
      ]),
    Row(
      name: "cancel by the platform", command: { .cancel($0, by: .platform) },
      reasons: [
        nil, nil, nil, .alreadyShipped, .alreadyDelivered, .alreadyCompleted, .orderCancelled,
        .orderCancelled,
      ]),
    Row(
      name: "ship", command: { .shipOrder($0) },
      reasons: [
        .notPaid, .notPaid, nil, .alreadyShipped, .alreadyDelivered, .alreadyCompleted, .orderCancelled,
        .orderCancelled,
      ]),
    Row(
      name: "deliver", command: { .deliverOrder($0) },
      reasons: [
        .notPaid, .notPaid, .notShipped, nil, .alreadyDelivered, .alreadyCompleted, .orderCancelled,
        .orderCancelled,
      ]),
    Row(
      name: "complete", command: { .completeOrder($0) },
      reasons: [
        .notPaid, .notPaid, .notShipped, .notDelivered, nil, .alreadyCompleted, .orderCancelled,
        .orderCancelled,
      ]),
  ]

  @Test(arguments: table, states)
  func `every command in every state is answered by the table`(row: Row, state: OrderState) throws {
    let market = Market.open()
    let id = market.order(in: state)
    let before = market.contents()
    let answer = market.tell(row.command(id))
    let expected = row.reasons[try #require(Self.states.firstIndex(of: state))]
    #expect(answer.reason == expected)
    if expected != nil { #expect(market.contents() == before, "a refusal changed something") }
  }

  @Test func `ids that are no order's are unknown`() {
    let market = Market.open()
    let id = market.placed()
    let strangers = [
      OrderID(high: 0, low: 0),
      OrderID(high: id.high, low: id.low + 1),
      OrderID(high: id.high + 1 << 16, low: id.low),  // another time
      OrderID(high: id.high ^ 0x100, low: id.low),  // another kind
      OrderID(high: id.high, low: id.low ^ 1 << 62),  // another variant
      OrderID(at: Market.start, partition: 8, sequenceNumber: id.sequenceNumber),
      OrderID(at: Market.start, partition: 7, sequenceNumber: 1 << 46 - 1),
    ]
    let before = market.contents()
    for stranger in strangers {
      #expect(market.tell(.shipOrder(stranger)).reason == .unknownOrder)
      #expect(market.tell(.deliverOrder(stranger)).reason == .unknownOrder)
      #expect(market.tell(.completeOrder(stranger)).reason == .unknownOrder)
      #expect(market.tell(.cancel(stranger, by: .platform)).reason == .unknownOrder)
      #expect(market.tell(.settle(stranger, 1)).reason == .unknownOrder)
      #expect(market.books.answer(.order(stranger)).reason == .unknownOrder)
    }
    #expect(market.contents() == before)
  }

  @Test func `a reservation that runs out is released`() {
    let market = Market.open()
    let id = market.placed([(10, 2), (11, 1), (10, 3)])
    market.now += Milliseconds(Market.reserve) - 1
    market.expire([id.sequenceNumber])
    #expect(market.order(id).state == .placed, "it expired a millisecond early")
    market.now += 1
    market.expireDue()
    let order = market.order(id)
    #expect(order.state == .expired)
    #expect(order.endedAt == market.now)
    #expect(market.sku(10).onHand == 100)
    #expect(market.sku(10).reserved == 0)
    #expect(market.sku(11).onHand == 5)
    #expect(market.books.transfers.isEmpty)
  }

  @Test func `what came for an order that expires is refunded`() {
    let market = Market.open()
    let id = market.placed()
    market.settle(id, 1_999)
    market.now += Milliseconds(Market.reserve)
    market.expireDue()
    #expect(market.order(id).state == .expired)
    #expect(market.order(id).refunded == 1_999)
    #expect(market.order(id).held == 0)
    #expect(market.wallet == 1_999)
    #expect(market.escrow == 0)
    #expect(market.books.transfers.map(\.why) == [.settlement, .refund])
  }

  @Test(arguments: [
    OrderState.paid, .ready, .shipped, .delivered, .completed, .cancelled, .expired,
  ])
  func `only what is placed expires`(state: OrderState) {
    let market = Market.open()
    let id = market.order(in: state)
    market.now += Milliseconds(Market.reserve) * 2
    let before = market.contents()
    market.expireDue()
    market.expire([id.sequenceNumber, 1_000_000])
    #expect(market.contents() == before)
  }

  @Test func `one expiry entry numbers its transfers through`() {
    let market = Market.open()
    for _ in 0..<3 { market.settle(market.placed(), 10) }
    market.now += Milliseconds(Market.reserve)
    market.books.transfers.removeAll()
    market.expireDue()
    #expect(market.books.transfers.map(\.number) == [0, 1, 2])
    #expect(Set(market.books.transfers.map(\.sequenceNumber)) == [market.sequenceNumber])
    #expect(market.wallet == 30)
  }
}
