import Marketplace
import TestSupport
import Testing

struct DueQueueTests {
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `a queue gives what a sorted list gives`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var queue = DueQueue()
    var list: [(at: Milliseconds, sequenceNumber: UInt64)] = []
    var now: Milliseconds = 0
    for sequenceNumber in 0..<5_000 as Range<UInt64> {
      let at = now + Milliseconds(random.pick(-5...200))
      queue.insert(at: at, sequenceNumber)
      list.append((at, sequenceNumber))
      if random.chance(10) {
        now += Milliseconds(random.pick(0...90))
        let limit = random.pick(0...40)
        list.sort { ($0.at, $0.sequenceNumber) < ($1.at, $1.sequenceNumber) }
        let due = list.prefix { $0.at <= now }.prefix(limit)
        #expect(queue.takeDue(at: now, limit: limit) == due.map(\.sequenceNumber))
        list.removeFirst(due.count)
      }
      #expect(queue.count == list.count)
    }
    #expect(queue.first == list.map(\.at).min())
    list.sort { ($0.at, $0.sequenceNumber) < ($1.at, $1.sequenceNumber) }
    #expect(queue.takeDue(at: .max, limit: .max) == list.map(\.sequenceNumber))
    #expect(queue.first == nil)
  }

  @Test func `what falls due at the same time comes in the order of its entries`() {
    var queue = DueQueue()
    for sequenceNumber in [5, 3, 9, 1] as [UInt64] { queue.insert(at: 100, sequenceNumber) }
    #expect(queue.takeDue(at: 99, limit: 10) == [])
    #expect(queue.takeDue(at: 100, limit: 3) == [1, 3, 5])
    #expect(queue.first == 100)
    #expect(queue.takeDue(at: 100, limit: 3) == [9])
  }
}
