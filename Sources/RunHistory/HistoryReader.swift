import Bytes
import Foundation

/// Reads a history block by block, in the memory of one block.
package final class HistoryReader {
  package var header: HistoryHeader { blocks.header }
  /// After the last record: how the run ended, or nil where the history was cut off.
  package var end: HistoryEnd? { blocks.end }
  /// Where the file was cut off, if it was.
  package var cut: String? { blocks.cut }

  private let blocks: HistoryBlocks
  private var plain: [UInt8] = []
  private var place = 0
  /// Records returned so far: the position of the last one, from 1.
  package private(set) var position: UInt64 = 0
  /// Where the block of the last record begins in the file.
  package var blockOffset: UInt64 { blocks.blockOffset }

  /// Whether a file's first 16 bytes are a history's.
  package static func isHistory(_ head: [UInt8]) -> Bool { HistoryBlocks.is(head, .records) }

  package init(path: String) throws(HistoryError) { blocks = try HistoryBlocks(path: path, .records) }

  /// The next record; nil after the last.
  ///
  /// - Throws: `damaged`: something was written and is not any more what it was. Ask no more then.
  package func next() throws(HistoryError) -> HistoryRecord? {
    if place == plain.count {
      guard let block = try blocks.next() else { return nil }
      plain = block.bytes
      place = 0
    }
    position += 1
    let slice = plain[place..<place + HistoryRecord.size]
    place += HistoryRecord.size
    do throws(HistoryError.Invalid) {
      return try Self.record(slice)
    } catch {
      throw HistoryError(
        .damaged, blocks.file, "record \(position) (block at byte \(blockOffset)): \(error.what)")
    }
  }

  private static func record(_ slice: ArraySlice<UInt8>) throws(HistoryError.Invalid) -> HistoryRecord {
    var record: HistoryRecord?
    var failure: HistoryError.Invalid?
    slice.withUnsafeBytes { bytes in
      do throws(HistoryError.Invalid) { record = try HistoryRecord(bytes) } catch { failure = error }
    }
    guard let record else { throw failure ?? .init(what: "it can't be read") }
    return record
  }
}
