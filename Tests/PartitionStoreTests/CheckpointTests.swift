import Bytes
import Cluster
import Foundation
import Marketplace
import PartitionStore
import SQLite
import TestSupport
import Testing
import WorkerCore

/// What is written is read back, to the bit.
struct CheckpointTests {
  /// Strings that a careless writer would spoil.
  static let texts = [
    "", "Toko Sembako", "'; DROP TABLE shops; --", "\"", "é", "e\u{301}", "漢字🛵", "a\u{0}b", "\n\t\\",
    String(repeating: "x", count: 128),
  ]
  static let ids: [UInt64] = [1, 42, 1 << 32, 1 << 53 + 1, 1 << 63 - 1, 1 << 63, .max - 1, .max]
  static let amounts: [Int64] = [0, 1, -1, 45_000, .max, .min, .min + 1]

  private static func emptyCheckpoint() -> Checkpoint {
    var core = PartitionCore(
      partition: TestPartition.partition, terms: TestPartition.terms,
      windowMilliseconds: TestPartition.window, applied: .zero, time: 0, ordersPlaced: 0, horizon: 0,
      rowsExpected: 16)
    return core.makeCheckpoint()
  }

  private static func emptyCore() -> PartitionCore {
    PartitionCore(
      partition: TestPartition.partition, terms: TestPartition.terms,
      windowMilliseconds: TestPartition.window, applied: .zero, time: 0, ordersPlaced: 0, horizon: 0,
      rowsExpected: 16)
  }

  /// A file of its own with one checkpoint in it.
  private static func write(_ checkpoints: Checkpoint...) throws -> TestFolder {
    let folder = try TestFolder()
    var writer = try PartitionWriter(
      path: folder.path + "/p.sqlite", cluster: TestPartition.cluster, partition: TestPartition.partition)
    for checkpoint in checkpoints { try writer.write(checkpoint) }
    return folder
  }

  private static func load(_ needs: Needs, from folder: TestFolder) throws -> PartitionCore {
    var core = emptyCore()
    try PartitionReader(path: folder.path + "/p.sqlite").load(needs, into: &core)
    return core
  }

  private static func pick<Value>(_ values: [Value], _ index: Int) -> Value { values[index % values.count] }

  @Test func `shops come back as they were`() throws {
    let shops = (0..<40).map { index in
      Shop(
        id: index < Self.ids.count ? Self.ids[index] : UInt64(1_000 + index),
        name: Self.pick(Self.texts, index),
        city: Self.pick(Self.texts, index + 1), province: Self.pick(Self.texts, index + 2),
        market: Self.pick(Self.texts, index + 3), category: Self.pick(Self.texts, index + 4),
        origin: index % 2 == 0 ? .domestic : .crossBorder, status: index % 3 == 0 ? .active : .suspended,
        ownerHash: [UInt8](repeating: UInt8(index), count: index % 33),
        registeredAt: Self.pick(Self.amounts, index))
    }
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.shops = shops
    var needs = Needs()
    needs.shops = shops.map { ShopID($0.id) } + [ShopID(999)]
    let core = try Self.load(needs, from: Self.write(checkpoint))
    for shop in shops {
      let found = core.books.shops.row(ShopID(shop.id))
      #expect(found == shop)
    }
    let found = core.books.shops.find(ShopID(999))
    #expect(found == nil, "what does not exist is not made up")
  }

  /// Four amounts, and their sum, which fits: what a row is refused without.
  private static func parts(_ index: Int) -> (parts: [Int64], sum: Int64) {
    let sum: Int64 = pick([.max, 0, 1, 99_999, 1 << 40], index)
    let small = [sum / 4, sum / 7, sum / 9]
    return ([sum - small.reduce(0, +)] + small, sum)
  }

