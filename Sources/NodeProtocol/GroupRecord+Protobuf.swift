import Cluster
import LarisProtocol

/// Why a message between nodes is not what it should be.
package struct NodeProtocolError: Error, Equatable, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

extension GroupRecord {
  /// - Throws: it is no record that a program of ours writes (``problem``).
  package init(_ group: Laris_Group) throws(NodeProtocolError) {
    guard let number = UInt16(exactly: group.partition) else {
      throw NodeProtocolError("partition \(group.partition) is none")
    }
    // Counted before anything is made of them.
    guard group.secondaries.count < Self.membersMax else {
      throw NodeProtocolError("a group with \(group.secondaries.count) secondaries is none")
    }
    self.init(
      partition: PartitionID(number), epoch: Epoch(group.epoch),
      primary: group.primary.isEmpty ? nil : group.primary, incarnation: Incarnation(group.incarnation),
      secondaries: group.secondaries, isOpened: group.opened,
      proposal: group.hasProposal ? try GroupProposal(group.proposal) : nil)
    if let problem { throw NodeProtocolError(problem) }
  }

  package var message: Laris_Group {
    var group = Laris_Group()
    group.partition = UInt32(partition.rawValue)
    group.epoch = epoch.rawValue
    group.primary = primary ?? ""
    group.incarnation = incarnation.rawValue
    group.secondaries = secondaries
    group.opened = isOpened
    if let proposal { group.proposal = proposal.message }
    return group
  }
}

extension GroupProposal {
  package init(_ proposal: Laris_Proposal) throws(NodeProtocolError) {
    guard NodeRecord.isName(proposal.node) else {
      throw NodeProtocolError("a proposal names no node")
    }
    switch proposal.kind {
    case .join: self = .join(proposal.node)
    case .switchover: self = .switchover(proposal.node)
    case .remove: self = .remove(proposal.node)
    case .unspecified, .UNRECOGNIZED:
      throw NodeProtocolError("a proposal of kind \(proposal.kind.rawValue) is none")
    }
  }

  package var message: Laris_Proposal {
    var message = Laris_Proposal()
    message.node = node
    message.kind =
      switch self {
      case .join: .join
      case .switchover: .switchover
      case .remove: .remove
      }
    return message
  }
}
