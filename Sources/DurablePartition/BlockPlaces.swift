import Cluster
import Replication
import ReplicationLog

/// Where the log's blocks stand in its files, as far back as a replica keeps their marks.
struct BlockPlaces {
  private var lasts: [SequenceNumber] = []
  private var positions: [BlockPosition] = []
  /// Blocks before `start` are gone.
  private var start = 0

  mutating func append(_ last: SequenceNumber, _ position: BlockPosition) {
    lasts.append(last)
    positions.append(position)
    if lasts.count - start > BlockIndex.blocksMax { drop(lasts.count - start - BlockIndex.blocksMax) }
  }

  mutating func cut(to last: SequenceNumber) {
    while lasts.count > start, lasts[lasts.count - 1] > last {
      lasts.removeLast()
      positions.removeLast()
    }
  }

  mutating func trim(through last: SequenceNumber) { drop(place(after: last) - start) }

  func position(endingAt last: SequenceNumber) -> BlockPosition? {
    let place = place(after: last) - 1
    return place >= start && lasts[place] == last ? positions[place] : nil
  }

  /// Of all blocks that end above `last`.
  func after(_ last: SequenceNumber) -> ArraySlice<BlockPosition> { positions[place(after: last)...] }

  /// Of the first block that ends above `last`.
  private func place(after last: SequenceNumber) -> Int {
    var (low, high) = (start, lasts.count)
    while low < high {
      let middle = (low + high) / 2
      if lasts[middle] > last { high = middle } else { low = middle + 1 }
    }
    return low
  }

  private mutating func drop(_ count: Int) {
    start += count
    guard start > 1_024, start * 2 > lasts.count else { return }
    lasts.removeFirst(start)
    positions.removeFirst(start)
    start = 0
  }
}