  @Test func `SKUs come back as they were`() throws {
    let skus = (0..<64).map { index in
      let (parts, sum) = Self.parts(index)
      return SKU(
        shop: Self.ids[index / 8], sku: Self.ids[index % 8], name: Self.pick(Self.texts, index),
        price: Self.pick([0, 1, .max], index), onHand: parts[0], reserved: parts[1], consumed: parts[2],
        writtenOff: parts[3], given: sum)
    }
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.skus = skus
    var needs = Needs()
    needs.skus = skus.map { SKUKey(shop: $0.shop, sku: $0.sku) }
    let core = try Self.load(needs, from: Self.write(checkpoint))
    for sku in skus {
      let found = core.books.skus.row(SKUKey(shop: sku.shop, sku: sku.sku))
      #expect(found == sku)
    }
  }

  private static let states: [OrderState] = [
    .placed, .paid, .ready, .shipped, .delivered, .completed, .cancelled, .expired,
  ]

  private static func order(_ index: Int, lines: [OrderLine]) -> Order {
    let sequenceNumber = index == 0 ? 1 << 46 - 1 : UInt64(index)
    let (parts, sum) = parts(index)
    var order = Order(
      id: OrderID(at: 1 << 47 - 1 - Int64(index), partition: .max, sequenceNumber: sequenceNumber),
      shop: pick(ids, index), buyer: pick(ids, index + 3), channel: pick(texts, index),
      reference: pick(texts, index + 1), state: pick(states, index), lines: lines,
      goods: sum - parts[2], shippingFee: parts[2], total: sum,
      placedAt: pick(amounts, index + 3), expiresAt: pick(amounts, index + 4))
    order.received = sum
    (order.held, order.refunded, order.released, order.fee) = (parts[0], parts[1], parts[2], parts[3])
    order.paidAt = pick(amounts, index + 10)
    order.shippedAt = pick(amounts, index + 11)
    order.deliveredAt = pick(amounts, index + 12)
    order.endedAt = pick(amounts, index + 13)
    if order.state == .cancelled {
      order.cancelledBy = [.buyer, .shop, .platform][index / 8 % 3]
      order.cancelReason = pick(texts, index)
    }
    return order
  }

  @Test func `orders come back as they were, in every state`() throws {
    let orders = (0..<80).map { index in
      Self.order(
        index,
        lines: (0...index % 4).map {
          OrderLine(
            sku: Self.pick(Self.ids, index + $0), quantity: Self.pick([1, 1_000_000_000, .max], index + $0),
            unitPrice: Self.pick([0, 1, .max], index + $0))
        })
    }
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.orders = orders
    var needs = Needs()
    needs.orders = orders.map { OrderKey($0.id.sequenceNumber) }
    let core = try Self.load(needs, from: Self.write(checkpoint))
    for order in orders {
      let found = core.books.orders.row(OrderKey(order.id.sequenceNumber))
      #expect(found == order)
    }
  }

  @Test(arguments: [1, 2_000])
  func `an order may have as many lines as the contract allows`(_ count: Int) throws {
    var random = SplitMix64(seed: UInt64(count))
    let order = Self.order(
      1,
      lines: (0..<count).map { _ in
        OrderLine(
          sku: random.next(), quantity: UInt32(truncatingIfNeeded: random.next()),
          unitPrice: Int64(bitPattern: random.next() >> 1))
      })
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.orders = [order]
    var needs = Needs()
    needs.orders = [OrderKey(1)]
    let folder = try Self.write(checkpoint)
    let core = try Self.load(needs, from: folder)
    let found = core.books.orders.row(OrderKey(1))
    #expect(found == order)

    // The view shows the same lines to whoever reads with sqlite3.
    let database = try Database(folder.path + "/p.sqlite", mode: .readOnly)
    let rows = try database.prepare("SELECT sku_id, quantity, unit_price FROM order_lines ORDER BY line")
    var lines: [OrderLine] = []
    while try rows.step() {
      lines.append(
        OrderLine(sku: rows.uint64(0), quantity: UInt32(rows.int64(1)), unitPrice: rows.int64(2)))
    }
    #expect(lines == order.lines)
  }

