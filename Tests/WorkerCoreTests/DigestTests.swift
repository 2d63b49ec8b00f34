import Cluster
import Marketplace
import TestSupport
import Testing
import Wire
import WorkerCore

/// Rule 15: what a partition's digest is made of, and what not. `PartitionRunTests` compare it in long random runs.
struct DigestTests {
  private static let now = Worker.start

  /// A shop with two SKUs, an order that waits, and one that is paid.
  private static func market(_ caller: inout Caller) -> (worker: Worker, orders: [OrderID]) {
    let worker = Worker()
    for command in [
      .register(1), .put(1, 1, price: 100, onHand: 50, name: "Kopi"), .put(1, 2, price: 7, onHand: 50),
    ] as [Command] {
      _ = worker.tell(caller.request(command, at: now), at: now)
    }
    let orders = (0..<2).map { _ in
      worker.tell(caller.request(.place(1, [(1, 2), (2, 1)]), at: now), at: now).peek.order!
    }
    _ = worker.tell(caller.request(.settle(orders[1], 207), at: now), at: now)
    return (worker, orders)
  }

  @Test func `it moves with every block, also where a command was refused or nothing happens`() {
    var caller = Caller()
    let worker = Worker()
    var seen: Set<UInt64> = [worker.core.digest]
    #expect(worker.core.digest == 0)
    for command in [.register(1), .register(1), .adjust(9, 9, 1), .put(1, 1, price: 1)] as [Command] {
      _ = worker.tell(caller.request(command, at: Self.now), at: Self.now)
      seen.insert(worker.core.digest)
    }
    #expect(seen.count == 5)
  }

  @Test func `what is read, repeated, or not executed leaves it as it is`() {
    var caller = Caller()
    let (worker, orders) = Self.market(&caller)
    let request = caller.request(.adjust(1, 1, 3), at: Self.now)
    _ = worker.tell(request, at: Self.now)
    let digest = worker.core.digest
    _ = worker.tell(request, at: Self.now)
    _ = worker.tell(caller.request(Query.order(orders[0]), at: Self.now), at: Self.now)
    _ = worker.tell(caller.request(.register(2), at: Self.now - Worker.window - 1), at: Self.now)
    _ = worker.tell(
      [Sent(bytes: caller.request(.register(2), at: Self.now), deadlineMilliseconds: 0)], at: Self.now)
    worker.checkpoint(keeping: 0)
    #expect(worker.core.digest == digest)
    #expect(worker.store.digest == digest)
  }

  @Test func `a request that is sealed in a group makes the same digest in a replay`() {
    var caller = Caller()
    let (worker, _) = Self.market(&caller)
    let target = caller.id(at: Self.now)
    _ = worker.tell(
      [
        Sent(bytes: caller.request(.adjust(1, 1, 3), at: Self.now)),
        Sent(bytes: caller.fate(of: target, sealing: true, at: Self.now)),
        Sent(bytes: caller.request(.adjust(1, 2, 3), at: Self.now)),
      ], at: Self.now)
    #expect(worker.log.last?.count == 3)
    #expect(Worker(log: worker.log).core.digest == worker.core.digest)
  }

  @Test func `the same entries in other blocks, at another time or in another order make another digest`() {
    var caller = Caller()
    let requests = [Command.register(1), .register(2)].map { caller.request($0, at: Self.now) }
    func digest(_ groups: [[Int]], after milliseconds: Milliseconds = 0) -> UInt64 {
      let worker = Worker()
      for group in groups {
        _ = worker.tell(group.map { Sent(bytes: requests[$0]) }, at: Self.now + milliseconds)
      }
      return worker.core.digest
    }
    let digests = [
      digest([[0, 1]]), digest([[0], [1]]), digest([[1, 0]]), digest([[0, 1]], after: 1), digest([[0]]),
    ]
    #expect(Set(digests).count == digests.count)
    #expect(digest([[0, 1]]) == digests[0])
  }

