/// When requests have to be looked at again, earliest first.
///
/// Most waits are as long as the one before, so they end in the order in which they began: those are
/// kept in a queue, where adding and taking cost nothing; the others in a binary heap.
/// Nothing is ever taken out early: whoever takes an entry looks whether it still means something.
package struct Timeline {
  package struct Entry {
    package let at: Int64
    package let slot: Int
    /// Whose the slot was then.
    package let age: UInt64

    package init(at: Int64, slot: Int, age: UInt64) {
      self.at = at
      self.slot = slot
      self.age = age
    }
  }

  private var queue: [Entry] = []
  private var head = 0
  private var heap: [Entry] = []

  package init() {}

  package var count: Int { queue.count - head + heap.count }

  /// The time of the earliest entry.
  package var first: Int64? {
    switch (head < queue.count ? queue[head].at : nil, heap.first?.at) {
    case (let a?, let b?): min(a, b)
    case (let a, let b): a ?? b
    }
  }

  package mutating func insert(_ entry: Entry) {
    if head == queue.count {
      queue.removeAll(keepingCapacity: true)
      head = 0
    }
    if queue.last.map({ $0.at <= entry.at }) ?? true {
      queue.append(entry)
    } else {
      insertIntoHeap(entry)
    }
  }

  /// Takes the earliest entry if its time has come.
  package mutating func takeDue(at now: Int64) -> Entry? {
    guard let first, first <= now else { return nil }
    guard head < queue.count, heap.first.map({ queue[head].at <= $0.at }) ?? true else {
      return removeFirstOfHeap()
    }
    defer {
      head += 1
      if head >= 4_096, head * 2 >= queue.count {
        queue.removeFirst(head)
        head = 0
      }
    }
    return queue[head]
  }

  private mutating func insertIntoHeap(_ entry: Entry) {
    heap.append(entry)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].at < heap[parent].at else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func removeFirstOfHeap() -> Entry {
    heap.swapAt(0, heap.count - 1)
    let first = heap.removeLast()
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if heap[child].at < heap[least].at { least = child }
      }
      guard least != parent else { return first }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