  @Test func `payments come back as they were`() throws {
    let methods: [PaymentMethod] = [
      .unspecified, .bankTransfer, .eWallet, .card, .payLater, .cashOnDelivery, .voucherBalance,
    ]
    let payments = Self.texts.enumerated().flatMap { index, provider in
      Self.texts.enumerated().map { other, reference in
        Payment(
          provider: provider, reference: reference,
          order: OrderID(high: Self.pick(Self.ids, index), low: Self.pick(Self.ids, other)),
          amount: Self.pick(Self.amounts, index + other), method: Self.pick(methods, index + other),
          instalments: Self.pick([0, 12, .max], other), rejectedReason: Self.pick(Self.texts, other + 1),
          settledAt: Self.pick(Self.amounts, other),
          settlement: [.exact, .under, .over, .late, .rejected][other % 5],
          held: Self.pick(Self.amounts, index), refunded: Self.pick(Self.amounts, index + 1),
          outstanding: Self.pick(Self.amounts, index + 2), stateAfter: Self.pick(Self.states, index + other))
      }
    }
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.payments = payments
    let folder = try Self.write(checkpoint)
    // One at a time: keys that look alike must not hide each other in the test's own table.
    for payment in payments {
      var needs = Needs()
      let key = PaymentKey(provider: payment.provider, reference: payment.reference)
      needs.payments = [key]
      let core = try Self.load(needs, from: folder)
      let found = core.books.payments.row(key)
      #expect(found == payment)
      #expect(found.map { Array($0.reference.utf8) } == Array(payment.reference.utf8))
    }
  }

  @Test func `accounts come back as they were`() throws {
    var accounts: [Account] = []
    for kind in AccountKey.Kind.allCases {
      for (index, owner) in ([0] + Self.ids).enumerated() {
        let balance: Int64 = Self.pick([0, 1, 99_999, .max], index)
        accounts.append(
          Account(
            key: AccountKey(kind, owner: owner), balance: kind == .providerClearing ? -balance : balance))
      }
    }
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.accounts = accounts
    var needs = Needs()
    needs.accounts = accounts.map(\.key)
    let core = try Self.load(needs, from: Self.write(checkpoint))
    for account in accounts {
      let found = core.books.accounts.row(account.key)
      #expect(found == account)
    }
  }

