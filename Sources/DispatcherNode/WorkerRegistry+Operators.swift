import Cluster
import LarisProtocol

extension WorkerRegistry {
  enum Verdict {
    /// A sentence.
    case no(String)
    case done
    case order(OperatorOrder)
  }

  /// What is to be done for an operator. Of the cluster as it was seen last: the store has the last word.
  func consider(_ command: Laris_Request.OneOf_Command?) -> Verdict {
    switch command {
    case .getGroupHistory(let wanted):
      guard let group = group(wanted.partition) else { return noPartition(wanted.partition) }
      return .order(.history(group.partition))
    case .switchPrimary(let wanted):
      guard let group = group(wanted.partition) else { return noPartition(wanted.partition) }
      return consider(wanted, group)
    case .moveReplica(let wanted):
      guard let group = group(wanted.partition) else { return noPartition(wanted.partition) }
      return consider(wanted, group)
    case .drainWorker(let wanted):
      let isDraining = plans?.draining.contains(wanted.node) ?? false
      if wanted.undo { return isDraining ? .order(.drain(wanted.node, false)) : .done }
      if isDraining { return .done }
      guard isKnown(wanted.node) || groups.contains(where: { $0.members.contains(wanted.node) }) else {
        return .no("There is no worker \(quoted(wanted.node)).")
      }
      return .order(.drain(wanted.node, true))
    default: return .no("This command is no operator's.")
    }
  }

  private func consider(_ wanted: Laris_SwitchPrimary, _ group: GroupRecord) -> Verdict {
    if group.primary == wanted.to { return .done }
    guard group.secondaries.contains(wanted.to) else {
      return .no(
        "\(quoted(wanted.to)) is no secondary of partition \(wanted.partition); it has "
          + (group.secondaries.isEmpty ? "none." : "\(group.secondaries.joined(separator: ", "))."))
    }
    guard isAlive(wanted.to) else { return .no("\(wanted.to) is away.") }
    return .order(.ask(.switchover(wanted.to), group.partition, ifEpoch: group.epoch))
  }

  private func consider(_ wanted: Laris_MoveReplica, _ group: GroupRecord) -> Verdict {
    let move = Move(partition: group.partition, source: wanted.from, target: wanted.to)
    if let problem = move.problem { return .no("\(problem).") }
    let planned = plans?[group.partition]
    if wanted.undo {
      guard planned == nil || planned == move || planned == move.undone else {
        return .no("\(planned!) instead.")
      }
      if planned == move.undone || (planned == nil && move.undone.isDone(in: group)) { return .done }
      guard isKnown(move.source) else { return .no("There is no worker \(quoted(move.source)).") }
      return .order(.move(move.undone, insteadOf: planned))
    }
    if planned == move || (planned == nil && move.isDone(in: group)) { return .done }
    if let planned { return .no("\(planned) already; take that back first with --undo.") }
    guard group.members.contains(move.source) else {
      return .no("\(quoted(move.source)) has no replica of partition \(wanted.partition).")
    }
    guard !group.members.contains(move.target) else {
      return .no("\(move.target) has a replica of partition \(wanted.partition) already.")
    }
    guard isAlive(move.target) else {
      return .no(
        isKnown(move.target) ? "\(move.target) is away." : "There is no worker \(quoted(move.target)).")
    }
    guard plans?.draining.contains(move.target) != true else {
      return .no("\(move.target) is being drained.")
    }
    return .order(.move(move, insteadOf: nil))
  }

  private func group(_ partition: UInt32) -> GroupRecord? {
    Int(partition) < groups.count ? groups[Int(partition)] : nil
  }

  private func noPartition(_ partition: UInt32) -> Verdict {
    .no("There is no partition \(partition); the cluster has \(groups.count), from 0.")
  }

  /// Of what an operator wrote no more than a name may be long.
  private func quoted(_ name: String) -> String { "'\(name.prefix(NodeRecord.nameBytesMax))'" }
}
