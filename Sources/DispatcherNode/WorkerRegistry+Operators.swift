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
      let epoch = wanted.beforeEpoch == 0 ? nil : Epoch(wanted.beforeEpoch)
      return .order(.history(group.partition, before: epoch))
    case .switchPrimary(let wanted):
      guard let group = group(wanted.partition) else { return noPartition(wanted.partition) }
      return consider(wanted, group)
    case .moveReplica(let wanted):
      guard let group = group(wanted.partition) else { return noPartition(wanted.partition) }
      return consider(wanted, group)
    case .drainWorker(let wanted): return consider(wanted)
    case .removeWorker(let wanted): return consider(wanted)
    case .restartGroup(let wanted):
      guard let group = group(wanted.partition) else { return noPartition(wanted.partition) }
      return consider(wanted, group)
    default: return .no("This command is no operator's.")
    }
  }

  private func consider(_ wanted: Laris_DrainWorker) -> Verdict {
    guard let plans else { return Self.tooEarly }
    guard !plans.removed.contains(wanted.node) else {
      return .no("\(wanted.node) was taken out of the cluster.")
    }
    // Another dispatcher may just have been told to drain it.
    if wanted.undo { return .order(.plan(nil, for: wanted.node)) }
    if plans.draining.contains(wanted.node) { return .done }
    guard isListed(wanted.node) else { return .no("There is no worker \(quoted(wanted.node)).") }
    return .order(.plan(.draining, for: wanted.node))
  }

  /// Of one that is in a group only that group can tell whether it is needed, and does: who is silent is dropped.
  private func consider(_ wanted: Laris_RemoveWorker) -> Verdict {
    guard let plans else { return Self.tooEarly }
    let node = wanted.node
    if wanted.undo { return plans.removed.contains(node) ? .order(.plan(nil, for: node)) : .done }
    if plans.removed.contains(node) { return .done }
    guard isListed(node) || plans.draining.contains(node) else {
      return .no("There is no worker \(quoted(node)).")
    }
    guard !isAlive(node) else {
      return .no("\(node) is alive: drain it with laris worker drain \(node), then stop it.")
    }
    let needed = groups.filter { $0.members.contains(node) }
    guard needed.isEmpty else {
      let names = needed.map { "\($0.partition.rawValue)" }.joined(separator: " ")
      let alone = needed.filter { $0.members.allSatisfy { !isAlive($0) } }.map { "\($0.partition.rawValue)" }
      return .no(
        "\(node) is a member of partitions \(names)"
          + (alone.isEmpty
            ? "; the others drop it as soon as they can."
            : "; nobody else has all of \(alone.joined(separator: " ")): bring it back, or look at "
              + "laris partition restart-from."))
    }
    if let move = plans.moves.first(where: { $0.source == node || $0.target == node }) {
      return .no("\(move); take that back first.")
    }
    return .order(.plan(.removed, for: node))
  }

  private static let tooEarly = Verdict.no("This dispatcher has just started; ask again.")

  private func isListed(_ node: String) -> Bool {
    isKnown(node) || groups.contains { $0.concerned.contains(node) }
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

  /// As long as a member lives, the group is its own affair: nothing need be lost.
  private func consider(_ wanted: Laris_RestartGroup, _ group: GroupRecord) -> Verdict {
    let (number, node) = (wanted.partition, wanted.node)
    guard group.primary != nil else {
      return .no("Partition \(number) was never placed: it has nothing to lose.")
    }
    if group.primary == node, wanted.acceptLoss { return .done }
    if let member = group.members.first(where: isAlive) {
      return .no(
        "\(member) is alive, and a member of partition \(number): it goes on by itself. If what it has is damaged, "
          + "its log says so: keep its folder, stop \(member), and ask again.")
    }
    guard isAlive(node) else {
      return .no(isKnown(node) ? "\(node) is away." : "There is no worker \(quoted(node)).")
    }
    guard let replica = replica(of: group.partition, on: node) else {
      return .no("\(node) has no data of partition \(number).")
    }
    guard !replica.unclean else {
      return .no("What \(node) has of partition \(number) is damaged, or was never complete.")
    }
    let said = group.members.compactMap { self.replica(of: group.partition, on: $0)?.committed }
    return .order(
      .restart(
        GroupRestart(
          present: group, node: node, incarnation: incarnation(of: node),
          last: SequenceNumber(max(replica.last, replica.committed)),
          committed: SequenceNumber(said.max() ?? 0), isAccepted: wanted.acceptLoss, by: life)))
  }

  private func consider(_ wanted: Laris_MoveReplica, _ group: GroupRecord) -> Verdict {
    let move = Move(partition: group.partition, source: wanted.from, target: wanted.to)
    if let problem = move.problem { return .no("\(problem).") }
    guard let plans else { return Self.tooEarly }
    let planned = plans[group.partition]
    if wanted.undo {
      guard planned == nil || planned == move || planned == move.undone else {
        return .no("\(planned!) instead.")
      }
      if planned == move.undone { return .done }
      // Another dispatcher may just have been told of it.
      if planned == nil, move.undone.isDone(in: group) { return .order(.takeBack(move)) }
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
    guard !plans.removed.contains(move.target) else {
      return .no("\(move.target) was taken out of the cluster.")
    }
    guard isAlive(move.target) else {
      return .no(
        isKnown(move.target) ? "\(move.target) is away." : "There is no worker \(quoted(move.target)).")
    }
    guard !plans.draining.contains(move.target) else {
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
