import Bytes
import Cluster
import WorkerCore

/// Answers that wait until what they are of is committed.
struct HeldAnswers {
  private struct Group {
    let sn: SequenceNumber
    let hasReads: Bool
    let frames: [(dispatcher: Int, bytes: [UInt8])]
    let audits: [PartitionCore.AuditTicket]
  }
  private var groups: [Group] = []

  var isEmpty: Bool { groups.isEmpty }

  /// Takes the answers of the group that was applied last.
  mutating func hold(_ core: borrowing PartitionCore) {
    groups.append(
      Group(
        sn: core.applied, hasReads: core.hasReads,
        frames: core.frames.map { frame in
          (frame.dispatcher, Array(UnsafeRawBufferPointer(rebasing: core.answers.bytes[frame.bytes])))
        },
        audits: core.audits))
  }

  /// Lets go of those that may leave, oldest first. A read that may not leave keeps what is behind it.
  ///
  /// - Parameter mayRead: whether a read of what is committed may be answered now.
  /// - Returns: audits that may begin.
  mutating func release(
    through committed: SequenceNumber, mayRead: Bool,
    _ send: (_ dispatcher: Int, _ frame: UnsafeRawBufferPointer) throws -> Void
  ) rethrows -> [PartitionCore.AuditTicket] {
    var audits: [PartitionCore.AuditTicket] = []
    var count = 0
    while count < groups.count, groups[count].sn <= committed {
      let group = groups[count]
      guard !group.hasReads || mayRead else { break }
      for frame in group.frames { try frame.bytes.withUnsafeBytes { try send(frame.dispatcher, $0) } }
      audits += group.audits
      count += 1
    }
    groups.removeFirst(count)
    return audits
  }

  /// Nobody gets them: who asked asks the next primary.
  mutating func forget() { groups.removeAll() }
}
