import Bytes
import Cluster
import DurablePartition
import Foundation
import LarisProtocol
import NodeProtocol
import Logging
import Marketplace
import NodeSupport
import Replication
import ReplicationLog
import SwiftProtobuf
import Wire
import ZeroMQ

/// A worker process: says who it is, is told what to serve, and serves it.
package final class WorkerNode {
  package struct Configuration: Sendable {
    package var data: String
    package var node: String
    /// Where dispatchers listen for workers.
    package var dispatchers: [String]
    /// Where other workers reach this one; nil: on loopback, at the first port from 12122 on that is free.
    package var replicationListen: String?
    /// Replicas of a group are spread over zones.
    package var zone: String
    package var rowsMax: Int
    /// Writes are refused where less is free on the disk.
    package var diskReserveBytes: Int
    /// What a partition keeps of its log when nobody needs it any more.
    package var logTail: LogTail
    package init(
      data: String, node: String, dispatchers: [String], replicationListen: String? = nil, zone: String = "",
      rowsMax: Int, diskReserveBytes: Int, logTail: LogTail
    ) {
      self.data = data
      self.node = node
      self.dispatchers = dispatchers
      self.replicationListen = replicationListen
      self.zone = zone
      self.rowsMax = rowsMax
      self.diskReserveBytes = diskReserveBytes
      self.logTail = logTail
    }
  }

  private static let beaconMilliseconds: Int64 = 200
  private static let retryMilliseconds: Int64 = 20
  private static let peersKeptMax = 4_096

  private let configuration: Configuration
  private let folder: DataFolder
  private var identity: DataFolder.Identity
  private let incarnation = Incarnation.random()
  private let startedAt = Clock.wallMilliseconds()
  private let context = ZeroMQContext()
  private let hub: PeerHub
  private let lockPlace: LifeLock.Place
  /// The workers that dispatchers have told of.
  private var peers: [String: PeerAddress] = [:]
  private let logger: Logger
  private var partitions: [PartitionID: PartitionNode] = [:]
  private let partitionStop = StopFlag()

  /// Takes the data folder.
  ///
  /// - Throws: `NodeError`: the folder is in use, or of another kind or node.
  package init(_ configuration: Configuration) throws {
    self.configuration = configuration
    logger = Logger(label: configuration.node)
    folder = try DataFolder(configuration.data, create: true)
    if let known = try folder.identity() {
      identity = known
      guard identity.kind == "worker" else {
        throw NodeError(
          .usage,
          "the data folder \(configuration.data) is a \(identity.kind)'s; give the worker a folder of its own"
        )
      }
      guard identity.node == configuration.node else {
        throw NodeError(
          .usage,
          "the data folder \(configuration.data) is of worker \(identity.node), not of \(configuration.node); "
            + "start it with --node \(identity.node), or with another --data")
      }
    } else {
      identity = DataFolder.Identity(kind: "worker", cluster: "", node: configuration.node)
      try folder.setIdentity(identity)
    }
    lockPlace = try folder.keepUntilExit(as: incarnation)
    hub = try Self.openHub(configuration, incarnation, context, logger)
  }

  /// Serves until `stop` is set; then drains, writes a last checkpoint, and returns.
  package func run(until stop: StopFlag) throws {
    let links = try configuration.dispatchers.map(link)
    logger.info(
      "worker starts",
      metadata: [
        "pid": "\(getpid())", "dispatchers": "\(configuration.dispatchers.joined(separator: " "))",
        "replication": "\(hub.endpoint)",
      ])
    var beaconAt = links.map { _ in Int64(0) }
    var items = links.map(\.pollItem)
    let frame = DispatcherLink.Frame()
    while !stop.isSet {
      let now = Clock.steadyMilliseconds()
      for (place, link) in links.enumerated() {
        if now - beaconAt[place] >= Self.beaconMilliseconds {
          // Without a connection yet, soon again: nothing is served before the first one arrives.
          beaconAt[place] =
            send(beacon(leaving: false), on: link)
            ? now : now - Self.beaconMilliseconds + Self.retryMilliseconds
        }
        while try link.receive(into: frame) {
          try handle(frame.bytes, from: configuration.dispatchers[place])
        }
      }
      Socket.wait(for: &items, milliseconds: Int(Self.retryMilliseconds))
    }
    logger.info("worker drains")
    for link in links { _ = send(beacon(leaving: true), on: link) }
    partitionStop.set()
    for partition in partitions.values { partition.join() }
    hub.stop()
    logger.info("worker stopped")
  }

  private func link(to dispatcher: String) throws -> DispatcherLink {
    do {
      return try DispatcherLink(to: dispatcher, as: "\(configuration.node)/\(incarnation)", in: context)
    } catch {
      throw NodeError(
        .usage, "--dispatcher \(dispatcher) is no address; it should look like tcp://HOST:PORT")
    }
  }

  /// The port that was named, or the first that is free.
  private static func openHub(
    _ configuration: Configuration, _ incarnation: Incarnation, _ context: ZeroMQContext, _ logger: Logger
  ) throws -> PeerHub {
    func open(_ endpoint: String) throws -> PeerHub {
      try PeerHub(
        listen: endpoint, node: configuration.node, incarnation: incarnation, context: context, logger: logger
      )
    }
    if let listen = configuration.replicationListen { return try open(listen) }
    for port in 12_122..<12_222 {
      if let hub = try? open("tcp://127.0.0.1:\(port)") { return hub }
    }
    return try open("tcp://127.0.0.1:*")
  }

  /// - Returns: false where there is no connection.
  private func send(_ beacon: Laris_Beacon, on link: DispatcherLink) -> Bool {
    do {
      let bytes: [UInt8] = try beacon.serializedBytes()
      return try ([FrameKind.beacon.rawValue, FrameKind.version] + bytes).withUnsafeBytes {
        try link.send($0)
      }
    } catch {
      logger.error("a beacon could not be sent: \(error)")
    }
    return false
  }

  private func beacon(leaving: Bool) -> Laris_Beacon {
    var beacon = Laris_Beacon()
    beacon.version = UInt32(FrameKind.version)
    beacon.clusterID = identity.cluster
    beacon.folder = identity.folder
    beacon.node = configuration.node
    beacon.incarnation = incarnation.rawValue
    beacon.pid = UInt32(getpid())
    beacon.startedAt = startedAt
    beacon.leaving = leaving
    beacon.replication = hub.endpoint
    beacon.zone = configuration.zone
    beacon.host = Machine.bootID
    beacon.lockPath = lockPlace.text
    beacon.partitions = partitions.sorted { $0.key < $1.key }.map { partition, node in
      let status = node.board.status.withLock { $0 }
      var row = Laris_PartitionBeacon()
      row.partition = UInt32(partition.rawValue)
      row.epoch = status.epoch.rawValue
      row.committed = status.committed
      row.checkpointed = status.checkpointed
      row.orders = status.orders
      row.replayBytes = status.replayBytes
      row.active = status.isActive
      row.note = status.note
      row.role = status.role
      row.activity = status.activity
      row.last = status.last
      row.joinedPercent = UInt64(status.joinedPercent)
      row.full = status.isFull
      row.unclean = status.isUnclean
      row.digestsCompared = status.digestsCompared
      row.digestsDiffered = status.digestsDiffered
      row.halted = status.isHalted
      return row
    }
    // What it has on disk and was not told to serve: it may join again with little to catch up.
    for replica in held where partitions[replica.partition] == nil {
      var row = Laris_PartitionBeacon()
      row.partition = UInt32(replica.partition.rawValue)
      row.role = "inactive"
      row.note = "not a member"
      row.last = replica.synced
      row.unclean = replica.isUnclean
      beacon.partitions.append(row)
    }
    return beacon
  }

  private struct Held {
    let partition: PartitionID
    /// The last entry that is known to be durable.
    let synced: UInt64
    let isUnclean: Bool
  }

  /// Partitions of which there was data when the process started.
  private lazy var held: [Held] = {
    let folder = configuration.data + "/partitions"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.sorted().compactMap { name in
      guard let number = UInt16(name) else { return nil }
      let synced = try? SyncedMark.read(in: "\(folder)/\(name)/log")
      return Held(
        partition: PartitionID(number), synced: (synced ?? nil)?.rawValue ?? 0,
        isUnclean: FileManager.default.fileExists(atPath: "\(folder)/\(name)/unclean"))
    }
  }()

  private func handle(_ bytes: UnsafeRawBufferPointer, from dispatcher: String) throws {
    guard bytes.count >= 2, bytes[0] == FrameKind.assignment.rawValue, bytes[1] == FrameKind.version else {
      logger.warning("a frame of the dispatcher was dropped: it is no assignment of this version")
      return
    }
    let assignment: Laris_Assignment
    do {
      assignment = try Laris_Assignment(serializedBytes: Data(bytes[2...]))
    } catch {
      logger.warning("an assignment could not be read: \(error)")
      return
    }
    guard assignment.refused.isEmpty else { throw NodeError(.no, assignment.refused) }
    // Rule 18: a worker belongs to one cluster.
    guard identity.cluster.isEmpty || identity.cluster == assignment.clusterID else {
      throw NodeError(
        .no,
        "the data folder \(configuration.data) is of cluster \(identity.cluster), but the dispatcher at "
          + "\(dispatcher) is of cluster \(assignment.clusterID)")
    }
    try keep(ClusterRecord(assignment), from: dispatcher)
    try meet(assignment.peers)
    for row in assignment.partitions {
      let record: GroupRecord
      do throws(NodeProtocolError) { record = try GroupRecord(row.group) } catch {
        logger.warning("an assignment was dropped: \(error)")
        continue
      }
      if let partition = partitions[record.partition] {
        partition.tell(record)
      } else if record.members.contains(configuration.node) || record.proposal == .join(configuration.node) {
        start(record, mayCreate: row.mayCreate, assignment)
      }
    }
  }

  /// What the cluster was made with never changes. Rule 5, for one, holds only where all have the same lease.
  private func keep(_ terms: ClusterRecord, from dispatcher: String) throws {
    guard identity.terms != terms else { return }
    if let problem = terms.problem {
      throw NodeError(
        .no, "the dispatcher at \(dispatcher): \(problem); all nodes of a cluster run the same version")
    }
    guard identity.terms == nil else {
      throw NodeError(
        .no,
        "the dispatcher at \(dispatcher) says that cluster \(terms.id) was made with other terms than it told "
          + "before; they are in \(configuration.data)/laris.json, and laris inspect cluster.sqlite shows the other's"
      )
    }
    let isNew = identity.cluster.isEmpty
    identity.cluster = terms.id
    identity.terms = terms
    try remember(isNew: isNew)
    if isNew { logger.info("joined cluster \(terms.id)") }
  }

  /// - Parameter isNew: the folder belongs to no cluster yet, so nothing goes on without it. Otherwise it is for a
  ///   recovery, and a full disk is no reason to stop.
  private func remember(isNew: Bool) throws {
    do {
      try folder.setIdentity(identity)
    } catch  where !isNew {
      logger.warning("\(error); the next start notes it")
    }
  }

  private func meet(_ told: [Laris_Peer]) throws {
    var isChanged = false
    for peer in told where peer.node != configuration.node && !peer.replication.isEmpty {
      let address = PeerAddress(
        node: peer.node, incarnation: Incarnation(peer.incarnation), endpoint: peer.replication,
        host: peer.host, lockPath: peer.lockPath)
      guard peers[peer.node] != address else { continue }
      peers[peer.node] = address
      isChanged = true
    }
    if isChanged { hub.setPeers(Array(peers.values)) }
    // Before anything is begun with them.
    let known = Set(identity.peers ?? [])
    let all = known.union(told.map(\.node).filter { NodeRecord.isName($0) && $0 != configuration.node })
    guard all.count > known.count, all.count <= Self.peersKeptMax else { return }
    identity.peers = all.sorted()
    try remember(isNew: false)
  }

  private func start(_ record: GroupRecord, mayCreate: Bool, _ assignment: Laris_Assignment) {
    var durable = DurablePartition.Setup(
      directory: configuration.data + "/partitions/" + record.partition.folderName,
      cluster: assignment.clusterID, partition: record.partition, node: configuration.node,
      incarnation: incarnation, mayCreate: mayCreate,
      terms: Terms(
        reserveMilliseconds: assignment.reserveMilliseconds, feeBasisPoints: assignment.feeBasisPoints),
      windowMilliseconds: Int64(clamping: assignment.requestWindowMilliseconds),
      rowsMax: configuration.rowsMax)
    durable.reserveBytes = configuration.diskReserveBytes
    durable.logTail = configuration.logTail
    durable.replication = Replica.Settings(leaseMilliseconds: Int64(clamping: assignment.leaseMilliseconds))
    durable.replication.minReplicas = max(1, Int(assignment.minReplicas))
    let node = PartitionNode(
      .init(
        partition: durable, dispatchers: configuration.dispatchers, hub: hub,
        isElsewhere: record.members.contains { $0 != configuration.node }), context: context,
      stop: partitionStop, logger: logger)
    partitions[record.partition] = node
    node.start()
  }
}

extension ClusterRecord {
  /// As a dispatcher tells it; ``problem`` says whether it is sound.
  init(_ told: Laris_Assignment) {
    self.init(
      id: told.clusterID, name: told.clusterName, currency: told.currency,
      partitions: Int(told.partitionCount), replicas: Int(told.replicas), minReplicas: Int(told.minReplicas),
      initialWorkers: Int(told.initialWorkers), reserveMilliseconds: told.reserveMilliseconds,
      feeBasisPoints: told.feeBasisPoints,
      requestWindowMilliseconds: Int64(clamping: told.requestWindowMilliseconds), createdAt: told.createdAt,
      leaseMilliseconds: Int64(clamping: told.leaseMilliseconds))
  }
}
