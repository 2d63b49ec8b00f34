import Marketplace
import TestSupport
import Testing

struct RowTableTests {
  /// A key whose hash collides as often as a test wants.
  private struct Key: RowKey, Hashable {
    let value: UInt64
    let hashBits: UInt64
    init(_ value: UInt64, spread: UInt64) {
      self.value = value
      hashBits = spread == 0 ? mixed(value) : value % spread
    }
  }

  private struct Row: Equatable, ImagedRow {
    var key: UInt64
    var text: String

    func add(to image: inout RowImage) {
      image.add(key)
      image.add(text)
    }
  }

  /// What the table must hold: dictionaries and nothing clever.
  private struct Model {
    var rows: [Key: String] = [:]
    /// Interval of the last change; none: clean since it was loaded.
    var changedIn: [Key: UInt64] = [:]
    /// What SQLite would have, to load from.
    var stored: [Key: String] = [:]
    /// Copied, not yet written.
    var frozen: [(interval: UInt64, rows: [Row])] = []
    /// Of the freeze that is under way.
    var expected: [Row]?
    var interval: UInt64 = 1
    var written: UInt64 = 0
  }

  @Test(
    arguments: [
      // seed, keys, spread of the hash (0: all bits; 1: every key collides)
      (1, 500, 0), (2, 5_000, 0), (3, 300, 7), (4, 120, 1), (5, 700, 1_024), (6, 900, 1_000_000),
    ] as [(UInt64, Int, UInt64)])
  func `a table is a dictionary that remembers what changed`(seed: UInt64, keys: Int, spread: UInt64) {
    var random = SplitMix64(seed: seed)
    var table = RowTable<Key, Row>(rowsExpected: 1)
    var model = Model()
    for step in 0..<40_000 {
      let key = Key(UInt64(random.pick(0...keys)), spread: spread)
      let slot = table.find(key)
      // A row leaves memory by eviction only; what is gone is loaded again, as a shell would.
      if let slot {
        #expect(table[slot] == Row(key: key.value, text: model.rows[key] ?? "nowhere"))
      } else {
        #expect(model.rows[key] == nil)
      }
      switch random.pick(0...99) {
      case 0..<60:
        let text = "\(step)"
        if let slot {
          let old = table.update(slot) { row in
            defer { row.text = text }
            return row.text
          }
          #expect(old == model.rows[key])
        } else {
          if let stored = model.stored[key] {
            let loaded = table.insert(key, Row(key: key.value, text: stored), isNew: false)
            table.update(loaded) { $0.text = text }
          } else {
            table.insert(key, Row(key: key.value, text: text), isNew: true)
          }
        }
        model.rows[key] = text
        model.changedIn[key] = model.interval
      case 60..<90:
        if slot == nil, let stored = model.stored[key] {
          table.insert(key, Row(key: key.value, text: stored), isNew: false)
          model.rows[key] = stored
          model.changedIn[key] = nil
        }
      case 90..<93: freeze(&table, &model, copying: random.pick([0, 1, 7, 100, 10_000]))
      case 93..<95:
        // The oldest frozen interval reaches SQLite.
        guard !model.frozen.isEmpty else { continue }
        let (interval, rows) = model.frozen.removeFirst()
        for row in rows { model.stored[Key(row.key, spread: spread)] = row.text }
        model.written = interval
      default: evict(&table, &model, keeping: random.pick(0...keys))
      }
      #expect(table.count == model.rows.count)
      if step % 100 == 0 {
        #expect(table.dirtyCount == model.changedIn.values.count { $0 == model.interval })
      }
    }
    var seen: [UInt64: String] = [:]
    table.forEach { row in
      #expect(seen.updateValue(row.text, forKey: row.key) == nil)
    }
    #expect(seen == Dictionary(uniqueKeysWithValues: model.rows.map { ($0.key.value, $0.value) }))
  }

  /// Begins a freeze, or goes on with the one that is under way.
  private func freeze(_ table: inout RowTable<Key, Row>, _ model: inout Model, copying limit: Int) {
    if model.expected == nil {
      table.freeze()
      model.expected = model.changedIn.filter { $0.value == model.interval }.keys
        .map { Row(key: $0.value, text: model.rows[$0] ?? "nowhere") }
      model.interval += 1
      #expect(table.dirtyCount == 0)
    }
    let looked = table.copyFrozen(atMost: limit)
    #expect(looked <= limit)
    guard looked < limit, let expected = model.expected else { return }
    let (rows, interval) = table.takeFrozen()
    #expect(interval == model.interval - 1)
    #expect(rows.sorted { $0.key < $1.key } == expected.sorted { $0.key < $1.key })
    model.frozen.append((interval, rows))
    model.expected = nil
  }

