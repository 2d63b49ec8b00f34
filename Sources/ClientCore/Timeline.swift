/// When slots have to be looked at, earliest first: a binary heap.
///
/// Nothing is ever taken out early: whoever takes an entry looks whether it still means something.
package struct Timeline {
  package struct Entry {
    package let at: Int64
    package let slot: Int

    package init(at: Int64, slot: Int) {
      self.at = at
      self.slot = slot
    }
  }

  private var heap: [Entry] = []

  package init() {}

  package var count: Int { heap.count }

  /// The time of the earliest entry.
  package var first: Int64? { heap.first?.at }

  package mutating func insert(_ entry: Entry) {
    heap.append(entry)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].at < heap[parent].at else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// Takes the earliest entry if its time has come.
  package mutating func takeDue(at now: Int64) -> Entry? {
    guard let first = heap.first, first.at <= now else { return nil }
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    var parent = 0
    while true {
      var least = parent
      for child in 2 * parent + 1..<2 * parent + 3 where child < heap.count {
        if heap[child].at < heap[least].at { least = child }
      }
      guard least != parent else { return first }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
