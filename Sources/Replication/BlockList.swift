import Cluster

/// Something of a block of a log, known by the block's last entry.
package protocol BlockItem {
  var sn: SequenceNumber { get }
}

/// Something of each of a log's blocks, in their order. Bounded: beyond ``blocksMax`` the oldest go.
package struct BlockList<Item: BlockItem> {
  private var items: [Item] = []
  /// Items before `start` are gone.
  private var start = 0

  package init() {}

  package var count: Int { items.count - start }
  package var isEmpty: Bool { count == 0 }
  package var last: Item? { isEmpty ? nil : items[items.count - 1] }
  /// Places in it, oldest first.
  package var indices: Range<Int> { start..<items.count }
  package subscript(place: Int) -> Item { items[place] }

  /// - Returns: the last of those that had to go for it.
  @discardableResult
  package mutating func append(_ item: Item) -> Item? {
    items.append(item)
    return dropFirst(count - blocksMax)
  }

  private var blocksMax: Int { BlockIndex.blocksMax }

  /// Forgets the blocks above `sn`, the end of a block.
  package mutating func cut(to sn: SequenceNumber) {
    while let last, last.sn > sn { items.removeLast() }
  }

  /// Forgets blocks that end at `sn` or before.
  ///
  /// - Returns: the last of them.
  @discardableResult
  package mutating func trim(through sn: SequenceNumber) -> Item? { dropFirst(place(after: sn) - start) }

  /// Place of the first block that ends above `sn`.
  package func place(after sn: SequenceNumber) -> Int {
    var (low, high) = (start, items.count)
    while low < high {
      let middle = (low + high) / 2
      if items[middle].sn > sn { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// The block that ends at `sn`.
  package func item(endingAt sn: SequenceNumber) -> Item? {
    if let last, last.sn == sn { return last }
    let place = place(after: sn) - 1
    return place >= start && items[place].sn == sn ? items[place] : nil
  }

  /// All that end above `sn`.
  package func after(_ sn: SequenceNumber) -> ArraySlice<Item> { items[place(after: sn)...] }

  private mutating func dropFirst(_ number: Int) -> Item? {
    guard number > 0 else { return nil }
    start += number
    let last = items[start - 1]
    if start > 1024, start * 2 > items.count {
      items.removeFirst(start)
      start = 0
    }
    return last
  }
}

extension BlockList: Sendable where Item: Sendable {}
