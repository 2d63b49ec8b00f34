import Bytes
import Cluster
import Marketplace
import Referee
import TestMarketplace
import TestSupport
import Testing
import Wire

/// Commands whose numbers are as large as they can be, or larger.
struct LargeNumbersTests {
  private static let terms = Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250)

  /// A partition's log, a block for each command, and the referee that goes by it.
  private struct Played {
    var referee = Referee(LargeNumbersTests.terms, partition: 0, goesByLog: true)
    private(set) var last: UInt64 = 0

    /// Of the last entry.
    var time: Int64 { 1_763_323_200_000 + Int64(last) }
    var id: RequestID { RequestID(high: 1 << 16 | 0x7000, low: 2 << 62 | last) }
    /// That it placed, if it did.
    var order: OrderID { OrderID(at: time, partition: 0, sequenceNumber: last) }

    /// - Returns: what it must be answered; nil: the referee has another failure.
    mutating func take(_ command: Command) -> ReplyFacts? {
      last += 1
      var request = ByteWriter()
      RequestEncoder.write(id: id, channel: "test", deadlineMilliseconds: 0, command, into: &request)
      var entry = ByteWriter()
      entry.append(littleEndian: UInt32(request.count))
      entry.append(1 as UInt8)
      entry.append(request.bytes)
      referee.take(
        .init(
          first: last, count: 1, time: time, hash: last + 100, previousHash: last == 1 ? 0 : last + 99,
          entries: Array(entry.bytes)), "the log")
      return referee.answers[id]?.facts
    }
  }

  /// With a shop, and a SKU with all that there can be of it.
  private static func played() -> Played {
    var played = Played()
    _ = played.take(.register(1))
    _ = played.take(.put(1, 1, price: .max, onHand: .max))
    return played
  }

  @Test func `what does not fit is refused, and what just fits is not`() {
    var played = Self.played()
    let (all, none, butOne) = (Int64.max, -Int64.max, Int64.max - 1)
    // Each with the reason for which it is refused; 0: it is not.
    let commands: [(Command, UInt64)] = [
      (.adjust(1, 1, 1), 5), (.adjust(1, 1, none), 0), (.adjust(1, 1, .min), 19), (.adjust(1, 1, all), 0),
      (.place(1, [(1, 2)]), 5), (.place(1, [(1, 1), (1, 1)]), 5), (.place(1, [(1, 1)], shippingFee: 1), 5),
      (.place(1, [(1, .max)], shippingFee: all), 5), (.place(1, [(1, 1)]), 0),
      (.put(1, 1, price: 1, onHand: all), 5), (.put(1, 1, price: 1, onHand: butOne), 0),
    ]
    for (place, (command, code)) in commands.enumerated() {
      let facts = played.take(command)
      #expect(facts?.code == code && facts?.outcome == (code == 0 ? 1 : 2), "\(place): \(command)")
    }
    #expect(played.referee.failure == nil)
  }

  @Test func `money that is all that there can be is paid, completed with its fee, and no more comes in`() {
    var played = Self.played()
    let placed = played.take(.place(1, [(1, 1)]))
    #expect(placed?[2] == UInt64(Int64.max))
    let order = played.order
    let paid = played.take(.settle(order, .max))
    #expect(paid?[6] == 3)
    let more = played.take(.settle(order, 1, reference: "again"))
    #expect(more == .no(5))
    for command in [Command.shipOrder(order), .deliverOrder(order)] {
      let facts = played.take(command)
      #expect(facts?.outcome == 1, "\(command)")
    }
    let completed = played.take(.completeOrder(order))
    #expect(completed?[5] == UInt64(Int64.max / 40))
    #expect(completed?[4] == UInt64(Int64.max - Int64.max / 40))
    #expect(played.referee.failure == nil)
  }

  @Test func `a command that no rules take is a failure, and nothing breaks`() {
    var long = Command.PlaceOrder()
    (long.shop, long.buyer) = (1, 9)
    long.lines = Array(repeating: .init(sku: 1, quantity: 1, unitPrice: 1), count: 2_001)
    let order = OrderID(at: 1, partition: 0, sequenceNumber: 3)
    let tooLong: UInt64 = 1 << 40 + 1
    let commands: [Command] = [
      .put(1, 1, price: -1), .put(1, 1, price: 1, onHand: -1), .put(1, 1, price: .min, onHand: .min),
      .place(1, [(1, 1)], shippingFee: -1), .place(1, [(1, .max)], prices: [.min]),
      .place(1, [(1, 1), (1, 1)], prices: [1, -1]), .place(1, [(1, 1)], reserveMilliseconds: tooLong),
      .place(1, [(1, 1)], reserveMilliseconds: .max), .placeOrder(long), .settle(order, -1),
      .settle(order, .min),
    ]
    for (place, command) in commands.enumerated() {
      var played = Self.played()
      let facts = played.take(command)
      #expect(facts == nil, "\(place)")
      #expect(played.referee.failure == "entry 3: its numbers can't be", "\(place)")
    }
  }

  @Test func `all that the product takes is within the limits`() {
    var place = Command.PlaceOrder()
    (place.shop, place.buyer, place.reserveMilliseconds) = (1, 9, Limits.reserveMillisecondsMax)
    place.lines = Array(
      repeating: .init(sku: 1, quantity: Limits.quantityMax, unitPrice: 0), count: WireLimits.linesMax)
    var played = Self.played()
    let placed = played.take(.placeOrder(place))
    #expect(placed?.outcome == 1)
    let paid = played.take(.settle(played.order, .max))
    #expect(paid?.outcome == 1)
    #expect(played.referee.failure == nil)
  }

  /// What the rules take, with numbers from all of their range.
  private static func command(_ orders: [OrderID], _ place: Int, _ random: inout SplitMix64) -> Command {
    func amount() -> Int64 { Int64.max >> random.pick(0...62) }
    let sku = UInt64(random.pick(1...3))
    let order = orders.isEmpty ? OrderID(at: 1, partition: 0, sequenceNumber: 1) : random.pick(orders)
    switch random.pick(0...9) {
    case 0: return .put(1, sku, price: amount(), onHand: random.chance(50) ? nil : amount())
    case 1: return .adjust(1, sku, random.chance(60) ? amount() : -amount())
    case 2, 3, 4:
      let most = random.chance(80) ? 3 : Int(Limits.quantityMax)
      let lines = (0..<random.pick(1...3)).map { _ in
        (UInt64(random.pick(1...3)), UInt32(random.pick(1...most)))
      }
      let prices: [Money?] = lines.map { _ in random.chance(50) ? nil : amount() }
      return .place(1, lines, shippingFee: random.chance(50) ? 0 : amount(), prices: prices)
    case 5, 6: return .settle(order, amount(), reference: "\(place)", rejected: random.chance(10) ? "no" : "")
    case 7: return .cancel(order, by: random.pick([.buyer, .shop, .platform]))
    case 8: return .shipOrder(order)
    default: return random.chance(50) ? .deliverOrder(order) : .completeOrder(order)
    }
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func `the model answers as the books do, however large the numbers are`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var played = Played()
    var books = Books(partition: 0, terms: Self.terms, rowsExpected: 1_000)
    var orders: [OrderID] = []
    for place in 0..<400 {
      let command = place == 0 ? Command.register(1) : Self.command(orders, place, &random)
      let facts = played.take(command)
      books.beginBlock(firstSequenceNumber: played.last)
      let answer = books.apply(command, channel: "test", at: played.time, sequenceNumber: played.last)
      books.endBlock()
      let told = replyBytes(played.id, answer).withUnsafeBytes { ReplyFacts($0) }
      guard facts == told, played.referee.failure == nil else {
        Issue.record("\(command): \(String(describing: facts)), not \(String(describing: told))")
        return
      }
      if case .orderPlaced(let order, _, _) = answer { orders.append(order) }
    }
    #expect(!orders.isEmpty)
  }
}
