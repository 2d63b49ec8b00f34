import Cluster

/// The marks of a log's blocks, as far back as they are kept: enough to find where two logs part.
///
/// Bounded: beyond ``blocksMax`` the oldest go, and who needs them takes a snapshot.
package struct BlockIndex: Sendable {
  package static let blocksMax = 1 << 20
  /// Marks that one message names.
  static let marksMax = 48
  private static let denseMarks = 24

  /// The end of the block before the first that is kept.
  package private(set) var base: LogMark
  private var marks = BlockList<LogMark>()

  package init(base: LogMark) { self.base = base }

  package var count: Int { marks.count }
  package var last: LogMark { marks.last ?? base }

  package mutating func append(_ mark: LogMark) {
    precondition(mark.sn > last.sn, "blocks follow each other")
    if let dropped = marks.append(mark) { base = dropped }
  }

  /// Forgets the blocks above `sn`, the end of a block.
  package mutating func cut(to sn: SequenceNumber) { marks.cut(to: sn) }

  /// Forgets blocks that end at `sn` or before.
  package mutating func trim(through sn: SequenceNumber) {
    if let dropped = marks.trim(through: sn) { base = dropped }
  }

  /// The block that ends at `sn`, or the base; nil where none does.
  package func mark(at sn: SequenceNumber) -> LogMark? {
    sn == base.sn ? base : marks.item(endingAt: sn)
  }

  package func contains(_ mark: LogMark) -> Bool { self.mark(at: mark.sn) == mark }

  /// The first block that ends above `sn`.
  package func block(after sn: SequenceNumber) -> LogMark? {
    let place = marks.place(after: sn)
    return place < marks.indices.upperBound ? marks[place] : nil
  }

  /// How many blocks end above `low` and not above `high`.
  package func blocks(from low: SequenceNumber, through high: SequenceNumber) -> Int {
    max(0, marks.place(after: high) - marks.place(after: low))
  }

  /// Newest first: the last ones, then some at doubling distances, at last the base.
  package func landmarks() -> [LogMark] {
    var found: [LogMark] = []
    var place = marks.indices.upperBound - 1
    var step = 1
    while place >= marks.indices.lowerBound, found.count < Self.marksMax - 1 {
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
