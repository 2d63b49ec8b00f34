import Bytes
import Cluster

/// Names a log up to the end of one of its blocks. The hash is chained over all blocks before it: two
/// logs are the same up to a mark if both have it.
package struct LogMark: BlockItem, Equatable, Sendable, CustomStringConvertible {
  /// Of the last entry.
  package var sn: SequenceNumber
  /// The epoch in which the block's entries got their numbers.
  package var tag: Epoch
  package var hash: UInt64

  package init(sn: SequenceNumber, tag: Epoch, hash: UInt64) {
    self.sn = sn
    self.tag = tag
    self.hash = hash
  }

  /// The hash covers the tag; a log that was trimmed does not know its base's.
  package static func == (a: LogMark, b: LogMark) -> Bool { a.sn == b.sn && a.hash == b.hash }

  /// Before the first block of every log.
  package static let empty = LogMark(sn: .zero, tag: Epoch(0), hash: 0)

  package var description: String { "\(sn)/\(tag)/\(hexadecimal(hash).prefix(4))" }
}

/// What a block of the log says of its entries, the same in every replica. The unit of replication.
package struct BlockHead: Equatable, Sendable, CustomStringConvertible {
  package var tag: Epoch
  package var first: SequenceNumber
  /// Entries; never 0: a block without entries is one log's own affair.
  package var count: UInt32
  /// Milliseconds since the Unix epoch: the entries'.
  package var time: Int64
  package var entriesHash: UInt64
  package var previousHash: UInt64
  /// As docs/FORMATS.md has it: of tag, first, count, time, entries hash, previous hash.
  package let hash: UInt64

  package init(
    tag: Epoch, first: SequenceNumber, count: UInt32, time: Int64, entriesHash: UInt64, previousHash: UInt64
  ) {
    self.tag = tag
    self.first = first
    self.count = count
    self.time = time
    self.entriesHash = entriesHash
    self.previousHash = previousHash
    hash = withUnsafeBytes(
      of: (
        tag.rawValue.littleEndian, first.rawValue.littleEndian, UInt64(count).littleEndian,
        time.littleEndian, entriesHash.littleEndian, previousHash.littleEndian
      )
    ) { XXH64.hash($0) }
  }

  package var last: SequenceNumber { SequenceNumber(first.rawValue - 1 + UInt64(count)) }
  package var mark: LogMark { LogMark(sn: last, tag: tag, hash: hash) }
  package var description: String { "\(first)-\(mark)" }
}
