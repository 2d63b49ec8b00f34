/// What the controller wants changed, and why: decided here, made true by a compare-and-swap.
///
/// With one replica a partition belongs to the node that has its data. So there are two reasons
/// for a change: a partition has no primary yet, and its primary's process is a new one
/// (rule 8: a restarted primary, however fast, takes a new epoch).
package struct Controller: Sendable {
  package struct Proposal: Equatable, Sendable {
    /// Its epoch is the present one + 1.
    package let record: GroupRecord
    package let why: String
  }

  package struct Worker: Equatable, Sendable {
    package let node: String
    package let incarnation: Incarnation
    package init(node: String, incarnation: Incarnation) {
      self.node = node
      self.incarnation = incarnation
    }
  }

  private let initialWorkers: Int

  package init(initialWorkers: Int) { self.initialWorkers = initialWorkers }

  /// - Parameters:
  ///   - groups: as the configuration manager has them.
  ///   - workers: those that are alive.
  package func proposals(groups: [GroupRecord], workers: [Worker]) -> [Proposal] {
    let alive = workers.sorted { $0.node < $1.node }
    var proposals: [Proposal] = []
    for group in groups {
      guard let primary = group.primary, let worker = alive.first(where: { $0.node == primary }),
        worker.incarnation != group.incarnation
      else { continue }
      proposals.append(
        Proposal(
          record: GroupRecord(
            partition: group.partition, epoch: group.epoch.next, primary: primary,
            incarnation: worker.incarnation, isOpened: group.isOpened),
          why: "\(primary) started again"))
    }
    // The first placement waits until all that were announced are there, so that it is even.
    let isPlaced = groups.contains { $0.primary != nil }
    guard !alive.isEmpty, isPlaced || alive.count >= initialWorkers else { return proposals }
    var load: [String: Int] = [:]
    for group in groups { if let primary = group.primary { load[primary, default: 0] += 1 } }
    for group in groups where group.primary == nil {
      guard
        let least = alive.min(by: { a, b in
          (load[a.node, default: 0], a.node) < (load[b.node, default: 0], b.node)
        })
      else { break }
      load[least.node, default: 0] += 1
      proposals.append(
        Proposal(
          record: GroupRecord(
            partition: group.partition, epoch: group.epoch.next, primary: least.node,
            incarnation: least.incarnation, isOpened: group.isOpened),
          why: "placed on \(least.node)"))
    }
    return proposals
  }
}
