/// Which secondary should be the primary instead, while nothing is wrong with the one there is, or only its disk.
extension Controller {
  /// Since when a group has been as it is: what has just changed is left in peace.
  struct Rest: Sendable {
    private var since: [PartitionID: (epoch: Epoch, isInSync: Bool, at: Int64)] = [:]
    private var balancedAt = Int64.min / 2

    mutating func note(_ groups: [GroupRecord], _ crew: Crew, now: Int64) {
      for group in groups {
        let isInSync = crew.isInSync(group)
        if let known = since[group.partition], known.epoch == group.epoch, known.isInSync == isInSync {
          continue
        }
        since[group.partition] = (group.epoch, isInSync, now)
      }
    }

    /// A primary was asked to hand over for balance.
    mutating func noteBalancing(now: Int64) { balancedAt = now }

    func milliseconds(of group: GroupRecord, now: Int64) -> Int64 {
      since[group.partition].map { now - $0.at } ?? 0
    }

    func sinceBalancing(now: Int64) -> Int64 { now - balancedAt }
  }

  /// Between two switchovers for balance.
  private static let paceMilliseconds: Int64 = 3_000

  /// The switchover that evens out most: from a worker that leads at least two partitions more than the one that
  /// takes over, so that no step is ever taken back. One at a time, of a group that has all the replicas
  /// that there can be, in sync, and has been so for a while. What is drained or moves has plans of its own.
  /// While somebody joins, nothing: a worker that copies gigabytes follows its other groups late, and a switchover
  /// waits for all that is late.
  func balance(
    _ groups: [GroupRecord], _ moves: [PartitionID: Move], _ crew: Crew, now: Int64
  ) -> (group: GroupRecord, wish: Wish)? {
    guard let wanted = terms.restMilliseconds, rest.sinceBalancing(now: now) >= Self.paceMilliseconds,
      !groups.contains(where: { isUnderWay($0, crew) })
    else { return nil }
    var best: (gain: Int, group: GroupRecord, target: String)?
    for group in groups {
      guard let primary = group.primary, group.proposal == nil, moves[group.partition] == nil,
        group.members.count >= min(terms.replicas, crew.stayingCount),
        !group.members.contains(where: crew.isDraining),
        crew.isInSync(group), rest.milliseconds(of: group, now: now) >= wanted
      else { continue }
      let candidates = group.secondaries.filter { !crew.isFull($0, group.partition) }
      guard let target = crew.leastPrimaries(of: candidates) else { continue }
      let gain = crew.leads(primary) - crew.leads(target)
      if gain > max(1, best?.gain ?? 1) { best = (gain, group, target) }
    }
    guard let (_, group, target) = best, let primary = group.primary else { return nil }
    let why =
      "rebalanced: \(primary) leads \(crew.leads(primary)) partitions and \(target) \(crew.leads(target))"
    return (group, Wish(proposal: .switchover(target), why: why))
  }

  /// Whether a primary, which is there, brings about what other groups may feel.
  private func isUnderWay(_ group: GroupRecord, _ crew: Crew) -> Bool {
    guard let primary = group.primary, crew[primary] != nil else { return false }
    switch group.proposal {
    case .switchover, .join: return true
    case .remove, nil: return false
    }
  }

  /// A full disk refuses writes; a secondary that has room takes them. Not again and again, where
  /// room comes and goes.
  func relieve(_ group: GroupRecord, _ crew: Crew, now: Int64) -> Wish? {
    guard let primary = group.primary, crew.isFull(primary, group.partition),
      rest.milliseconds(of: group, now: now) >= terms.healingMilliseconds
    else { return nil }
    let candidates = group.secondaries.filter { node in
      !crew.isFull(node, group.partition) && !crew.isDraining(node)
        && crew[node]?.inSync.contains(group.partition) == true
    }
    guard let target = crew.leastPrimaries(of: candidates) else { return nil }
    return Wish(proposal: .switchover(target), why: "the disk of \(primary) is full")
  }
}
