/// What is to happen, in the order of its time, and of its making where times are equal.
struct EventQueue<Event> {
  private struct Entry {
    let at: Int64
    let number: UInt64
    let event: Event
  }
  private var heap: [Entry] = []
  private var number: UInt64 = 0

  var isEmpty: Bool { heap.isEmpty }

  /// Looks at all of them.
  func contains(where isMeant: (Event) -> Bool) -> Bool { heap.contains { isMeant($0.event) } }

  private func precedes(_ a: Entry, _ b: Entry) -> Bool {
    a.at != b.at ? a.at < b.at : a.number < b.number
  }

  mutating func add(_ event: Event, at time: Int64) {
    number += 1
    heap.append(Entry(at: time, number: number, event: event))
    var place = heap.count - 1
    while place > 0 {
      let parent = (place - 1) / 2
      guard precedes(heap[place], heap[parent]) else { break }
      heap.swapAt(place, parent)
      place = parent
    }
  }

  mutating func next() -> (at: Int64, event: Event)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      var place = 0
      while true {
        var least = place
        for child in [place * 2 + 1, place * 2 + 2]
        where child < heap.count && precedes(heap[child], heap[least]) { least = child }
        guard least != place else { break }
        heap.swapAt(place, least)
        place = least
      }
    }
    return (first.at, first.event)
  }
}
