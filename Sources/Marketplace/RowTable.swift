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
/// A freeze takes every dirty row as it is at that moment, and copies them bit by bit: a row that
/// is changed before its turn is copied just then, so nobody waits for thousands.
package struct RowTable<Key: RowKey, Row>: ~Copyable {
  private struct Mark {
    /// Number of the checkpoint interval of the last change; 0: loaded, never changed.
    var interval: UInt64
    var isUsed: Bool
    /// Touched since the clock hand came by.
    var isRecent: Bool
    /// Frozen, and not copied yet.
    var isPending = false
  }

  private static var chunkShift: Int { 10 }
  private static var chunkSize: Int { 1 << chunkShift }

  private var index: UnsafeMutablePointer<UInt32>  // slot + 1; 0 is empty
  private var indexMask: Int
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
  /// Rows in memory.
  package private(set) var count = 0
  /// The interval that changes belong to now; from 1.
  private var interval: UInt64 = 1

  /// - Parameter rowsExpected: sizes the index, so that it need not grow on the way there.
  package init(rowsExpected: Int) {
    var size = 1024
    while size < rowsExpected * 2 { size *= 2 }
    index = .allocate(capacity: size)
    index.initialize(repeating: 0, count: size)
    indexMask = size - 1
  }

  deinit {
    for slot in 0..<slotsUsed where mark(slot).isUsed {
      (keys[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))).deinitialize(count: 1)
      (rows[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))).deinitialize(count: 1)
    }
    for chunk in keys { chunk.deallocate() }
    for chunk in rows { chunk.deallocate() }
    for chunk in marks { chunk.deallocate() }
    index.deallocate()
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
    var place = Int(truncatingIfNeeded: key.hashBits) & indexMask
    while true {
      let entry = index[place]
      if entry == 0 { return nil }
      let slot = Int(entry) - 1
      if self.key(slot) == key {
        markPointer(slot).pointee.isRecent = true
        return slot
      }
      place = (place + 1) & indexMask
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
    return body(&rowPointer(slot).pointee)
  }

  /// Adds a row that was not in memory.
  ///
  /// - Parameter isNew: the row is a change (dirty); false: it was read from SQLite (clean).
  /// - Returns: its slot.
  @discardableResult
  package mutating func insert(_ key: Key, _ row: Row, isNew: Bool) -> Int {
    if (count + 1) * 2 > indexMask + 1 { growIndex() }
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
    (marks[chunk] + offset).initialize(to: Mark(interval: 0, isUsed: true, isRecent: true))
    place(slot, hash: key.hashBits)
    count += 1
    if isNew { touch(slot) }
    return slot
  }

  @inline(__always)
  private mutating func touch(_ slot: Int) {
    let mark = markPointer(slot)
    if mark.pointee.interval != interval {
      if mark.pointee.isPending {
        mark.pointee.isPending = false
        frozen.append(rowPointer(slot).pointee)
      }
      mark.pointee.interval = interval
      dirty.append(UInt32(slot))
    }
  }

  private mutating func place(_ slot: Int, hash: UInt64) {
    var place = Int(truncatingIfNeeded: hash) & indexMask
    while index[place] != 0 { place = (place + 1) & indexMask }
    index[place] = UInt32(slot + 1)
  }

  private mutating func growIndex() {
    let size = (indexMask + 1) * 2
    index.deallocate()
    index = .allocate(capacity: size)
    index.initialize(repeating: 0, count: size)
    indexMask = size - 1
    for slot in 0..<slotsUsed where mark(slot).isUsed { place(slot, hash: key(slot).hashBits) }
  }

  /// Rows that changed since the last freeze.
  package var dirtyCount: Int { dirty.count }

  /// Freezes every dirty row as it is now, and begins a new interval. They are copied by
  /// ``copyFrozen(atMost:)``; the freeze before must have been taken.
  package mutating func freeze() {
    precondition(freezing.isEmpty && frozen.isEmpty, "two freezes at once")
    swap(&freezing, &dirty)
    frozen.reserveCapacity(freezing.count)
    for slot in freezing { markPointer(Int(slot)).pointee.isPending = true }
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
      guard markPointer(slot).pointee.isPending else { continue }
      markPointer(slot).pointee.isPending = false
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
  /// a bounded number was looked at.
  package mutating func evict(keeping rowsMax: Int, writtenThrough written: UInt64) {
    guard count > rowsMax, slotsUsed > 0 else { return }
    var looks = min(slotsUsed * 2, (count - rowsMax) * 4 + 1024)
    while count > rowsMax, looks > 0 {
      looks -= 1
      hand = hand + 1 < slotsUsed ? hand + 1 : 0
      let mark = markPointer(hand)
      guard mark.pointee.isUsed, mark.pointee.interval <= written else { continue }
      if mark.pointee.isRecent {
        mark.pointee.isRecent = false
      } else {
        remove(hand)
      }
    }
  }

  private mutating func remove(_ slot: Int) {
    var hole = Int(truncatingIfNeeded: key(slot).hashBits) & indexMask
    while index[hole] != UInt32(slot + 1) { hole = (hole + 1) & indexMask }
    // Backward shift: what probed past the hole moves into it.
    var next = (hole + 1) & indexMask
    while index[next] != 0 {
      let home = Int(truncatingIfNeeded: key(Int(index[next]) - 1).hashBits) & indexMask
      if ((next - home) & indexMask) >= ((next - hole) & indexMask) {
        index[hole] = index[next]
        hole = next
      }
      next = (next + 1) & indexMask
    }
    index[hole] = 0
    (keys[slot >> Self.chunkShift] + (slot & (Self.chunkSize - 1))).deinitialize(count: 1)
    rowPointer(slot).deinitialize(count: 1)
    markPointer(slot).pointee = Mark(interval: 0, isUsed: false, isRecent: false)
    free.append(UInt32(slot))
    count -= 1
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
