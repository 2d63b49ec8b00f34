import Marketplace
import Testing

/// Which of several refusals comes first. Every rung breaks all rules below its own too, as far
/// as they can be broken together.
struct PrecedenceTests {
  struct Rung: Sendable, CustomTestStringConvertible {
    let reason: Reason
    var detail = ""
    let command: @Sendable (Market) -> Command
    var testDescription: String { "\(reason) \(detail)" }
  }

  /// Shop 2 is suspended; shop 99, SKU 77 and order ``stranger`` do not exist.
  private func market() -> Market {
    let market = Market.open()
    market.tell(.register(2))
    market.tell(.put(2, 10, price: 1_000, onHand: 100))
    market.tell(.put(2, 12, price: 70))
    if let slot = market.books.shops.find(ShopID(2)) {
      market.books.shops.update(slot) { $0.status = .suspended }
    }
    return market
  }

  static let stranger = OrderID(at: Market.start, partition: 7, sequenceNumber: 12_345)

  private func expect(_ rung: Rung) {
    let market = market()
    let command = rung.command(market)
    let before = market.contents()
    let answer = market.tell(command)
    guard case .no(let refusal) = answer else {
      Issue.record("\(rung) was not refused: \(answer)")
      return
    }
    #expect(refusal.reason == rung.reason)
    if rung.reason == .invalidArgument {
      #expect(refusal.detail.hasPrefix(rung.detail))
      #expect(!rung.detail.isEmpty)
    } else {
      #expect(refusal.detail.isEmpty)
    }
    #expect(market.contents() == before)
  }

  private static func place(_ change: @Sendable @escaping (inout Command.PlaceOrder) -> Void) -> Command {
    // Wrong in every argument and every rule; a rung puts right what stands above it.
    var command = Command.PlaceOrder()
    command.shippingFee = -1
    command.reserveMilliseconds = 30 * 24 * 3_600_000 + 1
    change(&command)
    return .placeOrder(command)
  }

  static let wrongLines: [Command.PlaceOrder.Line] = [
    .init(sku: 77, quantity: 1), .init(sku: 10, quantity: 2, unitPrice: .max), .init(sku: 12, quantity: 1),
  ]

  static let placing: [Rung] = [
    Rung(reason: .invalidArgument, detail: "shop_id") { _ in place { _ in } },
    Rung(reason: .invalidArgument, detail: "buyer_id") { _ in place { $0.shop = 99 } },
    Rung(reason: .invalidArgument, detail: "lines must not be empty") { _ in
      place {
        $0.shop = 99
        $0.buyer = 1
      }
    },
    Rung(reason: .invalidArgument, detail: "shipping_fee") { _ in
      place {
        $0.shop = 99
        $0.buyer = 1
        $0.lines = [.init()]
      }
    },
    Rung(reason: .invalidArgument, detail: "reserve_milliseconds") { _ in
      place {
        $0.shop = 99
        $0.buyer = 1
        $0.lines = [.init()]
        $0.shippingFee = 0
      }
    },
    line("lines[3].sku_id", .init(sku: 0, quantity: 0, unitPrice: -1)),
    line("lines[3].quantity", .init(sku: 1, quantity: 0, unitPrice: -1)),
    line("lines[3].quantity", .init(sku: 1, quantity: 1_000_000_001, unitPrice: -1)),
    line("lines[3].unit_price", .init(sku: 1, quantity: 1_000_000_000, unitPrice: -1)),
    Rung(reason: .unknownShop) { _ in
      .place(99, [(77, 1), (10, 2), (12, 1)], prices: [nil, .max])
    },
    Rung(reason: .shopSuspended) { _ in
      .place(2, [(77, 1), (10, 2), (12, 1)], prices: [nil, .max])
    },
    Rung(reason: .unknownSKU) { _ in
      .place(1, [(77, 1), (10, 2), (12, 1)], prices: [nil, .max])
    },
    Rung(reason: .amountOverflow) { _ in .place(1, [(12, 1), (10, 2)], prices: [nil, .max]) },
    Rung(reason: .amountOverflow) { _ in .place(1, [(12, 1)], shippingFee: .max) },
    Rung(reason: .outOfStock) { _ in .place(1, [(12, 1)]) },
  ]

  private static func line(_ detail: String, _ line: Command.PlaceOrder.Line) -> Rung {
    Rung(reason: .invalidArgument, detail: detail) { _ in
      place {
        $0.shop = 99
        $0.buyer = 1
        $0.lines = wrongLines + [line, .init()]
        $0.shippingFee = 0
        $0.reserveMilliseconds = 30 * 24 * 3_600_000
      }
    }
  }

  @Test(arguments: placing) func `placing says the first thing that is wrong`(rung: Rung) { expect(rung) }

