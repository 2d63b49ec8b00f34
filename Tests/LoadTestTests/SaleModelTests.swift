import Bytes
import Cluster
import LoadTest
import Marketplace
import RunHistory
import TestSupport
import Testing
import Wire

struct SaleModelTests {
  private func options(_ mix: String, seed: UInt64 = 1, zipf: Double = 0) throws -> SaleModel.Options {
    var options = SaleModel.Options()
    options.seed = seed
    options.mix = try Mix(mix)
    options.zipf = zipf
    options.run = 99
    return options
  }

  private static let everything =
    "place=40,settle=25,ship=10,deliver=8,complete=6,cancel=5,adjust=2,get-order=2,get-sku=2"

  private func bytes(_ model: inout SaleModel, _ draft: SaleModel.Draft, _ number: UInt64) -> [UInt8] {
    var writer = ByteWriter()
    model.write(draft, id: RequestID(high: 0x7000, low: 2 << 62 | number), into: &writer)
    return Array(writer.bytes)
  }

  /// Books of one order, as a partition would keep them.
  private struct Shop {
    var number: UInt64 = 0
    var owed: [OrderID: Int64] = [:]
    var states: [OrderID: OrderState] = [:]

    /// Answers a draft and tells the model; nil where the rules would say no.
    mutating func answer(_ draft: SaleModel.Draft, _ model: inout SaleModel) -> Bool {
      switch draft.command {
      case .place:
        number += 1
        let order = OrderID(at: 1, partition: 0, sequenceNumber: number)
        owed[order] = 10_000
        states[order] = .placed
        model.ended(draft, .done, order: order, owed: 10_000)
      case .settle:
        guard let left = owed[draft.order], let state = states[draft.order] else { return false }
        if draft.variant == .again {
          model.ended(draft, .done, owed: 0, settlement: .exact)
        } else if state == .cancelled {
          model.ended(draft, .done, owed: 0, settlement: .late)
        } else {
          guard state == .placed else { return false }
          owed[draft.order] = max(0, left - draft.amount)
          if draft.amount >= left { states[draft.order] = .ready }
          let settlement: Settlement = draft.amount == left ? .exact : draft.amount < left ? .under : .over
          model.ended(draft, .done, owed: max(0, left - draft.amount), settlement: settlement)
        }
      case .ship:
        guard states[draft.order] == .ready else { return false }
        states[draft.order] = .shipped
        model.ended(draft, .done)
      case .deliver:
        guard states[draft.order] == .shipped else { return false }
        states[draft.order] = .delivered
        model.ended(draft, .done)
      case .complete:
        guard states[draft.order] == .delivered else { return false }
        states[draft.order] = .completed
        model.ended(draft, .done)
      case .cancel:
        guard states[draft.order] == (draft.variant == .byShop ? .ready : .placed) else { return false }
        states[draft.order] = .cancelled
        model.ended(draft, .done)
      case .getOrder:
        guard states[draft.order] != nil else { return false }
        model.ended(draft, .done)
      case .adjust, .getSKU: model.ended(draft, .done)
      }
      return true
    }
  }

  @Test func `the same seed and answers give the same bytes, another seed others`() throws {
    func run(_ seed: UInt64) throws -> [[UInt8]] {
      var model = SaleModel(try options(Self.everything, seed: seed, zipf: 1))
      var shop = Shop()
      return (0..<5_000 as Range<UInt64>).map { number in
        let draft = model.next(number)
        let first = bytes(&model, draft, number)
        _ = shop.answer(draft, &model)
        // A retry is the same bytes, whatever was learnt meanwhile.
        #expect(bytes(&model, draft, number) == first)
        return first
      }
    }
    let a = try run(7)
    #expect(try run(7) == a)
    #expect(try run(8) != a)
  }

