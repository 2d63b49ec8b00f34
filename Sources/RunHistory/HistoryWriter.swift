import Bytes
import Foundation
import LZ4

/// Writes a history on a thread of its own, so that a slow disk does not hold up who records.
///
/// What was handed over is with the kernel about a second later: a process that is killed loses that
/// second at most, a machine that stops may lose more.
package final class HistoryWriter: @unchecked Sendable {
  // All that changes is guarded by the condition's lock, but for what only the thread touches.
  private let condition = NSCondition()
  private var queue: [(records: [UInt8], replies: [UInt8])] = []
  private var queuedBytes = 0
  private var isClosing = false
  private var isClosed = false
  private var failure: HistoryError?

  private let records: BlockFile
  /// nil: replies are not kept.
  private let replies: BlockFile?

  /// Beyond this who records waits for the disk.
  private static let queuedBytesMax = 64 << 20

  /// Makes the file, and one for replies beside it. One that is there already is never overwritten: it may be
  /// all that tells of a run.
  package init(path: String, header: HistoryHeader, keepsReplies: Bool = false) throws(HistoryError) {
    records = try BlockFile(path: path, header, .records)
    do throws(HistoryError) {
      let repliesPath = HistoryFormat.repliesPath(of: path)
      replies = try keepsReplies ? BlockFile(path: repliesPath, header, .replies) : nil
    } catch {
      unlink(path)
      throw error
    }
    let thread = Thread { [self] in work() }
    thread.name = "history"
    thread.start()
  }

  /// Hands over records, whole ones of 64 bytes, and the reply of each that has one, behind its length as
  /// u32. Waits where the disk is 64 MiB behind.
  package func append(
    _ bytes: UnsafeRawBufferPointer, replies: UnsafeRawBufferPointer = .init(start: nil, count: 0)
  ) {
    precondition(bytes.count % HistoryRecord.size == 0)
    guard !bytes.isEmpty else { return }
    condition.lock()
    defer { condition.unlock() }
    while queuedBytes > Self.queuedBytesMax, failure == nil { condition.wait() }
    guard failure == nil else { return }
    queue.append((Array(bytes), Array(replies)))
    queuedBytes += bytes.count + replies.count
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
    try replies?.finish(endedAt: endedAt)
    try records.finish(endedAt: endedAt)
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

  /// Replies first, so that a run that is killed leaves no record without its reply.
  private func write(_ parts: [(records: [UInt8], replies: [UInt8])]) throws(HistoryError) {
    if let replies {
      for part in parts { try replies.add(replies: part.replies) }
      try replies.flush()
    }
    for part in parts { try records.add(records: part.records) }
    try records.flush()
  }
}
