import ClientCore
import TestSupport
import Testing

struct TimelineTests {
  /// Times that mostly rise, as waits of one length do, with others between them.
  @Test(arguments: UInt64(1)...20) func `entries are taken when they are due, earliest first`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var timeline = Timeline()
    var waiting: [Int64] = []
    var now: Int64 = 0
    for number in 0..<20_000 {
      now += Int64(random.pick(0...3))
      let at = now + (random.chance(90) ? 2_000 : Int64(random.pick(0...3_000)))
      timeline.insert(Timeline.Entry(at: at, slot: number))
      waiting.append(at)
      guard random.chance(2) else { continue }
      var taken: [Int64] = []
      while let entry = timeline.takeDue(at: now) { taken.append(entry.at) }
      let due = waiting.filter { $0 <= now }.sorted()
      waiting.removeAll { $0 <= now }
      guard taken == due, timeline.count == waiting.count, timeline.first == waiting.min() else {
        Issue.record("seed \(seed), entry \(number): \(taken.count) were taken where \(due.count) were due")
        return
      }
    }
    #expect(waiting.count > 100, "seed \(seed)")
  }
}
