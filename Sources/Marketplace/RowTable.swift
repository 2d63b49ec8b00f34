/// A key of a ``RowTable``.
package protocol RowKey: Equatable {
  /// Well mixed in all its bits, the same in every process.
  var hashBits: UInt64 { get }
}

/// The rows of one table that are in memory, with what a checkpoint and an eviction need to know.
///
/// Open addressing over pointers; rows live in chunks that never move, so a slot stays
/// valid until its row is evicted. Memory is the authority for every row that is here;
/// a row that is not here is in SQLite, or nowhere.
///
/// A row is *dirty* when it changed after the last freeze, *frozen* while a checkpoint
/// that holds it is being made or written, and *clean* otherwise. Only clean rows are evicted.
///
/// Nobody waits for thousands of rows: each step here takes a bounded time, whatever the table holds.
/// A freeze takes every dirty row as it is at that moment, and copies them bit by bit: a row that
/// is changed before its turn is copied just then. The index grows bit by bit, and rows leave bit by bit.
package struct RowTable<Key: RowKey, Row: ImagedRow>: ~Copyable {
  private struct Mark {
    /// Number of the checkpoint interval of the last change; 0: loaded, never changed.
    var interval: UInt64
    var isUsed: Bool
    /// Touched since the clock hand came by.
    var isRecent: Bool
    /// Of a row of the interval that is being frozen: it needs no copy any more.
    var isCopied: Bool
  }

  private static var chunkShift: Int { 10 }
  private static var chunkSize: Int { 1 << chunkShift }

  /// An index with as many places as a power of two: of each, slot + 1, or 0 where it is empty.
  private struct Places {
    /// Of an older index: what was there was removed, and a probe goes on.
    static var removed: UInt32 { .max }

    let base: UnsafeMutablePointer<UInt32>
    let mask: Int

    init(count: Int) {
      base = .allocate(capacity: count)
      mask = count - 1
    }

    var count: Int { mask + 1 }

    @inline(__always)
    func home(of hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & mask }

    /// Where `slot` is, of a key with this hash; nil: it is not here.
    func place(of slot: Int, hash: UInt64) -> Int? {
      var place = home(of: hash)
      while base[place] != UInt32(slot + 1) {
        if base[place] == 0 { return nil }
        place = (place + 1) & mask
      }
      return place
    }

    func insert(_ slot: Int, hash: UInt64) {
      var place = home(of: hash)
      while base[place] != 0 { place = (place + 1) & mask }
      base[place] = UInt32(slot + 1)
    }
  }

  /// Places that one insertion empties of the next index: all of them are, between the row that fills three
  /// eighths of the index and the one that fills its half, when the next begins.
  private static var emptiedPerInsert: Int { 32 }
  /// Places that one insertion moves: all of them are, before the next index has three eighths.
  private static var movedPerInsert: Int { 8 }

  private var index: Places
  /// The next index, twice as large: it is emptied ahead of its time.
  private var larger: Places?
  private var emptied = 0
  /// The index before: its first `moved` places are in `index` too, and the others are here only.
  private var older: Places?
  private var moved = 0
  private var keys: [UnsafeMutablePointer<Key>] = []
  private var rows: [UnsafeMutablePointer<Row>] = []
  private var marks: [UnsafeMutablePointer<Mark>] = []
  private var free: [UInt32] = []
  private var dirty: [UInt32] = []
  // Of the freeze that is under way: slots from `copied` on may be pending, rows are those copied.
  private var freezing: [UInt32] = []
  private var copied = 0
  private var frozen: [Row] = []
  private var slotsUsed = 0
  private var hand = 0
  private var eviction = Eviction()
  /// Rows in memory.
  package private(set) var count = 0
  /// The interval that changes belong to now; from 1.
  private var interval: UInt64 = 1
  /// The sum of the images of all changes since ``takeImages()``.
  private var images: UInt64 = 0

  /// - Parameter rowsExpected: sizes the index, so that it need not grow on the way there.
  package init(rowsExpected: Int) {
    var size = 1024
    while size < rowsExpected * 2 { size *= 2 }
    index = Places(count: size)
    index.base.initialize(repeating: 0, count: size)
  }

  deinit {
    for slot in 0..<slotsUsed where mark(slot).isUsed {
      (keys[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))).deinitialize(count: 1)
      (rows[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))).deinitialize(count: 1)
    }
    for chunk in keys { chunk.deallocate() }
    for chunk in rows { chunk.deallocate() }
    for chunk in marks { chunk.deallocate() }
    index.base.deallocate()
    larger?.base.deallocate()
    older?.base.deallocate()
  }

  @inline(__always)
  private func key(_ slot: Int) -> Key {
    keys[slot >> Self.chunkShift][slot & (Self.chunkSize - 1)]
  }

  @inline(__always)
  private func mark(_ slot: Int) -> Mark {
    marks[slot >> Self.chunkShift][slot & (Self.chunkSize - 1)]
  }

  @inline(__always)
  private func rowPointer(_ slot: Int) -> UnsafeMutablePointer<Row> {
    rows[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))
  }

  @inline(__always)
  private func markPointer(_ slot: Int) -> UnsafeMutablePointer<Mark> {
    marks[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))
  }

  /// The slot of the row with this key, or nil where it is not in memory.
  package func find(_ key: Key) -> Int? {
    let hash = key.hashBits
    var found = find(key, hash, in: index)
    if found == nil, let older { found = find(key, hash, in: older) }
    guard let slot = found else { return nil }
    markPointer(slot).pointee.isRecent = true
    return slot
  }

  @inline(__always)
  private func find(_ key: Key, _ hash: UInt64, in places: Places) -> Int? {
    var place = places.home(of: hash)
    while true {
      let entry = places.base[place]
      if entry == 0 { return nil }
      if entry != Places.removed, self.key(Int(entry) - 1) == key { return Int(entry) - 1 }
      place = (place + 1) & places.mask
    }
  }

  /// The row in `slot`, to read.
  package subscript(slot: Int) -> Row {
    @inline(__always) get { rowPointer(slot).pointee }
  }

  /// Changes the row in `slot` and marks it dirty.
  @inline(__always)
  package mutating func update<Result>(_ slot: Int, _ body: (inout Row) -> Result) -> Result {
    touch(slot)
    let row = rowPointer(slot)
    let result = body(&row.pointee)
    images &+= row.pointee.image
    return result
  }

  /// Adds a row that was not in memory.
  ///
  /// - Parameter isNew: the row is a change (dirty); false: it was read from SQLite (clean).
  /// - Returns: its slot.
  @discardableResult
  package mutating func insert(_ key: Key, _ row: Row, isNew: Bool) -> Int {
    growIndex()
    let slot: Int
    if let reused = free.popLast() {
      slot = Int(reused)
    } else {
      slot = slotsUsed
      slotsUsed += 1
      if slot >> Self.chunkShift == rows.count {
        keys.append(.allocate(capacity: Self.chunkSize))
        rows.append(.allocate(capacity: Self.chunkSize))
        marks.append(.allocate(capacity: Self.chunkSize))
      }
    }
    let (chunk, offset) = (slot >> Self.chunkShift, slot & (Self.chunkSize - 1))
    (keys[chunk] + offset).initialize(to: key)
    (rows[chunk] + offset).initialize(to: row)
    (marks[chunk] + offset).initialize(to: Mark(interval: 0, isUsed: true, isRecent: true, isCopied: true))
    index.insert(slot, hash: key.hashBits)
    count += 1
    if isNew {
      touch(slot)
      images &+= row.image
    }
    return slot
  }

  /// What changed since the last call: the sum of the images that rows had after each change. Where a row came
  /// from, and whether it stayed in memory meanwhile, makes no difference.
  package mutating func takeImages() -> UInt64 {
    defer { images = 0 }
    return images
  }

  @inline(__always)
  private mutating func touch(_ slot: Int) {
    let mark = markPointer(slot)
    if mark.pointee.interval != interval {
      if isPending(mark.pointee) { frozen.append(rowPointer(slot).pointee) }
      mark.pointee.interval = interval
      mark.pointee.isCopied = false
      dirty.append(UInt32(slot))
    }
  }

  /// Frozen, and not copied yet.
  @inline(__always)
  private func isPending(_ mark: Mark) -> Bool { mark.interval == interval - 1 && !mark.isCopied }

  /// Makes sure that there is room for one more row, by a few places at a time.
  private mutating func growIndex() {
    if let older {
      let end = min(moved + Self.movedPerInsert, older.count)
      while moved < end {
        let entry = older.base[moved]
        moved += 1
        guard entry != 0, entry != Places.removed else { continue }
        index.insert(Int(entry) - 1, hash: key(Int(entry) - 1).hashBits)
      }
      guard moved == older.count else { return }
      older.base.deallocate()
      self.older = nil
    } else if let larger {
      let count = min(Self.emptiedPerInsert, larger.count - emptied)
      (larger.base + emptied).initialize(repeating: 0, count: count)
      emptied += count
      guard (self.count + 1) * 2 > index.count else { return }
      precondition(emptied == larger.count, "the next index was not emptied in time")
      older = index
      moved = 0
      index = larger
      self.larger = nil
    } else if count * 8 >= index.count * 3 {
      larger = Places(count: index.count * 2)
      emptied = 0
    }
  }

  /// Rows that changed since the last freeze.
  package var dirtyCount: Int { dirty.count }

  /// Freezes every dirty row as it is now, and begins a new interval. They are copied by
  /// ``copyFrozen(atMost:)``; the freeze before must have been taken.
  package mutating func freeze() {
    precondition(freezing.isEmpty && frozen.isEmpty, "two freezes at once")
    swap(&freezing, &dirty)
    frozen.reserveCapacity(freezing.count)
    interval += 1
  }

  /// Copies frozen rows whose turn has come.
  ///
  /// - Returns: how many were looked at; less than `limit`: there are no more.
  package mutating func copyFrozen(atMost limit: Int) -> Int {
    let end = copied + min(limit, freezing.count - copied)
    let looked = end - copied
    while copied < end {
      let slot = Int(freezing[copied])
      copied += 1
      guard isPending(mark(slot)) else { continue }
      markPointer(slot).pointee.isCopied = true
      frozen.append(rowPointer(slot).pointee)
    }
    return looked
  }

  /// The rows of the freeze, all of which must have been copied.
  ///
  /// - Returns: the rows, and the interval to name in ``evict(keeping:writtenThrough:)``
  ///   once they are written.
  package mutating func takeFrozen() -> (rows: [Row], interval: UInt64) {
    precondition(copied == freezing.count, "a frozen row was not copied")
    precondition(frozen.count == freezing.count)
    freezing.removeAll(keepingCapacity: true)
    copied = 0
    defer { frozen = [] }
    return (frozen, interval - 1)
  }

  /// Drops rows that are clean and were not touched lately, until `rowsMax` are left or
  /// a number was looked at that goes with how many are too many.
  package mutating func evict(keeping rowsMax: Int, writtenThrough written: UInt64) {
    beginEviction(keeping: rowsMax, writtenThrough: written)
    _ = evictSome(atMost: .max)
  }

  /// Begins what ``evict(keeping:writtenThrough:)`` does, for ``evictSome(atMost:)`` to go on with.
  package mutating func beginEviction(keeping rowsMax: Int, writtenThrough written: UInt64) {
    let looks = count > rowsMax ? min(slotsUsed * 2, (count - rowsMax) * 4 + 1024) : 0
    eviction = Eviction(rowsMax: rowsMax, written: written, looksLeft: looks)
  }

  /// Looks at some rows of the eviction that was begun.
  ///
  /// - Returns: how many; less than `limit`: it is done.
  package mutating func evictSome(atMost limit: Int) -> Int {
    let looks = min(limit, eviction.looksLeft)
    for look in 0..<looks {
      guard count > eviction.rowsMax else {
        eviction.looksLeft = 0
        return look
      }
      eviction.looksLeft -= 1
      hand = hand + 1 < slotsUsed ? hand + 1 : 0
      let mark = markPointer(hand)
      guard mark.pointee.isUsed, mark.pointee.interval <= eviction.written else { continue }
      if mark.pointee.isRecent {
        mark.pointee.isRecent = false
      } else {
        remove(hand)
      }
    }
    return looks
  }

  private struct Eviction {
    var rowsMax = 0
    var written: UInt64 = 0
    var looksLeft = 0
  }

  private mutating func remove(_ slot: Int) {
    let hash = key(slot).hashBits
    if let older, let place = older.place(of: slot, hash: hash) { older.base[place] = Places.removed }
    if let place = index.place(of: slot, hash: hash) { removePlace(place) }
    (keys[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))).deinitialize(count: 1)
    rowPointer(slot).deinitialize(count: 1)
    markPointer(slot).pointee = Mark(interval: 0, isUsed: false, isRecent: false, isCopied: true)
    free.append(UInt32(slot))
    count -= 1
  }

  /// Backward shift: what probed past the hole moves into it.
  private func removePlace(_ place: Int) {
    let (base, mask) = (index.base, index.mask)
    var hole = place
    var next = (hole + 1) & mask
    while base[next] != 0 {
      let home = index.home(of: key(Int(base[next]) - 1).hashBits)
      if ((next - home) & mask) >= ((next - hole) & mask) {
        base[hole] = base[next]
        hole = next
      }
      next = (next + 1) & mask
    }
    base[hole] = 0
  }

  /// Calls `body` with every row in memory, in no order that means anything.
  package func forEach(_ body: (Row) -> Void) {
    for slot in 0..<slotsUsed where mark(slot).isUsed { body(rowPointer(slot).pointee) }
  }
}

/// Mixes 64 bits so that every input bit reaches every output bit (the finalizer of SplitMix64).
@inline(__always)
package func mixed(_ value: UInt64) -> UInt64 {
  var bits = value &+ 0x9E37_79B9_7F4A_7C15
  bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
  bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
  return bits ^ (bits >> 31)
}
