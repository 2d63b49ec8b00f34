import Bytes
import Cluster
import Marketplace
import Testing
import Wire
import WorkerCore

struct PartitionCoreTests {
  static let now = Worker.start

  private let done = Outcome.done.rawValue

  /// Shop 1 with SKU 10: 100 on hand at 1,000.
  private func open(_ caller: inout Caller) -> Worker {
    let worker = Worker()
    let answers = worker.tell(
      [
        Sent(bytes: caller.request(.register(1), at: Self.now)),
        Sent(bytes: caller.request(.put(1, 10, price: 1_000, onHand: 100), at: Self.now)),
      ], at: Self.now)
    #expect(answers.map(\.outcome) == [done, done])
    return worker
  }

  private func onHand(_ worker: Worker) -> Int64? {
    guard case .sku(let sku) = worker.look(.sku(SKUKey(shop: 1, sku: 10))) else { return nil }
    return sku.onHand
  }

  @Test func `every item of every batch is answered once, under its index, to its dispatcher`() {
    var caller = Caller()
    let worker = open(&caller)
    let batches = (0..<5).map { batch in
      (0..<batch).map { _ in Sent(bytes: caller.request(.adjust(1, 10, 1), at: Self.now)) }
    }
    let answers = worker.tell(batches: batches, at: Self.now)
    for (batch, answers) in answers.enumerated() { #expect(answers.keys.sorted() == Array(0..<batch)) }
    #expect(onHand(worker) == 110)
    #expect(worker.core.applied == SequenceNumber(12))
  }

  @Test func `the same request twice in a group takes effect once and is answered alike`() {
    var caller = Caller()
    let worker = open(&caller)
    let request = caller.request(.adjust(1, 10, -3), at: Self.now)
    let other = caller.request(.adjust(1, 10, -1), at: Self.now)
    let answers = worker.tell(
      batches: [
        [Sent(bytes: request), Sent(bytes: other), Sent(bytes: request)], [Sent(bytes: request)],
      ], at: Self.now)
    #expect(answers[0][0] == answers[0][2])
    #expect(answers[0][0] == answers[1][0])
    #expect(answers[0][0]?.outcome == done)
    #expect(onHand(worker) == 96)
    #expect(worker.core.applied == SequenceNumber(4))
  }

  @Test func `the same request again later gets the same bytes, a no as well`() {
    var caller = Caller()
    let worker = open(&caller)
    let requests = [
      caller.request(.place(1, [(10, 2)], reserveMilliseconds: 3_600_000), at: Self.now),
      caller.request(.place(1, [(10, 200), (10, 300)]), at: Self.now),
      caller.request(.place(1, []), at: Self.now),
      caller.request(.register(1), at: Self.now),
    ]
    let first = requests.map { worker.tell($0, at: Self.now) }
    #expect(first.map(\.code) == [0, 6, 1, 9])
    let logged = worker.log.count
    for later in [0, 1_000, Worker.window] as [Milliseconds] {
      #expect(requests.map { worker.tell($0, at: Self.now + later) } == first)
    }
    #expect(worker.log.count == logged)
    #expect(onHand(worker) == 98)
  }

  @Test func `an id that comes with another command is refused, and the first answer stays`() {
    var caller = Caller()
    let worker = open(&caller)
    let id = caller.id(at: Self.now)
    let request = caller.encode(.adjust(1, 10, -3), id: id)
    let other = caller.encode(.adjust(1, 10, -4), id: id)
    var partner = caller
    partner.channel = "partner"
    let elsewhere = partner.encode(.adjust(1, 10, -3), id: id)
    let reused = UInt32(DeliveryCode.requestIDReused.rawValue)

    let answers = worker.tell([request, other, elsewhere, request].map { Sent(bytes: $0) }, at: Self.now)
    #expect(answers.map(\.code) == [0, reused, reused, 0])
    #expect(answers[1].outcome == Outcome.notExecuted.rawValue)
    #expect(worker.tell(other, at: Self.now).code == reused)
    #expect(worker.tell(request, at: Self.now) == answers[0])
    #expect(onHand(worker) == 97)
  }

  @Test func `a retry with another deadline is the same request`() {
    var caller = Caller()
    let worker = open(&caller)
    let id = caller.id(at: Self.now)
    let first = worker.tell(caller.encode(.adjust(1, 10, -3), id: id, deadline: 5), at: Self.now)
    #expect(worker.tell(caller.encode(.adjust(1, 10, -3), id: id, deadline: 700), at: Self.now) == first)
    #expect(onHand(worker) == 97)
  }

  @Test(
    arguments: [
      // time of the id less the group's time, code
      (0, 0), (-Worker.window, 0), (-Worker.window - 1, DeliveryCode.requestIDTooOld.rawValue),
      (WireLimits.skewMilliseconds, 0),
      (WireLimits.skewMilliseconds + 1, DeliveryCode.requestIDInvalid.rawValue),
      (-Worker.start, DeliveryCode.requestIDTooOld.rawValue),
    ] as [(Int64, UInt8)])
  func `an id is accepted inside its window, ends included`(offset: Int64, code: UInt8) {
    var caller = Caller()
    let worker = open(&caller)
    let request = caller.request(.adjust(1, 10, 1), at: Self.now + offset)
    let answer = worker.tell(request, at: Self.now)
    #expect(answer.code == UInt32(code))
    #expect(onHand(worker) == (code == 0 ? 101 : 100))
    if let code = DeliveryCode(rawValue: code) { #expect(answer.outcome == code.outcome.rawValue) }
  }

  @Test(arguments: [
    RequestID(high: 0, low: 0),
    RequestID(high: .max, low: .max),
    RequestID(high: UInt64(Worker.start) << 16 | 0x4000, low: 2 << 62),  // version 4
    RequestID(high: UInt64(Worker.start) << 16 | 0x7000, low: 0),  // no variant
    RequestID(high: UInt64(Worker.start) << 16 | 0x7000, low: 3 << 62),
  ])
  func `an id that is no UUIDv7 is refused`(id: RequestID) {
    var caller = Caller()
    let worker = open(&caller)
    let answer = worker.tell(caller.encode(.adjust(1, 10, 1), id: id), at: Self.now)
    #expect(answer.code == UInt32(DeliveryCode.requestIDInvalid.rawValue))
    #expect(onHand(worker) == 100)
    // A read leaves no trace, so its id may be anything.
    var writer = ByteWriter()
    RequestEncoder.write(
      id: id, channel: "", deadlineMilliseconds: 0, .sku(SKUKey(shop: 1, sku: 10)), into: &writer)
    #expect(worker.tell(Array(writer.bytes), at: Self.now).outcome == done)
  }

  @Test(
    arguments: [
      // deadline, how long it waited, late?
      (0, 0, true), (10, 10, false), (10, 11, true), (.max, 1_000_000, false),
    ] as [(UInt32, Int64, Bool)])
  func `what comes too late is not executed, and may come again`(
    deadline: UInt32, waited: Int64, isLate: Bool
  ) {
    var caller = Caller()
    let worker = open(&caller)
    let command = Sent(
      bytes: caller.request(.adjust(1, 10, 1), at: Self.now), deadlineMilliseconds: deadline)
    let read = Sent(
      bytes: caller.request(.sku(SKUKey(shop: 1, sku: 10)), at: Self.now), deadlineMilliseconds: deadline)
    let answers = worker.tell([command, read], at: Self.now, waited: waited)
    let code = isLate ? UInt32(DeliveryCode.deadlinePassed.rawValue) : 0
    #expect(answers.map(\.code) == [code, code])
    #expect(onHand(worker) == (isLate ? 100 : 101))
    #expect(worker.tell(command.bytes, at: Self.now).outcome == done)
    #expect(onHand(worker) == 101)
  }

  @Test func `an answer that is known is given after the deadline too`() {
    var caller = Caller()
    let worker = open(&caller)
    let request = caller.request(.adjust(1, 10, 1), at: Self.now)
    let first = worker.tell(request, at: Self.now)
    #expect(worker.tell([Sent(bytes: request, deadlineMilliseconds: 0)], at: Self.now) == [first])
  }

  @Test func `the first reason not to execute is the id's, then the deadline`() {
    var caller = Caller()
    let worker = open(&caller)
    let id = caller.id(at: Self.now)
    _ = worker.tell(caller.encode(.adjust(1, 10, 1), id: id), at: Self.now)
    let items = [
      caller.encode(.adjust(1, 10, 2), id: id),
      caller.encode(.adjust(1, 10, 2), id: RequestID(high: 0, low: 0)),
      caller.request(.adjust(1, 10, 2), at: 1),
      caller.request(.adjust(1, 10, 2), at: Self.now),
    ].map { Sent(bytes: $0, deadlineMilliseconds: 0) }
    let codes: [DeliveryCode] = [.requestIDReused, .requestIDInvalid, .requestIDTooOld, .deadlinePassed]
    #expect(worker.tell(items, at: Self.now).map(\.code) == codes.map { UInt32($0.rawValue) })
  }

  @Test func `a malformed item is refused alone, under its id where that can be read`() {
    var caller = Caller()
    let worker = open(&caller)
    let good = caller.request(.adjust(1, 10, 1), at: Self.now)
    let id = caller.id(at: Self.now)
    let whole = caller.encode(.adjust(1, 10, 1), id: id)
    let cut = Array(whole.dropLast())
    let headOnly = Array(whole[..<18])
    let answers = worker.tell(
      [good, [], [0xFF], cut, headOnly, caller.request(.adjust(1, 10, 1), at: Self.now)]
        .map { Sent(bytes: $0) }, at: Self.now)
    let malformed = UInt32(DeliveryCode.malformed.rawValue)
    #expect(answers.map(\.code) == [0, malformed, malformed, malformed, malformed, 0])
    #expect(answers[1].peek.id == nil)
    #expect(answers[3].peek.id == id)
    #expect(answers[4].peek.id == id)
    #expect(answers[3].outcome == Outcome.notExecuted.rawValue)
    #expect(onHand(worker) == 102)
    #expect(worker.tell(whole, at: Self.now).outcome == done, "a malformed attempt left a trace")
  }

  @Test func `a batch that is cut anywhere is refused whole`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let frame = Worker.frame(
      (0..<3).map { _ in Sent(bytes: caller.request(.adjust(1, 10, 1), at: Self.now)) }, number: 77)
    for length in 0..<frame.count {
      #expect(throws: FrameError.truncated) {
        try frame[..<length].withUnsafeBytes { bytes in
          try worker.core.take(bytes, dispatcher: 0, receivedAt: Self.now)
        }
      }
    }
    #expect(!worker.hasWork(at: Self.now))
    #expect(worker.tell([], at: Self.now).isEmpty)
    #expect(onHand(worker) == 100)
  }

