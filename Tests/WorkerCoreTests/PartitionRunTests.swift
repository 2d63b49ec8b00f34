import Cluster
import Marketplace
import TestSupport
import Testing
import Wire
import WorkerCore

/// Long random runs: partitions that crash, forget and load again, against one that never does.
struct PartitionRunTests {
  /// Random traffic with retries and ids that are used twice.
  private struct Traffic {
    var random: SplitMix64
    var caller = Caller()
    var orders: [OrderID] = []
    var sent: [[UInt8]] = []
    var everSent: Set<[UInt8]> = []
    private var references = 0

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    private mutating func order() -> OrderID {
      guard !orders.isEmpty else { return OrderID(high: 1, low: 1) }
      return orders[random.pick(max(0, orders.count - random.pick([5, 30, 1_000]))...orders.count - 1)]
    }

    private mutating func command() -> Command {
      let (shop, sku) = (UInt64(random.pick(1...4)), UInt64(random.pick(1...5)))
      switch random.pick(0...99) {
      case 0..<4: return .register(shop)
      case 4..<10:
        return .put(shop, sku, price: Money(random.pick(0...50)), onHand: Int64(random.pick(0...60)))
      case 10..<16: return .adjust(shop, sku, Int64(random.pick(-5...30)))
      case 16..<48:
        return .place(
          shop, buyer: UInt64(random.pick(1...6)),
          (0..<random.pick(1...3)).map { _ in (UInt64(random.pick(1...5)), UInt32(random.pick(1...3))) },
          reserveMilliseconds: random.pick([0, 0, 200, 2_000]))
      case 48..<74:
        if !random.chance(8) { references += 1 }
        return .settle(order(), Money(random.pick([30, 60, 100, 200, 1])), reference: "p\(references)")
      case 74..<80: return .cancel(order(), by: random.pick([.buyer, .platform]))
      case 80..<88: return .shipOrder(order())
      case 88..<94: return .deliverOrder(order())
      default: return .completeOrder(order())
      }
    }

    mutating func next(at now: Milliseconds) -> Sent {
      var deadline: UInt32 = random.chance(2) ? 0 : 1_000
      var bytes: [UInt8]
      switch random.pick(0...99) {
      case 0..<12 where !sent.isEmpty:
        bytes = sent[random.pick(max(0, sent.count - random.pick([3, 50, 100_000]))...sent.count - 1)]
      case 12..<15 where !sent.isEmpty:
        // Another command under an id that was used.
        let old = sent[random.pick(0...sent.count - 1)]
        let id = old.withUnsafeBytes { bytes in
          var id: RequestID?
          _ = try? RequestPeek(bytes, id: &id)
          return id
        }
        bytes = caller.encode(.adjust(1, 1, 7), id: id ?? caller.id(at: now))
      case 15..<25:
        let query: Query =
          switch random.pick(0...3) {
          case 0: .order(order())
          case 1: .sku(SKUKey(shop: UInt64(random.pick(1...4)), sku: UInt64(random.pick(1...5))))
          case 2: .shop(ShopID(UInt64(random.pick(1...4))))
          default:
            .payment(
              order: order(),
              PaymentKey(provider: "bank", reference: "p\(random.pick(0...max(1, references)))"))
          }
        bytes = caller.request(query, at: now)
      case 25..<27: bytes = [8, 1, 7]
      case 27..<30:
        // The fate of what was sent, or of what never was, which may come after it was sealed.
        var target = caller.id(at: now)
        if random.chance(50), !sent.isEmpty {
          let old = sent[random.pick(max(0, sent.count - random.pick([3, 100_000]))...sent.count - 1)]
          target = old.withUnsafeBytes { bytes in
            var id: RequestID?
            _ = try? RequestPeek(bytes, id: &id)
            return id ?? target
          }
        } else {
          sent.append(caller.encode(.adjust(1, 1, 3), id: target))
        }
        bytes = caller.fate(of: target, sealing: random.chance(60), at: now)
      default:
        bytes = caller.request(command(), at: now + Milliseconds(random.pick(-900...900)))
        sent.append(bytes)
        everSent.insert(bytes)
        if sent.count > 3_000 { sent.removeFirst(1_000) }
      }
      if random.chance(1) { deadline = .max }
      return Sent(bytes: bytes, deadlineMilliseconds: deadline)
    }

    mutating func group(at now: Milliseconds) -> [[Sent]] {
      (0..<random.pick([1, 1, 2])).map { _ in (0..<random.pick([0, 1, 1, 2, 12])).map { _ in next(at: now) } }
    }

    mutating func learn(_ answers: [[Int: Got]]) {
      for batch in answers {
        for index in batch.keys.sorted() {
          if let order = batch[index]?.peek.order, !orders.suffix(200).contains(order) {
            orders.append(order)
          }
        }
      }
    }
  }

  /// All that a partition is, store and memory together.
  private struct Everything: Equatable {
    var shops: [UInt64: Shop]
    var skus: [[UInt64]: SKU]
    var orders: [UInt64: Order]
    var payments: [[String]: Payment]
    var accounts: [AccountKey: Account]
    var transfers: [[UInt64]: Transfer]
    var requests: [RequestID: FakeStore.Request]
    var applied: SequenceNumber
    var time: Milliseconds
    var ordersPlaced: UInt64
    var digest: UInt64

    init(_ worker: Worker) {
      worker.checkpoint()
      let store = worker.store
      shops = store.shops
      skus = store.skus
      orders = store.orders
      payments = store.payments
      accounts = store.accounts
      transfers = store.transfers
      requests = store.requests
      applied = store.applied
      time = store.time
      ordersPlaced = store.ordersPlaced
      digest = store.digest
    }
  }

