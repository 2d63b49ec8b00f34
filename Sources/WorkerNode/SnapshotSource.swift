import Cluster
import DurablePartition
import Files
import Foundation
import Logging
import NodeSupport
import PartitionStore
import Replication
import Synchronization

/// Gives learners the tables as they are at one entry: a copy that one read transaction makes, on a thread of
/// its own, and that goes out in pieces. The partition's thread's, but for that thread.
///
/// The log is kept from that entry on as long as a learner is heard (`Replica.mayTrim`).
final class SnapshotSource {
  private struct Copy {
    let number: UInt64
    let mark: LogMark
    let file: any File
    let bytes: Int
    var usedAt: Int64
    /// Who asked last, and what it has by then.
    var learner = ""
    var bytesSent = 0
  }

  /// What the thread has made.
  private final class Making: Sendable {
    let made = Mutex<Result<SequenceNumber, any Error>?>(nil)
  }

  /// A copy that nobody asked for in so long is removed.
  private static let keepMilliseconds: Int64 = 30_000
  private static let restMillisecondsMax: Int64 = 40

  private let setup: DurablePartition.Setup
  private let logger: Logger
  private var copy: Copy?
  private let making = Making()
  private var maker: NodeThread?
  private let remover: Remover
  /// Nobody wants the copy that is being made any more.
  private let ending = StopFlag()
  private var path: String { setup.snapshotPath }

  init(_ setup: DurablePartition.Setup, remover: Remover, logger: Logger) {
    self.setup = setup
    self.remover = remover
    self.logger = logger
  }

  deinit {
    ending.set()
    maker?.join()
  }

  /// Somebody needs one.
  func offer(now: Int64) {
    if copy != nil { copy!.usedAt = now } else if maker == nil { make() }
  }

  private func make() {
    let (source, target, files) = (setup.databasePath, path, setup.files)
    maker = NodeThread("snapshot-\(setup.partition.rawValue)") { [making, ending] in
      // While it reads, SQLite's WAL can only grow, and all of it is moved at once afterwards.
      Scheduling.worksInBackground(isUrgent: true)
      var began = Clock.steadyMilliseconds()
      let result = Result {
        if ending.isSet { throw CancellationError() }
        return try PartitionSnapshot.make(of: source, at: target, files: files) {
          if ending.isSet { throw CancellationError() }
          // Half of the disk is for the others, but a slow one does not keep the log for ever.
          usleep(UInt32(1_000 * min(Clock.steadyMilliseconds() - began, Self.restMillisecondsMax)))
          began = Clock.steadyMilliseconds()
        }
      }
      making.made.withLock { $0 = result }
    }
  }

  /// Takes up a copy that was made, and removes one that nobody wants any more.
  func turn(_ replica: borrowing Replica, now: Int64) {
    if let result = making.made.withLock({ $0.take() }) {
      maker?.join()
      maker = nil
      do {
        let sn = try result.get()
        // Only of an entry that the log goes on from.
        guard let mark = replica.index.mark(at: sn) else { return discard() }
        let file = try setup.files.open(path, .read)
        copy = Copy(
          number: .random(in: 1...UInt64.max), mark: mark, file: file, bytes: try file.size(), usedAt: now)
        logger.info(
          "partition \(setup.partition.rawValue) has a snapshot for a learner",
          metadata: ["entry": "\(sn)", "bytes": "\(copy!.bytes)"])
      } catch {
        logger.error("partition \(setup.partition.rawValue): a snapshot could not be made: \(error)")
        discard()
      }
    }
    if let copy, now - copy.usedAt > Self.keepMilliseconds || replica.index.mark(at: copy.mark.sn) == nil {
      discard()
    }
  }

  private func discard() {
    copy = nil
    remover.remove(path)
  }

  /// What a learner was sent; nil: nothing yet.
  func progress(of learner: String) -> JoinProgress.Snapshot? {
    guard let copy, copy.learner == learner else { return nil }
    return JoinProgress.Snapshot(entry: copy.mark.sn, bytesSent: copy.bytesSent, bytes: copy.bytes)
  }

  /// The piece that was asked for. Where there is no snapshot yet, one is made.
  func piece(
    _ snapshot: UInt64, _ offset: UInt64, to learner: String, now: Int64,
    _ body: (SnapshotMessage.Piece) -> Void
  ) {
    guard copy != nil else { return offer(now: now) }
    copy!.usedAt = now
    // Of one that is no more: it begins anew.
    let start = snapshot == copy!.number ? Int(clamping: offset) : 0
    guard start <= copy!.bytes,
      let bytes = try? copy!.file.contents(from: start, to: start + SnapshotMessage.pieceBytesMax)
    else { return }
    copy!.learner = learner
    copy!.bytesSent = start + bytes.count
    bytes.withUnsafeBytes { bytes in
      body(
        .init(
          snapshot: copy!.number, mark: copy!.mark, total: UInt64(copy!.bytes), offset: UInt64(start),
          bytes: bytes))
    }
  }
}
