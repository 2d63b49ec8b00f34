import Bytes
import CLinux
import Cluster
import Glibc
import Logging
import NodeSupport
import Replication
import Synchronization
import ZeroMQ

/// The messages between workers' partitions, over one port a process.
///
/// A connection carries messages one way: each worker connects to all others that it is told of. A
/// partition's thread hands its messages to the connection itself; what comes in is received by one thread,
/// which looks at nothing but the partition in a message's head and puts it into that one's inbox. Nothing is
/// kept for who is not there or does not read, and nothing is ever waited for: the protocol sends again.
///
/// Beacons it answers and sends itself where the partition's thread does not get to it (``PeerLink/desk``).
///
/// That thread also watches the connections. When one breaks, all partitions hear of it; and as long as a
/// process of this machine is not connected, the thread looks whether it lives (`LifeLock`).
package final class PeerHub: Sendable {
  /// What became of messages.
  package struct Counts: Equatable, Sendable {
    package var sent = 0
    package var toUnknown = 0
    package var toUnconnected = 0
    package var toFull = 0
    package var received = 0
    package var malformed = 0
    package var forNobody = 0
    package var forFull = 0
  }

  private enum Count: Int, CaseIterable {
    case sent, toUnknown, toUnconnected, toFull, received, malformed, forNobody, forFull
  }

  /// A message's head besides its entries is far less.
  package static let messageBytesMax = MessageCodec.entriesBytesMax + (64 << 10)
  /// Peers beyond are not connected to.
  package static let peersMax = 256
  /// Messages of one connection that may wait for the thread; then the peer's system holds them back.
  private static let receivedMax: Int32 = 256
  private static let messagesPerTurn = 256
  /// How often desks are asked for beacons that are late.
  private static let desksMilliseconds: Int64 = 10
  /// How often an unconnected process is looked for: soon at first, because the system may close its
  /// connections some milliseconds before it lets go of the lock.
  private static let lookMilliseconds: Int64 = 1
  private static let lookMillisecondsMax: Int64 = 50
  /// How long one is looked for whose place a later process has taken.
  private static let lookForReplacedMilliseconds: Int64 = 10_000

  private let context: ZeroMQContext
  private let node: String
  private let incarnation: Incarnation
  private let logger: Logger
  /// Where it listens, the port that the system chose included.
  package let endpoint: String
  private let counters: [Counter]
  private let stopFlag = StopFlag()
  let wake = Wake()
  private let wanted = Mutex<[PeerAddress]?>(nil)
  private let connections = Mutex<[String: PeerConnection]>([:])
  private let inboxes = Mutex<[PartitionID: PeerInbox]>([:])
  private let thread = Mutex<NodeThread?>(nil)

  private final class Counter: Sendable { let value = Atomic<Int>(0) }

  /// A descriptor that any thread makes readable: the hub's wait ends.
  final class Wake: Sendable {
    let descriptor: Int32
    init() {
      descriptor = laris_eventfd()
      precondition(descriptor >= 0, "eventfd: \(String(cString: strerror(errno)))")
    }
    deinit { close(descriptor) }
    func set() {
      var one: UInt64 = 1
      _ = write(descriptor, &one, 8)
    }
    func clear() {
      var count: UInt64 = 0
      _ = read(descriptor, &count, 8)
    }
  }

  /// - Throws: `NodeError`: `listen` is no address, or in use.
  package init(
    listen: String, node: String, incarnation: Incarnation, context: ZeroMQContext, logger: Logger
  ) throws {
    let box = SocketBox(try Self.listen(listen, context))
    self.context = context
    self.node = node
    self.incarnation = incarnation
    self.logger = logger
    endpoint = box.endpoint
    counters = Count.allCases.map { _ in Counter() }
    thread.withLock { thread in
      thread = NodeThread("peers") { [self] in
        do { try serve(box) } catch {
          // The library's own failure: no peer can be the cause.
          logger.critical("the node hears its peers no more: \(error)")
        }
      }
    }
  }

  private static func listen(_ endpoint: String, _ context: ZeroMQContext) throws -> Socket {
    let socket = try Socket(.pull, in: context)
    socket.setHighWaterMarks(send: 1, receive: receivedMax)
    socket.setMessageBytesMax(Int64(messageBytesMax))
    socket.setHandshake(milliseconds: 2_000)
    socket.setKeepalive(afterSeconds: 30)
    do { try socket.bind(endpoint) } catch {
      if error.isAddressInUse {
        throw NodeError(
          .no, "\(endpoint) is in use by another process; name another with --replication-listen")
      }
      throw NodeError(.usage, "can't \(error); --replication-listen should look like tcp://HOST:PORT")
    }
    return socket
  }

  /// On its way to the thread that owns it.
  private final class SocketBox: @unchecked Sendable {
    private let socket: Socket
    let endpoint: String
    init(_ socket: consuming Socket) {
      endpoint = socket.lastEndpoint
      self.socket = socket
    }
    var pollItem: PollItem { socket.pollItem }
    func receive(into frame: PeerFrame) throws(ZeroMQError) -> Bool { try frame.receive(socket) }
  }

  // MARK: From any thread

  package var counts: Counts {
    func value(_ count: Count) -> Int { counters[count.rawValue].value.load(ordering: .relaxed) }
    return Counts(
      sent: value(.sent), toUnknown: value(.toUnknown), toUnconnected: value(.toUnconnected),
      toFull: value(.toFull), received: value(.received), malformed: value(.malformed),
      forNobody: value(.forNobody), forFull: value(.forFull))
  }

  private func count(_ count: Count) { counters[count.rawValue].value.add(1, ordering: .relaxed) }

  /// Who there is: all other workers that any partition here talks to. Connections to others are dropped.
  package func setPeers(_ peers: [PeerAddress]) {
    wanted.withLock { $0 = peers }
    wake.set()
  }

  /// The partition's wait ends, and it receives `poked`.
  package func poke(_ partition: PartitionID) { inboxes.withLock { $0[partition] }?.put(.poked) }

  /// Closes everything and waits for the thread. What is sent afterwards is dropped.
  package func stop() {
    stopFlag.set()
    wake.set()
    thread.withLock { $0 }?.join()
  }

  func register(_ inbox: PeerInbox, _ partition: PartitionID) {
    inboxes.withLock { $0[partition] = inbox }
  }

  func remove(_ inbox: PeerInbox, _ partition: PartitionID) {
    inboxes.withLock { if $0[partition] === inbox { $0[partition] = nil } }
  }

  func send(_ bytes: UnsafeRawBufferPointer, to node: String) {
    // Whatever its length says: a peer would cut the connection for it.
    precondition(bytes.count <= Self.messageBytesMax, "a message of \(bytes.count) bytes")
    guard let connection = connections.withLock({ $0[node] }) else { return count(.toUnknown) }
    do {
      switch try connection.send(bytes) {
      case .sent: count(.sent)
      case .full: count(.toFull)
      case .notConnected: count(.toUnconnected)
      }
    } catch {
      count(.toUnconnected)
      logger.error("a message to \(node) could not be sent: \(error)")
    }
  }

  // MARK: The thread

  /// A connection as its thread watches it.
  private final class Watched {
    let connection: PeerConnection
    private let monitor: ConnectionMonitor
    var isConnected = false

    init(_ connection: PeerConnection, in context: ZeroMQContext) throws(ZeroMQError) {
      self.connection = connection
      monitor = try connection.connect(in: context)
    }

    deinit { connection.close() }

    var pollItem: PollItem { monitor.pollItem }

    func next(_ message: inout Message) throws(ZeroMQError) -> ConnectionMonitor.Event? {
      try monitor.next(&message)
    }
  }

  /// A process that may have ended.
  private struct Suspect {
    let node: String
    let incarnation: Incarnation
    let place: LifeLock.Place
    let since: Int64
    var lookAt: Int64
    var interval: Int64 = PeerHub.lookMilliseconds
    var until = Int64.max
  }

  private func serve(_ socket: SocketBox) throws {
    var watched: [String: Watched] = [:]
    var suspects: [Suspect] = []
    defer { connections.withLock { $0 = [:] } }
    let frame = PeerFrame()
    var order: [Watched] = []
    var items: [PollItem] = []
    var message = Message()
    var isChanged = true
    var desksAt: Int64 = 0
    while !stopFlag.isSet {
      if let wanted = wanted.withLock({ $0.take() }) {
        connect(wanted, &watched, &suspects)
        isChanged = true
      }
      if isChanged {
        order = Array(watched.values)
        items = [socket.pollItem, PollItem(descriptor: wake.descriptor)] + order.map(\.pollItem)
        isChanged = false
      }
      let now = Clock.steadyMilliseconds()
      if now >= desksAt { desksAt = sendBeacons() ? now + Self.desksMilliseconds : now + 1_000 }
      let timeout = max(0, min(desksAt, suspects.map(\.lookAt).min() ?? .max) - now)
      Socket.wait(for: &items, milliseconds: Int(timeout))
      if items[1].isReady {
        wake.clear()
        desksAt = 0
      }
      if items[0].isReady { try receive(socket, frame) }
      for (place, one) in order.enumerated() where items[place + 2].isReady {
        while let event = try one.next(&message) { happened(event, one, &suspects) }
      }
      look(&suspects)
    }
    for one in watched.values { one.connection.close() }
  }

  private func receive(_ socket: SocketBox, _ frame: PeerFrame) throws(ZeroMQError) {
    var isRest = false
    var left = Self.messagesPerTurn
    while left > 0 || isRest {
      left -= 1
      guard try socket.receive(into: frame) else { return }
      // A message is one frame; one of several is nobody's that speaks this protocol.
      let isWhole = !isRest && !frame.hasMore
      isRest = frame.hasMore
      if isWhole { deliver(frame) } else { count(.malformed) }
    }
  }

  /// `kind u8 | version u8 | partition u16`: the rest is the partition's to judge.
  private func deliver(_ frame: PeerFrame) {
    let bytes = frame.bytes
    guard bytes.count >= 4, bytes[1] == MessageCodec.version else { return count(.malformed) }
    let partition = PartitionID(UInt16(bytes[2]) | UInt16(bytes[3]) << 8)
    guard let inbox = inboxes.withLock({ $0[partition] }) else { return count(.forNobody) }
    if MessageCodec.concernsDesk(bytes[0]), inbox.desk.isOpen, let decoded = try? MessageCodec.read(bytes),
      let answer = inbox.desk.receive(decoded.message, decoded.envelope)
    {
      send(answer)
    }
    count(inbox.put(frame) ? .received : .forFull)
  }

  private func send(_ message: BeaconDesk.Outgoing) {
    var writer = ByteWriter(capacity: 256)
    MessageCodec.write(message.message, message.envelope, into: &writer)
    send(writer.bytes, to: message.to)
  }

  /// - Returns: whether there is a desk that may have some to send.
  private func sendBeacons() -> Bool {
    var isAnyOpen = false
    for inbox in inboxes.withLock({ Array($0.values) }) where inbox.desk.isOpen {
      isAnyOpen = true
      for beacon in inbox.desk.beacons() { send(beacon) }
    }
    return isAnyOpen
  }

  private func tell(_ event: PeerEvent) {
    for inbox in inboxes.withLock({ Array($0.values) }) { inbox.put(event) }
  }

  // MARK: Who there is

  private func connect(
    _ wanted: [PeerAddress], _ watched: inout [String: Watched], _ suspects: inout [Suspect]
  ) {
    var rest = watched
    watched = [:]
    let now = Clock.steadyMilliseconds()
    for address in wanted where address.node != node && watched[address.node] == nil {
      guard watched.count < Self.peersMax else {
        logger.error("there are more than \(Self.peersMax) peers; \(address.node) is not connected to")
        continue
      }
      if let known = rest[address.node], known.connection.address == address {
        watched[address.node] = known
        rest[address.node] = nil
        continue
      }
      do {
        let one = try Watched(PeerConnection(address, in: context), in: context)
        watched[address.node] = one
        suspect(address, &suspects, now: now)
        logger.info(
          "peer \(address.node) is at \(address.endpoint)",
          metadata: ["incarnation": "\(address.incarnation)"])
      } catch {
        logger.error("peer \(address.node) can't be connected to: \(error)")
      }
    }
    // Whose place another process has taken may have ended; nobody asks for one that is not named any more.
    let names = Set(watched.keys)
    suspects.removeAll { !names.contains($0.node) }
    for one in rest.values {
      let old = one.connection.address
      // One that was not connected is looked for already, or proven dead.
      if one.isConnected, let new = watched[old.node]?.connection.address, new.incarnation != old.incarnation
      {
        suspect(old, &suspects, now: now)
      }
      one.connection.close()
    }
    for place in suspects.indices {
      let isReplaced =
        watched[suspects[place].node]?.connection.address.incarnation != suspects[place].incarnation
      if isReplaced {
        suspects[place].until = min(suspects[place].until, now + Self.lookForReplacedMilliseconds)
      }
    }
    let table = watched.mapValues(\.connection)
    connections.withLock { $0 = table }
  }

  private func happened(_ event: ConnectionMonitor.Event, _ one: Watched, _ suspects: inout [Suspect]) {
    let address = one.connection.address
    switch event {
    case .connected:
      one.isConnected = true
      // A last look: who took the connection may be a later process at the same address.
      for place in suspects.indices
      where suspects[place].node == address.node && suspects[place].incarnation == address.incarnation {
        suspects[place].lookAt = 0
        suspects[place].until = 0
      }
    case .broke:
      guard one.isConnected else { return }
      one.isConnected = false
      logger.info("the connection to peer \(address.node) broke")
      tell(.connectionBroke(address.node))
      suspect(address, &suspects, now: Clock.steadyMilliseconds())
    }
  }

  // MARK: Who is dead

  private func suspect(_ address: PeerAddress, _ suspects: inout [Suspect], now: Int64) {
    guard !address.host.isEmpty, address.host == Machine.bootID,
      let place = LifeLock.Place(address.lockPath),
      !suspects.contains(where: { $0.node == address.node && $0.incarnation == address.incarnation })
    else { return }
    suspects.append(
      Suspect(node: address.node, incarnation: address.incarnation, place: place, since: now, lookAt: now))
  }

  /// Rule 5: a proof that it ended, or nothing.
  private func look(_ suspects: inout [Suspect]) {
    guard !suspects.isEmpty else { return }
    let now = Clock.steadyMilliseconds()
    suspects.removeAll { suspect in
      guard now >= suspect.lookAt else { return false }
      guard LifeLock.look(suspect.place, suspect.incarnation) == .free else { return now >= suspect.until }
      logger.info(
        "peer \(suspect.node) has ended: its lock is free",
        metadata: ["incarnation": "\(suspect.incarnation)"])
      tell(.died(suspect.node, suspect.incarnation))
      return true
    }
    for place in suspects.indices where now >= suspects[place].lookAt {
      let interval = suspects[place].interval
      suspects[place].lookAt = now + interval
      // Doubled after some looks at the shortest.
      if now - suspects[place].since >= 16 * interval {
        suspects[place].interval = min(Self.lookMillisecondsMax, interval * 2)
      }
    }
  }
}
