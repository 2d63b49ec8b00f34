import Bytes
import Foundation
import LZ4

/// A file of blocks that is being written.
final class BlockFile {
  private let path: String
  private let kind: HistoryFileKind
  private let descriptor: Int32
  private let salt: UInt64
  private var blockNumber: UInt64 = 0
  private var total: UInt64 = 0
  /// Of the block to come.
  private var plain: [UInt8] = []
  private var count = 0

  init(path: String, _ header: HistoryHeader, _ kind: HistoryFileKind) throws(HistoryError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      let cause = errno == EEXIST ? "there is a file already; name another" : String(cString: strerror(errno))
      throw HistoryError(.unwritable, path, "it can't be made: \(cause)")
    }
    self.path = path
    self.kind = kind
    self.descriptor = descriptor
    let frame = HistoryFormat.frame(HistoryFormat.headerMagic, header, kind)
    salt = frame.withUnsafeBytes { XXH64.hash($0) }
    do throws(HistoryError) {
      try Self.write(frame, to: descriptor, path)
    } catch {
      unlink(path)
      throw error
    }
  }

  deinit { close(descriptor) }

  func add(records: [UInt8]) throws(HistoryError) {
    var place = 0
    while place < records.count {
      let end = min(
        records.count, place + (HistoryFormat.blockRecordsMax - count) * HistoryRecord.size)
      plain += records[place..<end]
      count += (end - place) / HistoryRecord.size
      place = end
      if count >= HistoryFormat.blockRecordsMax / 4 { try flush() }
    }
  }

  func add(replies: [UInt8]) throws(HistoryError) {
    var place = 0
    while place < replies.count {
      let end = place + 4 + Int(HistoryBlocks.number(replies, place))
      plain += replies[place..<end]
      count += 1
      place = end
      if count == HistoryFormat.blockRecordsMax || plain.count >= HistoryFormat.replyBlockBytes {
        try flush()
      }
    }
  }

  /// Writes the block that was begun, if one was.
  func flush() throws(HistoryError) {
    guard count > 0 else { return }
    let frame: [UInt8]
    do throws(LZ4Frame.Failure) { frame = try Self.compressed(plain) } catch {
      throw HistoryError(.unwritable, path, "\(error)")
    }
    let header = HistoryFormat.blockHeader(
      number: blockNumber, records: count, bytes: plain.count,
      hash: plain.withUnsafeBytes { XXH64.hash($0) }, frameBytes: frame.count, salt: salt, kind)
    try Self.write(header + frame, to: descriptor, path)
    blockNumber += 1
    total += UInt64(count)
    plain.removeAll(keepingCapacity: true)
    count = 0
  }

  /// Writes the end, and syncs the file.
  func finish(endedAt: Int64) throws(HistoryError) {
    try Self.write(
      HistoryFormat.frame(HistoryFormat.endMagic, HistoryEnd(endedAt: endedAt, records: total), kind),
      to: descriptor, path)
    guard fsync(descriptor) == 0 else {
      throw HistoryError(.unwritable, path, "it can't be synced: \(String(cString: strerror(errno)))")
    }
  }

  private static func compressed(_ plain: [UInt8]) throws(LZ4Frame.Failure) -> [UInt8] {
    var frame = [UInt8](repeating: 0, count: LZ4Frame.bound(plain.count))
    var failure: LZ4Frame.Failure?
    let count = plain.withUnsafeBytes { input in
      frame.withUnsafeMutableBytes { output in
        do throws(LZ4Frame.Failure) {
          return try LZ4Frame.compress(input, into: output)
        } catch {
          failure = error
          return 0
        }
      }
    }
    if let failure { throw failure }
    frame.removeLast(frame.count - count)
    return frame
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32, _ path: String) throws(HistoryError) {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw HistoryError(.unwritable, path, "it can't be written: \(String(cString: strerror(errno)))")
      }
      done += count
    }
  }
}
