/// A group's configuration: who holds a partition's replicas, since when.
package struct GroupRecord: Equatable, Sendable {
  package var partition: PartitionID
  package var epoch: Epoch
  /// Name of the node; nil: not placed yet.
  package var primary: String?
  /// Of the primary's process when it took this epoch.
  package var incarnation: Incarnation
  /// Names of the other members, whose acknowledgement an answer waits for. Never the primary's.
  package var secondaries: [String]
  /// It has served: its data exists somewhere, and nobody may begin it anew.
  package var isOpened: Bool
  /// What the primary is asked to bring about. Asking does not change the epoch; the change does.
  package var proposal: GroupProposal?

  package init(
    partition: PartitionID, epoch: Epoch, primary: String?, incarnation: Incarnation,
    secondaries: [String] = [], isOpened: Bool, proposal: GroupProposal? = nil
  ) {
    self.partition = partition
    self.epoch = epoch
    self.primary = primary
    self.incarnation = incarnation
    self.secondaries = secondaries
    self.isOpened = isOpened
    self.proposal = proposal
  }

  /// The primary first.
  package var members: [String] { (primary.map { [$0] } ?? []) + secondaries }
}

/// What a group's primary is asked to bring about, by the controller or an operator.
package enum GroupProposal: Equatable, Sendable {
  /// A node is to catch up and become a secondary.
  case join(String)
  /// A secondary is to become the primary.
  case switchover(String)
  /// A secondary is to leave.
  case remove(String)
}
