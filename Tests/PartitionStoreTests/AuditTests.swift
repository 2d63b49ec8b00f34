import Cluster
import Foundation
import Marketplace
import PartitionStore
import SQLite
import TestSupport
import Testing
import Wire
import WorkerCore

/// The audit finds nothing in what real commands made, and whatever a hand breaks in it.
struct AuditTests {
  private static func clean(_ path: String, _ what: String = "") throws {
    let audit = try PartitionAudit(path: path)
    for check in audit.checks {
      #expect(check.violations == 0, "\(what): \(check.name): \(check.firstViolation)")
      #expect(check.firstViolation.isEmpty)
    }
    #expect(audit.isClean)
  }

  @Test func `an empty partition is clean`() throws {
    let test = try TestPartition()
    try Self.clean(test.path)
    let audit = try PartitionAudit(path: test.path)
    #expect(audit.checks.count == 16)
    #expect(Set(audit.checks.map(\.name)).count == audit.checks.count)
    #expect(audit.accounts.isEmpty)
  }

  @Test func `a partition with orders of every state is clean, and counted`() throws {
    let (test, _) = try TestPartition.busy()
    try Self.clean(test.path)
    let audit = try PartitionAudit(path: test.path)
    #expect(audit.shops == 2)
    #expect(audit.skus == 3)
    #expect(audit.orders == 12)
    #expect(audit.payments == 10)
    let database = try Database(test.path, mode: .readOnly)
    let states = try database.prepare("SELECT DISTINCT state FROM orders ORDER BY state")
    var found: [String] = []
    while try states.step() { found.append(states.text(0)) }
    #expect(
      found == ["cancelled", "completed", "delivered", "expired", "placed", "ready", "shipped"],
      "nothing stays 'paid' until pre-orders exist")
    let settlements = try database.prepare("SELECT DISTINCT settlement FROM payments ORDER BY settlement")
    found = []
    while try settlements.step() { found.append(settlements.text(0)) }
    #expect(found == ["exact", "late", "over", "rejected", "under"])
    #expect(Set(audit.accounts.map(\.kind)) == Set(AccountKey.Kind.allCases.map(\.name)))
    #expect(audit.accounts.reduce(0) { $0 + $1.balance } == 0)
    test.withCore { core in
      #expect(audit.state.applied == core.applied)
      #expect(audit.orders == core.ordersPlaced)
    }
  }

  /// Commands at random, many of them refused, checkpoints and restarts in between.
  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `whatever commands come, the books balance`(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    let test = try TestPartition()
    let shops: [UInt64] = [1, 1 << 63, .max]
    try test.send(shops.map(TestPartition.shop))
    for shop in shops {
      for sku in 1...4 as ClosedRange<UInt64> {
        try test.send(TestPartition.sku(shop, sku, price: Int64(below(90_000)), onHand: Int64(below(30))))
      }
    }
    var orders: [OrderID] = []
    for round in 0..<60 {
      var commands: [Command] = []
      for _ in 0..<(1 + below(8)) {
        let shop = shops[below(3)]
        let sku = UInt64(1 + below(5))
        let order = orders.isEmpty ? OrderID(high: 0, low: 0) : orders[below(orders.count)]
        switch below(12) {
        case 0...3:
          let lines = (0...below(3)).map { _ in (sku: UInt64(1 + below(4)), quantity: UInt32(1 + below(4))) }
          commands.append(
            TestPartition.order(
              shop, buyer: UInt64(1 + below(5)), lines, shipping: Int64(below(3) * 9_000),
              price: below(4) == 0 ? Int64(below(2_000)) : nil))
        case 4, 5:
          let amount = below(2) == 0 ? Int64(1 + below(200_000)) : Int64(9_000 * (1 + below(4)))
          commands.append(
            TestPartition.pay(order, amount, "r\(below(60))", rejected: below(8) == 0 ? "no" : ""))
        case 6: commands.append(.shipOrder(order))
        case 7: commands.append(.deliverOrder(order))
        case 8: commands.append(.completeOrder(order))
        case 9: commands.append(TestPartition.cancel(order, by: [.buyer, .shop, .platform][below(3)]))
        case 10:
          commands.append(TestPartition.sku(shop, sku, price: Int64(below(90_000)), onHand: Int64(below(30))))
        default:
          var adjust = Command.AdjustStock()
          adjust.shop = shop
          adjust.sku = sku
          adjust.delta = Int64(below(21)) - 10
          commands.append(.adjustStock(adjust))
        }
      }
      orders += try test.send(commands).compactMap(\.order)
      // Pay some exactly, so that orders get somewhere.
      if let order = orders.last, below(2) == 0 {
        let total = test.withCore { core in
          if case .order(let row) = core.books.answer(.order(order)) { row.total } else { Int64(0) }
        }
        if total > 0 { try test.send(TestPartition.pay(order, total, "exact \(round)")) }
      }
      test.wait(Int64(below(4_000)))
      if below(5) == 0 {
        try test.checkpoint()
        try Self.clean(test.path, "seed \(seed), round \(round)")
        if below(2) == 0 { try test.restart() }
      }
    }
    test.wait(100_000)
    try test.expire()
    try test.checkpoint()
    try Self.clean(test.path, "seed \(seed), at the end")
    #expect(try PartitionAudit(path: test.path).orders > 20)
  }

  /// A hand's work, and who must notice: each check, with what its first row says.
  struct Break: Sendable, CustomTestStringConvertible {
    let sql: String
    let caught: [String: String]
    var testDescription: String { sql }
    init(_ sql: String, _ caught: [String: String]) {
      self.sql = sql
      self.caught = caught
    }
  }

  /// Sequence numbers of ``TestPartition/busy()``: orders 6 (expired), 7 (expired), 8 (ready), 9 (shipped),
  /// 10 (delivered), 11 (completed), 12 (cancelled), 13 (cancelled paid), 14 (expired), 15 (free), then
  /// payments and steps, then 33 (placed) and 34 (partly paid).
  static let breaks = [
    // Money.
    Break(
      "UPDATE accounts SET balance = balance + 1 WHERE kind = 'fees'",
      [
        "the accounts sum to zero": "sum 1",
        "every account is what its transfers made it": "kind fees, owner 0, account_minus_transfers 1",
      ]),
    Break(
      "UPDATE accounts SET balance = balance + 5 WHERE kind = 'wallet' AND owner = 10; "
        + "UPDATE accounts SET balance = balance - 5 WHERE kind = 'fees'",
      ["every account is what its transfers made it": "kind fees, owner 0, account_minus_transfers -5"]),
    Break(
      "DELETE FROM transfers WHERE why = 'fee'",
      ["every account is what its transfers made it": "kind escrow, owner -1, account_minus_transfers"]),
    Break(
      "INSERT INTO transfers VALUES (99, 0, 'wallet', 7, 'fees', 0, 3, 'fee', x'00', 1); "
        + "INSERT INTO accounts VALUES ('wallet', 7, -3); "
        + "UPDATE accounts SET balance = balance + 3 WHERE kind = 'fees'",
      ["no account is overdrawn": "kind wallet, owner 7, balance -3"]),
    Break(
      "INSERT INTO transfers VALUES (99, 4, 'wallet', 10, 'fees', 0, 0, 'fee', x'00', 1)",
      ["every transfer moves something": "sn 99, number 4, amount 0"]),
    Break(
      "INSERT INTO transfers VALUES (99, 0, 'escrow', 42, 'balance', 42, 6, 'release', x'00', 1); "
        + "UPDATE accounts SET balance = balance - 6 WHERE kind = 'escrow' AND owner = 42; "
        + "INSERT INTO accounts VALUES ('balance', 42, 6)",
      ["escrow of a shop is what its open orders hold": "shop_id 42, orders_minus_escrow 6"]),
    Break(
      "UPDATE orders SET held = held - 1, refunded = refunded + 1 WHERE sn = 8",
      ["escrow of a shop is what its open orders hold": "shop_id 42, orders_minus_escrow -1"]),
    Break(
      "UPDATE orders SET held = held + 2, released = released - 2 WHERE sn = 11; "
        + "UPDATE orders SET held = held - 2, released = released + 2 WHERE sn = 10",
      ["an order that has ended holds nothing": "sn 11, order_id 019"]),
    Break(
      "UPDATE orders SET refunded = refunded + 1 WHERE sn = 13",
      ["an order's money adds up": "sn 13, order_id 019"]),
    Break("UPDATE orders SET shipping_fee = 1 WHERE sn = 9", ["an order's money adds up": "sn 9, "]),
    Break("UPDATE orders SET paid_at = 0 WHERE sn = 10", ["an order's money adds up": "sn 10, "]),
    Break("UPDATE orders SET paid_at = 5 WHERE sn = 34", ["an order's money adds up": "sn 34, "]),
    Break(
      "UPDATE orders SET received = received + 7, refunded = refunded + 7 WHERE sn = 34",
      ["an order received what its payments held": "order_minus_payments 7"]),
    Break(
      "UPDATE payments SET held = held - 7, refunded = refunded + 7 WHERE reference = 'r9'",
      ["an order received what its payments held": "order_minus_payments 7"]),
    Break(
      "UPDATE payments SET refunded = refunded + 1 WHERE reference = 'r10'",
      ["a payment is held or refunded, all of it, once": "provider bank, reference r10, amount 777, held 0"]),
    Break(
      "UPDATE payments SET amount = amount + 1 WHERE reference = 'r2'",
      ["a payment is held or refunded, all of it, once": "provider bank, reference r2, amount 50001"]),
    Break(
      "UPDATE payments SET settlement = 'exact' WHERE reference = 'r7'",
      ["a payment is held or refunded, all of it, once": "reference r7, amount 1000, held 0, refunded 0"]),
    Break(
      "DELETE FROM payments WHERE reference = 'r3'",
      ["an order received what its payments held": "order_minus_payments 135000"]),
    Break(
      "UPDATE payments SET held = -7, refunded = 784 WHERE reference = 'r10'",
      [
        "a payment is held or refunded, all of it, once": "reference r10, amount 777, held -7, refunded 784",
        "an order received what its payments held": "order_minus_payments 7",
      ]),
    Break(
      "UPDATE payments SET held = 1014, refunded = -8 WHERE reference = 'r5'",
      [
        "a payment is held or refunded, all of it, once": "reference r5, amount 1006, held 1014, refunded -8",
        "an order received what its payments held": "order_minus_payments -8",
      ]),
    Break(
      "UPDATE orders SET held = -1, refunded = 1 WHERE sn = 33",
      [
        "an order that has ended holds nothing": "sn 33, ",
        "escrow of a shop is what its open orders hold": "shop_id 42, orders_minus_escrow -1",
      ]),
    Break(
      "UPDATE orders SET received = received + 1, held = held + 1 WHERE sn = 8",
      [
        "an order's money adds up": "sn 8, ",
        "escrow of a shop is what its open orders hold": "shop_id 42, orders_minus_escrow 1",
        "an order received what its payments held": "order_minus_payments 1",
      ]),
    // Stock.
    Break(
      "UPDATE skus SET on_hand = on_hand + reserved + 1, reserved = -1 WHERE sku_id = 1",
      [
        "stock is never negative": "shop_id 42, sku_id 1",
        "reserved and consumed are what the orders say": "shop_id 42, sku_id 1",
      ]),
    Break(
      "UPDATE skus SET on_hand = on_hand + consumed + 1, consumed = -1 WHERE sku_id = 1",
      [
        "stock is never negative": "shop_id 42, sku_id 1",
        "reserved and consumed are what the orders say": "shop_id 42, sku_id 1",
      ]),
    Break(
      "UPDATE skus SET on_hand = -1, given = given - on_hand - 1 WHERE sku_id = 2",
      ["stock is never negative": "shop_id 42, sku_id 2, on_hand -1"]),
    Break(
      "UPDATE skus SET written_off = -3, on_hand = on_hand + 3 WHERE sku_id = -1",
      ["stock is never negative": "shop_id -1, sku_id -1"]),
    Break(
      "UPDATE skus SET given = given + 1 WHERE sku_id = 1",
      ["on hand + reserved + consumed + written off = given": "shop_id 42, sku_id 1"]),
    Break(
      "UPDATE skus SET reserved = reserved - 1, on_hand = on_hand + 1 WHERE sku_id = 1",
      [
        "reserved and consumed are what the orders say":
          "shop_id 42, sku_id 1, orders_minus_reserved 1, orders_minus_consumed 0"
      ]),
    Break(
      "UPDATE skus SET consumed = consumed + 1, on_hand = on_hand - 1 WHERE sku_id = -1",
      [
        "reserved and consumed are what the orders say":
          "shop_id -1, sku_id -1, orders_minus_reserved 0, orders_minus_consumed -1"
      ]),
    Break(
      "UPDATE orders SET state = 'expired' WHERE sn = 33",
      ["reserved and consumed are what the orders say": "shop_id 42, sku_id 1, orders_minus_reserved -3"]),
    Break(
      "DELETE FROM skus WHERE sku_id = 2",
      ["reserved and consumed are what the orders say": "shop_id 42, sku_id 2, orders_minus_reserved 12"]),
    // Orders and requests.
    Break(
      "UPDATE orders SET goods = goods + 1, shipping_fee = shipping_fee - 1 WHERE sn = 33",
      ["an order's goods are the sum of its lines": "sn 33, order_id 019"]),
    Break(
      "UPDATE orders SET lines = replace(lines, ',45000]', ',44999]') WHERE sn = 12",
      ["an order's goods are the sum of its lines": "sn 12, order_id 019"]),
    Break(
      "UPDATE request_pages SET sns = replace(sns, '34', '33')",
      ["every order was placed by one request": "sn 33, requests 2"]),
    Break(
      "UPDATE reservations SET sns = '[33]'",
      ["every order that waits for payment has its reservation": "waiting 2, reservations 1"]),
    Break(
      "UPDATE reservations SET expires_at = expires_at + 1",
      ["every order that waits for payment has its reservation": "waiting 2, reservations 0"]),
    Break(
      "DELETE FROM orders WHERE sn = 12",
      ["as many orders as were placed": "orders has 11 rows, 12 were placed"]),
    Break(
      "UPDATE meta SET value = 13 WHERE key = 'orders_placed'",
      ["as many orders as were placed": "orders has 12 rows, 13 were placed"]),
  ]

  @Test(arguments: breaks)
  func `what a hand breaks is found by the check for it, and named`(_ broken: Break) throws {
    let (test, _) = try TestPartition.busy()
    try Self.clean(test.path)
    do {
      let database = try Database(test.path, mode: .readWrite)
      try database.execute(broken.sql)
    }
    let audit = try PartitionAudit(path: test.path)
    #expect(!audit.isClean)
    let caught = audit.checks.filter { $0.violations > 0 }
    #expect(caught.map(\.name).sorted() == broken.caught.keys.sorted())
    for check in caught {
      let expected = broken.caught[check.name] ?? ""
      #expect(check.firstViolation.contains(expected), "\(check.name): \(check.firstViolation)")
    }
  }

  @Test func `every check has something broken that it finds`() throws {
    let (test, _) = try TestPartition.busy()
    let names = try PartitionAudit(path: test.path).checks.map(\.name)
    #expect(Set(Self.breaks.flatMap(\.caught.keys)) == Set(names))
  }

  @Test func `violations are counted, and an audit changes nothing`() throws {
    let (test, _) = try TestPartition.busy()
    do {
      let database = try Database(test.path, mode: .readWrite)
      try database.execute("UPDATE skus SET given = given + 1")
    }
    let before = try PartitionAudit(path: test.path)
    let check = try #require(before.checks.first { $0.violations > 0 })
    #expect(check.violations == 3)
    #expect(check.rows == 3)
    let after = try PartitionAudit(path: test.path)
    #expect(after.checks.map(\.firstViolation) == before.checks.map(\.firstViolation))
    #expect(after.state == before.state)
  }

  @Test func `a file that is not there can't be audited`() throws {
    let folder = try TestFolder()
    #expect(throws: SQLiteError.self) { _ = try PartitionAudit(path: folder.path + "/no.sqlite") }
  }
}
