import Cluster
import ConfigurationManager
import Foundation
import LarisProtocol
import Logging
import NodeSupport
import Wire

/// The workers that were heard of, and the cluster map: the controller's shell.
final class WorkerRegistry {
  private struct Worker {
    var beacon: Laris_Beacon
    var heardAt: Int64
    var heardAtWall: Int64
  }

  /// A worker that is silent for so long is not alive.
  private static let silenceMilliseconds: Int64 = 2_000
  /// Names that are taken, so that strangers can't grow the store for ever.
  private static let workersMax = 4_096

  private let cluster: ClusterRecord
  private let store: any ConfigurationManager
  private let incarnation: Incarnation
  private let controller: Controller
  private let logger: Logger
  private(set) var groups: [GroupRecord]
  private var workers: [String: Worker] = [:]

  init(cluster: ClusterRecord, store: any ConfigurationManager, incarnation: Incarnation, logger: Logger)
    throws
  {
    self.cluster = cluster
    self.store = store
    self.incarnation = incarnation
    self.logger = logger
    controller = Controller(initialWorkers: cluster.initialWorkers)
    groups = try store.groups()
  }

  /// A worker said who it is.
  ///
  /// - Returns: what it is told, or nil where it is leaving and wants nothing.
  func heard(_ beacon: Laris_Beacon, now: Int64) throws -> Laris_Assignment? {
    var assignment = Laris_Assignment()
    assignment.version = UInt32(FrameKind.version)
    assignment.clusterID = cluster.id
    assignment.dispatcherIncarnation = incarnation.rawValue
    // Rule 18.
    guard beacon.clusterID.isEmpty || beacon.clusterID == cluster.id else {
      assignment.refused =
        "worker \(beacon.node) belongs to cluster \(beacon.clusterID), and this dispatcher to \(cluster.id) "
        + "(\(cluster.name)); give it another data folder, or another --dispatcher"
      return assignment
    }
    if beacon.leaving {
      workers[beacon.node]?.heardAt = 0
      return nil
    }
    guard isValid(beacon) else {
      logger.warning("a beacon without a name or an incarnation was dropped")
      return nil
    }
    // The rule is four partitions a worker, so no cluster has more of them than of partitions.
    guard workers[beacon.node] != nil || workers.count < Self.workersMax else {
      assignment.refused = "this dispatcher has \(Self.workersMax) workers, and takes no more"
      return assignment
    }
    // A name belongs to the folder that came with it first: an empty one is never taken for it.
    guard try store.claim(node: beacon.node, folder: beacon.folder) else {
      assignment.refused =
        "the name \(beacon.node) belongs to a worker with another data folder; "
        + "start that one, or choose another --node for this one"
      return assignment
    }
    if let known = workers[beacon.node], known.beacon.incarnation != beacon.incarnation {
      // One process at a time has the folder. What an earlier one sent may come late.
      if beacon.startedAt < known.beacon.startedAt, isAlive(known, now: now) { return nil }
      logger.info("worker \(beacon.node) started again", metadata: ["pid": "\(beacon.pid)"])
    } else if workers[beacon.node] == nil {
      logger.info("worker \(beacon.node) joined", metadata: ["pid": "\(beacon.pid)"])
    }
    workers[beacon.node] = Worker(beacon: beacon, heardAt: now, heardAtWall: Clock.wallMilliseconds())
    try carryOut(now: now)

    assignment.reserveMilliseconds = cluster.reserveMilliseconds
    assignment.feeBasisPoints = cluster.feeBasisPoints
    assignment.partitionCount = UInt32(cluster.partitions)
    assignment.requestWindowMilliseconds = UInt64(cluster.requestWindowMilliseconds)
    for group in groups
    where group.primary == beacon.node && group.incarnation.rawValue == beacon.incarnation {
      var row = Laris_PartitionAssignment()
      row.partition = UInt32(group.partition.rawValue)
      row.epoch = group.epoch.rawValue
      row.mayCreate = !group.isOpened
      assignment.partitions.append(row)
    }
    return assignment
  }

  private func isValid(_ beacon: Laris_Beacon) -> Bool {
    !beacon.node.isEmpty && beacon.node.utf8.count <= 64 && beacon.incarnation != 0
      && beacon.folder.utf8.count <= 64 && !beacon.folder.isEmpty
  }

  private func carryOut(now: Int64) throws {
    let alive = workers.values.filter { isAlive($0, now: now) }.map {
      Controller.Worker(node: $0.beacon.node, incarnation: Incarnation($0.beacon.incarnation))
    }
    for proposal in controller.proposals(groups: groups, workers: alive) {
      guard try store.change(proposal.record, why: proposal.why, at: Clock.wallMilliseconds()) else {
        // Somebody else changed it: look again at the next beacon.
        groups = try store.groups()
        return
      }
      groups[Int(proposal.record.partition.rawValue)] = proposal.record
      logger.info(
        "partition \(proposal.record.partition.rawValue): \(proposal.why)",
        metadata: ["epoch": "\(proposal.record.epoch.rawValue)"])
    }
  }

  private func isAlive(_ worker: Worker, now: Int64) -> Bool {
    worker.heardAt > 0 && now - worker.heardAt <= Self.silenceMilliseconds
  }

  /// A partition says that it serves: whether the cluster map agrees. Before its first request
  /// the store is told that it has begun.
  func opens(_ hello: HelloFrame) throws -> Bool {
    let number = Int(hello.partition.rawValue)
    guard number < groups.count, groups[number].epoch == hello.epoch,
      groups[number].primary == hello.node, groups[number].incarnation == hello.incarnation
    else { return false }
    if !groups[number].isOpened {
      try store.markOpened(hello.partition)
      groups[number].isOpened = true
    }
    return true
  }

  func describe(into status: inout Laris_ClusterStatus, now: Int64) {
    for worker in workers.values.sorted(by: { $0.beacon.node < $1.beacon.node }) {
      var row = Laris_WorkerStatus()
      row.node = worker.beacon.node
      row.incarnation = worker.beacon.incarnation
      row.pid = worker.beacon.pid
      row.startedAt = worker.beacon.startedAt
      row.alive = isAlive(worker, now: now)
      row.lastHeardAt = worker.heardAtWall
      status.workers.append(row)
    }
    for group in groups {
      var row = Laris_PartitionStatus()
      row.partition = UInt32(group.partition.rawValue)
      row.epoch = group.epoch.rawValue
      row.primary = group.primary ?? ""
      row.note = group.primary == nil ? "waits for \(cluster.initialWorkers) workers" : "its primary is away"
      if let primary = group.primary, let worker = workers[primary], isAlive(worker, now: now),
        let beacon = worker.beacon.partitions.first(where: { $0.partition == row.partition })
      {
        row.active = beacon.active
        row.committed = beacon.committed
        row.checkpointed = beacon.checkpointed
        row.orders = beacon.orders
        row.replayBytes = beacon.replayBytes
        row.note = beacon.note
      }
      status.partitions.append(row)
    }
  }
}
