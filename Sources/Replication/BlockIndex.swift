import Cluster

/// The marks of a log's blocks, as far back as they are kept: enough to find where two logs part.
///
/// Bounded: beyond ``blocksMax`` the oldest go, and who needs them takes a snapshot.
package struct BlockIndex: Sendable {
  package static let blocksMax = 1 << 16
  /// Marks that one message names.
  static let marksMax = 48
  private static let denseMarks = 24

  /// The end of the block before the first that is kept.
  package private(set) var base: LogMark
  /// Blocks before `start` are gone.
  private var marks: [LogMark] = []
  private var start = 0

  package init(base: LogMark) { self.base = base }

  package var count: Int { marks.count - start }
  package var last: LogMark { count > 0 ? marks[marks.count - 1] : base }

  package mutating func append(_ mark: LogMark) {
    precondition(mark.sn > last.sn, "blocks follow each other")
    marks.append(mark)
    if count > Self.blocksMax { dropFirst(count - Self.blocksMax) }
  }

  /// Forgets the blocks above `sn`, the end of a block.
  package mutating func cut(to sn: SequenceNumber) {
    while count > 0, marks[marks.count - 1].sn > sn { marks.removeLast() }
  }

  /// Forgets blocks that end at `sn` or before.
  package mutating func trim(through sn: SequenceNumber) {
    dropFirst(position(after: sn) - start)
  }

  private mutating func dropFirst(_ number: Int) {
    guard number > 0 else { return }
    base = marks[start + number - 1]
    start += number
    if start > 1024, start * 2 > marks.count {
      marks.removeFirst(start)
      start = 0
    }
  }

  /// Place of the first block that ends above `sn`.
  private func position(after sn: SequenceNumber) -> Int {
    var (low, high) = (start, marks.count)
    while low < high {
      let middle = (low + high) / 2
      if marks[middle].sn > sn { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// The block that ends at `sn`, or the base; nil where none does.
  package func mark(at sn: SequenceNumber) -> LogMark? {
    if sn == base.sn { return base }
    if count > 0, sn == marks[marks.count - 1].sn { return marks[marks.count - 1] }
    let place = position(after: sn) - 1
    return place >= start && marks[place].sn == sn ? marks[place] : nil
  }

  package func contains(_ mark: LogMark) -> Bool { self.mark(at: mark.sn) == mark }

  /// The first block that ends above `sn`.
  package func block(after sn: SequenceNumber) -> LogMark? {
    let place = position(after: sn)
    return place < marks.count ? marks[place] : nil
  }

  /// How many blocks end above `low` and not above `high`.
  package func blocks(from low: SequenceNumber, through high: SequenceNumber) -> Int {
    max(0, position(after: high) - position(after: low))
  }

  /// Newest first: the last ones, then some at doubling distances, at last the base.
  package func landmarks() -> [LogMark] {
    var found: [LogMark] = []
    var place = marks.count - 1
    var step = 1
    while place >= start, found.count < Self.marksMax - 1 {
      found.append(marks[place])
      if found.count >= Self.denseMarks { step *= 2 }
      place -= step
    }
    found.append(base)
    return found
  }

  /// The highest of another log's marks that this one has too.
  package func highestMatch(_ others: [LogMark]) -> LogMark? {
    var best: LogMark?
    for mark in others where contains(mark) && mark.sn >= (best?.sn ?? .zero) { best = mark }
    return best
  }
}
