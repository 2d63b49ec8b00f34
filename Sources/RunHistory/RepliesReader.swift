import Bytes
import Foundation

/// Reads the replies that belong to a history's records, in their order.
package final class RepliesReader {
  package var header: HistoryHeader { blocks.header }
  /// After the last reply: how the run ended, or nil where the file was cut off.
  package var end: HistoryEnd? { blocks.end }
  /// Where the file was cut off, if it was.
  package var cut: String? { blocks.cut }

  private let blocks: HistoryBlocks
  private var plain: [UInt8] = []
  private var place = 0
  /// Replies of the block that are left.
  private var left = 0

  package static func isReplies(_ head: [UInt8]) -> Bool { HistoryBlocks.is(head, .replies) }

  package init(path: String) throws(HistoryError) { blocks = try HistoryBlocks(path: path, .replies) }

  /// The next reply; nil after the last.
  ///
  /// - Throws: `damaged`: ask no more then.
  package func next() throws(HistoryError) -> ArraySlice<UInt8>? {
    if left == 0 {
      guard place == plain.count else { throw blocks.damaged("a block has bytes behind its replies") }
      guard let block = try blocks.next() else { return nil }
      (left, plain, place) = (block.records, block.bytes, 0)
    }
    guard plain.count - place >= 4 else { throw blocks.damaged("a reply is cut off") }
    let length = Int(HistoryBlocks.number(plain, place))
    guard length <= plain.count - place - 4 else { throw blocks.damaged("a reply is longer than its block") }
    defer {
      place += 4 + length
      left -= 1
    }
    return plain[place + 4..<place + 4 + length]
  }
}
