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
  /// Why, where the controller asks; empty: an operator does. Members need not know it.
  package var proposalWhy: String

  package init(
    partition: PartitionID, epoch: Epoch, primary: String?, incarnation: Incarnation,
    secondaries: [String] = [], isOpened: Bool, proposal: GroupProposal? = nil, proposalWhy: String = ""
  ) {
    self.partition = partition
    self.epoch = epoch
    self.primary = primary
    self.incarnation = incarnation
    self.secondaries = secondaries
    self.isOpened = isOpened
    self.proposal = proposal
    self.proposalWhy = proposalWhy
  }

  /// A group that was never placed.
  package static func unplaced(_ partition: PartitionID) -> GroupRecord {
    GroupRecord(
      partition: partition, epoch: Epoch(0), primary: nil, incarnation: Incarnation(0), isOpened: false)
  }

  /// The primary first.
  package var members: [String] { (primary.map { [$0] } ?? []) + secondaries }

  /// Who is asked to join.
  package var learner: String? { if case .join(let node) = proposal { node } else { nil } }
  /// The members, and who is asked to join.
  package var concerned: [String] { members + (learner.map { [$0] } ?? []) }

  package static let membersMax = 255

  /// What no program of ours writes; nil: it is sound. An epoch has a next one, and a group that was
  /// placed is never empty (rule 7).
  package var problem: String? {
    guard Int(partition.rawValue) < Routing.partitionsMax else { return "\(partition) is no partition" }
    guard epoch.rawValue < UInt64(Int64.max) else { return "\(partition): \(epoch) is out of range" }
    guard (epoch.rawValue > 0) == (primary != nil) else {
      return "\(partition): a group is empty at epoch 0, and never again"
    }
    guard primary != nil || secondaries.isEmpty else {
      return "\(partition) has secondaries without a primary"
    }
    guard members.count <= Self.membersMax, Set(members).count == members.count else {
      return "\(partition) has a member twice, or more than \(Self.membersMax)"
    }
    guard proposalWhy.utf8.count <= GroupChange.textBytesMax else {
      return "\(partition) is asked for something for a reason of more than \(GroupChange.textBytesMax) bytes"
    }
    let names = members + (proposal.map { [$0.node] } ?? [])
    guard names.allSatisfy(NodeRecord.isName) else {
      return "\(partition) has a member without a proper name"
    }
    return nil
  }
}

/// What a group's primary is asked to bring about, by the controller or an operator.
package enum GroupProposal: Equatable, Sendable, CustomStringConvertible {
  /// A node is to catch up and become a secondary.
  case join(String)
  /// A secondary is to become the primary.
  case switchover(String)
  /// A secondary is to leave.
  case remove(String)

  package var description: String {
    switch self {
    case .join(let node): "join \(node)"
    case .switchover(let node): "switchover \(node)"
    case .remove(let node): "remove \(node)"
    }
  }

  /// Whom it is about.
  package var node: String {
    switch self {
    case .join(let node), .switchover(let node), .remove(let node): node
    }
  }
}
