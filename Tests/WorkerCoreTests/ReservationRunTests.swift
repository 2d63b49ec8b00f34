import Cluster
import Marketplace
import TestSupport
import Testing
import Wire
import WorkerCore

/// Reservations of a whole partition, with checkpoints and restarts, against a list of what must run out when.
struct ReservationRunTests {
  /// The fewest that may be read at once.
  private static let loadMax = Limits.expiriesMax

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `every reservation runs out when it is due, over checkpoints and restarts`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var caller = Caller()
    var now = Worker.start
    var worker = Worker(reservationsLoadMax: Self.loadMax)
    _ = worker.tell(caller.request(.register(1), at: now), at: now)
    _ = worker.tell(caller.request(.put(1, 10, price: 1_000, onHand: 1_000_000), at: now), at: now)

    var unpaid: [OrderID: Milliseconds] = [:]
    var endedAt: [OrderID: Milliseconds] = [:]
    var waiting: Checkpoint?
    var placed: [UInt64] = []
    var written = SequenceNumber.zero
    var restarts = 0
    var mostLoaded = 0
    for _ in 0..<1_200 {
      // Some crowds fall due together; some reservations outlive the run.
      let reserve = random.pick([500, 2_000, 20_000, 20_000, 100_000_000]) as UInt64
      let batch = (0..<random.pick([0, 1, 12])).map { _ in
        Sent(bytes: caller.request(.place(1, [(10, 1)], reserveMilliseconds: reserve), at: now))
      }
      for (index, answer) in worker.tell(batch, at: now).enumerated() {
        let order = try #require(answer.peek.order, "seed \(seed), item \(index)")
        unpaid[order] = now + Milliseconds(reserve)
        placed.append(order.sequenceNumber)
      }
      if random.chance(20), let order = unpaid.keys.min(by: { $0.sequenceNumber < $1.sequenceNumber }) {
        let command: Command =
          random.chance(50)
          ? .settle(order, 1_000, reference: "\(order)") : .cancel(order, by: .buyer)
        _ = worker.tell(caller.request(command, at: now), at: now)
        unpaid[order] = nil
      }
      if let checkpoint = waiting, random.chance(40) {
        worker.store.write(checkpoint)
        // The process may end before it hears of it.
        if random.chance(80) {
          worker.core.written(checkpoint.receipt, keeping: 10)
          written = checkpoint.applied
        }
        waiting = nil
      } else if waiting == nil, random.chance(15) {
        waiting = worker.core.makeCheckpoint()
      }
      if random.chance(2) {
        waiting = nil
        restarts += 1
        worker = Worker(store: worker.store, log: worker.log, reservationsLoadMax: Self.loadMax)
        written = worker.store.applied
        let late = placed.filter { $0 > written.rawValue }.count
        #expect(worker.core.books.reservations.count == late, "seed \(seed): what SQLite has is not read yet")
      }
      now += Milliseconds(random.pick([0, 1, 10, 300]))
      var turns = 0
      while worker.hasWork(at: now) {
        _ = worker.tell(batches: [], at: now)
        turns += 1
        guard turns < 1_000 else {
          Issue.record("seed \(seed): there is always something to do")
          return
        }
      }
      for (order, due) in unpaid where due <= now {
        endedAt[order] = now
        unpaid[order] = nil
      }
      let late = placed.filter { $0 > written.rawValue }.count
      mostLoaded = max(mostLoaded, worker.core.books.reservations.count - late)
    }
    #expect(endedAt.count > 1_000, "seed \(seed)")
    #expect(unpaid.count > 800, "seed \(seed)")
    #expect(restarts > 5)
    #expect(mostLoaded <= 2 * Self.loadMax, "seed \(seed)")
    if let waiting { worker.store.write(waiting) }
    // A partition that only ever read the log decides the same.
    for worker in [worker, Worker(log: worker.log)] {
      worker.checkpoint()
      for order in worker.store.orders.values where order.state == .placed || order.state == .expired {
        #expect((order.state == .placed) == (unpaid[order.id] != nil), "seed \(seed), order \(order.id)")
        #expect(order.endedAt == endedAt[order.id] ?? 0, "seed \(seed), order \(order.id)")
      }
      #expect(worker.store.orders.values.filter { $0.state == .expired }.count == endedAt.count)
    }
  }
}
