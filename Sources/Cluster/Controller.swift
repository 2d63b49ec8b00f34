/// What should become of the groups, seen from above: decided here, made true by a compare-and-swap.
///
/// - A group that was never placed is placed, once the workers that were announced are there.
/// - A group below its replica count is asked to let a worker join (rule 14): at once one that has its data
///   already, after a delay any other.
/// - Workers that are drained, and moves, are taken step by step: join, switch over, remove (rule 13).
/// - A primary whose disk is full hands over to a secondary that has room.
/// - Primaries that have piled up on a worker, because others were away, are spread again, gently.
///
/// A process that is a new one, a silent member, a lost primary: what only the members can know is theirs to
/// change (rules 7 and 8).
///
/// It asks a group for one thing at a time, and a worker to catch up in one group at a time. It never
/// proposes a worker that is not alive. What is asked is in the group's record, so another controller
/// goes on where this one was; only delays begin anew.
package struct Controller: Sendable {
  package struct Terms: Equatable, Sendable {
    package var replicas: Int
    /// On how many members a command is durable before it is answered.
    package var minReplicas: Int
    /// Nothing is placed before so many workers are there, so that it is even.
    package var initialWorkers: Int
    /// How long a group may be below its replica count: who was away for less has little to catch up.
    package var healingMilliseconds: Int64
    /// How long a group is left in peace before its primary changes for balance; nil: it never does.
    package var restMilliseconds: Int64?

    package init(
      replicas: Int = 1, minReplicas: Int? = nil, initialWorkers: Int, healingMilliseconds: Int64 = 30_000,
      restMilliseconds: Int64? = 30_000
    ) {
      self.replicas = replicas
      self.minReplicas = minReplicas ?? ClusterRecord.minReplicas(of: replicas)
      self.initialWorkers = initialWorkers
      self.healingMilliseconds = healingMilliseconds
      self.restMilliseconds = restMilliseconds
    }
  }

  /// One that is alive.
  package struct Worker: Equatable, Sendable {
    package var node: String
    package var incarnation: Incarnation
    package var zone: String?
    /// It gets nothing new, and gives away what it has.
    package var isDraining: Bool
    /// Partitions of which its folder has data.
    package var holds: Set<PartitionID>
    /// Of which it follows as a secondary, or acts as the primary, in the present epoch.
    package var inSync: Set<PartitionID>
    /// Of which it refuses writes, because the disk is full.
    package var full: Set<PartitionID>
    /// Partitions in which it has stopped until it is started again.
    package var halted: Set<PartitionID>

    package init(
      node: String, incarnation: Incarnation, zone: String? = nil, isDraining: Bool = false,
      holds: Set<PartitionID> = [], inSync: Set<PartitionID> = [], full: Set<PartitionID> = [],
      halted: Set<PartitionID> = []
    ) {
      self.node = node
      self.incarnation = incarnation
      self.zone = zone
      self.isDraining = isDraining
      self.holds = holds
      self.inSync = inSync
      self.full = full
      self.halted = halted
    }
  }

  package enum Step: Equatable, Sendable {
    /// Its epoch is the present one + 1.
    case place(GroupRecord, why: String)
    case ask(PartitionID, GroupProposal?, epoch: Epoch, why: String)

    package var partition: PartitionID {
      switch self {
      case .place(let record, _): record.partition
      case .ask(let partition, _, _, _): partition
      }
    }
  }

  package let terms: Terms
  /// Since when a group has been below its replica count.
  private var below: [PartitionID: Int64] = [:]
  var rest = Rest()

  package init(_ terms: Terms) { self.terms = terms }

  /// - Parameters:
  ///   - groups: as the configuration manager has them.
  ///   - alive: the workers that are.
  ///   - now: milliseconds of a clock that never runs back.
  /// - Returns: at most one a group.
  package mutating func steps(
    groups: [GroupRecord], alive: [Worker], moves: [Move] = [], now: Int64
  ) -> [Step] {
    var crew = Crew(alive, groups: groups)
    var steps = placements(groups, &crew)
    let moves = Dictionary(moves.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
    rest.note(groups, crew, now: now)
    for group in groups where group.primary != nil {
      noteStrength(of: group, now: now)
      guard let wanted = wish(for: group, moves[group.partition], &crew, now: now) else { continue }
      guard wanted.proposal != group.proposal else { continue }
      steps.append(.ask(group.partition, wanted.proposal, epoch: group.epoch, why: wanted.why))
    }
    // Where there is nothing else to do, so that it never stands in the way.
    if steps.isEmpty, let (group, wanted) = balance(groups, moves, crew, now: now) {
      rest.noteBalancing(now: now)
      steps.append(.ask(group.partition, wanted.proposal, epoch: group.epoch, why: wanted.why))
    }
    return steps
  }

  // MARK: Whole groups

  private func placements(_ groups: [GroupRecord], _ crew: inout Crew) -> [Step] {
    let isPlaced = groups.contains { $0.primary != nil }
    guard isPlaced || crew.count >= terms.initialWorkers else { return [] }
    var steps: [Step] = []
    for group in groups where group.primary == nil {
      var members: [String] = []
      while members.count < max(1, terms.replicas),
        let next = crew.best(for: group.partition, beside: members)
      {
        members.append(next.node)
        crew.note(next.node, isPrimary: false)
      }
      guard let primary = crew.leastPrimaries(of: members), let worker = crew[primary] else { break }
      crew.note(primary, isPrimary: true)
      let record = GroupRecord(
        partition: group.partition, epoch: group.epoch.next, primary: primary,
        incarnation: worker.incarnation, secondaries: members.filter { $0 != primary },
        isOpened: group.isOpened)
      steps.append(
        .place(record, why: "placed on \(([primary] + record.secondaries).joined(separator: ", "))"))
    }
    return steps
  }

  private mutating func noteStrength(of group: GroupRecord, now: Int64) {
    if group.members.count >= terms.replicas {
      below[group.partition] = nil
    } else if below[group.partition] == nil {
      below[group.partition] = now
    }
  }

  // MARK: What one group is asked for

  struct Wish {
    var proposal: GroupProposal?
    var why: String
  }

  /// What the group should be asked for from now on. nil: what it is asked for already.
  private func wish(
    for group: GroupRecord, _ move: Move?, _ crew: inout Crew, now: Int64
  ) -> Wish? {
    // Nobody is there to carry anything out; but what can't be any more is not left standing.
    guard crew[group.primary!] != nil else {
      guard let stands = group.proposal, obstacle(to: stands, in: group, crew) != nil else { return nil }
      crew.release(group.proposal, of: group.partition)
      return Wish(proposal: nil, why: "it can't be carried out")
    }
    var why = "nothing is to be done"
    if let stands = group.proposal {
      guard let obstacle = obstacle(to: stands, in: group, crew) else {
        if isStillWanted(stands, in: group, move, crew) { return nil }
        crew.release(stands, of: group.partition)
        return next(for: group, move, &crew, now: now)
          ?? Wish(proposal: nil, why: "it is not wanted any more")
      }
      why = obstacle
      crew.release(stands, of: group.partition)
    }
    return next(for: group, move, &crew, now: now) ?? Wish(proposal: nil, why: why)
  }

  /// Why a proposal can't be carried out; nil: it can.
  private func obstacle(to proposal: GroupProposal, in group: GroupRecord, _ crew: Crew) -> String? {
    let isSecondary = group.secondaries.contains(proposal.node)
    switch proposal {
    case .join(let node):
      if group.members.contains(node) { return "\(node) has joined" }
      guard let worker = crew[node] else { return "\(node) is away" }
      if worker.halted.contains(group.partition) { return "\(node) has stopped there" }
      return worker.isDraining ? "\(node) is being drained" : nil
    case .switchover(let node):
      if group.primary == node { return "\(node) is the primary" }
      guard isSecondary, crew[node] != nil else { return "\(node) is away" }
      return nil
    case .remove(let node): return isSecondary ? nil : "\(node) has left"
    }
  }

  private func isStillWanted(
    _ proposal: GroupProposal, in group: GroupRecord, _ move: Move?, _ crew: Crew
  ) -> Bool {
    switch proposal {
    case .join(let node):
      if let move, move.target == node { return true }
      return group.members.filter { !crew.isDraining($0) }.count < terms.replicas
    // An operator may ask for one by hand; it harms nobody.
    case .switchover: return true
    case .remove(let node):
      return move?.source == node || crew.isDraining(node) || group.members.count > terms.replicas
    }
  }

  private func next(
    for group: GroupRecord, _ move: Move?, _ crew: inout Crew, now: Int64
  ) -> Wish? {
    if let move, crew[move.target] != nil, let proposal = move.next(in: group),
      mayAsk(proposal, in: group, crew)
    {
      if case .join(let node) = proposal {
        guard crew.reserve(node, for: group.partition) else { return nil }
      }
      return Wish(proposal: proposal, why: "\(move)")
    }
    if move.map({ !$0.isDone(in: group) }) ?? false { return nil }
    return drain(group, &crew) ?? relieve(group, crew, now: now) ?? heal(group, &crew, now: now)
      ?? shrink(group, crew)
  }

  /// A removal never takes a group below what must be durable before an answer.
  private func mayAsk(_ proposal: GroupProposal, in group: GroupRecord, _ crew: Crew) -> Bool {
    guard obstacle(to: proposal, in: group, crew) == nil else { return false }
    guard case .remove(let node) = proposal else { return true }
    return group.members.filter { $0 != node && crew[$0] != nil }.count >= terms.minReplicas
  }

  private func drain(_ group: GroupRecord, _ crew: inout Crew) -> Wish? {
    guard let leaving = group.members.last(where: crew.isDraining) else { return nil }
    let why = "\(leaving) is being drained"
    let staying = group.members.filter { crew[$0] != nil && !crew.isDraining($0) }
    if staying.count < terms.replicas,
      let joining = crew.best(for: group.partition, beside: group.members, isFree: true)
    {
      _ = crew.reserve(joining.node, for: group.partition)
      return Wish(proposal: .join(joining.node), why: why)
    }
    // With too few workers for all replicas, it leaves those that there can be.
    guard staying.count >= min(terms.replicas, max(crew.stayingCount, terms.minReplicas)) else { return nil }
    if group.primary.map(crew.isDraining) == true {
      return crew.leastPrimaries(of: staying).map { Wish(proposal: .switchover($0), why: why) }
    }
    let removal = GroupProposal.remove(leaving)
    return mayAsk(removal, in: group, crew) ? Wish(proposal: removal, why: why) : nil
  }

  private func heal(_ group: GroupRecord, _ crew: inout Crew, now: Int64) -> Wish? {
    guard group.members.count < terms.replicas, let since = below[group.partition] else { return nil }
    let isDue = now - since >= terms.healingMilliseconds
    guard
      let joining = crew.best(
        for: group.partition, beside: group.members, isFree: true, mustHold: !isDue)
    else { return nil }
    _ = crew.reserve(joining.node, for: group.partition)
    return Wish(
      proposal: .join(joining.node),
      why: "it has \(group.members.count) of \(terms.replicas) replicas")
  }

  private func shrink(_ group: GroupRecord, _ crew: Crew) -> Wish? {
    guard group.members.count > terms.replicas, let leaving = crew.mostReplicas(of: group.secondaries),
      group.members.filter({ $0 != leaving && crew[$0] != nil }).count >= terms.replicas
    else { return nil }
    return Wish(
      proposal: .remove(leaving), why: "it has \(group.members.count) of \(terms.replicas) replicas")
  }
}
