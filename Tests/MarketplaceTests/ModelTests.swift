import Marketplace
import TestSupport
import Testing

/// The books against a dumb model: thousands of random commands, the same answers, the same state.
struct ModelTests {
  /// Said to queries, or by the partition that keeps requests, never by the books.
  private static let notOfCommands: Set<Reason> = [.unknownPayment, .requestSealed, .unknownRequest]

  /// Commands that are mostly sensible, about few shops and SKUs, so that they meet.
  private struct Script {
    var random: SplitMix64
    var orders: [OrderID] = []
    var references: [(reference: String, order: OrderID, amount: Money)] = []
    var totals: [OrderID: Money] = [:]
    private var last: Command?

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    private mutating func shop() -> UInt64 {
      UInt64(random.chance(2) ? random.pick([0, 9]) : random.pick(1...4))
    }
    private mutating func sku() -> UInt64 {
      UInt64(random.chance(2) ? random.pick([0, 99]) : random.pick(1...6))
    }

    private mutating func order() -> OrderID {
      if orders.isEmpty || random.chance(2) {
        return OrderID(at: Market.start, partition: UInt16(random.pick(6...7)), sequenceNumber: 3)
      }
      // Young ones mostly: the old have ended.
      let from = max(0, orders.count - random.pick([12, 12, 60, 100_000]))
      return orders[random.pick(from...orders.count - 1)]
    }

    /// Often the command before once more: it has mostly been done by now.
    mutating func next(_ number: Int) -> Command {
      if let last, random.chance(4) { return last }
      let command = fresh(number)
      last = command
      return command
    }

    private mutating func fresh(_ number: Int) -> Command {
      switch random.pick(0...99) {
      case 0..<2: return .register(shop(), name: random.chance(90) ? "shop" : "")
      case 2..<8:
        let onHand: Int64? = random.pick([nil, 0, 5, 30, 200, random.chance(3) ? .max : 12, -1])
        return .put(
          shop(), sku(), price: Money(random.pick(-1...500)), onHand: onHand,
          name: random.pick(["", "a", "b"]))
      case 8..<18:
        return .adjust(
          shop(), sku(), random.chance(1) ? random.pick([.min, .max]) : Int64(random.pick(-20...40)))
      case 18..<48: return place()
      case 48..<70: return settle(number)
      case 70..<78:
        return .cancel(order(), by: random.pick([.buyer, .buyer, .shop, .platform]), reason: "why")
      case 78..<86: return .shipOrder(order())
      case 86..<93: return .deliverOrder(order())
      default: return .completeOrder(order())
      }
    }

    private mutating func place() -> Command {
      var command = Command.PlaceOrder()
      command.shop = shop()
      command.buyer = UInt64(random.chance(1) ? 0 : random.pick(1...5))
      for _ in 0..<(random.chance(1) ? 0 : random.pick(1...4)) {
        let quantity = random.chance(1) ? random.pick([0, 1_000_000_001]) : random.pick(1...9)
        let price: Money? =
          random.chance(70) ? nil : random.chance(3) ? random.pick([-1, .max]) : Money(random.pick(0...99))
        command.lines.append(.init(sku: sku(), quantity: UInt32(quantity), unitPrice: price))
      }
      command.shippingFee = random.chance(1) ? random.pick([-1, .max]) : Money(random.pick([0, 0, 90]))
      command.reserveMilliseconds = random.pick([0, 0, 0, 50, 900, random.chance(3) ? 2_592_000_001 : 7])
      command.reference = "ref"
      return .placeOrder(command)
    }

    private mutating func settle(_ number: Int) -> Command {
      if !references.isEmpty && random.chance(15) {
        let again = references[random.pick(max(0, references.count - 50)...references.count - 1)]
        let amount = random.chance(20) ? again.amount + 1 : again.amount
        return .settle(random.chance(20) ? order() : again.order, amount, reference: again.reference)
      }
      let order = order()
      let total = totals[order] ?? 100
      let amount = random.pick([total, total, total / 2, total + 7, 1, Money(random.pick(-1...400))])
      let reference = random.chance(1) ? "" : "p\(number)"
      references.append((reference, order, amount))
      return .settle(
        order, amount, provider: random.pick(["bank", "bank", "bank", ""]), reference: reference,
        rejected: random.chance(10) ? "declined" : "")
    }
  }