  @Test func `every request is one that the partition decodes, and the rules find what it is about`() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var model = SaleModel(try options(Self.everything, seed: seed, zipf: 1.1))
    var shop = Shop()
    var counts: [SaleCommand: Int] = [:]
    var variants: [SaleModel.Draft.Variant: Int] = [:]
    var references: Set<UInt64> = []
    for number in 0..<60_000 as Range<UInt64> {
      let draft = model.next(number)
      counts[draft.command, default: 0] += 1
      if draft.command == .settle {
        variants[draft.variant, default: 0] += 1
        let isNew = references.insert(draft.reference).inserted
        #expect(isNew == (draft.variant != .again), "seed \(seed), number \(number)")
      }
      let request = try bytes(&model, draft, number).withUnsafeBytes { try DecodedRequest($0) }
      switch (request.body, draft.command) {
      case (.command(.placeOrder(let order)), .place):
        #expect(order.lines.count == 3)
        #expect(model.key(of: draft) == .shop(order.shop))
        #expect((1...1_000).contains(order.shop))
        #expect(order.lines.allSatisfy { (1...10).contains($0.sku) && (1...3).contains($0.quantity) })
      case (.command(.settlePayment(let payment)), .settle):
        #expect(payment.amount > 0)
        #expect(model.key(of: draft) == .order(payment.order))
      case (.command(.adjustStock(let stock)), .adjust):
        #expect(stock.delta != 0)
        #expect(model.key(of: draft) == .shop(stock.shop))
      case (.command(.shipOrder(let order)), .ship), (.command(.deliverOrder(let order)), .deliver),
        (.command(.completeOrder(let order)), .complete), (.query(.order(let order)), .getOrder):
        #expect(order == draft.order)
      case (.command(.cancelOrder), .cancel), (.query(.sku), .getSKU): break
      default: Issue.record("seed \(seed), number \(number): \(request.body) for \(draft)")
      }
      #expect(shop.answer(draft, &model), "seed \(seed), number \(number): \(draft)")
    }
    for command in SaleCommand.allCases { #expect(counts[command] ?? 0 > 500, "\(command)") }
    for variant in [SaleModel.Draft.Variant.plain, .under, .over, .late, .again] {
      #expect(variants[variant] ?? 0 > 20, "\(variant): \(variants)")
    }
    #expect(variants[.plain] ?? 0 > (counts[.settle] ?? 0) * 8 / 10)
  }

  @Test func `a sale of orders alone learns nothing, and does not mind who else sells`() throws {
    var alone = SaleModel(try options("place=1"))
    var other = SaleModel(try options(Self.everything))
    for number in 0..<1_000 as Range<UInt64> {
      let draft = alone.next(number)
      #expect(draft == SaleModel.Draft(command: .place, number: number))
      // The order with a number is the same in every mix.
      #expect(bytes(&alone, draft, number) == bytes(&other, draft, number))
    }
  }

  @Test func `what was not executed is tried by a later request, what is in doubt is left alone`() throws {
    var model = SaleModel(try options("settle=1"))
    let order = OrderID(at: 1, partition: 0, sequenceNumber: 1)
    let place = model.next(0)
    #expect(place.command == .place, "nothing can be paid yet")
    model.ended(place, .done, order: order, owed: 500)
    let first = model.next(1)
    #expect(first.command == .settle)
    #expect(first.order == order)
    #expect(model.next(2).command == .place, "it is under way")
    model.ended(first, .notExecuted)
    let second = model.next(3)
    #expect(second.order == order)
    model.ended(second, .unknown)
    #expect(model.next(4).command == .place)
  }

  @Test func `orders that nobody asks about are forgotten, the oldest first`() throws {
    var model = SaleModel(try options("settle=1,place=1"))
    for number in 0..<40_000 as Range<UInt64> {
      let order = OrderID(at: 1, partition: 0, sequenceNumber: number + 1)
      model.ended(
        SaleModel.Draft(command: .place, number: number), .done, order: order, owed: 5)
    }
    var number: UInt64 = 0
    while model.next(number).command != .settle { number += 1 }
    // The first that is paid is one of the latest 16,384.
    let draft = model.next(number + 1)
    #expect(draft.command == .place || draft.order.sequenceNumber > 40_000 - 16_384)
  }
}