  static let settling: [Rung] = [
    Rung(reason: .invalidArgument, detail: "provider") { market in
      used(market, .settle(stranger, 0, provider: "", reference: ""))
    },
    Rung(reason: .invalidArgument, detail: "reference") { market in
      used(market, .settle(stranger, 0, provider: "bank", reference: ""))
    },
    Rung(reason: .invalidArgument, detail: "amount") { market in
      used(market, .settle(stranger, 0))
    },
    Rung(reason: .invalidArgument, detail: "amount") { market in
      used(market, .settle(stranger, -5))
    },
    Rung(reason: .referenceReused) { market in used(market, .settle(stranger, .max)) },
    Rung(reason: .unknownOrder) { market in
      used(market, .settle(stranger, .max, reference: "new"))
    },
    Rung(reason: .amountOverflow) { market in
      let id = market.placed()
      return used(market, .settle(id, .max, reference: "new"))
    },
    // A payment that moves nothing is judged by the same rule.
    Rung(reason: .amountOverflow) { market in
      let id = market.placed()
      return used(market, .settle(id, .max, reference: "new", rejected: "no"))
    },
  ]

  /// After reference "r" was used and clearing is near its end.
  private static func used(_ market: Market, _ command: Command) -> Command {
    let id = market.placed()
    market.tell(.settle(id, 500))
    market.tell(.cancel(id, by: .buyer))
    market.settle(id, .max - 600)
    return command
  }

  @Test(arguments: settling) func `settling says the first thing that is wrong`(rung: Rung) { expect(rung) }

  @Test func `the first answer comes again before the order is looked for`() {
    // The order's row is gone; only the payment is known.
    let market = Market.open()
    let id = market.placed()
    let first = market.tell(.settle(id, 500))
    market.now += 1
    #expect(market.tellTogether([.settle(id, 500)]) == [first])
  }

  static let adjusting: [Rung] = [
    Rung(reason: .invalidArgument, detail: "shop_id") { _ in .adjust(0, 0, 0) },
    Rung(reason: .invalidArgument, detail: "sku_id") { _ in .adjust(99, 0, 0) },
    Rung(reason: .invalidArgument, detail: "delta") { _ in .adjust(99, 77, 0) },
    Rung(reason: .unknownShop) { _ in .adjust(99, 77, .min) },
    Rung(reason: .unknownSKU) { _ in .adjust(1, 77, .min) },
    Rung(reason: .stockNegative) { _ in .adjust(1, 10, -101) },
    Rung(reason: .amountOverflow) { _ in .adjust(1, 10, .max) },
  ]

  @Test(arguments: adjusting)
  func `adjusting says the first thing that is wrong`(rung: Rung) { expect(rung) }

  static let putting: [Rung] = [
    Rung(reason: .invalidArgument, detail: "shop_id") { _ in .put(0, 0, price: -1, onHand: -1) },
    Rung(reason: .invalidArgument, detail: "sku_id") { _ in .put(99, 0, price: -1, onHand: -1) },
    Rung(reason: .invalidArgument, detail: "price") { _ in .put(99, 77, price: -1, onHand: -1) },
    Rung(reason: .invalidArgument, detail: "on_hand") { _ in .put(99, 77, price: 0, onHand: -1) },
    Rung(reason: .unknownShop) { _ in .put(99, 10, price: 0, onHand: .max) },
    Rung(reason: .amountOverflow) { market in
      _ = market.placed()
      return .put(1, 10, price: 0, onHand: .max)
    },
  ]

  @Test(arguments: putting) func `putting says the first thing that is wrong`(rung: Rung) { expect(rung) }

  static let registering: [Rung] = [
    Rung(reason: .invalidArgument, detail: "shop_id") { _ in .register(0, name: "") },
    Rung(reason: .invalidArgument, detail: "name") { _ in .register(1, name: "") },
    Rung(reason: .shopExists) { _ in .register(1) },
    Rung(reason: .shopExists) { _ in .register(2) },
  ]

  @Test(arguments: registering)
  func `registering says the first thing that is wrong`(rung: Rung) { expect(rung) }

  static let steps: [Rung] = [
    Rung(reason: .unknownOrder) { _ in .cancel(stranger, by: .buyer) },
    // What the state forbids comes before who asks.
    Rung(reason: .alreadyShipped) { .cancel($0.order(in: .shipped), by: .buyer) },
    Rung(reason: .orderCancelled) { .cancel($0.order(in: .expired), by: .buyer) },
    Rung(reason: .cancelNotAllowed) { .cancel($0.order(in: .ready), by: .buyer) },
    Rung(reason: .unknownOrder) { _ in .shipOrder(stranger) },
    Rung(reason: .unknownOrder) { _ in .deliverOrder(stranger) },
    Rung(reason: .unknownOrder) { _ in .completeOrder(stranger) },
  ]

  @Test(arguments: steps) func `a step says the first thing that is wrong`(rung: Rung) { expect(rung) }
}