  @Test(arguments: [1, 2, 3, 20_261_121] as [UInt64])
  func `20,000 random commands are answered as the rules say, and the books balance`(seed: UInt64) {
    let market = Market(feeBasisPoints: 333)
    var model = MarketplaceModel(partition: 7, reserve: Milliseconds(Market.reserve), feeBasisPoints: 333)
    var script = Script(seed: seed)
    var reasons: [Reason: Int] = [:]
    var done = 0
    var step = 0
    var checked = 0
    while step < 20_000 {
      if script.random.chance(20) { market.now += Milliseconds(script.random.pick(0...200_000)) }
      if script.random.chance(10) {
        model.beginBlock()
        model.expire(at: market.now)
        market.expireDue(limit: .max)
      }
      if script.random.chance(1), let slot = market.books.shops.find(ShopID(4)) {
        // No command suspends a shop yet, so the test does.
        let isSuspended = script.random.chance(30)
        market.books.shops.update(slot) { $0.status = isSuspended ? .suspended : .active }
        model.suspended = isSuspended ? [4] : []
      }
      let commands = (0..<script.random.pick([1, 1, 2, 7])).map { script.next(step + $0) }
      let first = market.sequenceNumber + 1
      let answers = market.tellTogether(commands)
      model.beginBlock()
      for (offset, command) in commands.enumerated() {
        let expected = model.apply(command, at: market.now, sequenceNumber: first + UInt64(offset))
        var answer = answers[offset]
        if case .no(var refusal) = answer {
          refusal.detail = ""
          answer = .no(refusal)
          reasons[refusal.reason, default: 0] += 1
        } else {
          done += 1
        }
        guard answer == expected else {
          Issue.record("step \(step) of seed \(seed): \(command) gave \(answer), not \(expected)")
          return
        }
        if case .orderPlaced(let id, let total, _) = answer {
          script.orders.append(id)
          // Huge amounts would fill clearing and end the run's payments.
          script.totals[id] = min(total, 1_000_000)
        }
      }
      step += commands.count
      if step / 500 > checked {
        checked = step / 500
        expectConserved(market, "step \(step) of seed \(seed)")
        expectEqual(market, model)
      }
    }
    expectConserved(market, "the end of seed \(seed)")
    expectEqual(market, model)
    // The run reached what it was written for.
    #expect(done > 7_000)
    for reason in Reason.allCases where !Self.notOfCommands.contains(reason) {
      #expect(reasons[reason, default: 0] > 0, "\(reason) was never said")
    }
  }

  private func expectEqual(_ market: Market, _ model: MarketplaceModel) {
    let contents = market.contents()
    let goods = contents.skus.mapValues {
      MarketplaceModel.Goods(
        price: $0.price, onHand: $0.onHand, reserved: $0.reserved, consumed: $0.consumed, given: $0.given,
        name: $0.name)
    }
    #expect(goods == model.goods)
    var sales: [OrderID: MarketplaceModel.Sale] = [:]
    for order in contents.orders.values {
      sales[order.id] = MarketplaceModel.Sale(
        shop: order.shop, buyer: order.buyer, state: order.state, lines: order.lines, goods: order.goods,
        total: order.total, expiresAt: order.expiresAt, received: order.received, held: order.held,
        refunded: order.refunded, released: order.released, fee: order.fee)
    }
    #expect(sales == model.sales.merging(model.placedNow) { _, new in new })
    var payments: [[String]: Payment] = [:]
    for payment in contents.payments.values { payments[[payment.provider, payment.reference]] = payment }
    #expect(payments == model.payments)
    var money: [String: Money] = [:]
    market.books.accounts.forEach { account in
      let key = account.key
      money[key.owner == 0 ? key.kind.name : "\(key.kind.name) \(key.owner)"] = account.balance
    }
    #expect(money.filter { $0.value != 0 } == model.money.filter { $0.value != 0 })
    #expect(Set(contents.shops.keys) == model.shops)
  }

  /// What must be true of any books at any time.
  private func expectConserved(_ market: Market, _ when: String) {
    let contents = market.contents()
    #expect(contents.accounts.values.reduce(0, +) == 0, "accounts do not sum to zero at \(when)")
    var held: [UInt64: Money] = [:]
    for order in contents.orders.values {
      held[order.shop, default: 0] += order.held
      #expect(order.received == order.held + order.refunded + order.released + order.fee)
      #expect(order.received <= order.total)
      #expect(min(order.held, order.refunded, order.released, order.fee) >= 0)
    }
    for shop in contents.shops.keys {
      #expect(
        contents.accounts[[UInt64(AccountKey.Kind.escrow.rawValue), shop], default: 0]
          == held[shop, default: 0], "escrow is not what orders hold at \(when)")
    }
    var reserved: [[UInt64]: Int64] = [:]
    for order in contents.orders.values where order.state == .placed || order.state == .ready {
      for line in order.lines { reserved[[order.shop, line.sku], default: 0] += Int64(line.quantity) }
    }
    for (key, sku) in contents.skus {
      #expect(sku.onHand + sku.reserved + sku.consumed + sku.writtenOff == sku.given)
      #expect(min(sku.onHand, sku.reserved, sku.consumed, sku.writtenOff) >= 0)
      #expect(sku.reserved == reserved[key, default: 0], "reserved is not what orders reserve at \(when)")
    }
    var ledger: [[UInt64]: Money] = [:]
    var numbers: Set<[UInt64]> = []
    for transfer in contents.transfers {
      #expect(transfer.amount > 0)
      #expect(numbers.insert([transfer.sequenceNumber, UInt64(transfer.number)]).inserted)
      ledger[[UInt64(transfer.debit.kind.rawValue), transfer.debit.owner], default: 0] -= transfer.amount
      ledger[[UInt64(transfer.credit.kind.rawValue), transfer.credit.owner], default: 0] += transfer.amount
    }
    #expect(ledger == contents.accounts, "balances are not the sums of transfers at \(when)")
    for (key, balance) in contents.accounts where key[0] != UInt64(AccountKey.Kind.providerClearing.rawValue)
    {
      #expect(balance >= 0)
    }
  }
}