  private func expectSame(_ a: Worker, _ b: Worker, _ when: String) {
    let (a, b) = (Everything(a), Everything(b))
    #expect(a.accounts == b.accounts, "accounts differ \(when)")
    #expect(a.skus == b.skus, "stock differs \(when)")
    #expect(a.orders == b.orders, "orders differ \(when)")
    #expect(a.requests == b.requests, "answered requests differ \(when)")
    #expect(a == b, "something differs \(when)")
    #expect(a.accounts.values.reduce(0) { $0 + $1.balance } == 0)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `the log replayed is the partition again, with all its answers`(seed: UInt64) throws {
    var traffic = Traffic(seed: seed)
    let worker = Worker()
    var now = Worker.start
    var answered: [(request: [UInt8], answer: Got)] = []
    for _ in 0..<1_500 {
      now += Milliseconds(traffic.random.pick(-20...100))
      let batches = traffic.group(at: now)
      let answers = worker.tell(batches: batches, at: now)
      traffic.learn(answers)
      for (batch, items) in batches.enumerated() {
        for (index, item) in items.enumerated() {
          if let answer = answers[batch][index], answer.outcome <= Outcome.no.rawValue,
            traffic.everSent.contains(item.bytes)
          {
            answered.append((item.bytes, answer))
          }
        }
      }
    }
    let again = Worker(log: worker.log)
    #expect(again.core.applied == worker.core.applied)
    #expect(again.core.time == worker.core.time)
    #expect(again.core.digest == worker.core.digest, "seed \(seed)")
    #expect(answered.count > 1_000)
    for (request, answer) in answered {
      let repeated = again.tell(request, at: again.core.time)
      #expect(repeated == answer)
      if repeated != answer { return }
    }
    expectSame(worker, again, "after the replay of seed \(seed)")
  }

  @Test(
    arguments: [
      // seed, rows that stay, restarts?
      (11, 0, false), (12, 3, false), (13, 40, false), (14, 0, true), (15, 5, true), (16, 1_000_000, true),
    ] as [(UInt64, Int, Bool)])
  func `a partition that forgets, loads and restarts answers like one that never does`(
    seed: UInt64, keeping: Int, restarts: Bool
  ) throws {
    var traffic = Traffic(seed: seed)
    let whole = Worker()
    var forgetful = Worker(generations: (16, 2))
    var waiting: Checkpoint?
    var isFreezing = false
    var now = Worker.start
    for step in 0..<2_500 {
      now += Milliseconds(traffic.random.pick(-20...100))
      let batches = traffic.group(at: now)
      let expected = whole.tell(batches: batches, at: now)
      let answers = forgetful.tell(batches: batches, at: now)
      guard answers == expected else {
        for (batch, items) in batches.enumerated() {
          for index in items.indices where answers[batch][index] != expected[batch][index] {
            let (got, wanted) = (answers[batch][index]?.peek, expected[batch][index]?.peek)
            let what = "\(String(describing: got)), not \(String(describing: wanted))"
            Issue.record("step \(step) of seed \(seed), item \(batch)/\(index): \(what)")
          }
        }
        return
      }
      guard forgetful.core.digest == whole.core.digest else {
        Issue.record("step \(step) of seed \(seed): the digests differ")
        return
      }
      traffic.learn(answers)
      // A checkpoint is written while groups go on, then rows may leave.
      if let checkpoint = waiting, traffic.random.chance(40) {
        forgetful.store.write(checkpoint)
        for _ in 0..<3 { forgetful.core.written(checkpoint.receipt, keeping: keeping) }
        waiting = nil
      } else if isFreezing {
        // What changes meanwhile is not in it.
        waiting = forgetful.core.copyFrozen(atMost: traffic.random.pick([0, 1, 5, 1_000]))
        isFreezing = waiting == nil
      } else if waiting == nil, traffic.random.chance(30) {
        forgetful.core.freeze()
        isFreezing = true
      }
      if restarts, traffic.random.chance(3) {
        // What was frozen and not yet written is lost with the process; the log has it.
        waiting = nil
        isFreezing = false
        forgetful = Worker(store: forgetful.store, log: forgetful.log, generations: (16, 2))
        guard forgetful.core.applied == whole.core.applied, forgetful.core.time == whole.core.time,
          forgetful.core.digest == whole.core.digest
        else {
          Issue.record("step \(step) of seed \(seed): the restart lost something")
          return
        }
      }
    }
    if isFreezing { waiting = forgetful.core.copyFrozen(atMost: .max) }
    if let waiting { forgetful.store.write(waiting) }
    #expect(whole.core.ordersPlaced > 1_000)
    expectSame(whole, forgetful, "at the end of seed \(seed)")
  }

  @Test func `an answer outlives memory, and is forgotten only when its time is over`() {
    var caller = Caller()
    let worker = Worker(generations: (2, 2))
    let request = caller.request(.register(1), at: Worker.start)
    let first = worker.tell(request, at: Worker.start)
    for number in 0..<50 as Range<UInt64> {
      _ = worker.tell(caller.request(.register(2 + number), at: Worker.start + 1), at: Worker.start + 1)
      worker.checkpoint(keeping: 0)
    }
    #expect(worker.core.requests.count <= 4)
    #expect(worker.tell(request, at: Worker.start + Worker.window) == first)
    // A millisecond later the window has passed; no new effect is possible any more.
    let late = Worker(store: worker.store, log: [], generations: (2, 2))
    _ = late.tell(
      caller.request(.register(99), at: Worker.start + Worker.window), at: Worker.start + Worker.window + 1)
    late.checkpoint(keeping: 0)
    let again = Worker(store: late.store, log: [], generations: (2, 2))
    let code = again.tell(request, at: Worker.start + Worker.window + 1).code
    #expect(code == UInt32(DeliveryCode.requestIDTooOld.rawValue))
  }
}
