import Cluster
import DurablePartition
import Files
import Replication

/// A snapshot on its way in: piece after piece, into a file of its own. The partition's thread's.
struct SnapshotSink {
  private static let againMilliseconds: Int64 = 300

  let from: String
  private let path: String
  private let file: any File
  private var snapshot: UInt64 = 0
  private var offset = 0
  private var total: UInt64 = 0
  private(set) var mark = LogMark.empty
  private var askedAt: Int64 = .min / 2

  init(from node: String, _ setup: DurablePartition.Setup) throws(FileError) {
    from = node
    path = setup.incomingPath
    file = try setup.files.open(path, .create)
  }

  /// All of it is here, durably.
  private(set) var isComplete = false

  /// What to ask for now; nil: nothing yet.
  mutating func request(now: Int64) -> SnapshotMessage? {
    guard now - askedAt >= Self.againMilliseconds else { return nil }
    askedAt = now
    return .request(snapshot: snapshot, offset: UInt64(offset))
  }

  mutating func take(_ piece: SnapshotMessage.Piece) throws(FileError) {
    guard !isComplete else { return }
    if piece.snapshot != snapshot {
      guard piece.offset == 0 else { return }
      snapshot = piece.snapshot
      mark = piece.mark
      total = piece.total
      offset = 0
      try file.truncate(to: 0)
    }
    // One that came twice, or late.
    guard piece.offset == UInt64(offset), piece.mark == mark, piece.total == total, !piece.bytes.isEmpty
    else {
      return
    }
    try file.write(piece.bytes, at: offset)
    // The disk sets the pace too: whoever else syncs there does not wait behind gigabytes.
    try file.writeOut(from: offset)
    offset += piece.bytes.count
    askedAt = .min / 2
    guard UInt64(offset) == total else { return }
    try file.sync()
    isComplete = true
  }
}
