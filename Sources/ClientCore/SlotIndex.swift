import Bytes
import Cluster

/// Which slot a pending request has, by its id.
///
/// Open addressing with linear probing, at most half full; what is removed leaves no trace. Only ids that
/// the caller chose itself come in, so nobody else decides how they spread.
package struct SlotIndex {
  private struct Entry {
    var high: UInt64 = 0
    var low: UInt64 = 0
    /// Below 0: nobody's.
    var slot: Int32 = -1

    func has(_ id: RequestID) -> Bool { low == id.low && high == id.high }
    var home: Int { SlotIndex.home(high: high, low: low) }
  }

  private var entries = [Entry](repeating: Entry(), count: 16)
  package private(set) var count = 0

  package init() {}

  private static func home(high: UInt64, low: UInt64) -> Int {
    Int(truncatingIfNeeded: XXH64.hash(low, seed: high))
  }

  /// Where this id stands, or the free place where it would.
  private func place(of id: RequestID) -> Int {
    let mask = entries.count - 1
    var place = Self.home(high: id.high, low: id.low) & mask
    while entries[place].slot >= 0, !entries[place].has(id) { place = (place + 1) & mask }
    return place
  }

  package func find(_ id: RequestID) -> Int? {
    let slot = entries[place(of: id)].slot
    return slot < 0 ? nil : Int(slot)
  }

  /// - Returns: false where the id is there already; nothing is changed then.
  package mutating func insert(_ id: RequestID, slot: Int) -> Bool {
    if 2 * count >= entries.count { grow() }
    let place = place(of: id)
    guard entries[place].slot < 0 else { return false }
    entries[place] = Entry(high: id.high, low: id.low, slot: Int32(slot))
    count += 1
    return true
  }

  package mutating func remove(_ id: RequestID) {
    var hole = place(of: id)
    guard entries[hole].slot >= 0 else { return }
    count -= 1
    entries.withUnsafeMutableBufferPointer { entries in
      let mask = entries.count - 1
      // Who stands behind the hole, and would be looked for there or before, moves into it.
      var place = (hole + 1) & mask
      while entries[place].slot >= 0 {
        if (place - entries[place].home) & mask >= (place - hole) & mask {
          entries[hole] = entries[place]
          hole = place
        }
        place = (place + 1) & mask
      }
      entries[hole].slot = -1
    }
  }

  private mutating func grow() {
    let before = entries
    entries = [Entry](repeating: Entry(), count: 2 * before.count)
    for entry in before where entry.slot >= 0 {
      entries[place(of: RequestID(high: entry.high, low: entry.low))] = entry
    }
  }
}
