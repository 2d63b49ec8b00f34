import Marketplace
import TestSupport
import Testing

/// Against a list of all that wait, with a set for SQLite.
struct ReservationsTests {
  private struct Store {
    var items: Set<Reservations.Item> = []

    func find(_ missing: Reservations.Missing) -> [Reservations.Item] {
      Array(
        items.filter { missing.item < $0 && $0.sequenceNumber <= missing.writtenThrough }
          .sorted().prefix(missing.limit))
    }
  }

  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func `each runs out when it is due, whatever was written, let go of or forgotten`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let loadMax = random.pick([4, 8, 32])
    let limit = random.pick([1, 3, 4])
    // Few times or many: seeds with crowds that fall due together, and with none.
    let spread = random.pick([3, 200, 5_000])
    var reservations = Reservations(written: 0, loadMax: loadMax)
    var store = Store()
    var waiting: Set<Reservations.Item> = []
    var written: UInt64 = 0
    var sequenceNumber: UInt64 = 0
    var now: Milliseconds = 1_000
    var (loads, largest, taken) = (0, 0, 0)
    for _ in 0..<6_000 {
      sequenceNumber += 1
      let item = Reservations.Item(
        at: now + Milliseconds(random.pick(0...spread)), sequenceNumber: sequenceNumber)
      reservations.insert(at: item.at, sequenceNumber)
      waiting.insert(item)
      switch random.pick(0...99) {
      case 0..<5:
        // A checkpoint goes through; SQLite may have more than memory was told.
        store.items.formUnion(waiting)
        if random.chance(80) {
          written = sequenceNumber
          reservations.written(through: written)
          #expect(reservations.count <= 2 * loadMax, "seed \(seed)")
        }
      case 5..<7:
        // A restart: what is behind the checkpoint comes again by the log.
        reservations = Reservations(written: written, loadMax: loadMax)
        for item in waiting.sorted() where item.sequenceNumber > written {
          reservations.insert(at: item.at, item.sequenceNumber)
        }
      case 7..<30:
        now += Milliseconds(random.pick(0...spread / 3 + 1))
        while let first = reservations.first, first <= now {
          if let missing = reservations.missing(at: now, limit: limit) {
            reservations.load(store.find(missing))
            loads += 1
          }
          // After a restart there are names again of what has run out.
          let due = reservations.takeDue(at: now, limit: limit)
          let open = waiting.filter { $0.at <= now }.sorted().map(\.sequenceNumber)
          let found = due.filter { open.contains($0) }
          #expect(found == Array(open.prefix(found.count)), "seed \(seed)")
          taken += found.count
          waiting = waiting.filter { !due.contains($0.sequenceNumber) }
          // Its row says so from the next checkpoint on.
          store.items = store.items.filter { !due.contains($0.sequenceNumber) || random.chance(50) }
        }
        #expect(waiting.allSatisfy { $0.at > now }, "seed \(seed)")
      default: break
      }
      let late = waiting.filter { $0.sequenceNumber > written }.count
      largest = max(largest, reservations.count - late)
    }
    #expect(taken > 500, "seed \(seed)")
    #expect(loads > 10, "seed \(seed)")
    #expect(largest <= 2 * loadMax, "seed \(seed)")
  }

  @Test func `any number that fall due together are read in pieces, each once`() {
    var reservations = Reservations(written: 1_000, loadMax: 16)
    let store = Store(items: Set((1...1_000).map { .init(at: 50, sequenceNumber: $0) }))
    #expect(reservations.count == 0)
    var taken: [UInt64] = []
    while let first = reservations.first, first <= 50 {
      if let missing = reservations.missing(at: 50, limit: 10) { reservations.load(store.find(missing)) }
      taken += reservations.takeDue(at: 50, limit: 10)
      #expect(reservations.count <= 32)
    }
    #expect(taken == Array(1...1_000))
    #expect(reservations.first == nil)
  }

  @Test func `a million that were written are not in memory`() {
    var reservations = Reservations()
    var largest = 0
    for sequenceNumber in 1...1_000_000 as ClosedRange<UInt64> {
      reservations.insert(at: Milliseconds(2_000_000 - sequenceNumber), sequenceNumber)
      if sequenceNumber % 50_000 == 0 { reservations.written(through: sequenceNumber) }
      largest = max(largest, reservations.count)
    }
    #expect(largest <= 2_048 + 50_000)
    #expect(reservations.count <= 2_048)
    #expect(reservations.first == 1_000_000)
    #expect(reservations.missing(at: 999_999, limit: 256) == nil)
  }

  @Test func `what waits for a checkpoint is let go of by its number, in whatever order it falls due`() {
    var random = SplitMix64(seed: 7)
    var reservations = Reservations(written: 0, loadMax: 16)
    var items: [Reservations.Item] = []
    for sequenceNumber in 1...30_000 as ClosedRange<UInt64> {
      let item = Reservations.Item(
        at: Milliseconds(random.pick(0...1_000_000)), sequenceNumber: sequenceNumber)
      items.append(item)
      reservations.insert(at: item.at, sequenceNumber)
    }
    #expect(reservations.count == 30_000)
    #expect(reservations.first == items.min()?.at)
    reservations.written(through: 20_001)
    #expect((9_999 + 1...9_999 + 32).contains(reservations.count))
    #expect(reservations.first == items.min()?.at)
    // Those that wait for a checkpoint, and the others in pieces: not all of a piece still waits.
    var taken: [UInt64] = []
    let paid = Set(items.map(\.sequenceNumber).filter { $0 <= 20_001 && $0 % 3 == 0 })
    while let first = reservations.first, first <= 1_000_000 {
      if let missing = reservations.missing(at: 1_000_000, limit: 10) {
        let found = items.filter {
          missing.item < $0 && $0.sequenceNumber <= missing.writtenThrough
        }.sorted().prefix(missing.limit)
        reservations.load(
          found.filter { !paid.contains($0.sequenceNumber) },
          through: found.count < missing.limit ? nil : found.last)
      }
      taken += reservations.takeDue(at: 1_000_000, limit: 10)
    }
    #expect(Set(taken).count == taken.count)
    #expect(Set(taken).union(paid).count == 30_000)
    #expect(reservations.count == 0)
  }
}