  @Test func `a read sees what its group did before it, and leaves no trace`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let read = caller.request(.sku(SKUKey(shop: 1, sku: 10)), at: Self.now)
    let items = [read, caller.request(.adjust(1, 10, 1), at: Self.now), read].map { Sent(bytes: $0) }
    let answers = worker.tell(items, at: Self.now)
    #expect(answers[0] != answers[2])
    #expect(worker.core.applied == SequenceNumber(3))
    let logged = worker.log.count
    #expect(worker.tell(read, at: Self.now) == answers[2])
    #expect(worker.log.count == logged)
    // The same id for another read is no reuse either.
    #expect(worker.core.requests.count == 3)
  }

  @Test func `large answers go in frames of bounded size`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let lines = Array(repeating: (10 as UInt64, 1 as UInt32), count: 100)
    let placed = worker.tell(caller.request(.place(1, lines), at: Self.now), at: Self.now)
    let order = try #require(placed.peek.order)
    let reads = (0..<2_048).map { _ in Sent(bytes: caller.request(Query.order(order), at: Self.now)) }
    let answers = worker.tell(reads, at: Self.now)
    #expect(answers.allSatisfy { $0.outcome == done && $0.bytes.count > 700 })
    #expect(worker.largestFrame <= WireLimits.answersBytesMax + answers[0].bytes.count + 64)
    #expect(answers.reduce(0) { $0 + $1.bytes.count } > WireLimits.answersBytesMax)
  }

  @Test func `an audit is not answered here, its neighbours are`() throws {
    var caller = Caller()
    let worker = open(&caller)
    var audit = ByteWriter()
    let id = caller.id(at: Self.now)
    audit.field(1, high: id.high, low: id.low)
    audit.field(CommandField.auditPartition.rawValue) { $0.field(1, varint: 3) }
    let bytes = Array(audit.bytes)
    let good = caller.request(.adjust(1, 10, 1), at: Self.now)
    let answers = worker.tell(
      batches: [[Sent(bytes: bytes)], [good, bytes].map { Sent(bytes: $0) }], at: Self.now)
    #expect(answers.map { $0.keys.sorted() } == [[], [0]])
    #expect(worker.core.audits.map(\.index) == [0, 1])
    #expect(worker.core.audits.map(\.request) == [id, id])
    #expect(worker.core.audits.map(\.header.number) == [2, 3])
  }

  @Test func `an order is not known to its own group, and is to the next`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let id = OrderID(at: Self.now, partition: 3, sequenceNumber: 3)
    let items = [
      caller.request(.place(1, [(10, 2)]), at: Self.now),
      caller.request(.settle(id, 2_000, reference: "a"), at: Self.now),
      caller.request(.order(id), at: Self.now),
    ].map { Sent(bytes: $0) }
    let answers = worker.tell(items, at: Self.now)
    #expect(answers[0].peek.order == id)
    #expect(answers.map(\.code) == [0, 7, 7])
    #expect(
      worker.tell(caller.request(.settle(id, 2_000, reference: "b"), at: Self.now), at: Self.now).outcome
        == done)
    #expect(worker.core.ordersPlaced == 1)
  }

  @Test func `time never runs back`() throws {
    var caller = Caller()
    let worker = open(&caller)
    _ = worker.tell(caller.request(.adjust(1, 10, 1), at: Self.now), at: Self.now + 5_000)
    let placed = worker.tell(caller.request(.place(1, [(10, 1)]), at: Self.now), at: Self.now - 90_000)
    let order = try #require(placed.peek.order)
    #expect(Milliseconds(order.high >> 16) == Self.now + 5_000)
    #expect(worker.core.time == Self.now + 5_000)
    #expect(worker.log.map(\.time) == [Self.now, Self.now + 5_000, Self.now + 5_000])
    // Ids are judged by the group's time, not by the clock that ran back.
    let ahead = caller.request(.adjust(1, 10, 1), at: Self.now + 5_000 + WireLimits.skewMilliseconds)
    #expect(worker.tell(ahead, at: Self.now - 90_000).outcome == done)
  }

  @Test func `a reservation that runs out is an entry of the log, before the group's requests`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let order = try #require(
      worker.tell(caller.request(.place(1, [(10, 100)]), at: Self.now), at: Self.now).peek.order)
    let due = Self.now + 60_000
    #expect(!worker.hasWork(at: due - 1))
    #expect(worker.hasWork(at: due))
    // Its stock is there again for the same group.
    let answer = worker.tell(caller.request(.place(1, [(10, 100)]), at: Self.now), at: due)
    #expect(answer.outcome == done)
    let block = try #require(worker.log.last)
    #expect(block.count == 2)
    try block.bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      guard case .expire(let orders) = try LogEntry(&reader) else {
        Issue.record("the first entry is no expiry")
        return
      }
      #expect(orders == [order.sequenceNumber])
    }
    #expect(worker.core.time == due)
    #expect(!worker.hasWork(at: due))
    guard case .order(let row) = worker.look(.order(order)) else {
      Issue.record("the order is gone")
      return
    }
    #expect(row.state == .expired)
    #expect(row.endedAt == due)
  }

  @Test func `what is paid or cancelled in time makes no expiry entry`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let orders = try (0..<2).map { _ in
      try #require(worker.tell(caller.request(.place(1, [(10, 1)]), at: Self.now), at: Self.now).peek.order)
    }
    _ = worker.tell(caller.request(.settle(orders[0], 1_000, reference: "a"), at: Self.now), at: Self.now)
    _ = worker.tell(caller.request(.cancel(orders[1], by: .buyer), at: Self.now), at: Self.now)
    let logged = worker.log.count
    #expect(worker.hasWork(at: Self.now + 60_000))
    _ = worker.tell(batches: [], at: Self.now + 60_000)
    #expect(worker.log.count == logged)
    #expect(!worker.hasWork(at: Self.now + 60_000))
  }

  @Test func `a crowd of reservations runs out in steps of bounded size`() throws {
    var caller = Caller()
    let worker = open(&caller)
    _ = worker.tell(caller.request(.adjust(1, 10, 1_000), at: Self.now), at: Self.now)
    _ = worker.tell(
      (0..<600).map { _ in Sent(bytes: caller.request(.place(1, [(10, 1)]), at: Self.now)) }, at: Self.now)
    let due = Self.now + 60_000
    var steps = 0
    while worker.hasWork(at: due) {
      _ = worker.tell(batches: [], at: due)
      steps += 1
    }
    #expect(steps == 3)
    #expect(onHand(worker) == 1_100)
    #expect(worker.log.suffix(3).map(\.bytes.count) == [5 + 256 * 8, 5 + 256 * 8, 5 + 88 * 8])
  }

  @Test func `a log with a gap, leftovers or strange entries is not replayed`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let block = try #require(worker.log.first)
    func take(_ bytes: [UInt8], first: UInt64, count: UInt32) throws {
      let other = Worker()
      try bytes.withUnsafeBytes {
        try other.core.takeLogged($0, first: SequenceNumber(first), count: count, time: Self.now)
      }
    }
    #expect(throws: PartitionCore.ReplayError.gap(expected: SequenceNumber(1), found: SequenceNumber(2))) {
      try take(block.bytes, first: 2, count: 2)
    }
    #expect(throws: PartitionCore.ReplayError.self) { try take(block.bytes, first: 1, count: 1) }
    #expect(throws: PartitionCore.ReplayError.self) { try take(block.bytes, first: 1, count: 3) }
    for length in 0..<block.bytes.count {
      #expect(throws: PartitionCore.ReplayError.self) {
        try take(Array(block.bytes[..<length]), first: 1, count: 2)
      }
    }
    try take(block.bytes, first: 1, count: 2)
  }

  @Test func `a settlement right after its order finds the accounts that are in the store only`() throws {
    var caller = Caller()
    let worker = open(&caller)
    // The shop holds 1,000 in escrow and the buyer 500 in the wallet.
    let first = try #require(
      worker.tell(caller.request(.place(1, [(10, 1)]), at: Self.now), at: Self.now).peek.order)
    _ = worker.tell(caller.request(.settle(first, 1_500, reference: "a"), at: Self.now), at: Self.now)
    #expect(worker.balance(.escrow, 1) == 1_000)
    #expect(worker.balance(.wallet, 9) == 500)
    worker.checkpoint(keeping: 0)
    #expect(worker.core.books.accounts.count == 0)
    // Two groups, one directly after the other.
    let second = try #require(
      worker.tell(caller.request(.place(1, [(10, 1)]), at: Self.now), at: Self.now).peek.order)
    _ = worker.tell(caller.request(.settle(second, 1_700, reference: "b"), at: Self.now), at: Self.now)
    #expect(worker.balance(.escrow, 1) == 2_000)
    #expect(worker.balance(.wallet, 9) == 1_200)
  }

  @Test func `a replayed settlement right after its order finds the accounts that are in the store only`()
    throws
  {
    var caller = Caller()
    let worker = open(&caller)
    let first = try #require(
      worker.tell(caller.request(.place(1, [(10, 1)]), at: Self.now), at: Self.now).peek.order)
    _ = worker.tell(caller.request(.settle(first, 1_500, reference: "a"), at: Self.now), at: Self.now)
    worker.checkpoint()
    let second = try #require(
      worker.tell(caller.request(.place(1, [(10, 1)]), at: Self.now), at: Self.now).peek.order)
    _ = worker.tell(caller.request(.settle(second, 1_700, reference: "b"), at: Self.now), at: Self.now)
    #expect(worker.balance(.wallet, 9) == 1_200)
    let again = Worker(store: worker.store, log: worker.log)
    #expect(again.balance(.escrow, 1) == 2_000)
    #expect(again.balance(.wallet, 9) == 1_200)
  }
}
