import Marketplace
import TestSupport
import Testing

struct DueQueueTests {
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `a queue gives what a sorted list gives`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var queue = DueQueue()
    var list: [DueQueue.Item] = []
    for sequenceNumber in 0..<5_000 as Range<UInt64> {
      let item = DueQueue.Item(
        at: Milliseconds(sequenceNumber) + Milliseconds(random.pick(-5...200)), sequenceNumber: sequenceNumber
      )
      queue.insert(item)
      list.append(item)
      if random.chance(10) {
        list.sort()
        for _ in 0..<min(list.count, random.pick(0...20)) {
          #expect(queue.removeFirst() == list.removeFirst(), "seed \(seed)")
        }
      }
      if random.chance(1) {
        let limit = UInt64(random.pick(0...Int(sequenceNumber)))
        let taken = queue.removeAll { $0.sequenceNumber % 3 == 0 && $0.sequenceNumber < limit }
        #expect(
          taken.sorted() == list.filter { $0.sequenceNumber % 3 == 0 && $0.sequenceNumber < limit }.sorted(),
          "seed \(seed)")
        list.removeAll { $0.sequenceNumber % 3 == 0 && $0.sequenceNumber < limit }
      }
      #expect(queue.count == list.count)
      #expect(queue.first == list.min(), "seed \(seed)")
    }
    list.sort()
    #expect(list.count > 20)
    for item in list { #expect(queue.removeFirst() == item, "seed \(seed)") }
    #expect(queue.first == nil)
  }

  @Test func `what falls due at the same time comes in the order of its entries`() {
    var queue = DueQueue()
    for sequenceNumber in [5, 3, 9, 1] as [UInt64] {
      queue.insert(.init(at: 100, sequenceNumber: sequenceNumber))
    }
    #expect((0..<4).map { _ in queue.removeFirst().sequenceNumber } == [1, 3, 5, 9])
  }
}