  @Test func `transfers are written column for column`() throws {
    let test = try TestPartition()
    try test.send([
      TestPartition.shop(.max), TestPartition.sku(.max, 1, price: .max, onHand: 1),
    ])
    let order = try test.place(.max, buyer: .max, [(1, 1)])
    try test.send(TestPartition.pay(order, .max, "all there is"))
    var checkpoint = try test.checkpoint()
    #expect(checkpoint.transfers.count == 1)
    let database = try Database(test.path, mode: .readOnly)
    let rows = try database.prepare("SELECT * FROM transfers")
    try #require(try rows.step())
    let transfer = checkpoint.transfers[0]
    #expect(rows.uint64(0) == transfer.sequenceNumber)
    #expect(rows.int64(1) == 0)
    #expect(rows.text(2) == "provider_clearing")
    #expect(rows.uint64(3) == 0)
    #expect(rows.text(4) == "escrow")
    #expect(rows.uint64(5) == .max, "ids of 2⁶³ and more are written as negative numbers")
    #expect(rows.int64(5) == -1)
    #expect(rows.int64(6) == .max)
    #expect(rows.text(7) == "settlement")
    #expect(
      Array(rows.blob(8)) == withUnsafeBytes(of: (order.high.bigEndian, order.low.bigEndian)) { Array($0) })
    #expect(rows.int64(9) == test.now)
    checkpoint.transfers = []
  }

  @Test func `a second checkpoint replaces rows, and leaves the others`() throws {
    var shop = Shop(
      id: 1, name: "a", city: "", province: "", market: "", category: "", origin: .domestic,
      status: .active, ownerHash: [1], registeredAt: 5)
    var other = shop
    other.id = 2
    var first = Self.emptyCheckpoint()
    first.applied = SequenceNumber(10)
    first.time = 77
    first.ordersPlaced = 3
    first.shops = [shop, other]
    first.accounts = [Account(key: AccountKey(.wallet, owner: .max), balance: 1)]
    shop.name = "b"
    shop.status = .suspended
    var second = Self.emptyCheckpoint()
    second.applied = SequenceNumber(1 << 45)
    second.time = 1 << 47 - 1
    second.ordersPlaced = 1 << 45
    second.shops = [shop]
    second.accounts = [Account(key: AccountKey(.wallet, owner: .max), balance: .max)]
    let folder = try Self.write(first, second)
    var needs = Needs()
    needs.shops = [ShopID(1), ShopID(2)]
    needs.accounts = [AccountKey(.wallet, owner: .max)]
    let core = try Self.load(needs, from: folder)
    let shops = [core.books.shops.row(ShopID(1)), core.books.shops.row(ShopID(2))]
    #expect(shops == [shop, other])
    let balance = core.books.balance(AccountKey(.wallet, owner: .max))
    #expect(balance == .max)
    let reader = try PartitionReader(path: folder.path + "/p.sqlite")
    let state = try reader.state()
    #expect(state.applied == SequenceNumber(1 << 45))
    #expect(state.time == 1 << 47 - 1)
    #expect(state.ordersPlaced == 1 << 45)
  }

  @Test func `what is in memory is newer, so it is never replaced`() throws {
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.skus = [
      SKU(
        shop: 1, sku: 1, name: "", price: 1, onHand: 1, reserved: 0, consumed: 0, writtenOff: 0, given: 1)
    ]
    let folder = try Self.write(checkpoint)
    var newer = checkpoint.skus[0]
    newer.onHand = 9
    let key = SKUKey(shop: 1, sku: 1)
    var core = Self.emptyCore()
    core.books.skus.insert(key, newer, isNew: true)
    var needs = Needs()
    needs.skus = [key, key]
    let reader = try PartitionReader(path: folder.path + "/p.sqlite")
    try reader.load(needs, into: &core)
    let found = core.books.skus.row(key)
    #expect(found == newer)
    let count = core.books.skus.count
    #expect(count == 1)
  }

  @Test func `a checkpoint that can't be written leaves the one before it`() throws {
    var good = Self.emptyCheckpoint()
    good.applied = SequenceNumber(5)
    let folder = try Self.write(good)
    let path = folder.path + "/p.sqlite"
    var writer = try PartitionWriter(
      path: path, cluster: TestPartition.cluster, partition: TestPartition.partition)
    do {
      let database = try Database(path, mode: .readWrite)
      try database.execute(
        "CREATE TRIGGER no BEFORE INSERT ON accounts BEGIN SELECT raise(ABORT, 'no'); END")
    }
    var bad = Self.emptyCheckpoint()
    bad.applied = SequenceNumber(6)
    bad.shops = [
      Shop(
        id: 1, name: "a", city: "", province: "", market: "", category: "", origin: .domestic,
        status: .active, ownerHash: [], registeredAt: 5)
    ]
    bad.accounts = [Account(key: AccountKey(.fees), balance: 1)]
    #expect(throws: SQLiteError.self) { try writer.write(bad) }
    #expect(writer.durable == SequenceNumber(5))
    let reader = try PartitionReader(path: path)
    let applied = try reader.state().applied
    #expect(applied == SequenceNumber(5))
    var needs = Needs()
    needs.shops = [ShopID(1)]
    let core = try Self.load(needs, from: folder)
    let count = core.books.shops.count
    #expect(count == 0)
  }

  /// A commit is not synced; moving the log of writes into the file is. An operator's `sqlite3` with an
  /// open transaction keeps it from being moved.
  @Test func `what could not be moved into the file is not called durable`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/p.sqlite"
    func open() throws -> PartitionWriter {
      try PartitionWriter(path: path, cluster: TestPartition.cluster, partition: TestPartition.partition)
    }
    var writer = try open()
    let idler = try Database(path, mode: .readOnly)
    try idler.execute("BEGIN; SELECT * FROM meta")
    var checkpoint = Self.emptyCheckpoint()
    checkpoint.applied = SequenceNumber(7)
    try writer.write(checkpoint)
    #expect(writer.durable == .zero, "the one that wrote it knows")
    let second = try open()
    #expect(second.durable == .zero)
    try idler.execute("ROLLBACK")
    #expect(try open().durable == SequenceNumber(7))
  }

  // MARK: Requests and reservations

  @Test func `answers of long ago come back, and the horizon is behind the last of them`() throws {
    var requests = AnsweredRequests()
    var random = SplitMix64(seed: 1)
    var rows: [(id: RequestID, fingerprint: UInt64, sn: UInt64, code: UInt8, body: [UInt8])] = []
    for index in 0..<50 {
      let id = RequestID(
        high: UInt64(TestPartition.start + Int64(index * 13 % 50)) << 16 | 0x7000,
        low: 2 << 62 | random.next() >> 2)
      let row = (
        id: id, fingerprint: [0, .max, random.next()][index % 3], sn: UInt64(index + 1),
        code: UInt8(index % 20), body: random.bytes(index * 7)
      )
      rows.append(row)
      let reference = requests.insert(id, fingerprint: row.fingerprint, sequenceNumber: row.sn)
      row.body.withUnsafeBytes { requests.setAnswer(reference, code: row.code, body: $0) }
    }
    var checkpoint = Self.emptyCheckpoint()
    requests.freeze()
    _ = requests.copyFrozen(atMost: .max)
    checkpoint.requests = requests.takeFrozen()
    let folder = try Self.write(checkpoint)
    let reader = try PartitionReader(path: folder.path + "/p.sqlite")
    let horizon = try reader.requestHorizon()
    #expect(horizon == TestPartition.start + 50)
    var core = Self.emptyCore()
    try reader.load(rows.map(\.id) + [RequestID(high: 1, low: 2)], into: &core)
    for row in rows {
      let found = core.requests.find(row.id)
      #expect(found?.fingerprint == row.fingerprint)
      #expect(found?.sequenceNumber == row.sn)
      #expect(found?.answer?.code == row.code)
      let body = found?.answer.map { Array($0.body) }
      #expect(body == row.body)
    }
    core.requests.forgetLoaded()
    for row in rows {
      #expect(core.requests.find(row.id)?.sequenceNumber == nil, "loaded for one group only")
    }
  }

  /// A checkpoint of answers to requests with these ids: the body tells which.
  private static func checkpoint(
    of ids: [RequestID], sequenceNumber: inout UInt64, bodyBytes: (Int) -> Int = { _ in 8 }
  ) -> Checkpoint {
    var requests = AnsweredRequests()
    for (index, id) in ids.enumerated() {
      sequenceNumber += 1
      let reference = requests.insert(id, fingerprint: id.low, sequenceNumber: sequenceNumber)
      let body = [UInt8](repeating: UInt8(truncatingIfNeeded: id.low), count: bodyBytes(index))
      body.withUnsafeBytes {
        requests.setAnswer(reference, code: UInt8(truncatingIfNeeded: sequenceNumber % 20), body: $0)
      }
    }
    var checkpoint = emptyCheckpoint()
    requests.freeze()
    _ = requests.copyFrozen(atMost: .max)
    checkpoint.requests = requests.takeFrozen()
    return checkpoint
  }

  private static func id(_ time: Int64, _ low: UInt64) -> RequestID {
    RequestID(high: UInt64(time) << 16 | 0x7000, low: 2 << 62 | low)
  }

  private static func sns(_ path: String) throws -> [Int64] {
    let database = try Database(path, mode: .readOnly)
    let rows = try database.prepare("SELECT sn FROM requests ORDER BY request_id")
    var found: [Int64] = []
    while try rows.step() { found.append(rows.int64(0)) }
    return found
  }

  @Test func `pages of ids outside the window are forgotten, with those at its edge all are kept`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/p.sqlite"
    var writer = try PartitionWriter(
      path: path, cluster: TestPartition.cluster, partition: TestPartition.partition)
    var sn: UInt64 = 0
    // Three pages of 200: each is too full to be filled further.
    for page in 0..<3 as Range<Int64> {
      let ids = (0..<200).map { Self.id(TestPartition.start + page * 200 + $0, 7) }
      try writer.write(Self.checkpoint(of: ids, sequenceNumber: &sn))
    }
    #expect(try Self.sns(path) == Array(1...600))
    let expected: [(Int64, Int64)] = [(199, 1), (200, 201), (399, 201), (400, 401), (599, 401), (600, 601)]
    for (time, left) in expected {
      var checkpoint = Self.emptyCheckpoint()
      checkpoint.forgetRequestsBefore = RequestID(firstAt: TestPartition.start + time)
      try writer.write(checkpoint)
      #expect(try Self.sns(path) == Array(left..<601), "\(time)")
    }
  }

  /// Ids come as callers' clocks have them: some late by hours, some in a crowd, mostly in order.
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `every answer is found in its page, whatever ids come, and pages stay apart`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let folder = try TestFolder()
    let path = folder.path + "/p.sqlite"
    var writer = try PartitionWriter(
      path: path, cluster: TestPartition.cluster, partition: TestPartition.partition)
    var known: [RequestID: UInt64] = [:]
    var all: [RequestID] = []
    var bodies: [RequestID: Int] = [:]
    var now = TestPartition.start
    var sn: UInt64 = 0
    for _ in 0..<30 {
      let lateness = random.pick([1, 50, 20_000_000])
      let bodyMax = random.pick([0, 10, 60, 60, 9_000])
      var ids: [RequestID] = []
      for _ in 0..<random.pick([0, 1, 3, 300, 900]) {
        let id = Self.id(now - Int64(random.pick(0...lateness)), random.next() >> 2)
        guard known[id] == nil else { continue }
        known[id] = sn + UInt64(ids.count) + 1
        ids.append(id)
        now += Int64(random.pick(0...2))
      }
      let sizes = ids.map { _ in random.pick(0...bodyMax) }
      for (id, size) in zip(ids, sizes) { bodies[id] = size }
      try writer.write(Self.checkpoint(of: ids, sequenceNumber: &sn) { sizes[$0] })
      all += ids
    }
    #expect(all.count > 1_000, "seed \(seed)")
    let reader = try PartitionReader(path: path)
    var core = Self.emptyCore()
    let unknown = (0..<500).map { _ in Self.id(now - Int64(random.pick(0...30_000_000)), random.next() >> 2) }
    try reader.load(all.shuffled(using: &random) + unknown, into: &core)
    for id in all {
      let found = core.requests.find(id)
      #expect(found?.sequenceNumber == known[id], "seed \(seed)")
      #expect(found?.fingerprint == id.low, "seed \(seed)")
      let body = found?.answer.map { Array($0.body) }
      #expect(
        body == [UInt8](repeating: UInt8(truncatingIfNeeded: id.low), count: bodies[id] ?? -1),
        "seed \(seed)")
    }
    for id in unknown where known[id] == nil {
      #expect(core.requests.find(id)?.sequenceNumber == nil, "seed \(seed)")
    }
    let horizon = try reader.requestHorizon()
    #expect(horizon == all.max().map { $0.milliseconds + 1 }, "seed \(seed)")

    // As `sqlite3` shows them, and as the file has them.
    let database = try Database(path, mode: .readOnly)
    let view = try database.prepare(
      "SELECT request_id, sn, fingerprint, code, length(answer) FROM requests ORDER BY request_id")
    for id in all.sorted() {
      guard try view.step() else {
        Issue.record("seed \(seed): the view lacks some")
        return
      }
      withUnsafeBytes(of: (id.high.bigEndian, id.low.bigEndian)) { bytes in
        #expect(view.blob(0).elementsEqual(bytes), "seed \(seed)")
      }
      #expect(view.uint64(1) == known[id], "seed \(seed)")
      #expect(UInt64(view.text(2), radix: 16) == id.low, "seed \(seed)")
      #expect(view.uint64(3) == (known[id] ?? 0) % 20, "seed \(seed)")
      #expect(view.int64(4) == Int64(bodies[id] ?? -1), "seed \(seed)")
    }
    #expect(try !view.step(), "seed \(seed)")
    let pages = try database.prepare(
      """
      SELECT first, last, lead(first) OVER (ORDER BY first), length(ids) / 16, length(answers),
        substr(ids, 1, 16) = first AND substr(ids, -16) = last
      FROM request_pages
      """)
    var (count, small) = (0, 0)
    while try pages.step() {
      count += 1
      #expect(pages.int64(5) == 1, "seed \(seed)")
      let (last, next) = (Array(pages.blob(1)), Array(pages.blob(2)))
      #expect(next.isEmpty || last.lexicographicallyPrecedes(next), "seed \(seed)")
      #expect(pages.int64(3) <= 256, "seed \(seed)")
      // The last answer of a page may be large.
      #expect(pages.int64(4) < 16 << 10 + 9_000, "seed \(seed)")
      if pages.int64(3) < 100, pages.int64(4) < 6_000 { small += 1 }
    }
    #expect(count < all.count / 4, "seed \(seed): answers share pages")
    #expect(small < count / 4 + 2, "seed \(seed): \(small) of \(count) pages")
  }

  @Test func `a file without requests has no horizon`() throws {
    let folder = try Self.write(Self.emptyCheckpoint())
    let reader = try PartitionReader(path: folder.path + "/p.sqlite")
    let horizon = try reader.requestHorizon()
    #expect(horizon == 0)
  }

  @Test func `after a restart the same id gets the same answer, and takes effect once`() throws {
    let test = try TestPartition()
    let ids = (0..<3).map { _ in test.requestID() }
    let commands = [
      TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5),
      TestPartition.order(1, buyer: 2, [(1, 2)]),
    ]
    let first = try test.send(commands, ids: ids)
    try test.checkpoint()
    try test.restart()
    test.wait(1_000)
    let again = try test.send(commands, ids: ids)
    #expect(again == first)
    test.withCore { #expect($0.applied == SequenceNumber(3)) }
  }

  @Test func `the rules that hold are kept, also by a file of before there were others`() throws {
    let test = try TestPartition()
    try Self.execute("DELETE FROM meta WHERE key = 'rules'", test.path)
    func rules(_ path: String) throws -> UInt16 { try PartitionReader(path: path).state().rules }
    #expect(try rules(test.path) == 1)
    test.withCore { $0.switchRules(to: 2) }
    try test.send(TestPartition.shop(1))
    #expect(try test.checkpoint().rules == 2)
    #expect(try rules(test.path) == 2)
    try test.restart()
    test.withCore { #expect($0.rules == 2) }
    let copy = test.folder.path + "/copy.sqlite"
    _ = try PartitionSnapshot.make(of: test.path, at: copy)
    #expect(try rules(copy) == 2)
  }

  private static func execute(_ sql: String, _ path: String) throws {
    let database = try Database(path, mode: .readWrite)
    try database.execute(sql)
  }

  @Test func `reservations of times that have passed are forgotten, and none that waits`() throws {
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 500)])
    func rows() throws -> [String] {
      let database = try Database(test.path, mode: .readOnly)
      let rows = try database.prepare("SELECT expires_at, sns FROM reservations ORDER BY expires_at, sn")
      var found: [String] = []
      while try rows.step() { found.append("\(rows.int64(0) - TestPartition.start) \(rows.text(1))") }
      return found
    }
    let first = try test.send((0..<3).map { _ in TestPartition.order(1, buyer: 2, [(1, 1)]) })
    test.wait(10)
    _ = try test.place(1, buyer: 2, [(1, 1)])
    try test.send(TestPartition.pay(try #require(first[1].order), 10, "r"))
    try test.checkpoint()
    #expect(try rows() == ["60000 [3,5]", "60010 [6]"], "the paid one waits for nothing")
    try test.send(TestPartition.pay(try #require(first[2].order), 10, "r2"))
    try test.checkpoint()
    #expect(try rows() == ["60000 [3,5]", "60010 [6]"])
    test.wait(59_990)
    try test.expire()
    try test.checkpoint()
    #expect(try rows() == ["60010 [6]"])
    try test.restart()
    try test.send(TestPartition.shop(2))
    try test.checkpoint()
    #expect(try rows() == ["60010 [6]"], "a start keeps what it has not read")
    test.wait(10)
    try test.expire()
    try test.checkpoint()
    #expect(try rows() == [])
    #expect(try PartitionAudit(path: test.path).isClean)
  }

  /// Reserved until midnight, all of them: rows of one time, from many checkpoints.
  @Test func `any number that run out in the same millisecond are read in pieces, each once`() throws {
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 100_000)])
    var orders = 0
    for round in 0..<10 {
      try test.send((0..<300).map { _ in TestPartition.order(1, buyer: 2, [(1, 1)]) })
      orders += 300
      if round % 3 == 1 { try test.checkpoint() }
    }
    try test.checkpoint()
    try test.restart()
    test.wait(60_000)
    var (turns, most) = (0, 0)
    while test.withCore({ $0.hasWork(now: test.now) }), turns < 100 {
      try test.expire()
      turns += 1
      most = max(most, test.withCore { $0.books.reservations.count })
    }
    #expect(turns == (orders + 255) / 256)
    #expect(most <= 2_048)
    try test.checkpoint()
    let database = try Database(test.path, mode: .readOnly)
    let states = try database.prepare("SELECT state, count(*) FROM orders GROUP BY state")
    #expect(try states.step())
    #expect(states.text(0) == "expired")
    #expect(states.int64(1) == Int64(orders))
    #expect(try !states.step())
  }

  @Test func `reservations run out after a restart too`() throws {
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5)])
    let order = try test.place(1, buyer: 2, [(1, 2)])
    let paid = try test.place(1, buyer: 2, [(1, 1)])
    try test.send(TestPartition.pay(paid, 10, "r"))
    try test.checkpoint()
    try test.restart()
    test.withCore { core in
      #expect(core.books.reservations.count == 0, "it is not read before it is asked for")
    }
    try test.expire()
    test.withCore { core in
      #expect(core.books.reservations.count == 1, "of what is paid nothing runs out")
      #expect(core.books.reservations.first == TestPartition.start + 60_000)
      let hasWork = [59_999, 60_000].map { core.hasWork(now: TestPartition.start + $0) }
      #expect(hasWork == [false, true])
    }
    test.wait(60_000)
    try test.expire()
    test.withCore { core in
      guard case .order(let found) = core.books.answer(.order(order)) else {
        Issue.record("the order is gone")
        return
      }
      #expect(found.state == .expired)
    }
    try test.checkpoint()
    #expect(try PartitionAudit(path: test.path).isClean)
  }

  /// Providers' references are bytes. Swift calls strings equal that Unicode calls equivalent; SQLite
  /// does not.
  @Test func `references that only look alike are two payments`() throws {
    // Two spellings of é whose hashes fall into one place of a small table.
    var pair: (String, String)?
    for number in 0..<1_000_000 where pair == nil {
      let composed = PaymentKey(provider: "bank", reference: "\u{E9}\(number)")
      let decomposed = PaymentKey(provider: "bank", reference: "e\u{301}\(number)")
      if composed.hashBits & 0x3FF == decomposed.hashBits & 0x3FF {
        pair = (composed.reference, decomposed.reference)
      }
    }
    let (composed, decomposed) = try #require(pair)
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5)])
    let order = try test.place(1, buyer: 2, [(1, 2)])
    try test.send(TestPartition.pay(order, 10, composed))
    try test.send(TestPartition.pay(order, 10, decomposed))
    test.withCore { core in
      guard case .order(let found) = core.books.answer(.order(order)) else {
        Issue.record("the order is gone")
        return
      }
      #expect(found.received == 20)
    }
  }
}

extension RowTable {
  /// A copy of the row with this key, if it is in memory.
  fileprivate func row(_ key: Key) -> Row? { find(key).map { self[$0] } }
}
