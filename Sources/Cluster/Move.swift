/// A partition's replica that an operator wants elsewhere: join the target, switch over where the source is
/// the primary, remove the source. Where it stands can be read from the group, so nothing else is kept.
package struct Move: Equatable, Sendable, CustomStringConvertible {
  package let partition: PartitionID
  package let source: String
  package let target: String

  package init(partition: PartitionID, source: String, target: String) {
    self.partition = partition
    self.source = source
    self.target = target
  }

  /// The way back, while the source still follows.
  package var undone: Move { Move(partition: partition, source: target, target: source) }

  package func next(in group: GroupRecord) -> GroupProposal? {
    guard group.members.contains(target) else { return .join(target) }
    if group.primary == source { return .switchover(target) }
    return group.secondaries.contains(source) ? .remove(source) : nil
  }

  package func isDone(in group: GroupRecord) -> Bool { next(in: group) == nil }

  /// - Parameter joined: how much of the data the target has, in per cent, as the primary tells it.
  package func perCent(in group: GroupRecord, joined: Int = 0) -> Int {
    switch next(in: group) {
    case .join: max(0, min(100, joined)) * 8 / 10
    case .switchover: 80
    case .remove: 90
    case nil: 100
    }
  }

  /// What no configuration manager takes; nil: it is sound.
  package var problem: String? {
    guard Int(partition.rawValue) < Routing.partitionsMax else { return "\(partition) is no partition" }
    guard NodeRecord.isName(source), NodeRecord.isName(target), source != target else {
      return "a move of \(partition) is from one node to another"
    }
    return nil
  }

  package var description: String { "\(partition) moves from \(source) to \(target)" }
}
