import Cluster

/// How much of its primary's log a learner has (rule 11), counted in entries.
package struct JoinProgress: Sendable {
  /// The tables as they are at one entry, which the learner copies.
  package struct Snapshot: Equatable, Sendable {
    package var entry: SequenceNumber
    package var bytesSent: Int
    package var bytes: Int

    package init(entry: SequenceNumber, bytesSent: Int, bytes: Int) {
      self.entry = entry
      self.bytesSent = bytesSent
      self.bytes = bytes
    }

    /// So many entries its bytes stand for.
    var entries: UInt64 {
      guard bytes > 0 else { return 0 }
      return UInt64(Double(entry.rawValue) * Double(min(max(0, bytesSent), bytes)) / Double(bytes))
    }
  }

  /// Of the primary's log.
  package var last: SequenceNumber
  /// By the learner, durably.
  package var acknowledged: SequenceNumber
  package var snapshot: Snapshot?

  package init(last: SequenceNumber, acknowledged: SequenceNumber, snapshot: Snapshot? = nil) {
    self.last = last
    self.acknowledged = acknowledged
    self.snapshot = snapshot
  }

  /// Below 100: who has all of it is a member soon, and no learner any more.
  package var percent: Int {
    guard last > .zero else { return 0 }
    let had = max(acknowledged.rawValue, snapshot?.entries ?? 0)
    return min(99, Int(Double(had) * 100 / Double(last.rawValue)))
  }
}
