import Marketplace
import Testing

struct SettlementTests {
  @Test func `an exact payment makes an order ready and is held in escrow`() {
    let market = Market.open()
    let id = market.placed()
    market.now += 5
    let payment = market.tell(.settle(id, 2_000)).payment
    #expect(payment?.settlement == .exact)
    #expect(payment?.held == 2_000)
    #expect(payment?.refunded == 0)
    #expect(payment?.outstanding == 0)
    #expect(payment?.stateAfter == .ready)
    #expect(market.order(id).paidAt == Market.start + 5)
    #expect(market.order(id).held == 2_000)
    #expect(market.escrow == 2_000)
    #expect(market.clearing == -2_000)
    #expect(market.books.transfers.map(\.why) == [.settlement])
  }

  @Test func `payments that are too small are recorded until the rest comes`() {
    let market = Market.open()
    let id = market.placed()
    let first = market.settle(id, 1_500).payment
    #expect(first?.settlement == .under)
    #expect(first?.outstanding == 500)
    #expect(first?.stateAfter == .placed)
    let second = market.settle(id, 499).payment
    #expect(second?.settlement == .under)
    #expect(second?.outstanding == 1)
    #expect(market.tell(.shipOrder(id)).reason == .notPaid)
    let third = market.settle(id, 1).payment
    #expect(third?.settlement == .exact)
    #expect(third?.stateAfter == .ready)
    #expect(market.escrow == 2_000)
    #expect(market.order(id).received == 2_000)
  }

  @Test func `a surplus goes to the buyer's wallet`() {
    let market = Market.open()
    let id = market.placed()
    market.settle(id, 500)
    let payment = market.settle(id, 1_700).payment
    #expect(payment?.settlement == .over)
    #expect(payment?.held == 1_500)
    #expect(payment?.refunded == 200)
    #expect(payment?.stateAfter == .ready)
    #expect(market.escrow == 2_000)
    #expect(market.wallet == 200)
    #expect(market.books.transfers.map(\.why) == [.settlement, .settlement, .surplus])
    #expect(market.books.transfers.map(\.number) == [0, 0, 1])
  }

  @Test(arguments: [
    OrderState.paid, .ready, .shipped, .delivered, .completed, .cancelled, .expired,
  ])
  func `a late payment is refunded in full`(state: OrderState) {
    let market = Market.open()
    let id = market.order(in: state)
    let (escrow, wallet, order) = (market.escrow, market.wallet, market.order(id))
    let payment = market.tell(.settle(id, 300)).payment
    #expect(payment?.settlement == .late)
    #expect(payment?.held == 0)
    #expect(payment?.refunded == 300)
    #expect(payment?.outstanding == 0)
    #expect(payment?.stateAfter == state)
    #expect(market.wallet == wallet + 300)
    #expect(market.escrow == escrow)
    #expect(market.order(id) == order)
  }

  @Test func `the same reference gets the first answer again, whatever happened since`() {
    let market = Market.open()
    let id = market.placed()
    let first = market.tell(.settle(id, 500))
    market.settle(id, 1_500)
    market.tell(.shipOrder(id))
    let before = market.contents()
    #expect(market.tell(.settle(id, 500)) == first)
    #expect(market.contents() == before)
  }

  @Test func `a reference may be used again under another provider`() {
    let market = Market.open()
    let id = market.placed()
    market.tell(.settle(id, 500, provider: "bank"))
    #expect(market.tell(.settle(id, 1_500, provider: "wallet")).payment?.settlement == .exact)
  }

  @Test func `provider and reference are two things, however they are cut`() {
    let market = Market.open()
    let id = market.placed()
    market.tell(.settle(id, 500, provider: "ab", reference: "c"))
    #expect(market.tell(.settle(id, 500, provider: "a", reference: "bc")).payment?.outstanding == 1_000)
  }

