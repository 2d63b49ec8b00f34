import Cluster
import ConfigurationManager
import DispatcherCore
import Foundation
import TestSupport

/// A cluster's configuration with any bytes in its file.
struct ClusterFileTarget: FuzzTarget {
  let name = "cluster-file"
  let about = "bytes of cluster.sqlite: EmbeddedStore, Controller, and what a dispatcher makes of them"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] { [try ClusterFiles.seed()] }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let path = try ScratchFolder.fresh("cluster-file") + "/cluster.sqlite"
    try ScratchFolder.write(bytes, to: path)
    return try ClusterFiles.use(path)
  }
}

/// A sound file with any values in its rows, as ``RowEdits`` has them.
struct ClusterRowsTarget: FuzzTarget {
  let name = "cluster-rows"
  let about = "rows of cluster.sqlite with any values: EmbeddedStore, Controller, a dispatcher's start"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    (0..<64).map { _ in random.bytes(RowEdits.size * random.pick(1...2)) }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let path = try ScratchFolder.fresh("cluster-rows") + "/cluster.sqlite"
    try ClusterFiles.seed().withUnsafeBytes { try ScratchFolder.write($0, to: path) }
    try RowEdits.apply(
      bytes, to: path, tables: ["cluster", "groups", "workers", "history", "revision", "drains", "moves"])
    return try ClusterFiles.use(path)
  }
}

enum ClusterFiles {
  private nonisolated(unsafe) static var made: [UInt8]?

  /// A cluster of which half is placed. Made once a process.
  static func seed() throws -> [UInt8] {
    if let made { return made }
    let path = try ScratchFolder.fresh("cluster-seed") + "/cluster.sqlite"
    let record = ClusterRecord(
      id: "0190a6c2-0000-7000-8000-00000000c1a5", name: "laris", currency: "IDR", partitions: 6, replicas: 1,
      minReplicas: 1, initialWorkers: 3, reserveMilliseconds: 86_400_000, feeBasisPoints: 250,
      requestWindowMilliseconds: 86_400_000, createdAt: RandomCommands.start)
    try EmbeddedStore.create(path, record, exists: false)
    var store: EmbeddedStore? = try EmbeddedStore(path, exists: true)
    _ = try store?.claim(node: "worker-1", folder: "f-1")
    for partition: UInt16 in 0..<3 {
      let group = GroupRecord(
        partition: PartitionID(partition), epoch: Epoch(1), primary: "worker-1", incarnation: Incarnation(7),
        isOpened: false)
      _ = store?.change(GroupChange(group, why: "seed", by: "seed", at: 1), as: nil)
      try store?.markOpened(group.partition)
    }
    try store?.setPlan(.draining, for: "worker-2")
    let move = Move(partition: PartitionID(1), source: "worker-1", target: "worker-3")
    _ = try store?.setMove(move, of: move.partition, insteadOf: nil)
    store = nil
    let bytes = try ScratchFolder.read(path)
    made = bytes
    return bytes
  }

  /// What a dispatcher does with it: reads it at its start, then places partitions as workers join.
  static func use(_ path: String) throws -> String {
    do {
      let store = try EmbeddedStore(path, exists: true)
      let cluster = store.cluster
      try require(
        (1...Routing.partitionsMax).contains(cluster.partitions),
        "a cluster of \(cluster.partitions) partitions")
      // As the wire and the status have them.
      try require(
        UInt32(exactly: cluster.replicas) != nil && UInt32(exactly: cluster.initialWorkers) != nil
          && UInt64(exactly: cluster.requestWindowMilliseconds) != nil
          && Int64(exactly: cluster.reserveMilliseconds) != nil, "a cluster that can't be told: \(cluster)")
      var groups = try store.groups()
      try require(
        groups.count == cluster.partitions
          && groups.indices.allSatisfy { groups[$0].partition.rawValue == $0 },
        "\(groups.count) groups for \(cluster.partitions) partitions")
      var core = DispatcherCore(partitions: cluster.partitions, incarnation: Incarnation(1))
      for group in groups where group.primary != nil { core.assigned(group.partition, epoch: group.epoch) }
      var changed = 0
      let claimed = try store.claim(node: "worker-1", folder: "f-1")
      let workers = (1...3).map { Controller.Worker(node: "worker-\($0)", incarnation: Incarnation(8)) }
      var controller = Controller(
        .init(
          replicas: cluster.replicas, minReplicas: cluster.minReplicas,
          initialWorkers: cluster.initialWorkers,
          healingMilliseconds: 0))
      let plans = try store.plans()
      try require(plans.moves.allSatisfy { $0.problem == nil }, "moves that are none: \(plans.moves)")
      for step in controller.steps(groups: groups, alive: workers, moves: plans.moves, now: 0) {
        switch step {
        case .place(let record, let why):
          let change = GroupChange(record, why: why, by: "fuzz", at: 2)
          try require(change.problem == nil, "\(change): \(change.problem ?? "")")
          guard store.change(change, as: nil) == .accepted else { continue }
          try store.markOpened(record.partition)
        case .ask(let partition, let proposal, let epoch, _):
          guard store.propose(proposal, to: partition, ifEpoch: epoch, as: nil) == .accepted else { continue }
        }
        changed += 1
      }
      for group in groups { _ = try store.history(of: group.partition) }
      groups = try store.groups()
      return "ok \(claimed) \(changed) \(groups.filter { $0.primary != nil }.count)"
    } catch let finding as Finding {
      throw finding
    } catch {
      return try outcome(of: error)
    }
  }
}
