import Marketplace
import TestMarketplace
import TestSupport
import Testing

/// Rule 15 rests on it: two rows that differ anywhere have different images.
struct RowImageTests {
  /// A row, and the row again with each of its fields changed in turn.
  private struct Case {
    let name: String
    let fields: Int
    let image: UInt64
    let changed: [(field: String, image: UInt64)]
  }

  private typealias Changes<Row> = [(String, (inout Row) -> Void)]

  private static func make<Row: ImagedRow>(_ row: Row, _ changes: Changes<Row>) -> Case {
    Case(
      name: "\(Row.self)", fields: Mirror(reflecting: row).children.count, image: row.image,
      changed: changes.map { name, change in
        var other = row
        change(&other)
        return (name, other.image)
      })
  }

  private static func text(_ random: inout SplitMix64) -> String {
    String((0..<random.pick(0...40)).map { _ in random.pick(["a", "b", " ", "é", "漢", "\u{0}"]) }.joined())
  }

  private static func number(_ random: inout SplitMix64) -> Int64 {
    random.pick([0, 1, -1, .max, .min, Int64(random.pick(0...1_000_000)), Int64(bitPattern: random.next())])
  }

  private static func cases(_ random: inout SplitMix64) -> [Case] {
    let order = OrderID(high: random.next(), low: random.next())
    let shop = Shop(
      id: random.next(), name: text(&random), city: text(&random), province: text(&random),
      market: text(&random), category: text(&random), origin: .domestic, status: .active,
      ownerHash: random.bytes(random.pick(0...32)), registeredAt: number(&random))
    let sku = SKU(
      shop: random.next(), sku: random.next(), name: text(&random), price: number(&random),
      onHand: number(&random), reserved: number(&random), consumed: number(&random),
      writtenOff: number(&random), given: number(&random))
    var placed = Order(
      id: order, shop: random.next(), buyer: random.next(), channel: text(&random), reference: text(&random),
      state: .cancelled,
      lines: (0..<random.pick(1...4)).map { _ in
        OrderLine(
          sku: random.next(), quantity: UInt32(truncatingIfNeeded: random.next()), unitPrice: number(&random))
      }, goods: number(&random), shippingFee: number(&random), total: number(&random),
      placedAt: number(&random), expiresAt: number(&random))
    placed.cancelReason = text(&random)
    let payment = Payment(
      provider: text(&random), reference: text(&random), order: order, amount: number(&random), method: .card,
      instalments: 3, rejectedReason: text(&random), settledAt: number(&random), settlement: .late,
      held: number(&random), refunded: number(&random), outstanding: number(&random), stateAfter: .expired)
    let account = Account(key: AccountKey(.escrow, owner: random.next()), balance: number(&random))
    let line = random.pick(0...placed.lines.count - 1)
    let shopChanges: Changes<Shop> = [
      ("id", { $0.id &+= 1 }), ("name", { $0.name += "x" }), ("city", { $0.city += "x" }),
      ("province", { $0.province += "x" }), ("market", { $0.market += "x" }),
      ("category", { $0.category += "x" }), ("origin", { $0.origin = .crossBorder }),
      ("status", { $0.status = .suspended }), ("ownerHash", { $0.ownerHash.append(0) }),
      ("registeredAt", { $0.registeredAt &+= 1 }),
    ]
    let skuChanges: Changes<SKU> = [
      ("shop", { $0.shop ^= 1 << 63 }), ("sku", { $0.sku &+= 1 }), ("name", { $0.name += "\u{0}" }),
      ("price", { $0.price &+= 1 }), ("onHand", { $0.onHand &+= 1 }), ("reserved", { $0.reserved &-= 1 }),
      ("consumed", { $0.consumed &+= 1 }), ("writtenOff", { $0.writtenOff &+= 1 }),
      ("given", { $0.given ^= .min }),
    ]
    let placedChanges: Changes<Order> = [
      ("id", { $0.id = OrderID(high: $0.id.high, low: $0.id.low ^ 1) }), ("shop", { $0.shop &+= 1 }),
      ("buyer", { $0.buyer &+= 1 }), ("channel", { $0.channel += "x" }),
      ("reference", { $0.reference += "x" }), ("state", { $0.state = .expired }),
      ("lines", { $0.lines[line].quantity &+= 1 }), ("goods", { $0.goods &+= 1 }),
      ("shippingFee", { $0.shippingFee &+= 1 }), ("total", { $0.total &+= 1 }),
      ("received", { $0.received &+= 1 }), ("held", { $0.held &+= 1 }),
      ("refunded", { $0.refunded &+= 1 }), ("released", { $0.released &+= 1 }), ("fee", { $0.fee &+= 1 }),
      ("placedAt", { $0.placedAt &+= 1 }), ("expiresAt", { $0.expiresAt &+= 1 }),
      ("paidAt", { $0.paidAt &+= 1 }), ("shippedAt", { $0.shippedAt &+= 1 }),
      ("deliveredAt", { $0.deliveredAt &+= 1 }), ("endedAt", { $0.endedAt &+= 1 }),
      ("cancelledBy", { $0.cancelledBy = .platform }), ("cancelReason", { $0.cancelReason += "x" }),
      // Besides: each part of a line, and how many there are.
      ("", { $0.lines[line].sku &+= 1 }), ("", { $0.lines[line].unitPrice &+= 1 }),
      ("", { $0.lines.removeLast() }), ("", { $0.id = OrderID(high: $0.id.high ^ 1, low: $0.id.low) }),
    ]
    let paymentChanges: Changes<Payment> = [
      ("provider", { $0.provider += "x" }), ("reference", { $0.reference += "x" }),
      ("order", { $0.order = OrderID(high: $0.order.high, low: $0.order.low &+ 1) }),
      ("amount", { $0.amount &+= 1 }), ("method", { $0.method = .payLater }),
      ("instalments", { $0.instalments = 1 << 31 }), ("rejectedReason", { $0.rejectedReason += "x" }),
      ("settledAt", { $0.settledAt &+= 1 }), ("settlement", { $0.settlement = .over }),
      ("held", { $0.held &+= 1 }), ("refunded", { $0.refunded &+= 1 }),
      ("outstanding", { $0.outstanding &+= 1 }), ("stateAfter", { $0.stateAfter = .placed }),
    ]
    let accountChanges: Changes<Account> = [
      ("key", { $0.key = AccountKey(.balance, owner: $0.key.owner) }), ("balance", { $0.balance &+= 1 }),
      ("", { $0.key = AccountKey(.escrow, owner: $0.key.owner &+ 1) }),
    ]
    return [
      make(shop, shopChanges), make(sku, skuChanges), make(placed, placedChanges),
      make(payment, paymentChanges), make(account, accountChanges),
    ]
  }

  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func `a row with any one field changed has another image`(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    for row in Self.cases(&random) {
      // One that is added to the row must be added here, and to its image.
      #expect(Set(row.changed.map(\.field)).subtracting([""]).count == row.fields, "\(row.name)")
      for (field, image) in row.changed {
        #expect(image != row.image, "seed \(seed): \(row.name).\(field)")
      }
      #expect(Set(row.changed.map(\.image)).count == row.changed.count, "seed \(seed): \(row.name)")
    }
  }

