extension GroupRecord {
  /// Rule 7: why a process must not make `next` of this configuration; nil: it may.
  ///
  /// The primary may drop secondaries, add the learner that it was asked for, hand over to a secondary, or
  /// begin a new epoch with the same members. A secondary may only propose itself, with all others but the
  /// old primary. Whether the epoch is still this one is the compare-and-swap's to say.
  package func objection(to next: GroupRecord, by node: String, _ incarnation: Incarnation) -> String? {
    if let problem = next.problem { return problem }
    guard next.partition == partition, next.epoch == epoch.next else {
      return
        "a change of \(partition) at \(epoch) leads to \(epoch.next), not \(next.partition) \(next.epoch)"
    }
    guard next.proposal == nil || next.proposal == proposal else {
      return "\(node) asks the group for something; only the controller and operators do"
    }
    if node == primary { return objectionToPrimary(next, incarnation) }
    guard secondaries.contains(node) else { return "\(node) is not a member of \(partition) at \(epoch)" }
    guard next.primary == node, next.incarnation == incarnation else {
      return "\(node) is a secondary, and may only make its own process the primary"
    }
    guard Set(next.secondaries) == Set(secondaries).subtracting([node]) else {
      return "\(node) takes over with all others but the old primary, not with "
        + (next.secondaries.isEmpty ? "nobody" : next.secondaries.joined(separator: ", "))
    }
    return nil
  }

  private func objectionToPrimary(_ next: GroupRecord, _ incarnation: Incarnation) -> String? {
    var mayBe = Set(members)
    if next.primary == primary {
      guard next.incarnation == incarnation else { return "\(primary!) names a process that is not its own" }
      if case .join(let learner) = proposal { mayBe.insert(learner) }
    } else if !secondaries.contains(next.primary!) {
      return "\(primary!) hands over to \(next.primary!), which is no secondary"
    }
    let strangers = Set(next.members).subtracting(mayBe)
    guard strangers.isEmpty else {
      return "\(strangers.sorted().joined(separator: ", ")) can't be a member: nobody asked for that"
    }
    return nil
  }
}
