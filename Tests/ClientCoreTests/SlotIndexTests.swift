import ClientCore
import Cluster
import TestSupport
import Testing

struct SlotIndexTests {
  /// Against a dictionary, with ids that crowd together as much as those of one millisecond can.
  @Test(arguments: UInt64(1)...20) func `it finds what a dictionary finds`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var index = SlotIndex()
    var model: [RequestID: Int] = [:]
    let spread = random.pick([1, 3, 64])
    for step in 0..<20_000 {
      let id = RequestID(high: UInt64(random.pick(0...spread)), low: UInt64(random.pick(0...500)) << 36)
      if random.chance(step % 4_000 < 2_000 ? 70 : 30) {
        let isNew = index.insert(id, slot: step)
        guard isNew == (model[id] == nil) else {
          Issue.record("seed \(seed), step \(step): \(id) was \(isNew ? "not " : "")there")
          return
        }
        if isNew { model[id] = step }
      } else {
        index.remove(id)
        model[id] = nil
      }
      let asked = RequestID(high: UInt64(random.pick(0...spread)), low: UInt64(random.pick(0...500)) << 36)
      guard index.count == model.count, index.find(asked) == model[asked] else {
        Issue.record("seed \(seed), step \(step): \(asked) is at \(String(describing: index.find(asked)))")
        return
      }
    }
    #expect(model.allSatisfy { index.find($0) == $1 }, "seed \(seed)")
  }
}
