/// A configuration store without a disk: the rules of one, and the model for the others.
package struct ConfigurationState: Sendable {
  package let cluster: ClusterRecord
  private var groups: [GroupRecord]
  /// When each was changed last.
  private var revisions: [UInt64]
  private var history: [[GroupChange]]
  private var folders: [String: String] = [:]
  private var draining: Set<String> = []
  private var removed: Set<String> = []
  private var moves: [PartitionID: Move] = [:]
  private var revision: UInt64 = 0
  private var liveness = Liveness()

  package init(_ cluster: ClusterRecord) {
    self.cluster = cluster
    groups = (0..<cluster.partitions).map { .unplaced(PartitionID(UInt16($0))) }
    revisions = Array(repeating: 0, count: cluster.partitions)
    history = Array(repeating: [], count: cluster.partitions)
  }

  package func groups(since known: UInt64?) -> GroupsView {
    let changed = groups.indices.filter { known == nil || revisions[$0] > known! }
    return GroupsView(groups: changed.map { groups[$0] }, revision: revision)
  }

  package func group(_ partition: PartitionID) -> GroupRecord { groups[Int(partition.rawValue)] }

  /// The latest changes before `epoch`, or of all, the oldest first.
  package func history(of partition: PartitionID, before epoch: Epoch? = nil) -> [GroupChange] {
    let older = history[Int(partition.rawValue)].prefix { epoch == nil || $0.record.epoch < epoch! }
    return Array(older.suffix(GroupChange.historyPage))
  }

  private mutating func touch(_ number: Int) {
    revision += 1
    revisions[number] = revision
  }

  package mutating func change(
    _ change: GroupChange, as controller: Leadership? = nil, now: Int64
  ) -> ChangeOutcome {
    precondition(change.problem == nil, "\(change.problem!)")
    let number = Int(change.record.partition.rawValue)
    if let known = history[number].last(where: { $0.record.epoch == change.record.epoch }) {
      return known == change ? .accepted : .refused(groups[number])
    }
    guard groups[number].epoch.next == change.record.epoch else { return .refused(groups[number]) }
    guard isController(controller, now: now) else { return .deposed }
    let isOpened = groups[number].isOpened
    groups[number] = change.record
    groups[number].isOpened = isOpened
    history[number].append(change)
    touch(number)
    return .accepted
  }

  package mutating func propose(
    _ proposal: GroupProposal?, why: String = "", to partition: PartitionID, ifEpoch epoch: Epoch,
    as controller: Leadership? = nil, now: Int64
  ) -> ChangeOutcome {
    let number = Int(partition.rawValue)
    guard groups[number].epoch == epoch else { return .refused(groups[number]) }
    guard isController(controller, now: now) else { return .deposed }
    groups[number].proposal = proposal
    groups[number].proposalWhy = proposal == nil ? "" : why
    touch(number)
    return .accepted
  }

  private mutating func isController(_ claimed: Leadership?, now: Int64) -> Bool {
    guard let claimed else { return true }
    return liveness.controller(now: now)?.revision == claimed.revision
  }

  package mutating func markOpened(_ partition: PartitionID) {
    let number = Int(partition.rawValue)
    guard !groups[number].isOpened else { return }
    groups[number].isOpened = true
    touch(number)
  }

  package mutating func claim(node: String, folder: String) -> Bool {
    if let known = folders[node] { return known == folder }
    folders[node] = folder
    return true
  }

  package var plans: Plans {
    Plans(
      draining: draining, removed: removed, moves: moves.values.sorted { $0.partition < $1.partition })
  }

  package mutating func setPlan(_ plan: Plans.Worker?, for node: String) {
    draining.remove(node)
    removed.remove(node)
    switch plan {
    case .draining: draining.insert(node)
    case .removed: removed.insert(node)
    case nil: break
    }
  }

  package mutating func setMove(
    _ move: Move?, of partition: PartitionID, insteadOf present: Move?
  ) -> Move? {
    if moves[partition] == present { moves[partition] = move }
    return moves[partition]
  }

  package mutating func register(_ node: NodeRecord, milliseconds: Int64, now: Int64) -> Session {
    liveness.register(node, milliseconds: milliseconds, now: now)
  }
  package mutating func keepAlive(_ session: Session, now: Int64) -> Session? {
    liveness.keepAlive(session.id, now: now)
  }
  package mutating func end(_ session: Session) { liveness.end(session.id) }
  package mutating func nodes(now: Int64) -> [NodeRecord] { liveness.nodes(now: now) }

  package mutating func campaign(_ session: Session, life: String, now: Int64) -> Leadership? {
    liveness.campaign(session.id, life: life, now: now) {
      revision += 1
      return revision
    }
  }
  package mutating func controller(now: Int64) -> Leadership? { liveness.controller(now: now) }
  package mutating func resign(_ leadership: Leadership) { liveness.resign(leadership) }
}
