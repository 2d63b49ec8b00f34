import Cluster
import Foundation

/// What operators want: a key each.
extension EtcdStore {
  package func plans() throws(ConfigurationError) -> Plans {
    let answer = try read(
      [keys.drains, keys.moves].map {
        Etcd.Operation(request_range: Etcd.Range(key: $0, range_end: keys.end(of: $0)))
      }, by: gateway.deadline())
    var plans = Plans()
    for found in answer.responses?.first?.response_range?.kvs ?? [] {
      let (node, plan) = try Self.sound(found.key) { () throws(EtcdValues.Unsound) in
        try EtcdValues.drain(found.value)
      }
      switch plan {
      case .draining: plans.draining.insert(node)
      case .removed: plans.removed.insert(node)
      }
    }
    for found in answer.responses?.last?.response_range?.kvs ?? [] {
      plans.moves.append(try move(found))
    }
    plans.moves.sort { $0.partition < $1.partition }
    return plans
  }

  private func move(_ found: Etcd.KeyValue) throws(ConfigurationError) -> Move {
    try Self.sound(found.key) { () throws(EtcdValues.Unsound) in
      try EtcdValues.move(found.value, partitions: cluster.partitions)
    }
  }

  package func setPlan(_ plan: Plans.Worker?, for node: String) throws(ConfigurationError) {
    precondition(NodeRecord.isName(node))
    let key = keys.drain(node)
    _ = try transaction(
      [], [plan.map { .put(key, EtcdValues.encode($0, for: node)) } ?? .delete(key)], orElse: [],
      by: gateway.deadline())
  }

  package func setMove(
    _ move: Move?, of partition: PartitionID, insteadOf present: Move?
  ) throws(ConfigurationError) -> Move? {
    precondition(Int(partition.rawValue) < cluster.partitions && (move ?? present)?.problem == nil)
    let key = keys.move(partition)
    let answer = try transaction(
      [present.map { Etcd.Compare.equal(key, EtcdValues.encode($0)) } ?? .created(key, at: 0)],
      [move.map { Etcd.Operation.put(key, EtcdValues.encode($0)) } ?? .delete(key)], orElse: [.range(key)],
      by: gateway.deadline())
    if answer.succeeded == true { return move }
    guard let found = answer.first(0) else { return nil }
    return try self.move(found)
  }
}
