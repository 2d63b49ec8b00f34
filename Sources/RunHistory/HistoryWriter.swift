import Bytes
import Foundation
import LZ4

/// Writes a history on a thread of its own, so that a slow disk does not hold up who records.
///
/// What was handed over is with the kernel about a second later: a process that is killed loses that
/// second at most, a machine that stops may lose more.
package final class HistoryWriter: @unchecked Sendable {
  // All that changes is guarded by the condition's lock, but for what only the thread touches.
  private let path: String
  private let descriptor: Int32
  private let condition = NSCondition()
  private var queue: [[UInt8]] = []
  private var queuedBytes = 0
  private var isClosing = false
  private var isClosed = false
  private var failure: HistoryError?

  private let salt: UInt64
  private var blockNumber: UInt64 = 0
  private var records: UInt64 = 0

  /// Beyond this who records waits for the disk.
  private static let queuedBytesMax = 64 << 20

  /// Makes the file. One that is there already is never overwritten: it may be all that tells of a run.
  package init(path: String, header: HistoryHeader) throws(HistoryError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      let cause = errno == EEXIST ? "there is a file already; name another" : String(cString: strerror(errno))
      throw HistoryError(.unwritable, path, "it can't be made: \(cause)")
    }
    self.path = path
    self.descriptor = descriptor
    let frame = HistoryFormat.frame(HistoryFormat.headerMagic, header)
    salt = frame.withUnsafeBytes { XXH64.hash($0) }
    try Self.write(frame, to: descriptor, path)
    let thread = Thread { [self] in work() }
    thread.name = "history"
    thread.start()
  }

  deinit { close(descriptor) }

  /// Hands over records, whole ones of 64 bytes. Waits where the disk is 64 MiB behind.
  package func append(_ bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count % HistoryRecord.size == 0)
    guard !bytes.isEmpty else { return }
    condition.lock()
    defer { condition.unlock() }
    while queuedBytes > Self.queuedBytesMax, failure == nil { condition.wait() }
    guard failure == nil else { return }
    queue.append(Array(bytes))
    queuedBytes += bytes.count
    condition.broadcast()
  }

  /// Writes what is left and the end, and syncs the file.
  ///
  /// - Throws: what went wrong, now or before; the file then ends somewhere.
  package func finish(endedAt: Int64) throws(HistoryError) {
    condition.lock()
    isClosing = true
    condition.broadcast()
    while !isClosed { condition.wait() }
    let failure = failure
    condition.unlock()
    if let failure { throw failure }
    try Self.write(
      HistoryFormat.frame(HistoryFormat.endMagic, HistoryEnd(endedAt: endedAt, records: records)),
      to: descriptor, path)
    guard fsync(descriptor) == 0 else {
      throw HistoryError(.unwritable, path, "it can't be synced: \(String(cString: strerror(errno)))")
    }
  }

  // MARK: The thread

  private func work() {
    while true {
      condition.lock()
      while queue.isEmpty, !isClosing { condition.wait() }
      let taken = queue
      queue = []
      queuedBytes = 0
      if taken.isEmpty {
        isClosed = true
        condition.broadcast()
        condition.unlock()
        return
      }
      condition.broadcast()
      condition.unlock()
      do throws(HistoryError) {
        try write(taken)
      } catch {
        condition.lock()
        failure = error
        isClosed = true
        condition.broadcast()
        condition.unlock()
        return
      }
    }
  }

  private func write(_ parts: [[UInt8]]) throws(HistoryError) {
    var plain: [UInt8] = []
    for part in parts {
      plain += part
      if plain.count >= HistoryFormat.blockRecordsMax / 4 * HistoryRecord.size {
        try block(plain)
        plain.removeAll(keepingCapacity: true)
      }
    }
    if !plain.isEmpty { try block(plain) }
  }

  private func block(_ plain: [UInt8]) throws(HistoryError) {
    var start = 0
    while start < plain.count {
      let end = min(plain.count, start + HistoryFormat.blockRecordsMax * HistoryRecord.size)
      let frame: [UInt8]
      do throws(LZ4Frame.Failure) { frame = try Self.compressed(plain[start..<end]) } catch {
        throw HistoryError(.unwritable, path, "\(error)")
      }
      let count = (end - start) / HistoryRecord.size
      let header = HistoryFormat.blockHeader(
        number: blockNumber, records: count, hash: plain[start..<end].withUnsafeBytes { XXH64.hash($0) },
        frameBytes: frame.count, salt: salt)
      try Self.write(header + frame, to: descriptor, path)
      blockNumber += 1
      records += UInt64(count)
      start = end
    }
  }

  private static func compressed(_ plain: ArraySlice<UInt8>) throws(LZ4Frame.Failure) -> [UInt8] {
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