  @Test func `a transfer with any one field changed has another image`() throws {
    let market = Market.open()
    market.tell(.settle(market.placed(), 2_000))
    let transfer = try #require(market.books.transfers.first)
    let changes: Changes<Transfer> = [
      ("sequenceNumber", { $0.sequenceNumber += 1 }), ("number", { $0.number += 1 }),
      ("debit", { $0.debit = AccountKey(.fees, owner: $0.debit.owner) }),
      ("credit", { $0.credit = AccountKey(.balance, owner: $0.credit.owner) }),
      ("amount", { $0.amount += 1 }), ("why", { $0.why = .late }),
      ("order", { $0.order = OrderID(high: $0.order.high, low: $0.order.low ^ 1) }),
      ("at", { $0.at += 1 }), ("", { $0.debit = AccountKey($0.debit.kind, owner: 77) }),
      ("", { $0.credit = AccountKey($0.credit.kind, owner: 77) }),
      ("", { $0.order = OrderID(high: $0.order.high ^ 1, low: $0.order.low) }),
    ]
    let row = Self.make(transfer, changes)
    #expect(Set(row.changed.map(\.field)).subtracting([""]).count == row.fields)
    #expect(Set(row.changed.map(\.image)).union([row.image]).count == row.changed.count + 1)
  }

  @Test func `every byte of a text and its length make the image, wherever the text ends`() {
    for count in 0...40 {
      var bytes = [UInt8](repeating: 0x61, count: count)
      func image() -> UInt64 {
        var image = RowImage()
        bytes.withUnsafeBytes { image.add($0) }
        return image.bits
      }
      var seen: Set = [image()]
      bytes.append(0)
      seen.insert(image())
      bytes.removeLast()
      for place in bytes.indices {
        bytes[place] ^= 0x80
        seen.insert(image())
        bytes[place] ^= 0x80
      }
      #expect(seen.count == count + 2, "\(count) bytes")
    }
  }

  @Test func `a text's image is that of its bytes, however it is kept in memory`() {
    for text in ["a", "fifteen bytes..", "more than fifteen bytes", "漢字🛵", "e\u{301}", "é"] {
      var kept = String(repeating: "-", count: 100)
      kept.removeAll(keepingCapacity: true)
      kept += text
      var (a, b, c) = (RowImage(), RowImage(), RowImage())
      a.add(text)
      b.add(kept)
      Array(text.utf8).withUnsafeBytes { c.add($0) }
      #expect(a.bits == b.bits && a.bits == c.bits, "\(text)")
    }
    // Swift's strings are equal where they look alike; rows are not.
    var (a, b) = (RowImage(), RowImage())
    a.add("é")
    b.add("e\u{301}")
    #expect(a.bits != b.bits)
  }

  @Test func `images are the same in every process`() {
    var image = RowImage()
    image.add(1 as UInt64)
    image.add("Toko Sari")
    image.add(-1 as Int64)
    #expect(image.bits == Self.known)
  }

  /// Worked out by hand from the definition, in Python:
  ///
  ///     def add(s, w):
  ///       x = s + w * 0xC2B2AE3D27D4EB4F & M
  ///       return (x << 31 | x >> 33) * 0x9E3779B185EBCA87 & M
  ///
  /// over 1, 9, "Toko Sar" as a number (little endian), "i", 2⁶⁴ − 1; then SplitMix64's finalizer.
  private static let known: UInt64 = 0xFA8D_BC0C_C527_D56B
}
