/// When things fall due: a binary heap of (time, sequence number), earliest first.
///
/// Names may stay after the thing is done; whoever takes them looks at its state.
package struct DueQueue: Sendable {
  package struct Item: Equatable, Sendable {
    package let at: Milliseconds
    package let sequenceNumber: UInt64
  }

  private var heap: [Item] = []
  package init() {}

  package var count: Int { heap.count }
  /// When the earliest falls due.
  package var first: Milliseconds? { heap.first?.at }

  /// Orders come with rising times mostly, so this mostly appends.
  package mutating func insert(at time: Milliseconds, _ sequenceNumber: UInt64) {
    heap.append(Item(at: time, sequenceNumber: sequenceNumber))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard Self.precedes(heap[child], heap[parent]) else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// Takes what is due at `time`, at most `limit`.
  package mutating func takeDue(at time: Milliseconds, limit: Int) -> [UInt64] {
    var taken: [UInt64] = []
    while taken.count < limit, let item = heap.first, item.at <= time {
      taken.append(item.sequenceNumber)
      removeFirst()
    }
    return taken
  }

  private mutating func removeFirst() {
    let last = heap.removeLast()
    guard !heap.isEmpty else { return }
    heap[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if Self.precedes(heap[child], heap[least]) { least = child }
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }

  private static func precedes(_ a: Item, _ b: Item) -> Bool {
    a.at < b.at || (a.at == b.at && a.sequenceNumber < b.sequenceNumber)
  }
}
