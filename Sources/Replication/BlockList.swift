import Cluster

/// Something of a block of a log, known by the block's last entry.
package protocol BlockItem {
  var sn: SequenceNumber { get }
}

/// Something of each of a log's blocks, in their order. Bounded: beyond ``blocksMax`` the oldest go.
///
/// In pieces of one size, so that however many there are, few are ever moved at once.
package struct BlockList<Item: BlockItem> {
  private static var pieceBits: Int { 12 }
  private static var pieceItems: Int { 1 << pieceBits }

  /// All but the last are full.
  private var pieces: [[Item]] = []
  /// Places in it, oldest first. Those before are gone, and less than a piece.
  package private(set) var indices = 0..<0

  package init() {}

  package var count: Int { indices.count }
  package var isEmpty: Bool { indices.isEmpty }
  package var last: Item? { isEmpty ? nil : self[indices.upperBound - 1] }
  package subscript(place: Int) -> Item { pieces[place >> Self.pieceBits][place & (Self.pieceItems - 1)] }

  /// - Returns: the last of those that had to go for it.
  @discardableResult
  package mutating func append(_ item: Item) -> Item? {
    if indices.upperBound == pieces.count * Self.pieceItems {
      pieces.append([])
      pieces[pieces.count - 1].reserveCapacity(Self.pieceItems)
    }
    pieces[pieces.count - 1].append(item)
    indices = indices.lowerBound..<indices.upperBound + 1
    return dropFirst(count - blocksMax)
  }

  private var blocksMax: Int { BlockIndex.blocksMax }

  /// Forgets the blocks above `sn`, the end of a block.
  package mutating func cut(to sn: SequenceNumber) {
    while let last, last.sn > sn {
      pieces[pieces.count - 1].removeLast()
      if pieces[pieces.count - 1].isEmpty { pieces.removeLast() }
      indices = indices.lowerBound..<indices.upperBound - 1
    }
  }

  /// Forgets blocks that end at `sn` or before.
  ///
  /// - Returns: the last of them.
  @discardableResult
  package mutating func trim(through sn: SequenceNumber) -> Item? {
    dropFirst(place(after: sn) - indices.lowerBound)
  }

  /// Place of the first block that ends above `sn`.
  package func place(after sn: SequenceNumber) -> Int {
    var (low, high) = (indices.lowerBound, indices.upperBound)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].sn > sn { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// The block that ends at `sn`.
  package func item(endingAt sn: SequenceNumber) -> Item? {
    if let last, last.sn == sn { return last }
    let place = place(after: sn) - 1
    return place >= indices.lowerBound && self[place].sn == sn ? self[place] : nil
  }

  /// All that end above `sn`.
  package func after(_ sn: SequenceNumber) -> some Sequence<Item> {
    (place(after: sn)..<indices.upperBound).lazy.map { self[$0] }
  }

  private mutating func dropFirst(_ number: Int) -> Item? {
    guard number > 0 else { return nil }
    let last = self[indices.lowerBound + number - 1]
    let emptied = (indices.lowerBound + number) >> Self.pieceBits
    pieces.removeFirst(emptied)
    let moved = emptied << Self.pieceBits
    indices = indices.lowerBound + number - moved..<indices.upperBound - moved
    return last
  }
}

extension BlockList: Sendable where Item: Sendable {}
