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
  /// Those whose orders wait for a checkpoint.
  private var unwritten = DueQueue()
  /// nil: SQLite has none that are not here.
  private var horizon: Item?
  /// Orders up to this sequence number are in SQLite.
  private var written: UInt64
  /// How many are read at once; twice as many may be here, besides those that wait for a checkpoint.
  private let loadMax: Int

  /// - Parameter written: what SQLite holds.
  package init(written: UInt64 = 0, loadMax: Int = 4_096) {
    self.written = written
    self.loadMax = loadMax
    horizon = written == 0 ? nil : Item(at: .min, sequenceNumber: 0)
  }

  /// In memory.
  package var count: Int { loaded.count + unwritten.count }

  /// When there is something to take or to load; nil: never.
  package var first: Milliseconds? {
    // Behind the horizon is later than what is loaded.
    let stored = loaded.first ?? horizon
    guard let stored, let unwritten = unwritten.first else { return (stored ?? unwritten.first)?.at }
    return min(stored, unwritten).at
  }

  package mutating func insert(at time: Milliseconds, _ sequenceNumber: UInt64) {
    unwritten.insert(Item(at: time, sequenceNumber: sequenceNumber))
  }

  /// Takes what is due at `time`, at most `limit`, earliest first.
  package mutating func takeDue(at time: Milliseconds, limit: Int) -> [UInt64] {
    var taken: [UInt64] = []
    while taken.count < limit {
      let isLoaded = loaded.first.map { item in unwritten.first.map { item < $0 } ?? true } ?? false
      guard let item = isLoaded ? loaded.first : unwritten.first, item.at <= time else { break }
      taken.append(isLoaded ? loaded.removeFirst().sequenceNumber : unwritten.removeFirst().sequenceNumber)
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

  /// What must be loaded before ``takeDue(at:limit:)``, so that it takes the earliest of all; nil: nothing.
  package func missing(at time: Milliseconds, limit: Int) -> Missing? {
    precondition(limit <= loadMax)
    guard loaded.count < limit, let horizon, horizon.at <= time else { return nil }
    return Missing(item: horizon, writtenThrough: written, limit: loadMax)
  }

  /// - Parameter items: what ``missing(at:limit:)`` asked for.
  package mutating func load(_ items: [Item]) {
    for item in items { loaded.insert(item) }
    horizon = items.count < loadMax ? nil : items.last
  }

  /// SQLite has all orders up to this one now.
  package mutating func written(through sequenceNumber: UInt64) {
    written = sequenceNumber
    for item in unwritten.removeAll(where: { $0.sequenceNumber <= sequenceNumber }) {
      if let horizon, horizon < item { continue }
      loaded.insert(item)
      if loaded.count > 2 * loadMax { letGo() }
    }
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
