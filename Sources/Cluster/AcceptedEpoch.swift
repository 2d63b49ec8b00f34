/// The highest epoch that a replica accepted (rule 1), and whose it was.
package struct AcceptedEpoch: Equatable, Sendable {
  package let epoch: Epoch
  /// nil: it is not known.
  package let primary: String?
  package let secondaries: [String]

  /// Of members that are not known.
  package init(_ epoch: Epoch) {
    self.epoch = epoch
    primary = nil
    secondaries = []
  }

  /// nil: it is no configuration that a program of ours writes.
  package init?(_ epoch: Epoch, primary: String, secondaries: [String]) {
    let members = [primary] + secondaries
    guard epoch.rawValue > 0, members.count <= GroupRecord.membersMax, Set(members).count == members.count,
      members.allSatisfy(NodeRecord.isName)
    else { return nil }
    self.epoch = epoch
    self.primary = primary
    self.secondaries = secondaries
  }

  package init(_ record: GroupRecord) {
    epoch = record.epoch
    primary = record.primary
    secondaries = record.secondaries
  }

  /// The primary first.
  package var members: [String] { (primary.map { [$0] } ?? []) + secondaries }
}
