/// The workers that are alive, with what each has to bear.
struct Crew {
  private var workers: [String: Controller.Worker] = [:]
  private var names: [String] = []
  private var replicas: [String: Int] = [:]
  private var primaries: [String: Int] = [:]
  /// The group in which a worker catches up: one at a time.
  private var joining: [String: PartitionID] = [:]

  init(_ alive: [Controller.Worker], groups: [GroupRecord]) {
    for worker in alive { workers[worker.node] = worker }
    names = workers.keys.sorted()
    for group in groups {
      for member in group.members { replicas[member, default: 0] += 1 }
      if let primary = group.primary { primaries[primary, default: 0] += 1 }
      if case .join(let node) = group.proposal, workers[node] != nil, !group.members.contains(node) {
        joining[node] = group.partition
        replicas[node, default: 0] += 1
      }
    }
  }

  subscript(node: String) -> Controller.Worker? { workers[node] }
  var count: Int { workers.count }
  var stayingCount: Int { workers.values.count { !$0.isDraining } }
  func isDraining(_ node: String) -> Bool { workers[node]?.isDraining ?? false }

  mutating func note(_ node: String, isPrimary: Bool) {
    if isPrimary { primaries[node, default: 0] += 1 } else { replicas[node, default: 0] += 1 }
  }

  /// - Returns: false where it catches up in another group.
  mutating func reserve(_ node: String, for partition: PartitionID) -> Bool {
    if let present = joining[node] { return present == partition }
    joining[node] = partition
    replicas[node, default: 0] += 1
    return true
  }

  /// What was asked for is not asked for any more.
  mutating func release(_ proposal: GroupProposal?, of partition: PartitionID) {
    guard case .join(let node) = proposal, joining[node] == partition else { return }
    joining[node] = nil
    replicas[node, default: 0] -= 1
  }

  /// Who should join `members`: in a zone where none of them is, with the data, with the least to bear.
  ///
  /// - Parameters:
  ///   - isFree: it catches up nowhere.
  ///   - mustHold: it has the partition's data.
  func best(
    for partition: PartitionID, beside members: [String], isFree: Bool = false, mustHold: Bool = false
  ) -> Controller.Worker? {
    let zones = Set(members.compactMap { workers[$0]?.zone })
    func rank(_ worker: Controller.Worker) -> (Int, Int, Int, String) {
      let isCrowded = worker.zone.map(zones.contains) ?? false
      let holds = worker.holds.contains(partition)
      return (isCrowded ? 1 : 0, holds ? 0 : 1, replicas[worker.node, default: 0], worker.node)
    }
    return names.lazy.compactMap { workers[$0] }.filter { worker in
      !worker.isDraining && !members.contains(worker.node) && (!isFree || joining[worker.node] == nil)
        && (!mustHold || worker.holds.contains(partition)) && !worker.halted.contains(partition)
    }.min { rank($0) < rank($1) }
  }

  func leastPrimaries(of members: [String]) -> String? {
    members.min { (primaries[$0, default: 0], $0) < (primaries[$1, default: 0], $1) }
  }

  /// How many partitions it is the primary of.
  func leads(_ node: String) -> Int { primaries[node, default: 0] }

  /// Whether all members follow, or act, in the present epoch.
  func isInSync(_ group: GroupRecord) -> Bool {
    group.members.allSatisfy { workers[$0]?.inSync.contains(group.partition) ?? false }
  }

  func isFull(_ node: String, _ partition: PartitionID) -> Bool {
    workers[node]?.full.contains(partition) ?? false
  }

  func mostReplicas(of members: [String]) -> String? {
    // Who is away first.
    members.max { a, b in
      (workers[a] == nil ? 1 : 0, replicas[a, default: 0], a)
        < (workers[b] == nil ? 1 : 0, replicas[b, default: 0], b)
    }
  }
}
