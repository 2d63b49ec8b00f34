import Bytes
import Cluster
import ConfigurationManager
import DispatcherCore
import Foundation
import LarisProtocol
import Logging
import NodeProtocol
import NodeSupport
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
    /// Requests a second that are let in; 0: as many as come.
    package var admittedPerSecond: Int
    /// Where the cluster's configuration is; nil: in the data folder.
    package var etcd: EtcdOptions?
    /// How long a partition is left in peace before its primary changes for balance; nil: it never does.
    package var rebalanceMilliseconds: Int64?
    package init(
      data: String, node: String, listen: String, workerListen: String, admittedPerSecond: Int = 0,
      etcd: EtcdOptions? = nil, rebalanceMilliseconds: Int64? = 30_000
    ) {
      self.data = data
      self.node = node
      self.listen = listen
      self.workerListen = workerListen
      self.admittedPerSecond = admittedPerSecond
      self.etcd = etcd
      self.rebalanceMilliseconds = rebalanceMilliseconds
    }
  }

  private static let messagesPerTurn = 1_024
  /// A worker's answers come in frames of a mebibyte and one reply more.
  private static let workerFrameBytesMax: Int64 = 8 << 20
  private static let tickMilliseconds: Int64 = 20
  /// How long a stop waits for answers that are under way.
  private static let drainMilliseconds: Int64 = 3_000

  private let configuration: Configuration
  private let folder: DataFolder
  private let registry: WorkerRegistry
  private let store: StoreThread
  private let cluster: ClusterRecord
  private let incarnation = Incarnation.random()
  private let startedAt = Clock.wallMilliseconds()
  private let context = ZeroMQContext(ioThreads: 2)
  private let logger: Logger

  /// Takes the data folder and opens the cluster's configuration. Waits for an etcd that is away.
  ///
  /// - Throws: `NodeError`: no cluster there, in use, of another kind.
  package init(_ configuration: Configuration, until stop: StopFlag = StopFlag()) throws {
    self.configuration = configuration
    logger = Logger(label: configuration.node)
    folder = try DataFolder(configuration.data, create: configuration.etcd != nil)
    let identity = try folder.identity()
    if let identity, identity.kind != "dispatcher" {
      throw NodeError(
        .usage, "the data folder \(configuration.data) is a \(identity.kind)'s, not a dispatcher's")
    }
    let store: any ConfigurationManager
    let view: GroupsView
    do {
      store = try Self.open(configuration, until: stop, logger)
      view = try store.groups(since: nil)
    } catch let error as ConfigurationError {
      throw NodeError(Self.exit(for: error.kind), "\(error)")
    }
    cluster = store.cluster
    if let identity, identity.cluster != cluster.id {
      throw NodeError(
        .notSetUp,
        "the data folder \(configuration.data) is of cluster \(identity.cluster), and the configuration "
          + "of \(cluster.id) (\(cluster.name)); name another folder with --data")
    }
    if identity == nil {
      try folder.setIdentity(.init(kind: "dispatcher", cluster: cluster.id, node: configuration.node))
    }
    let node = NodeRecord(
      kind: .dispatcher, node: configuration.node, incarnation: incarnation,
      addresses: ["services": configuration.listen, "workers": configuration.workerListen])
    self.store = StoreThread(store, revision: view.revision, node: node, logger: logger)
    registry = WorkerRegistry(
      cluster: cluster, groups: view.groups, store: self.store, node: node,
      rebalanceMilliseconds: configuration.rebalanceMilliseconds, logger: logger)
  }

  private static func exit(for kind: ConfigurationError.Kind) -> NodeError.Exit {
    switch kind {
    case .unavailable: .unreachable
    case .missing, .otherCluster, .tooNew, .denied: .notSetUp
    case .damaged, .exists, .notMade: .no
    }
  }

  private static func open(
    _ configuration: Configuration, until stop: StopFlag, _ logger: Logger
  ) throws -> any ConfigurationManager {
    guard let etcd = configuration.etcd else {
      let path = configuration.data + "/cluster.sqlite"
      return try EmbeddedStore(path, exists: FileManager.default.fileExists(atPath: path))
    }
    var isTold = false
    while true {
      switch attempt(etcd) {
      case .success(let store): return store
      case .failure(let error):
        guard error.kind == .unavailable, !stop.isSet else { throw error }
        if !isTold { logger.warning("\(error); trying until it is there") }
        isTold = true
        usleep(100_000)
      }
    }
  }

  private static func attempt(_ etcd: EtcdOptions) -> Result<EtcdStore, ConfigurationError> {
    do {
      return .success(try EtcdStore(etcd))
    } catch {
      return .failure(error)
    }
  }

  private final class Box { var message = Message() }

  /// Serves until `stop` is set; then answers what is under way, refuses what is new, and returns.
  package func run(until stop: StopFlag) throws {
    let clients = try Socket(.router, in: context)
    // Threads of their own: a flood at the services' port must not hold the workers up.
    clients.setIOThreads(1)
    clients.setRouterMandatory()
    // What was not read yet waits in the peer's own memory; what it does not read itself is counted.
    clients.setHighWaterMarks(send: 0, receive: 2_048)
    clients.setMessageBytesMax(Int64(2 * WireLimits.requestBytesMax))
    clients.setHandshake(milliseconds: 5_000)
    clients.setKeepalive(afterSeconds: 30)
    clients.setLinger(milliseconds: 500)
    let workers = try Socket(.router, in: context)
    workers.setIOThreads(2)
    workers.setRouterMandatory()
    workers.setRouterHandover()
    workers.setHighWaterMarks(send: 0, receive: 0)
    workers.setMessageBytesMax(Self.workerFrameBytesMax)
    workers.setHandshake(milliseconds: 5_000)
    try bind(clients, configuration.listen, flag: "--listen")
    try bind(workers, configuration.workerListen, flag: "--worker-listen")
    logger.info(
      "dispatcher serves cluster \(cluster.name)",
      metadata: [
        "pid": "\(getpid())", "services": "\(clients.lastEndpoint)", "workers": "\(workers.lastEndpoint)",
      ])

    var limits = DispatcherCore.Limits()
    limits.admittedPerSecond = configuration.admittedPerSecond
    var core = DispatcherCore(partitions: cluster.partitions, incarnation: incarnation, limits: limits)
    for group in registry.groups where group.primary != nil {
      core.assigned(group.partition, epoch: group.epoch)
    }
    var frames: [Box] = (0..<4).map { _ in Box() }
    var tickAt: Int64 = 0
    var stopAt: Int64?
    while true {
      // The store's thread wakes nobody up; what members wait for is looked for soon.
      let (fromClients, fromWorkers) = Socket.wait(
        clients, workers, milliseconds: registry.isAsked ? 1 : Int(Self.tickMilliseconds))
      let now = Clock.steadyMilliseconds()
      if stop.isSet, stopAt == nil {
        logger.info("dispatcher drains")
        core.stop()
        stopAt = now + Self.drainMilliseconds
      }
      if fromWorkers { try takeFromWorkers(workers, &core, frames, now: now) }
      if fromClients { try takeFromClients(clients, &core, &frames, now: now) }
      carryOn(workers, &core, now: now)
      core.dispatch(now: now)
      send(&core, workers)
      for request in core.statusRequests {
        var reply = ByteWriter(capacity: 4_096)
        reply.field(1, high: request.id.high, low: request.id.low)
        statusBody(core, now: now).withUnsafeBytes { reply.append($0) }
        core.answerStatus(request, reply.bytes)
      }
      core.clearStatusRequests()
      for request in core.operatorRequests { consider(request, &core) }
      core.clearOperatorRequests()
      if now - tickAt >= Self.tickMilliseconds {
        tickAt = now
        core.tick(now: now)
        connections.tick(now: now)
        if let stopAt, core.isIdle || now >= stopAt {
          reply(&core, clients)
          store.stop()
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
    let connection = connections.find(frames[0].message.bytes, now: now)
    guard connections.mayBeServed(connection, now: now) else {
      messagesDropped += 1
      return
    }
    let envelope = Envelope(
      connection: connection.id, prefix: (1..<first).map { Array(frames[$0].message.bytes) })
    guard first < count else {
      connections.malformed(connection, 1, now: now)
      return core.refuse(envelope, .malformed)
    }
    let malformed = core.counters.malformed
    defer {
      if core.counters.malformed > malformed {
        connections.malformed(connection, Int(core.counters.malformed - malformed), now: now)
      }
    }
    let requests = count - first
    guard !isTooLong, requests <= WireLimits.requestsPerMessageMax,
      requests == 1
        || frames[first..<count].reduce(0, { $0 + $1.message.bytes.count }) <= WireLimits.messageBytesMax
    else {
      connections.malformed(connection, 1, now: now)
      return core.refuse(envelope, .tooLarge)
    }
    let message = core.begin(envelope, count: requests)
    for index in 0..<requests {
      core.add(frames[first + index].message.bytes, index: index, to: message, now: now)
    }
  }

  private func reply(_ core: inout DispatcherCore, _ socket: borrowing Socket) {
    let now = Clock.steadyMilliseconds()
    for outgoing in core.outgoing {
      let connection = outgoing.envelope.connection.withUnsafeBytes { connections.find($0, now: now) }
      guard connections.mayBeServed(connection, now: now) else {
        repliesDropped += 1
        continue
      }
      do {
        try socket.send(outgoing.envelope.connection, more: true)
        for frame in outgoing.envelope.prefix { try socket.send(frame, more: true) }
        for index in outgoing.frames {
          try socket.send(
            UnsafeRawBufferPointer(rebasing: core.replyBytes.bytes[core.ranges[index]]),
            more: index + 1 < outgoing.frames.upperBound, counting: connection.outstanding)
        }
      } catch {
        // The client is gone, or does not read: it asks again with the same id.
        repliesDropped += 1
      }
    }
    core.clearOutgoing()
  }

  private var repliesDropped: UInt64 = 0
  /// Of connections that do not read, or send what is no request.
  private var messagesDropped: UInt64 = 0
  private var connections = Connections()
  /// At the workers' port, what no worker sends.
  private var framesRefused: UInt64 = 0
  private var refusalLoggedAt: Int64 = -1_000

  // MARK: Workers

  private func takeFromWorkers(
    _ socket: borrowing Socket, _ core: inout DispatcherCore, _ frames: [Box], now: Int64
  ) throws {
    for _ in 0..<Self.messagesPerTurn {
      guard try socket.receive(into: &frames[0].message) else { return }
      guard frames[0].message.hasMore, try socket.receive(into: &frames[1].message) else { continue }
      while frames[1].message.hasMore, try socket.receive(into: &frames[1].message) {}
      let bytes = frames[1].message.bytes
      let connection = Array(frames[0].message.bytes)
      do {
        switch bytes.first.flatMap(FrameKind.init(rawValue:)) {
        case .answers: try core.answers(bytes, now: now)
        case .hello:
          let hello = try HelloFrame(bytes)
          if registry.opens(hello, from: connection, now: now) {
            core.hello(hello, connection: connection, now: now)
          }
        case .stale: core.stale(try StaleFrame(bytes), connection: connection)
        case .beacon: try beacon(bytes, connection, socket, &core, now: now)
        case .configurationRequest:
          let question = try ConfigurationQuestion(bytes)
          if let answer = registry.asked(question, from: connection) { send(answer, to: connection, socket) }
        case .batch, .assignment, .configurationReply, nil:
          throw FrameError.unknownKind(bytes.first ?? 0)
        }
      } catch let error as FrameError {
        refuseFrame("\(error)", now: now)
      } catch let error as NodeProtocolError {
        refuseFrame("\(error)", now: now)
      }
    }
  }

  private func refuseFrame(_ why: String, now: Int64) {
    framesRefused += 1
    // One line a second: whoever sends garbage must not fill the disk with it.
    guard now - refusalLoggedAt >= 1_000 else { return }
    refusalLoggedAt = now
    logger.warning("a frame at the workers' port was dropped, the \(framesRefused)th: \(why)")
  }

  private func beacon(
    _ bytes: UnsafeRawBufferPointer, _ connection: [UInt8], _ socket: borrowing Socket,
    _ core: inout DispatcherCore, now: Int64
  ) throws {
    guard bytes.count >= 2, bytes[1] == FrameKind.version,
      let beacon = try? Laris_Beacon(serializedBytes: Data(bytes[2...]))
    else { throw FrameError.unsupportedVersion(bytes.count > 1 ? bytes[1] : 0) }
    if let assignment = registry.heard(beacon, from: connection, now: now) {
      send(assignment, to: connection, socket)
    }
  }

  /// What the configuration store has said since the last turn.
  private func carryOn(_ socket: borrowing Socket, _ core: inout DispatcherCore, now: Int64) {
    let outcome = registry.carryOn(now: now)
    if outcome.didGroupsChange {
      for group in registry.groups where group.primary != nil {
        core.assigned(group.partition, epoch: group.epoch)
      }
    }
    if !outcome.operators.isEmpty { status.body = [] }
    for (ticket, outcome) in outcome.operators {
      guard let request = operators.take(ticket) else { continue }
      let (outcome, reply) = Operators.reply(outcome, to: request.id)
      core.answer(request, outcome, reply)
    }
    for (connection, answer) in outcome.answers { send(answer, to: connection, socket) }
    for (connection, assignment) in outcome.assignments { send(assignment, to: connection, socket) }
    for (hello, connection) in outcome.hellos { core.hello(hello, connection: connection, now: now) }
  }

  private func send(_ assignment: Laris_Assignment, to connection: [UInt8], _ socket: borrowing Socket) {
    do {
      let bytes: [UInt8] = try assignment.serializedBytes()
      try socket.send(connection, more: true)
      try socket.send([FrameKind.assignment.rawValue, FrameKind.version] + bytes)
    } catch {
      logger.warning("an assignment could not be sent: \(error)")
    }
  }

  private func send(_ answer: ConfigurationAnswer, to connection: [UInt8], _ socket: borrowing Socket) {
    do {
      let frame = try answer.frame()
      try socket.send(connection, more: true)
      try socket.send(frame)
    } catch {
      // It asks again.
      logger.info("an answer about \(answer.partition) could not be sent: \(error)")
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

  // MARK: Operators

  private func consider(_ request: DispatcherCore.OperatorRequest, _ core: inout DispatcherCore) {
    let command = (try? Laris_Request(serializedBytes: request.bytes))?.command
    switch registry.consider(command) {
    case .no(let why):
      let (outcome, reply) = Operators.no(why, to: request.id)
      core.answer(request, outcome, reply)
    case .done:
      let (outcome, reply) = Operators.reply(.done, to: request.id)
      core.answer(request, outcome, reply)
    case .order(let order): store.tell(.operators(order, ticket: operators.wait(request)))
    }
  }

  private var operators = Operators()

  // MARK: Status

  /// The last that was made, and when: many may ask.
  private var status: (body: [UInt8], at: Int64) = ([], 0)

  /// A reply to `GetStatus`, but for the request's id.
  private func statusBody(_ core: borrowing DispatcherCore, now: Int64) -> [UInt8] {
    if status.body.isEmpty || now - status.at >= Self.tickMilliseconds { status = (makeStatus(core), now) }
    return status.body
  }

  private func makeStatus(_ core: borrowing DispatcherCore) -> [UInt8] {
    var reply = Laris_Reply()
    reply.outcome = .done
    var status = Laris_ClusterStatus()
    status.clusterID = cluster.id
    status.name = cluster.name
    status.currency = cluster.currency
    status.replicas = UInt32(cluster.replicas)
    status.minReplicas = UInt32(cluster.minReplicas)
    status.initialWorkers = UInt32(cluster.initialWorkers)
    status.requestWindowMilliseconds = UInt64(cluster.requestWindowMilliseconds)
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
    status.dispatcher.dropped = counters.dropped + repliesDropped + messagesDropped
    status.dispatcher.malformed = counters.malformed + framesRefused
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
