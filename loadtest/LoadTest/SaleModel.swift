import Bytes
import Cluster
import Marketplace
import RunHistory
import Wire

/// What a sale sends next, and what it learns from the answers. Pure: the same seed, numbers and answers
/// give the same requests.
///
/// Payments, shipments and the like are about orders that this model has seen placed; it remembers a
/// bounded number at each stage and forgets the oldest. Where no order waits for a command, an order is
/// placed instead.
package struct SaleModel: Sendable {
  package struct Options: Equatable, Sendable {
    package var seed: UInt64 = 1
    package var shops = 1_000
    package var skusPerShop = 10
    package var linesPerOrder = 3
    /// Per mille of the orders that want SKU 1 of shop 1.
    package var hotPerMille = 0
    /// Of shops and SKUs; 0: all alike.
    package var zipf: Double = 0
    package var mix = Mix.placeOnly
    /// In references of payments, so that no two runs share one.
    package var run: UInt64 = 0
    package init() {}
  }

  /// What a request is made from: the same draft is the same bytes.
  package struct Draft: Equatable, Sendable {
    package enum Variant: UInt8, Sendable {
      case plain
      /// Of payments: less than is owed, more, for an order that has ended, or the same once more.
      case under, over, late, again
      /// Of cancellations: by the shop, of a paid order.
      case byShop
    }
    package var command: SaleCommand
    package var variant: Variant = .plain
    package var number: UInt64
    package var order = OrderID(high: 0, low: 0)
    /// What the order owes, and what is paid.
    package var owed: Int64 = 0
    package var amount: Int64 = 0
    package var reference: UInt64 = 0

    package init(command: SaleCommand, number: UInt64) {
      self.command = command
      self.number = number
    }
  }

  private struct Known {
    var order: OrderID
    var owed: Int64
  }

  private struct Paid {
    var order: OrderID
    var amount: Int64
    var reference: UInt64
  }

  package let options: Options
  private let shopRanks: Zipf?
  private let skuRanks: Zipf?
  private let learns: Bool
  private var unpaid = Ring<Known>()
  private var ready = Ring<Known>()
  private var shipped = Ring<Known>()
  private var delivered = Ring<Known>()
  private var ended = Ring<Known>()
  private var paid = Ring<Paid>()
  private var scratch = Command.PlaceOrder()

  package init(_ options: Options) {
    self.options = options
    shopRanks = options.zipf > 0 ? Zipf(count: options.shops, exponent: options.zipf) : nil
    skuRanks = options.zipf > 0 ? Zipf(count: options.skusPerShop, exponent: options.zipf) : nil
    learns = !options.mix.isPlaceOnly
  }

  // MARK: What next

  /// The request with this number.
  @inline(__always)
  package mutating func next(_ number: UInt64) -> Draft {
    guard learns else { return Draft(command: .place, number: number) }
    return drawn(number) ?? Draft(command: .place, number: number)
  }

  private mutating func drawn(_ number: UInt64) -> Draft? {
    // Not the draws of the order with this number.
    var draws = Draws(seed: options.seed ^ 0x5A1E, number: number)
    let command = options.mix.draw(&draws)
    var draft = Draft(command: command, number: number)
    switch command {
    case .place, .adjust, .getSKU: break
    case .settle: return payment(draft, &draws)
    case .ship:
      guard let known = ready.popFirst() else { return nil }
      draft.order = known.order
      draft.owed = known.owed
    case .deliver:
      guard let known = shipped.popFirst() else { return nil }
      draft.order = known.order
    case .complete:
      guard let known = delivered.popFirst() else { return nil }
      draft.order = known.order
    case .cancel:
      let byShop = draws.below(3) == 0 && !ready.isEmpty
      guard let known = byShop ? ready.popFirst() : unpaid.popFirst() else { return nil }
      draft.variant = byShop ? .byShop : .plain
      draft.order = known.order
      draft.owed = known.owed
    case .getOrder:
      let ring = unpaid.isEmpty ? ready : unpaid
      guard !ring.isEmpty else { return nil }
      draft.order = ring[Int(draws.below(ring.count))].order
    }
    return draft
  }

  /// Of 1,000 payments: 10 the same once more, 20 for an ended order, 40 too little, 60 too much.
  private mutating func payment(_ draft: Draft, _ draws: inout Draws) -> Draft? {
    var draft = draft
    let dice = draws.below(1_000)
    if dice < 10, !paid.isEmpty {
      let payment = paid[Int(draws.below(paid.count))]
      draft.variant = .again
      draft.order = payment.order
      draft.amount = payment.amount
      draft.reference = payment.reference
      return draft
    }
    draft.reference = draft.number
    if dice < 30, !ended.isEmpty {
      draft.variant = .late
      let known = ended[Int(draws.below(ended.count))]
      draft.order = known.order
      draft.amount = max(1, known.owed)
      return draft
    }
    guard let known = unpaid.popFirst() else { return nil }
    draft.order = known.order
    draft.owed = known.owed
    draft.amount = max(1, known.owed)
    switch dice {
    case ..<70 where known.owed > 1:
      draft.variant = .under
      draft.amount = 1 + Int64(draws.below(Int(min(known.owed - 1, 1_000_000_000))))
    case 70..<130:
      draft.variant = .over
      draft.amount += 1 + Int64(draws.below(10_000))
    default: break
    }
    return draft
  }

  // MARK: What was answered

  /// - Parameters:
  ///   - order, owed, settlement: of a reply that is done (`ReplyPeek`).
  package mutating func ended(
    _ draft: Draft, _ outcome: HistoryRecord.Outcome, order: OrderID? = nil, owed: Int64 = 0,
    settlement: Settlement? = nil
  ) {
    guard learns else { return }
    let known = Known(order: draft.order, owed: draft.owed)
    switch outcome {
    // What is refused or in doubt is left alone.
    case .no, .unknown: return
    case .notExecuted:
      // It did not happen, so another may try.
      switch (draft.command, draft.variant) {
      case (.settle, .plain), (.settle, .under), (.settle, .over), (.cancel, .plain): unpaid.append(known)
      case (.ship, _), (.cancel, .byShop): ready.append(known)
      case (.deliver, _): shipped.append(known)
      case (.complete, _): delivered.append(known)
      default: break
      }
    case .done:
      switch draft.command {
      case .place: if let order { unpaid.append(Known(order: order, owed: owed)) }
      case .settle: settled(draft, known, owed, settlement)
      case .ship: shipped.append(known)
      case .deliver: delivered.append(known)
      case .cancel: ended.append(known)
      case .complete, .adjust, .getOrder, .getSKU: break
      }
    }
  }

  private mutating func settled(_ draft: Draft, _ known: Known, _ owed: Int64, _ settlement: Settlement?) {
    guard draft.variant != .again else { return }
    paid.append(Paid(order: draft.order, amount: draft.amount, reference: draft.reference))
    switch settlement {
    case .exact, .over: ready.append(known)
    case .under: unpaid.append(Known(order: draft.order, owed: owed))
    case .late, .rejected, nil: break
    }
  }

  // MARK: Bytes

  /// Writes the request that a draft stands for.
  @inline(__always)
  package mutating func write(_ draft: Draft, id: RequestID, into writer: inout ByteWriter) {
    switch draft.command {
    case .place:
      fill(draft.number)
      command(.placeOrder(scratch), id, &writer)
    case .settle:
      var settle = Command.SettlePayment()
      settle.order = draft.order
      settle.provider = "loadtest"
      settle.reference = "\(options.run)-\(draft.reference)"
      settle.amount = draft.amount
      settle.method = .bankTransfer
      command(.settlePayment(settle), id, &writer)
    case .ship: command(.shipOrder(draft.order), id, &writer)
    case .deliver: command(.deliverOrder(draft.order), id, &writer)
    case .complete: command(.completeOrder(draft.order), id, &writer)
    case .cancel:
      var cancel = Command.CancelOrder()
      cancel.order = draft.order
      cancel.by = draft.variant == .byShop ? .shop : .buyer
      cancel.reason = "loadtest"
      command(.cancelOrder(cancel), id, &writer)
    case .adjust:
      let (key, delta) = stock(draft.number)
      var adjust = Command.AdjustStock()
      adjust.shop = key.shop
      adjust.sku = key.sku
      adjust.delta = delta
      command(.adjustStock(adjust), id, &writer)
    case .getOrder: query(.order(draft.order), id, &writer)
    case .getSKU: query(.sku(stock(draft.number).key), id, &writer)
    }
  }

  private func command(_ command: Command, _ id: RequestID, _ writer: inout ByteWriter) {
    RequestEncoder.write(id: id, channel: "loadtest", deadlineMilliseconds: 0, command, into: &writer)
  }

  private func query(_ query: Query, _ id: RequestID, _ writer: inout ByteWriter) {
    RequestEncoder.write(id: id, channel: "loadtest", deadlineMilliseconds: 0, query, into: &writer)
  }

  /// What the draft's request is routed by.
  package func key(of draft: Draft) -> HistoryRecord.Key {
    switch draft.command {
    case .place:
      var draws = Draws(seed: options.seed, number: draft.number)
      return .shop(shop(&draws).id)
    case .adjust, .getSKU: return .shop(stock(draft.number).key.shop)
    default: return .order(draft.order)
    }
  }

  /// Fills `scratch` with the order of this number, in the room that it has.
  private mutating func fill(_ number: UInt64) {
    var draws = Draws(seed: options.seed, number: number)
    let (shop, isHot) = shop(&draws)
    scratch.shop = shop
    scratch.buyer = draws.below(10_000_000) + 1
    let first = isHot ? 0 : sku(&draws) - 1
    scratch.lines.removeAll(keepingCapacity: true)
    for line in 0..<options.linesPerOrder {
      scratch.lines.append(
        .init(
          sku: UInt64((first + line) % options.skusPerShop) + 1, quantity: UInt32(draws.below(3)) + 1))
    }
  }

  private func shop(_ draws: inout Draws) -> (id: UInt64, isHot: Bool) {
    if options.hotPerMille > 0, draws.below(1_000) < UInt64(options.hotPerMille) { return (1, true) }
    if let shopRanks { return (UInt64(shopRanks.draw(&draws)), false) }
    return (draws.below(options.shops) + 1, false)
  }

  private func sku(_ draws: inout Draws) -> Int {
    skuRanks?.draw(&draws) ?? Int(draws.below(options.skusPerShop)) + 1
  }

  private func stock(_ number: UInt64) -> (key: SKUKey, delta: Int64) {
    var draws = Draws(seed: options.seed, number: number)
    let shop = shop(&draws)
    let sku = shop.isHot ? 1 : sku(&draws)
    let delta = Int64(draws.below(26)) - 5
    return (SKUKey(shop: shop.id, sku: UInt64(sku)), delta == 0 ? 1 : delta)
  }
}

/// The latest elements, at most `capacity` of them; a new one drives out the oldest.
struct Ring<Element: Sendable>: Sendable {
  static var capacity: Int { 1 << 14 }
  private var elements: [Element] = []
  private var head = 0
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// From the oldest, 0.
  subscript(index: Int) -> Element { elements[(head + index) & (Self.capacity - 1)] }

  mutating func append(_ element: Element) {
    let place = (head + count) & (Self.capacity - 1)
    if place < elements.count { elements[place] = element } else { elements.append(element) }
    if count == Self.capacity { head = (head + 1) & (Self.capacity - 1) } else { count += 1 }
  }

  mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = elements[head]
    head = (head + 1) & (Self.capacity - 1)
    count -= 1
    return element
  }
}
