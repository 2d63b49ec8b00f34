/// When things fall due: a binary heap of (time, sequence number), earliest first.
///
/// Names may stay after the thing is done; whoever takes them looks at its state.
package struct DueQueue: Sendable {
  package struct Item: Comparable, Hashable, Sendable {
    package let at: Milliseconds
    package let sequenceNumber: UInt64

    package init(at: Milliseconds, sequenceNumber: UInt64) {
      self.at = at
      self.sequenceNumber = sequenceNumber
    }

    package static func < (a: Item, b: Item) -> Bool {
      a.at < b.at || (a.at == b.at && a.sequenceNumber < b.sequenceNumber)
    }
  }

  private var heap: [Item] = []
  package init() {}

  package var count: Int { heap.count }
  /// The earliest.
  package var first: Item? { heap.first }

  /// Orders come with rising times mostly, so this mostly appends.
  package mutating func insert(_ item: Item) {
    heap.append(item)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child] < heap[parent] else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// There must be one.
  package mutating func removeFirst() -> Item {
    let first = heap[0]
    let last = heap.removeLast()
    guard !heap.isEmpty else { return first }
    heap[0] = last
    sink(0)
    return first
  }

  /// Takes all that `isTaken` says, in no order that means anything.
  package mutating func removeAll(where isTaken: (Item) -> Bool) -> [Item] {
    let end = heap.partition(by: isTaken)
    let taken = Array(heap[end...])
    guard !taken.isEmpty else { return taken }
    heap.removeSubrange(end...)
    for parent in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(parent) }
    return taken
  }

  private mutating func sink(_ place: Int) {
    var parent = place
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if heap[child] < heap[least] { least = child }
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
