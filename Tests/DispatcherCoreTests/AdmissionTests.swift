import DispatcherCore
import TestSupport
import Testing

struct AdmissionTests {
  /// Requests that came in, by channel, when each offers so many a millisecond for so long.
  private func run(
    _ admission: inout Admission, offered: [(slot: Int, priority: Admission.Priority, perMillisecond: Int)],
    from start: Int64, milliseconds: Int64
  ) -> [Int] {
    var admitted = [Int](repeating: 0, count: offered.count)
    for now in start..<start + milliseconds {
      // Whoever is first is first every millisecond: fairness must not rest on luck.
      for (index, load) in offered.enumerated() {
        for _ in 0..<load.perMillisecond where admission.admits(slot: load.slot, load.priority, now: now) {
          admitted[index] += 1
        }
      }
    }
    return admitted
  }

  @Test func `without a rate everybody comes in`() {
    var admission = Admission(ratePerSecond: 0)
    let admitted = run(&admission, offered: [(3, .deferrable, 1_000)], from: 0, milliseconds: 50)
    #expect(admitted == [50_000])
  }

  @Test(arguments: [1_000, 20_000, 333_333])
  func `one channel gets the whole rate, and no more`(rate: Int) {
    var admission = Admission(ratePerSecond: rate)
    _ = run(&admission, offered: [(3, .deferrable, rate / 300)], from: 0, milliseconds: 1_000)
    let admitted = run(&admission, offered: [(3, .deferrable, rate / 300)], from: 1_000, milliseconds: 2_000)
    #expect(abs(admitted[0] - 2 * rate) <= rate / 100)
  }

  @Test func `a rate of one a second is one a second`() {
    var admission = Admission(ratePerSecond: 1)
    let admitted = run(&admission, offered: [(0, .deferrable, 1)], from: 0, milliseconds: 10_000)
    #expect((10...11).contains(admitted[0]))
  }

  @Test func `a loud channel does not starve a quiet one`() {
    var admission = Admission(ratePerSecond: 20_000)
    let offered: [(slot: Int, priority: Admission.Priority, perMillisecond: Int)] = [
      (1, .deferrable, 200), (2, .deferrable, 5), (3, .deferrable, 40),
    ]
    _ = run(&admission, offered: offered, from: 0, milliseconds: 1_000)
    let admitted = run(&admission, offered: offered, from: 1_000, milliseconds: 1_000)
    // What the quiet one leaves of its third, the others take.
    #expect(admitted[1] == 5_000)
    #expect(admitted[2] >= 6_600)
    #expect(admitted.reduce(0, +) >= 19_500 && admitted.reduce(0, +) <= 21_000)
  }

  @Test func `a channel that falls silent leaves its share to the others`() {
    var admission = Admission(ratePerSecond: 10_000)
    _ = run(&admission, offered: [(1, .deferrable, 50), (2, .deferrable, 50)], from: 0, milliseconds: 1_000)
    #expect(admission.activeChannels == 2)
    let alone = run(&admission, offered: [(1, .deferrable, 50)], from: 3_000, milliseconds: 1_000)
    #expect(admission.activeChannels == 1)
    #expect(alone[0] >= 9_900)
  }

  @Test func `settlements come before new orders, within the rate`() {
    var admission = Admission(ratePerSecond: 10_000)
    let offered: [(slot: Int, priority: Admission.Priority, perMillisecond: Int)] = [
      (1, .deferrable, 50), (1, .urgent, 8),
    ]
    _ = run(&admission, offered: offered, from: 0, milliseconds: 1_000)
    let admitted = run(&admission, offered: offered, from: 1_000, milliseconds: 1_000)
    #expect(admitted[1] == 8_000, "what is urgent came second every time, and all of it came in")
    #expect(admitted[0] >= 1_500 && admitted[0] <= 2_500)
  }

  @Test func `what is urgent has a bound too`() {
    var admission = Admission(ratePerSecond: 10_000)
    _ = run(&admission, offered: [(1, .urgent, 100)], from: 0, milliseconds: 1_000)
    let admitted = run(&admission, offered: [(1, .urgent, 100)], from: 1_000, milliseconds: 1_000)
    #expect(abs(admitted[0] - 10_000) <= 100)
  }

  @Test func `after a pause no more than a burst comes in at once`() {
    var admission = Admission(ratePerSecond: 10_000)
    _ = run(&admission, offered: [(1, .deferrable, 1)], from: 0, milliseconds: 1)
    let admitted = run(&admission, offered: [(1, .deferrable, 10_000)], from: 60_000, milliseconds: 1)
    #expect(admitted[0] <= 1_000)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `over any long time the rate holds, whatever is offered`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let rate = random.pick([100, 5_000, 70_000])
    var admission = Admission(ratePerSecond: rate)
    var admitted = 0
    var now: Int64 = 0
    for _ in 0..<20_000 {
      now += Int64(random.pick([0, 0, 1, 1, 1, 40]))
      for _ in 0..<random.pick([0, 1, 20, 200]) {
        let priority: Admission.Priority = random.chance(30) ? .urgent : .deferrable
        if admission.admits(slot: random.pick(0...5), priority, now: now) { admitted += 1 }
      }
    }
    // Two bursts over: one to begin with, one of debt.
    #expect(admitted <= rate * Int(now) / 1_000 + 2 * max(1, rate / 20) + 2, "seed \(seed)")
  }
}
