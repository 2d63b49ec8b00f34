/// A change of a group's members: what it becomes, who wants it, why, and when.
package struct GroupChange: Equatable, Sendable {
  /// Its epoch is the present one + 1. Its proposal replaces the present one; whether the group is
  /// opened, and why it is asked for something, is not a change's to say.
  package var record: GroupRecord
  package var why: String
  /// One process: ``NodeRecord/life``. So the same change comes from one place only, and proposing it
  /// again after an unknown outcome can't be taken for somebody else's.
  package var by: String
  /// What was known to be committed when it was proposed; zero: not known.
  package var commitPoint: SequenceNumber
  /// Milliseconds since the Unix epoch.
  package var at: Int64

  package init(
    _ record: GroupRecord, why: String, by: String, commitPoint: SequenceNumber = .zero, at: Int64
  ) {
    self.record = record
    self.record.isOpened = false
    self.record.proposalWhy = ""
    self.why = why
    self.by = by
    self.commitPoint = commitPoint
    self.at = at
  }

  package static let textBytesMax = 256
  /// Changes of one group that are told at a time. All are kept.
  package static let historyPage = 64

  /// What no configuration manager takes; nil: it is sound.
  package var problem: String? {
    if let problem = record.problem { return problem }
    guard record.epoch.rawValue > 0 else { return "a change leads to epoch 1 or a later one" }
    guard why.utf8.count <= Self.textBytesMax, by.utf8.count <= Self.textBytesMax else {
      return "a change's reason and author have at most \(Self.textBytesMax) bytes each"
    }
    guard commitPoint.rawValue <= UInt64(Int64.max) else {
      return "commit point \(commitPoint) is out of range"
    }
    return nil
  }
}

/// What became of a change, or of a proposal.
package enum ChangeOutcome: Equatable, Sendable {
  /// It was made. What was accepted once is accepted again: history keeps it.
  case accepted
  /// It was not made, and won't be: the group stands at another epoch. This is what holds.
  case refused(GroupRecord)
  /// It was not made, and won't be: who asked as the controller is not the controller any more.
  case deposed
  /// Nobody knows whether it was made, or may still be. Read the group before anything else;
  /// the same change may be proposed again. Says why.
  case unknown(String)
}

/// Groups that changed, and up to where that was looked at.
package struct GroupsView: Equatable, Sendable {
  /// By partition.
  package var groups: [GroupRecord]
  /// For the next look.
  package var revision: UInt64

  package init(groups: [GroupRecord], revision: UInt64) {
    self.groups = groups
    self.revision = revision
  }
}
