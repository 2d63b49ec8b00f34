/// When reservations run out: the earliest of them, however many wait.
///
/// Memory has those that SQLite may lack yet, and of the others a bounded number, up to a *horizon*. What is
/// behind it is read from SQLite when its time comes. So every order that waits for payment is here, or there
/// behind the horizon. Names of orders that were paid meanwhile may be among them.
///
/// Nothing of it is state: that a reservation ran out is an entry of the log, which is all that a replay or
/// another replica goes by.
package struct Reservations: Sendable {
  package typealias Item = DueQueue.Item

  /// Those that SQLite has as well, up to the horizon.
  private var loaded = DueQueue()
  /// Those whose orders wait for a checkpoint, in queues of a bounded size, in the order of their numbers: so
  /// that what was written is let go of by the queue.
  private var unwritten: [Unwritten] = []
  private struct Unwritten {
    var queue = DueQueue()
    var insertions = 0
    var last: UInt64 = 0
  }
  private static let unwrittenMax = 8_192
  /// nil: SQLite has none that are not here.
  private var horizon: Item?
  /// Orders up to this sequence number are in SQLite.
  private var written: UInt64
  /// How many are read at once; twice as many may be here, besides those that wait for a checkpoint.
  private let loadMax: Int

  /// - Parameter written: what SQLite holds.
  package init(written: UInt64 = 0, loadMax: Int = 1_024) {
    self.written = written
    self.loadMax = loadMax
    horizon = written == 0 ? nil : Item(at: .min, sequenceNumber: 0)
  }

  /// In memory.
  package var count: Int { unwritten.reduce(loaded.count) { $0 + $1.queue.count } }

  /// Which of the queues of ``unwritten`` has the earliest.
  private var earliestUnwritten: (queue: Int, item: Item)? {
    var earliest: (queue: Int, item: Item)?
    for queue in unwritten.indices {
      guard let item = unwritten[queue].queue.first else { continue }
      if earliest.map({ item < $0.item }) ?? true { earliest = (queue, item) }
    }
    return earliest
  }

  /// When there is something to take or to load; nil: never.
  package var first: Milliseconds? {
    // Behind the horizon is later than what is loaded.
    let stored = loaded.first ?? horizon
    let unwritten = earliestUnwritten?.item
    guard let stored, let unwritten else { return (stored ?? unwritten)?.at }
    return min(stored, unwritten).at
  }

  package mutating func insert(at time: Milliseconds, _ sequenceNumber: UInt64) {
    if unwritten.isEmpty || unwritten[unwritten.count - 1].insertions == Self.unwrittenMax {
      unwritten.append(Unwritten())
    }
    let last = unwritten.count - 1
    unwritten[last].queue.insert(Item(at: time, sequenceNumber: sequenceNumber))
    unwritten[last].insertions += 1
    unwritten[last].last = max(unwritten[last].last, sequenceNumber)
  }

  /// Takes what is due at `time`, at most `limit`, earliest first as far as they are loaded.
  package mutating func takeDue(at time: Milliseconds, limit: Int) -> [UInt64] {
    var taken: [UInt64] = []
    while taken.count < limit {
      let next = earliestUnwritten
      if let item = loaded.first, next.map({ item < $0.item }) ?? true {
        guard item.at <= time else { break }
        taken.append(loaded.removeFirst().sequenceNumber)
      } else {
        guard let next, next.item.at <= time else { break }
        taken.append(unwritten[next.queue].queue.removeFirst().sequenceNumber)
      }
    }
    return taken
  }

  /// What to read from SQLite: of orders that wait for payment those behind `item`, none of a later sequence
  /// number than `writtenThrough`, earliest first.
  package struct Missing: Equatable, Sendable {
    package let item: Item
    package let writtenThrough: UInt64
    package let limit: Int
  }

  /// What must be looked for before ``takeDue(at:limit:)``; nil: nothing.
  package func missing(at time: Milliseconds, limit: Int) -> Missing? {
    precondition(limit <= loadMax)
    guard loaded.count < limit, let horizon, horizon.at <= time else { return nil }
    return Missing(item: horizon, writtenThrough: written, limit: loadMax)
  }

  /// - Parameter items: all that ``missing(at:limit:)`` asked for.
  package mutating func load(_ items: [Item]) {
    load(items, through: items.count < loadMax ? nil : items.last)
  }

  /// - Parameters:
  ///   - items: of what ``missing(at:limit:)`` asked for, all up to `last`.
  ///   - last: how far it was looked; nil: there are no more.
  package mutating func load(_ items: [Item], through last: Item?) {
    for item in items { loaded.insert(item) }
    horizon = last
  }

  /// SQLite has all orders up to this one now.
  package mutating func written(through sequenceNumber: UInt64) {
    written = sequenceNumber
    for place in unwritten.indices {
      if unwritten[place].last <= sequenceNumber {
        // Earliest first: all behind the horizon go at once.
        while let item = unwritten[place].queue.first, isWithinHorizon(item) {
          loadWritten(unwritten[place].queue.removeFirst())
        }
      } else {
        for item in unwritten[place].queue.removeAll(where: { $0.sequenceNumber <= sequenceNumber })
        where isWithinHorizon(item) {
          loadWritten(item)
        }
      }
    }
    unwritten.removeAll { $0.last <= sequenceNumber }
  }

  private func isWithinHorizon(_ item: Item) -> Bool { horizon.map { !($0 < item) } ?? true }

  private mutating func loadWritten(_ item: Item) {
    loaded.insert(item)
    if loaded.count > 2 * loadMax { letGo() }
  }

  /// Keeps the earliest.
  private mutating func letGo() {
    var kept = DueQueue()
    for _ in 0..<loadMax {
      let item = loaded.removeFirst()
      kept.insert(item)
      horizon = item
    }
    loaded = kept
  }
}
