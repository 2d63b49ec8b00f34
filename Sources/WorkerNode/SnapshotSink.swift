import Cluster
import DurablePartition
import Files
import Replication

/// A snapshot on its way in: piece after piece, into a file of its own. The partition's thread's.
struct SnapshotSink {
  private static let againMilliseconds: Int64 = 300

  let from: String
  private let setup: DurablePartition.Setup
  private let remover: Remover
  private var file: any File
  private var snapshot: UInt64 = 0
  private var offset = 0
  private var total: UInt64 = 0
  private var mark = LogMark.empty
  private var askedAt: Int64 = .min / 2

  /// Begun when all of it is here, durably. It takes a core for many seconds, in which the primary must hear of the
  /// learner, or it lets go of the log that goes on from there; and that log grows meanwhile.
  private var check: BackgroundReading<DurablePartition.CheckedSnapshot>?

  init(from node: String, _ setup: DurablePartition.Setup, remover: Remover) throws(FileError) {
    from = node
    self.setup = setup
    self.remover = remover
    file = try Self.begin(setup, remover)
  }

  private static func begin(_ setup: DurablePartition.Setup, _ remover: Remover) throws(FileError) -> any File
  {
    // Of another one there may be gigabytes.
    remover.remove(setup.incomingPath)
    return try setup.files.open(setup.incomingPath, .create)
  }

  /// What came in is not wanted any more.
  func discard() { remover.remove(setup.incomingPath) }

  /// All of it is here and was checked, or why it is refused; nil: not yet.
  var checked: Result<DurablePartition.CheckedSnapshot, any Error>? { check?.result }

  /// What to ask for now; nil: nothing yet.
  mutating func request(now: Int64) -> SnapshotMessage? {
    guard check == nil, now - askedAt >= Self.againMilliseconds else { return nil }
    askedAt = now
    return .request(snapshot: snapshot, offset: UInt64(offset))
  }

  mutating func take(_ piece: SnapshotMessage.Piece) throws(FileError) {
    guard check == nil else { return }
    if piece.snapshot != snapshot {
      guard piece.offset == 0 else { return }
      snapshot = piece.snapshot
      mark = piece.mark
      total = piece.total
      if offset > 0 { file = try Self.begin(setup, remover) }
      offset = 0
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
    check = BackgroundReading("check-\(setup.partition.rawValue)", isUrgent: true) {
      [setup, mark] _, mayGoOn in try setup.checkIncoming(mark, mayGoOn: mayGoOn)
    }
  }
}
