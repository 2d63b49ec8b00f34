import Bytes
import Cluster
import DurablePartition
import Foundation
import LarisProtocol
import Logging
import Marketplace
import NodeSupport
import SwiftProtobuf
import Wire
import ZeroMQ

/// A worker process: says who it is, is told what to serve, and serves it.
package final class WorkerNode {
  package struct Configuration: Sendable {
    package var data: String
    package var node: String
    /// Where the dispatcher listens for workers.
    package var dispatcher: String
    package var rowsMax: Int
    /// Writes are refused where less is free on the disk.
    package var diskReserveBytes: Int
    package init(data: String, node: String, dispatcher: String, rowsMax: Int, diskReserveBytes: Int) {
      self.data = data
      self.node = node
      self.dispatcher = dispatcher
      self.rowsMax = rowsMax
      self.diskReserveBytes = diskReserveBytes
    }
  }

  private static let beaconMilliseconds: Int64 = 200
  private static let retryMilliseconds: Int64 = 20

  private let configuration: Configuration
  private let folder: DataFolder
  private var identity: DataFolder.Identity
  private let incarnation = Incarnation.random()
  private let startedAt = Clock.wallMilliseconds()
  private let context = ZeroMQContext()
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
  }

  /// Serves until `stop` is set; then drains, writes a last checkpoint, and returns.
  package func run(until stop: StopFlag) throws {
    let socket = try Socket(.dealer, in: context)
    socket.setHighWaterMarks(send: 100, receive: 100)
    socket.setImmediate()
    socket.setReconnect(milliseconds: 20, max: 200)
    socket.setRoutingID("\(configuration.node)/\(incarnation)")
    socket.setLinger(milliseconds: 200)
    do {
      try socket.connect(configuration.dispatcher)
    } catch {
      throw NodeError(
        .usage, "--dispatcher \(configuration.dispatcher) is no address; it should look like tcp://HOST:PORT")
    }
    logger.info(
      "worker starts", metadata: ["pid": "\(getpid())", "dispatcher": "\(configuration.dispatcher)"])
    var beaconAt: Int64 = 0
    var message = Message()
    while !stop.isSet {
      let now = Clock.steadyMilliseconds()
      if now - beaconAt >= Self.beaconMilliseconds {
        // Without a connection yet, soon again: nothing is served before the first one arrives.
        beaconAt =
          send(beacon(leaving: false), on: socket)
          ? now : now - Self.beaconMilliseconds + Self.retryMilliseconds
      }
      while try socket.receive(into: &message) { try handle(message.bytes) }
      _ = socket.wait(milliseconds: Int(Self.retryMilliseconds))
    }
    logger.info("worker drains")
    _ = send(beacon(leaving: true), on: socket)
    partitionStop.set()
    for partition in partitions.values { partition.join() }
    logger.info("worker stopped")
  }

  /// - Returns: false where there is no connection.
  private func send(_ beacon: Laris_Beacon, on socket: borrowing Socket) -> Bool {
    do {
      let bytes: [UInt8] = try beacon.serializedBytes()
      try socket.send([FrameKind.beacon.rawValue, FrameKind.version] + bytes)
      return true
    } catch let error as ZeroMQError where error.wouldBlock {
      // No dispatcher is there: the next beacon may find one.
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
      return row
    }
    return beacon
  }

  private func handle(_ bytes: UnsafeRawBufferPointer) throws {
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
    if !identity.cluster.isEmpty {
      guard identity.cluster == assignment.clusterID else {
        throw NodeError(
          .no,
          "the data folder \(configuration.data) is of cluster \(identity.cluster), but the dispatcher at "
            + "\(configuration.dispatcher) is of cluster \(assignment.clusterID)")
      }
    } else {
      identity.cluster = assignment.clusterID
      try folder.setIdentity(identity)
      logger.info("joined cluster \(assignment.clusterID)")
    }
    for row in assignment.partitions {
      guard let number = UInt16(exactly: row.partition) else {
        logger.warning("an assignment names partition \(row.partition), which no cluster has")
        continue
      }
      let partition = PartitionID(number)
      guard partitions[partition] == nil else { continue }
      var durable = DurablePartition.Setup(
        directory: configuration.data + "/partitions/" + Self.folderName(partition),
        cluster: assignment.clusterID, partition: partition, epoch: Epoch(row.epoch),
        mayCreate: row.mayCreate,
        terms: Terms(
          reserveMilliseconds: assignment.reserveMilliseconds, feeBasisPoints: assignment.feeBasisPoints),
        windowMilliseconds: Int64(clamping: assignment.requestWindowMilliseconds),
        rowsMax: configuration.rowsMax)
      durable.reserveBytes = configuration.diskReserveBytes
      let node = PartitionNode(
        .init(
          partition: durable, node: configuration.node, incarnation: incarnation,
          dispatcher: configuration.dispatcher),
        context: context, stop: partitionStop, logger: logger)
      partitions[partition] = node
      node.start()
    }
  }

  /// Four digits, so that folders sort.
  package static func folderName(_ partition: PartitionID) -> String {
    let digits = String(partition.rawValue)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}