  /// One field of one row that a store lost hold of.
  struct Spoilt: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let change: @Sendable (inout FakeStore) -> Void
    init(_ name: String, _ change: @escaping @Sendable (inout FakeStore) -> Void) {
      testDescription = name
      self.change = change
    }
  }

  static let spoilt: [Spoilt] = [
    Spoilt("a SKU's name") { $0.skus[[1, 1]]!.name = "Kopy" },
    Spoilt("a SKU's price") { $0.skus[[1, 1]]!.price += 1 },
    Spoilt("pieces on hand") { $0.skus[[1, 1]]!.onHand -= 1 },
    Spoilt("pieces reserved") { $0.skus[[1, 1]]!.reserved += 1 },
    Spoilt("an order's channel") { $0.orders[4]!.channel = "apq" },
    Spoilt("an order's buyer") { $0.orders[4]!.buyer ^= 1 << 40 },
    Spoilt("when an order runs out") { $0.orders[4]!.expiresAt += 1 },
    Spoilt("a balance") { $0.accounts[AccountKey(.providerClearing)]!.balance -= 1 },
  ]

  @Test(arguments: spoilt)
  func `one field that is another in SQLite shows when its row is changed again`(_ spoilt: Spoilt) {
    var caller = Caller()
    let (worker, orders) = Self.market(&caller)
    worker.checkpoint(keeping: 0)
    var store = worker.store
    spoilt.change(&store)
    // What is not loaded and changed again is the audit's to find.
    let sound = Worker(store: worker.store)
    let broken = Worker(store: store)
    #expect(broken.core.digest == sound.core.digest)
    let request = caller.request(.settle(orders[0], 207, reference: "other"), at: Self.now)
    let other = caller.request(.adjust(1, 1, 1), at: Self.now)
    for worker in [sound, broken] {
      _ = worker.tell(request, at: Self.now)
      _ = worker.tell(other, at: Self.now)
    }
    #expect(broken.core.digest != sound.core.digest)
    // Nothing that comes later makes it equal again.
    for worker in [sound, broken] {
      _ = worker.tell(
        caller.encode(.register(5), id: RequestID(high: UInt64(Self.now) << 16 | 0x7fff, low: 2 << 62 | 5)),
        at: Self.now)
    }
    #expect(broken.core.digest != sound.core.digest)
  }

  @Test(arguments: 1...30 as ClosedRange<UInt64>)
  func `partitions of one log have one digest, whatever was written, forgotten and started when`(
    _ seed: UInt64
  ) {
    var random = SplitMix64(seed: seed)
    var caller = Caller()
    let whole = Worker()
    var now = Self.now
    var orders: [OrderID] = []
    for _ in 0..<150 {
      now += Milliseconds(random.pick(0...2_000))
      let items = (0..<random.pick(1...6)).map { _ in
        let command: Command =
          switch random.pick(0...9) {
          case 0: .register(UInt64(random.pick(1...3)))
          case 1: .put(UInt64(random.pick(1...3)), UInt64(random.pick(1...4)), price: 10, onHand: 40)
          case 2, 3: .adjust(UInt64(random.pick(1...3)), UInt64(random.pick(1...4)), 5)
          case 4: orders.isEmpty ? .register(1) : .cancel(random.pick(orders), by: .buyer)
          case 5:
            orders.isEmpty ? .register(2) : .settle(random.pick(orders), 10, reference: "\(random.next())")
          default:
            .place(
              UInt64(random.pick(1...3)), [(UInt64(random.pick(1...4)), UInt32(random.pick(1...3)))],
              reserveMilliseconds: random.pick([0, 3_000]))
          }
        return Sent(bytes: caller.request(command, at: now))
      }
      orders += whole.tell(items, at: now).compactMap(\.peek.order)
    }
    // Another one hears of the blocks, and is written, forgets and starts again as it likes.
    var (store, applied) = (FakeStore(), 0)
    while applied < whole.log.count {
      let end = min(whole.log.count, applied + random.pick(1...40))
      let other = Worker(store: store, log: Array(whole.log[..<end]), generations: (16, 2))
      #expect(other.core.digest == Worker(log: Array(whole.log[..<end])).core.digest, "seed \(seed)")
      other.checkpoint(keeping: random.pick([0, 3, 1_000]))
      if random.chance(70) { store = other.store }
      applied = end
    }
    let last = Worker(store: store, log: whole.log)
    #expect(last.core.digest == whole.core.digest && orders.count > 20, "seed \(seed)")
  }
}