  @Test func `a frozen row that changes before it is copied is written as it was`() {
    var table = RowTable<Key, Row>(rowsExpected: 1)
    let slots = (0..<10 as Range<UInt64>).map {
      table.insert(Key($0, spread: 0), Row(key: $0, text: "before"), isNew: true)
    }
    table.freeze()
    #expect(table.copyFrozen(atMost: 4) == 4)
    for slot in slots { table.update(slot) { $0.text = "after" } }
    for slot in slots { table.update(slot) { $0.text = "later" } }
    #expect(table.dirtyCount == 10)
    #expect(table.copyFrozen(atMost: 100) == 6)
    let (rows, _) = table.takeFrozen()
    #expect(rows.map(\.text) == Array(repeating: "before", count: 10))
    #expect(rows.map(\.key).sorted() == Array(0..<10))
    table.freeze()
    #expect(table.copyFrozen(atMost: 100) == 10)
    #expect(table.takeFrozen().rows.map(\.text) == Array(repeating: "later", count: 10))
  }

  private func evict(_ table: inout RowTable<Key, Row>, _ model: inout Model, keeping rowsMax: Int) {
    let before = table.count
    table.evict(keeping: rowsMax, writtenThrough: model.written)
    #expect(table.count >= min(rowsMax, before))
    var left: Set<UInt64> = []
    table.forEach { left.insert($0.key) }
    for (key, text) in model.rows where !left.contains(key.value) {
      let changed = model.changedIn[key] ?? 0
      #expect(changed <= model.written, "a dirty or frozen row was evicted")
      #expect(model.stored[key] == text, "a row was evicted that nobody has")
      model.rows[key] = nil
      model.changedIn[key] = nil
    }
  }

  @Test func `eviction gets down to its limit when all is clean`() {
    var table = RowTable<Key, Row>(rowsExpected: 1)
    for value in 0..<5_000 as Range<UInt64> {
      table.insert(Key(value, spread: 0), Row(key: value, text: ""), isNew: false)
    }
    for _ in 0..<20 { table.evict(keeping: 100, writtenThrough: 0) }
    #expect(table.count == 100)
  }

  @Test func `eviction never drops what is dirty or frozen`() {
    var table = RowTable<Key, Row>(rowsExpected: 1)
    for value in 0..<3_000 as Range<UInt64> {
      table.insert(Key(value, spread: 0), Row(key: value, text: ""), isNew: true)
    }
    for _ in 0..<10 { table.evict(keeping: 0, writtenThrough: 0) }
    #expect(table.count == 3_000)
    table.freeze()
    for _ in 0..<10 { table.evict(keeping: 0, writtenThrough: 0) }
    #expect(table.count == 3_000, "what is being copied is not written")
    _ = table.copyFrozen(atMost: .max)
    let (_, first) = table.takeFrozen()
    for _ in 0..<10 { table.evict(keeping: 0, writtenThrough: first - 1) }
    #expect(table.count == 3_000)
    // Changed again: written as it was is not written as it is.
    for value in 0..<1_000 as Range<UInt64> {
      if let slot = table.find(Key(value, spread: 0)) { table.update(slot) { $0.text = "again" } }
    }
    for _ in 0..<20 { table.evict(keeping: 0, writtenThrough: first) }
    #expect(table.count == 1_000)
  }

