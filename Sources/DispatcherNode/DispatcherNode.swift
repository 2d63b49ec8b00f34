import Bytes
import Cluster
import ConfigurationManager
import DispatcherCore
import Foundation
import LarisProtocol
import Logging
import NodeSupport
import SQLite
import SwiftProtobuf
import Wire
import ZeroMQ

/// A dispatcher process: clients in front, workers behind, one thread.
///
/// A turn of its loop:
///
/// 1. wait for either socket;
/// 2. take what clients sent, a bounded number of messages;
/// 3. take what workers sent;
/// 4. let batches leave; 5. send them; 6. send the replies;
/// 7. some times a second: end waits that are over.
package final class DispatcherNode {
  package struct Configuration: Sendable {
    package var data: String
    package var node: String
    package var listen: String
    package var workerListen: String
    package init(data: String, node: String, listen: String, workerListen: String) {
      self.data = data
      self.node = node
      self.listen = listen
      self.workerListen = workerListen
    }
  }

  private static let messagesPerTurn = 1_024
  private static let tickMilliseconds: Int64 = 20
  /// How long a stop waits for answers that are under way.
  private static let drainMilliseconds: Int64 = 3_000

  private let configuration: Configuration
  private let folder: DataFolder
  private let registry: WorkerRegistry
  private let cluster: ClusterRecord
  private let incarnation = Incarnation.random()
  private let startedAt = Clock.wallMilliseconds()
  private let context = ZeroMQContext()
  private let logger: Logger

  /// Takes the data folder and opens the cluster's configuration.
  ///
  /// - Throws: `NodeError`: no cluster there, in use, of another kind.
  package init(_ configuration: Configuration) throws {
    self.configuration = configuration
    logger = Logger(label: configuration.node)
    folder = try DataFolder(configuration.data, create: false)
    if let identity = try folder.identity(), identity.kind != "dispatcher" {
      throw NodeError(
        .usage, "the data folder \(configuration.data) is a \(identity.kind)'s, not a dispatcher's")
    }
    let store: EmbeddedStore
    do {
      let path = configuration.data + "/cluster.sqlite"
      store = try EmbeddedStore(path, exists: FileManager.default.fileExists(atPath: path))
    } catch {
      throw NodeError(.usage, "\(error)")
    }
    cluster = try store.cluster()
    registry = try WorkerRegistry(cluster: cluster, store: store, incarnation: incarnation, logger: logger)
  }

  private final class Box { var message = Message() }

  /// Serves until `stop` is set; then answers what is under way, refuses what is new, and returns.
  package func run(until stop: StopFlag) throws {
    let clients = try Socket(.router, in: context)
    clients.setRouterMandatory()
    clients.setHighWaterMarks(send: 65_536, receive: 65_536)
    clients.setMessageBytesMax(Int64(WireLimits.messageBytesMax))
    clients.setLinger(milliseconds: 500)
    let workers = try Socket(.router, in: context)
    workers.setRouterMandatory()
    workers.setRouterHandover()
    workers.setHighWaterMarks(send: 0, receive: 0)
    try bind(clients, configuration.listen, flag: "--listen")
    try bind(workers, configuration.workerListen, flag: "--worker-listen")
    logger.info(
      "dispatcher serves cluster \(cluster.name)",
      metadata: [
        "pid": "\(getpid())", "services": "\(clients.lastEndpoint)", "workers": "\(workers.lastEndpoint)",
      ])

    var core = DispatcherCore(partitions: cluster.partitions, incarnation: incarnation)
    for group in registry.groups where group.primary != nil {
      core.assigned(group.partition, epoch: group.epoch)
    }
    var frames: [Box] = (0..<4).map { _ in Box() }
    var tickAt: Int64 = 0
    var stopAt: Int64?
    while true {
      let (fromClients, fromWorkers) = Socket.wait(
        clients, workers, milliseconds: Int(Self.tickMilliseconds))
      let now = Clock.steadyMilliseconds()
      if stop.isSet, stopAt == nil {
        logger.info("dispatcher drains")
        core.stop()
        stopAt = now + Self.drainMilliseconds
      }
      if fromWorkers { try takeFromWorkers(workers, &core, frames, now: now) }
      if fromClients { try takeFromClients(clients, &core, &frames, now: now) }
      core.dispatch(now: now)
      send(&core, workers)
      for request in core.statusRequests {
        let bytes = statusReply(request.id, core)
        bytes.withUnsafeBytes { core.answerStatus(request, $0) }
      }
      core.clearStatusRequests()
      if now - tickAt >= Self.tickMilliseconds {
        tickAt = now
        core.tick(now: now)
        if let stopAt, core.isIdle || now >= stopAt {
          reply(&core, clients)
          logger.info("dispatcher stopped")
          return
        }
      }
      reply(&core, clients)
    }
  }

  private func bind(_ socket: borrowing Socket, _ endpoint: String, flag: String) throws {
    do {
      try socket.bind(endpoint)
    } catch  where error.isAddressInUse {
      throw NodeError(
        .no, "\(endpoint) is in use by another process; choose another with \(flag), or stop that one")
    } catch {
      throw NodeError(.usage, "\(flag) \(endpoint): \(error); it should look like tcp://127.0.0.1:12120")
    }
  }

  // MARK: Clients

  private func takeFromClients(
    _ socket: borrowing Socket, _ core: inout DispatcherCore, _ frames: inout [Box], now: Int64
  ) throws {
    for _ in 0..<Self.messagesPerTurn {
      guard try socket.receive(into: &frames[0].message) else { return }
      var count = 1
      var bytes = 0
      var isTooLong = false
      while frames[count - 1].message.hasMore {
        if bytes > WireLimits.messageBytesMax, count > 4 {
          isTooLong = true
          count -= 1  // As below.
        } else if count == frames.count {
          if count < WireLimits.requestsPerMessageMax + 4 {
            frames.append(Box())
          } else {
            isTooLong = true
            count -= 1  // The rest is received over the last frame, and dropped.
          }
        }
        guard try socket.receive(into: &frames[count].message) else { break }
        bytes += frames[count].message.bytes.count
        count += 1
      }
      take(frames, count, isTooLong, &core, now: now)
      // What was large is let go; what was not is received over.
      if bytes > 65_536 { for index in frames.indices { frames[index].message = Message() } }
      if frames.count > 64 { frames.removeLast(frames.count - 64) }
    }
  }

  /// Frames: connection, maybe a client's own frames with an empty delimiter, then requests.
  /// A request is never empty, so an empty frame among the first two is a delimiter.
  private func take(
    _ frames: [Box], _ count: Int, _ isTooLong: Bool, _ core: inout DispatcherCore, now: Int64
  ) {
    var first = 1
    if count > 1, frames[1].message.bytes.isEmpty {
      first = 2
    } else if count > 2, frames[2].message.bytes.isEmpty {
      first = 3
    }
    let envelope = Envelope(
      connection: Array(frames[0].message.bytes), prefix: (1..<first).map { Array(frames[$0].message.bytes) })
    guard first < count else { return core.refuse(envelope, .malformed) }
    let requests = count - first
    guard !isTooLong, requests <= WireLimits.requestsPerMessageMax,
      requests == 1
        || frames[first..<count].reduce(0, { $0 + $1.message.bytes.count }) <= WireLimits.messageBytesMax
    else { return core.refuse(envelope, .tooLarge) }
    let message = core.begin(envelope, count: requests)
    for index in 0..<requests {
      core.add(frames[first + index].message.bytes, index: index, to: message, now: now)
    }
  }

  private func reply(_ core: inout DispatcherCore, _ socket: borrowing Socket) {
    for outgoing in core.outgoing {
      do {
        try socket.send(outgoing.envelope.connection, more: true)
        for frame in outgoing.envelope.prefix { try socket.send(frame, more: true) }
        for index in outgoing.frames {
          try socket.send(
            UnsafeRawBufferPointer(rebasing: core.replyBytes.bytes[core.ranges[index]]),
            more: index + 1 < outgoing.frames.upperBound)
        }
      } catch {
        // The client is gone, or does not read: it asks again with the same id.
        repliesDropped += 1
      }
    }
    core.clearOutgoing()
  }

  private var repliesDropped: UInt64 = 0

  // MARK: Workers

  private func takeFromWorkers(
    _ socket: borrowing Socket, _ core: inout DispatcherCore, _ frames: [Box], now: Int64
  ) throws {
    while try socket.receive(into: &frames[0].message) {
      guard frames[0].message.hasMore, try socket.receive(into: &frames[1].message) else { continue }
      while frames[1].message.hasMore, try socket.receive(into: &frames[1].message) {}
      let bytes = frames[1].message.bytes
      let connection = Array(frames[0].message.bytes)
      do {
        switch bytes.first.flatMap(FrameKind.init(rawValue:)) {
        case .answers: try core.answers(bytes, now: now)
        case .hello:
          let hello = try HelloFrame(bytes)
          if try registry.opens(hello) { core.hello(hello, connection: connection, now: now) }
        case .stale: core.stale(try StaleFrame(bytes), connection: connection)
        case .beacon: try beacon(bytes, connection, socket, &core, now: now)
        case .batch, .assignment, nil: throw FrameError.unknownKind(bytes.first ?? 0)
        }
      } catch let error as FrameError {
        logger.warning("a frame of a worker was dropped: \(error)")
      } catch let error as SQLiteError {
        // The configuration is never on the data path: what serves goes on, and the next beacon or
        // hello tries again.
        logger.warning("the cluster's configuration is out of reach: \(error)")
      }
    }
  }

  private func beacon(
    _ bytes: UnsafeRawBufferPointer, _ connection: [UInt8], _ socket: borrowing Socket,
    _ core: inout DispatcherCore, now: Int64
  ) throws {
    guard bytes.count >= 2, bytes[1] == FrameKind.version,
      let beacon = try? Laris_Beacon(serializedBytes: Data(bytes[2...]))
    else { throw FrameError.unsupportedVersion(bytes.count > 1 ? bytes[1] : 0) }
    let assignment = try registry.heard(beacon, now: now)
    for group in registry.groups where group.primary != nil {
      core.assigned(group.partition, epoch: group.epoch)
    }
    guard let assignment else { return }
    do {
      let bytes: [UInt8] = try assignment.serializedBytes()
      try socket.send(connection, more: true)
      try socket.send([FrameKind.assignment.rawValue, FrameKind.version] + bytes)
    } catch {
      logger.warning("an assignment could not be sent: \(error)")
    }
  }

  private func send(_ core: inout DispatcherCore, _ socket: borrowing Socket) {
    for departure in core.departures {
      do {
        try socket.send(departure.connection, more: true)
        try socket.send(departure.frame)
      } catch {
        // What is in flight goes again when the partition says hello.
        logger.info("partition \(departure.partition.rawValue) is gone: \(error)")
        core.unreachable(departure.partition)
      }
    }
    core.clearDepartures()
  }

  // MARK: Status

  private func statusReply(_ id: RequestID, _ core: borrowing DispatcherCore) -> [UInt8] {
    var reply = Laris_Reply()
    reply.requestID = Data(id.bytes)
    reply.outcome = .done
    var status = Laris_ClusterStatus()
    status.clusterID = cluster.id
    status.name = cluster.name
    status.currency = cluster.currency
    status.replicas = UInt32(cluster.replicas)
    status.initialWorkers = UInt32(cluster.initialWorkers)
    status.now = Clock.wallMilliseconds()
    status.dispatcher.node = configuration.node
    status.dispatcher.incarnation = incarnation.rawValue
    status.dispatcher.pid = UInt32(getpid())
    status.dispatcher.startedAt = startedAt
    let counters = core.counters
    status.dispatcher.requests = counters.requests
    status.dispatcher.done = counters.done
    status.dispatcher.no = counters.no
    status.dispatcher.notExecuted = counters.notExecuted
    status.dispatcher.unknown = counters.unknown
    status.dispatcher.dropped = counters.dropped + repliesDropped
    status.dispatcher.malformed = counters.malformed
    registry.describe(into: &status, now: Clock.steadyMilliseconds())
    for index in status.partitions.indices {
      let view = core.view(of: PartitionID(UInt16(status.partitions[index].partition)))
      status.partitions[index].active = status.partitions[index].active && view.isActive
      status.partitions[index].waiting = UInt32(view.waiting)
      status.partitions[index].inFlight = UInt32(view.inFlight)
    }
    reply.status = status
    return (try? reply.serializedBytes()) ?? []
  }
}