  @Test func `a reference of another order or amount is refused`() {
    let market = Market.open()
    let id = market.placed()
    let other = market.placed()
    market.tell(.settle(id, 500))
    let before = market.contents()
    #expect(market.tell(.settle(id, 501)).reason == .referenceReused)
    #expect(market.tell(.settle(other, 500)).reason == .referenceReused)
    #expect(market.contents() == before)
  }

  @Test func `a payment that its provider rejected is recorded and moves nothing`() {
    let market = Market.open()
    let id = market.placed()
    market.settle(id, 500)
    let answer = market.tell(.settle(id, 1_500, rejected: "no funds"))
    #expect(answer.payment?.settlement == .rejected)
    #expect(answer.payment?.held == 0)
    #expect(answer.payment?.refunded == 0)
    #expect(answer.payment?.outstanding == 1_500)
    #expect(answer.payment?.stateAfter == .placed)
    #expect(market.escrow == 500)
    #expect(market.wallet == 0)
    #expect(market.order(id).state == .placed)
    #expect(market.tell(.settle(id, 1_500)) == answer)
    #expect(market.settle(id, 1_500).payment?.settlement == .exact)
    #expect(
      market.books.answer(.payment(order: id, PaymentKey(provider: "bank", reference: "r")))
        == answer.payment.map { .payment($0) })
  }

  @Test func `a rejected payment of an ended order waits for nothing`() {
    let market = Market.open()
    let id = market.order(in: .cancelled)
    let payment = market.tell(.settle(id, 2_000, rejected: "closed")).payment
    #expect(payment?.settlement == .rejected)
    #expect(payment?.outstanding == 0)
    #expect(payment?.stateAfter == .cancelled)
    #expect(market.wallet == 0)
  }

  @Test func `more than 63 bits of payments are refused`() {
    let market = Market.open()
    let id = market.order(in: .cancelled)
    #expect(market.settle(id, .max).payment?.settlement == .late)
    let before = market.contents()
    // Clearing is −(2^63 − 1) now: one more would still fit, two would not.
    #expect(market.settle(id, 2).reason == .amountOverflow)
    #expect(market.contents() == before)
  }

  @Test func `the payment that would fill a wallet beyond 63 bits is refused and ends no process`() async {
    await #expect(processExitsWith: .success) {
      let market = Market.open()
      let id = market.order(in: .cancelled)
      market.settle(id, .max)
      // Clearing may go down by one more, to −2^63; the wallet may not go up.
      let answer = market.settle(id, 1)
      precondition(answer.reason == .amountOverflow)
    }
  }

  @Test func `a payment is looked up by its order, provider and reference`() {
    let market = Market.open()
    let id = market.placed()
    let other = market.placed()
    market.tell(.settle(id, 500))
    let key = PaymentKey(provider: "bank", reference: "r")
    #expect(market.books.answer(.payment(order: id, key)).reason == nil)
    #expect(market.books.answer(.payment(order: other, key)).reason == .unknownPayment)
    #expect(
      market.books.answer(.payment(order: id, PaymentKey(provider: "bank", reference: "s"))).reason
        == .unknownPayment)
  }

  @Test func `references that only look alike are two references`() {
    // "é" as one scalar and as two is one Character to Swift, and two references to a provider.
    // The index has 1,024 places: among so many pairs some meet in one place.
    let market = Market()
    market.tell(.register(1))
    market.tell(.put(1, 10, price: 1, onHand: 1_000_000))
    let id = market.placed([(10, 1_000_000)])
    for number in 0..<4_000 {
      let one = PaymentKey(provider: "bank", reference: "\u{E9}\(number)")
      let two = PaymentKey(provider: "bank", reference: "e\u{301}\(number)")
      guard one.hashBits & 1_023 == two.hashBits & 1_023 else { continue }
      let first = market.tell(.settle(id, 3, provider: one.provider, reference: one.reference))
      let second = market.tell(.settle(id, 3, provider: two.provider, reference: two.reference))
      #expect(first.payment?.outstanding == 999_997)
      #expect(second.payment?.outstanding == 999_994, "the second payment was taken for the first")
      return
    }
    Issue.record("no two references met")
  }
}