  @Test func `what was touched lately outlives what was not`() {
    var table = RowTable<Key, Row>(rowsExpected: 1)
    for value in 0..<1_000 as Range<UInt64> {
      table.insert(Key(value, spread: 0), Row(key: value, text: ""), isNew: false)
    }
    table.evict(keeping: 999, writtenThrough: 0)  // One turn of the hand: none is recent now.
    var hot: Set<UInt64> = []
    for value in stride(from: 0, to: 1_000, by: 10) as StrideTo<UInt64> {
      if table.find(Key(value, spread: 0)) != nil { hot.insert(value) }
    }
    table.evict(keeping: hot.count, writtenThrough: 0)
    for value in hot { #expect(table.find(Key(value, spread: 0)) != nil) }
  }

  /// A key that counts how often its hash is asked for: once for every place that is looked at or moved.
  private struct CountedKey: RowKey {
    final class Counter { var hashes = 0 }
    let value: UInt64
    let counter: Counter
    var hashBits: UInt64 {
      counter.hashes += 1
      return mixed(value)
    }
    static func == (a: Self, b: Self) -> Bool { a.value == b.value }
  }

  @Test func `no insertion moves more than a few rows to a larger index`() {
    let counter = CountedKey.Counter()
    var table = RowTable<CountedKey, Row>(rowsExpected: 1)
    var (most, all) = (0, 0)
    for value in 0..<300_000 as Range<UInt64> {
      counter.hashes = 0
      table.insert(CountedKey(value: value, counter: counter), Row(key: value, text: ""), isNew: false)
      most = max(most, counter.hashes)
      all += counter.hashes
    }
    #expect(most <= 9, "its own, and eight that move")
    #expect(all > 450_000, "the index has grown some times")
    counter.hashes = 0
    for value in 0..<300_000 as Range<UInt64> {
      #expect(table.find(CountedKey(value: value, counter: counter)).map { table[$0].key } == value)
    }
    #expect(counter.hashes == 300_000)
    #expect(table.find(CountedKey(value: 300_000, counter: counter)) == nil)
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `rows come, go and are found while the index grows`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let spread = random.pick([0, 0, 4_096, 1 << 20]) as UInt64
    var table = RowTable<Key, Row>(rowsExpected: 1)
    var here: Set<UInt64> = []
    var next: UInt64 = 0
    // Up and down around the sizes at which an index is made, filled and left.
    for target in [600, 350, 1_100, 900, 2_400, 1_500, 5_000, 100, 9_000] {
      while here.count < target {
        next += 1
        table.insert(Key(next, spread: spread), Row(key: next, text: ""), isNew: false)
        here.insert(next)
        if random.chance(3) {
          table.beginEviction(keeping: max(0, here.count - 20), writtenThrough: 0)
          let looked = table.evictSome(atMost: random.pick(1...400))
          #expect(looked <= 400)
          var left: Set<UInt64> = []
          table.forEach { left.insert($0.key) }
          #expect(left.isSubset(of: here), "seed \(seed)")
          here = left
        }
        if random.chance(10) {
          let value = UInt64(random.pick(1...Int(next)))
          let found = table.find(Key(value, spread: spread)).map { table[$0].key }
          #expect(found == (here.contains(value) ? value : nil), "seed \(seed)")
        }
      }
      for _ in 0..<8 { table.evict(keeping: target / 2, writtenThrough: 0) }
      here = []
      table.forEach { here.insert($0.key) }
      for value in 1...next {
        let isFound = table.find(Key(value, spread: spread)) != nil
        #expect(isFound == here.contains(value), "seed \(seed), key \(value)")
      }
    }
    #expect(next > 9_000, "seed \(seed)")
  }

  @Test func `eviction goes on bit by bit, and looks no further than it was asked to`() {
    var table = RowTable<Key, Row>(rowsExpected: 1)
    for value in 0..<20_000 as Range<UInt64> {
      table.insert(Key(value, spread: 0), Row(key: value, text: ""), isNew: false)
    }
    table.beginEviction(keeping: 5_000, writtenThrough: 0)
    var steps = 0
    while true {
      let before = table.count
      let looked = table.evictSome(atMost: 100)
      #expect(before - table.count <= looked)
      guard looked == 100 else { break }
      steps += 1
    }
    #expect(table.count == 5_000)
    #expect(steps >= 150)
    let looked = table.evictSome(atMost: 100)
    #expect(looked == 0, "it is done")
  }

  @Test func `slots stay valid while others come and go`() throws {
    var table = RowTable<Key, Row>(rowsExpected: 1)
    let slot = table.insert(Key(1, spread: 0), Row(key: 1, text: "kept"), isNew: true)
    for value in 2..<10_000 as Range<UInt64> {
      table.insert(Key(value, spread: 0), Row(key: value, text: ""), isNew: false)
    }
    for _ in 0..<20 { table.evict(keeping: 1, writtenThrough: 0) }
    #expect(table.count == 1)
    #expect(table.find(Key(1, spread: 0)) == slot)
    #expect(table[slot].text == "kept")
  }
}
