/// Rule 18: what a group becomes when the configuration store is lost, by what its replicas have on their disks.
///
/// A replica makes an epoch durable, with its members, before it acts in it. So where all members of the
/// latest epoch that anybody has are at hand, and none has a later one, nobody ever acted in a later one:
/// whoever began it would have been one of them, or a learner that they had just let in. Learners are among the
/// workers that a worker has heard of; all of those must be at hand, which is for the caller to see to. Any
/// clean member has all that was answered (rule 12). What is not as clear as that is refused, and an
/// operator must choose.
package struct Recovery: Sendable {
  /// What a worker's folder has of a partition.
  package struct Replica: Equatable, Sendable {
    package var node: String
    /// nil: it can't be read, or is not there.
    package var accepted: AcceptedEpoch?
    /// The last entry of its log, and the epoch in which it was assigned.
    package var last: SequenceNumber
    package var tag: Epoch
    /// Why it can't be relied on; nil: it is clean.
    package var fault: String?

    package init(
      node: String, accepted: AcceptedEpoch?, last: SequenceNumber, tag: Epoch, fault: String? = nil
    ) {
      self.node = node
      self.accepted = accepted
      self.last = last
      self.tag = tag
      self.fault = fault
    }
  }

  package enum Decision: Equatable, Sendable {
    /// `why` says by what, and what may be missing.
    case restart(GroupRecord, why: String)
    /// A sentence.
    case refused(String)
  }

  /// Workers whose folders are at hand.
  package let workers: Set<String>

  package init(workers: Set<String>) { self.workers = workers }

  /// How far epochs leap: none is one that the lost store may have given.
  package static let leap: UInt64 = 1_000

  /// - Parameters:
  ///   - replicas: of the partition, at most one a worker.
  ///   - choice: the worker whose replica an operator chose, for good or ill.
  package func decide(_ partition: PartitionID, _ replicas: [Replica], choice: String? = nil) -> Decision {
    guard let latest = replicas.compactMap(\.accepted?.epoch).max(), latest.rawValue > 0 else {
      return .refused("none of these workers has it: it was never placed, or its workers are missing")
    }
    let configurations = replicas.compactMap(\.accepted).filter { $0.epoch == latest && $0.primary != nil }
    let members = configurations.first?.members ?? []
    let doubt =
      configurations.isEmpty
      ? "whose \(latest) was is not known: an earlier version of this program wrote it"
      : configurations.contains { $0 != configurations[0] }
        ? "its replicas do not agree on who was in \(latest)" : doubt(about: members, replicas, latest)
    if let choice { return chosen(choice, partition, replicas, members, latest, doubt) }
    if let doubt { return .refused(doubt) }
    let clean = replicas.filter { members.contains($0.node) && $0.fault == nil }
    guard let heir = clean.first(where: { $0.node == members[0] }) ?? Self.longest(clean) else {
      return .refused(
        "no member of \(latest) is clean (\(Self.faults(replicas.filter { members.contains($0.node) })))"
          + Self.others(replicas.filter { !members.contains($0.node) && $0.fault == nil }))
    }
    return .restart(
      record(partition, heir, clean, latest),
      why:
        "from \(heir.node), a member of \(latest) with entry \(heir.last): nothing that was answered is missing"
    )
  }

  /// What speaks against the latest configuration being the last one.
  private func doubt(about members: [String], _ replicas: [Replica], _ latest: Epoch) -> String? {
    let missing = members.filter { !workers.contains($0) }
    guard missing.isEmpty else {
      return "\(missing.joined(separator: ", ")) of \(latest) may have gone on without the others: "
        + "give its folder too"
    }
    let unknown = members.filter { name in
      !replicas.contains { $0.node == name && ($0.accepted?.epoch.rawValue ?? 0) > 0 }
    }
    guard unknown.isEmpty else {
      return
        "\(unknown.joined(separator: ", ")) of \(latest) has lost which epoch it had accepted, and may have "
        + "gone on without the others"
    }
    return nil
  }

  private func chosen(
    _ choice: String, _ partition: PartitionID, _ replicas: [Replica], _ members: [String], _ latest: Epoch,
    _ doubt: String?
  ) -> Decision {
    guard let heir = replicas.first(where: { $0.node == choice }) else {
      return .refused("\(choice), which was chosen, has nothing of it")
    }
    if let fault = heir.fault { return .refused("what \(choice), which was chosen, has of it: \(fault)") }
    let clean =
      members.contains(choice) ? replicas.filter { members.contains($0.node) && $0.fault == nil } : []
    var why = "from \(choice) with entry \(heir.last), as chosen"
    if !members.contains(choice) {
      let ahead = replicas.map(\.last).max() ?? heir.last
      why += ", which is no member of \(latest)"
      why +=
        ahead > heir.last ? ": entries up to \(ahead) or later are missing" : ": later entries may be missing"
    } else if let doubt {
      why += "; \(doubt): later entries may be missing"
    }
    return .restart(record(partition, heir, clean, latest), why: why)
  }

  private func record(
    _ partition: PartitionID, _ heir: Replica, _ clean: [Replica], _ latest: Epoch
  ) -> GroupRecord {
    GroupRecord(
      partition: partition, epoch: Epoch(latest.rawValue + Self.leap), primary: heir.node,
      // Of no process: whoever starts takes an epoch of its own.
      incarnation: Incarnation(0), secondaries: clean.map(\.node).filter { $0 != heir.node }.sorted(),
      isOpened: true)
  }

  private static func longest(_ replicas: [Replica]) -> Replica? {
    replicas.max { a, b in (a.tag, a.last, b.node) < (b.tag, b.last, a.node) }
  }

  private static func faults(_ replicas: [Replica]) -> String {
    replicas.map { "\($0.node): \($0.fault ?? "clean")" }.joined(separator: "; ")
  }

  private static func others(_ replicas: [Replica]) -> String {
    guard let best = longest(replicas) else { return "" }
    return "; \(best.node), no member, has entry \(best.last)"
  }
}
