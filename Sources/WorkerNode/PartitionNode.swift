import Bytes
import Cluster
import DurablePartition
import Files
import Foundation
import Logging
import NodeSupport
import PartitionStore
import Replication
import ReplicationLog
import SQLite
import Synchronization
import Wire
import WorkerCore
import ZeroMQ

/// A partition's replica that runs: what it has on disk, and its sockets, on one thread.
///
/// A turn of its loop:
///
/// 1. hear the other replicas, and what the configuration manager says;
/// 2. drain the dispatchers' links, as far as credit goes;
/// 3. where this is the primary and may act: bring in the rows that are needed, give what is new sequence
///    numbers and one time, append it to the log, send it to the others, apply it while the disk is busy with
///    what was appended, and sync the log;
/// 4. send the answers that the commit point has reached;
/// 5. say hello, hand over a checkpoint, when it is time.
final class PartitionNode: Sendable {
  struct Setup: Sendable {
    var partition: DurablePartition.Setup
    /// Any of them serves requests, and knows the configuration.
    var dispatchers: [String]
    var hub: PeerHub
    /// Others have the partition's data, or will: where it is lost here, it comes from them.
    var isElsewhere: Bool
  }

  static let credit = 4
  private static let helloMilliseconds: Int64 = 250
  private static let retryMilliseconds: Int64 = 20
  private static let tickMilliseconds: Int64 = 10
  /// How long a stop waits for a last checkpoint that others must let be committed.
  private static let stopMilliseconds: Int64 = 5_000
  private static let peerMessagesPerTurn = 256
  /// Batches that may wait while none may be worked on.
  private static let framesMax = 64
  /// How long a log rests before it proves what it has synced.
  private static let restMilliseconds: Int64 = 100
  private static let checkpointMilliseconds: Int64 = 2_000
  /// Rows that are copied for a checkpoint in one turn: some tenths of a millisecond. More where the turn applied
  /// more: what is copied slower than it grows never ends, and 512 rows a turn of a thousand orders made
  /// checkpoints of ten seconds.
  private static let copiesPerTurn = 512
  private static let copiesPerEntry = 4
  /// Rows that wait for a checkpoint before requests wait for it too.
  private static let dirtyRowsMax = 2_000_000
  /// How long a checkpoint may take before answers slow down for it, and how much longer until they take half
  /// of the time.
  private static let easeMilliseconds: Int64 = 3_000
  private static let easeHalfMilliseconds: Int64 = 2_000

  /// How long to leave the cores to a checkpoint that is behind, in microseconds, after a turn of so many
  /// milliseconds: the longer it has been under way, the larger a share of the time, so that answering and
  /// writing find a rate that both can keep. By its time, not its rows: a partition that has all the load may
  /// have as many as six that share it.
  private static func ease(after turn: Int64, checkpointing: Int64) -> Int64 {
    let late = max(0, checkpointing - easeMilliseconds)
    return min(50_000, turn * 1_000 * late / easeHalfMilliseconds)
  }

  let board = PartitionStatusBoard()
  private let setup: Setup
  private var partition: PartitionID { setup.partition.partition }
  private let stop: StopFlag
  private let context: ZeroMQContext
  private let logger: Logger
  private let remover: Remover
  private let thread = Mutex<NodeThread?>(nil)
  /// Records that a dispatcher has told of.
  private let told = Mutex<[GroupRecord]>([])

  init(_ setup: Setup, context: ZeroMQContext, stop: StopFlag, logger: Logger) {
    self.setup = setup
    self.context = context
    self.stop = stop
    self.logger = logger
    remover = Remover(setup.partition, logger: logger)
  }

  func start() {
    thread.withLock { thread in
      thread = NodeThread("partition-\(partition.rawValue)") { [self] in
        while true {
          do {
            try run()
            return board.status.withLock {
              $0.isActive = false
              $0.note = "stopped"
            }
          } catch {
            guard mayPass(error), !stop.isSet else { return }
            usleep(1_000_000)
          }
        }
      }
    }
  }

  func join() {
    thread.withLock { $0 }?.join()
    remover.close()
  }

  /// A dispatcher tells of a configuration, an old one maybe.
  func tell(_ record: GroupRecord) {
    told.withLock { $0.append(record) }
    setup.hub.poke(partition)
  }

  /// - Returns: whether it is worth another try from what is on disk.
  private func mayPass(_ error: any Error) -> Bool {
    logger.critical("partition \(partition.rawValue) stops: \(error)")
    let wasServing = board.status.withLock { status in
      defer {
        status.isActive = false
        status.note = "\(error)"
      }
      return status.isActive
    }
    switch error {
    case let error as FileError:
      if error.isDiskFull { remover.hurry(true) }
      // A start that finds no room, or can't read, has lost nothing.
      if !wasServing, error.isDiskFull || error.operation.changesNothing { return true }
      endForDisk()
    case OpeningError.trimmed: return true
    case let error as SQLiteError:
      if error.isDiskFailure { endForDisk() }
      if error.isDiskFull { remover.hurry(true) }
      // Locks and limits may pass; damage stays.
      return !error.isDamage
    default:
      // Damage, a foreign file and missing data stay what they are.
      return false
    }
  }

  /// Rule 9: nobody knows what a failed write or sync left behind, and a sync that is tried again would
  /// lie. The next start reads what is there, and makes it durable before it relies on it.
  private func endForDisk() -> Never {
    logger.critical(
      """
      the node ends, because its disk failed: nobody knows what of the last writes is on it, and nothing that \
      was answered is among them. Look at the disk and the system's log, then start the node again: it goes on \
      from what is there, or says what is damaged
      """)
    _exit(NodeError.Exit.no.rawValue)
  }

  private func run() throws {
    while try serveUntilReplaced() {}
  }

  /// - Returns: whether it is to be opened anew.
  private func serveUntilReplaced() throws -> Bool {
    board.status.withLock { $0.note = "replaying the log" }
    let began = Clock.steadyMilliseconds()
    let checked: Result<DurablePartition.CheckedSnapshot, any Error>?
    do { checked = try run(from: began) } catch OpeningError.quarantined {
      // Another start sets it aside.
      return true
    }
    switch checked {
    case .success(let snapshot):
      logger.info(
        "partition \(partition.rawValue) installs a snapshot", metadata: ["entry": "\(snapshot.mark.sn)"])
      try setup.partition.install(snapshot)
    case .failure(let error):
      // What is here is as it was; the primary offers another one.
      logger.error("partition \(partition.rawValue): a snapshot is refused: \(error)")
    case nil: return false
    }
    return true
  }

  /// Opens what is here. What can't be relied on is kept under another name where others have the data.
  private func open(now: Int64) throws -> DurablePartition {
    do {
      return try DurablePartition(setup.partition, now: now)
    } catch  where setup.isElsewhere && Self.isLost(error) {
      logger.critical("partition \(partition.rawValue): \(error)")
      let kept = try setup.partition.setAside(suffix: "\(Self.suffix(error))-\(Clock.wallMilliseconds())")
      logger.warning(
        """
        partition \(partition.rawValue) joins its group anew, by a copy of the primary's data\
        \(kept.map { "; what was here is kept in \($0)" } ?? "")
        """)
      var fresh = setup.partition
      fresh.mayCreate = true
      return try DurablePartition(fresh, now: now)
    }
  }

  /// Rule 9: damaged or missing, which another start won't mend; rules 3, 10 and 15: not the group's.
  private static func isLost(_ error: any Error) -> Bool {
    switch error {
    case LogError.damaged, LogError.missing, LogError.gap, LogError.replay: true
    case OpeningError.missing, OpeningError.diverged: true
    case StoreError.damaged: true
    case let error as SQLiteError: error.isDamage
    default: false
    }
  }

  private static func suffix(_ error: any Error) -> String {
    if case OpeningError.diverged = error { "diverged" } else { "damaged" }
  }

  /// - Returns: a snapshot to be installed, or why it may not be; nil: it was asked to stop.
  private func run(from began: Int64) throws -> Result<DurablePartition.CheckedSnapshot, any Error>? {
    // Copies that were under way go, and what had no time to.
    remover.remove(setup.partition.snapshotPath, setup.partition.incomingPath)
    var durable = try open(now: began)
    logger.info(
      "partition \(partition.rawValue) is there up to entry \(durable.replica.last.sn)",
      metadata: [
        "epoch": "\(durable.replica.epoch.rawValue)", "replayed": "\(durable.replayed)",
        "milliseconds": "\(Clock.steadyMilliseconds() - began)",
      ])
    let checkpointer = try Checkpointer(setup.partition, stop: stop, logger: logger)
    defer { checkpointer.close() }
    let links = try setup.dispatchers.map { dispatcher in
      try DispatcherLink(
        to: dispatcher,
        as: "\(setup.partition.node)/\(setup.partition.incarnation)/\(partition.rawValue)", in: context)
    }
    let neighbours = Neighbours(
      setup, links: links, peers: PeerLink(partition: partition, hub: setup.hub), logger: logger)
    defer { neighbours.peers.desk.close() }
    return try serve(&durable, checkpointer, neighbours)
  }

  // MARK: Serving

  /// What the loop keeps from turn to turn, besides what is durable.
  private struct Turn {
    var tickAt: Int64 = 0
    var helloAt: [Int64]
    var workedAt: Int64 = 0
    var checkpointAt: Int64
    /// What the core had applied in the turn before.
    var applied: SequenceNumber = .zero
    var stopAt: Int64 = .max
    var received: [ReceivedBatches]
    /// Batches in hand: the first so many.
    var frames: [DispatcherLink.Frame]
    var framesInHand = 0
    var peerFrame = PeerFrame()
    var held = HeldAnswers()
    var audits: Audits
    var watch = TurnWatch()
    var isFull = false
    var statusAt: Int64 = 0
    /// The version that was told of.
    var rules: UInt16 = 1
    /// A snapshot that goes out, and one that comes in.
    let source: SnapshotSource
    var sink: SnapshotSink?

    mutating func enter(_ stage: TurnWatch.Stage, allowed: Int64 = 0) {
      watch.enter(stage, allowed: allowed, now: Clock.steadyMilliseconds())
    }
  }

  private func serve(
    _ durable: inout DurablePartition, _ checkpointer: Checkpointer, _ neighbours: Neighbours
  ) throws -> Result<DurablePartition.CheckedSnapshot, any Error>? {
    var items = neighbours.links.map(\.pollItem) + [neighbours.peers.pollItem]
    var turn = Turn(
      helloAt: neighbours.links.map { _ in 0 },
      // Partitions of a machine take turns.
      checkpointAt: Clock.steadyMilliseconds()
        + Int64(partition.rawValue % 8) * Self.checkpointMilliseconds / 8,
      received: neighbours.links.map { _ in ReceivedBatches() },
      frames: neighbours.links.flatMap { _ in (0..<Self.credit * 2).map { _ in DispatcherLink.Frame() } },
      audits: Audits(setup.partition, logger: logger),
      source: SnapshotSource(setup.partition, remover: remover, logger: logger))
    while true {
      let isStopping = stop.isSet
      let steady = Clock.steadyMilliseconds()
      if isStopping, turn.stopAt == .max { turn.stopAt = steady + Self.stopMilliseconds }
      if let long = turn.watch.begin(now: steady, ran: Clock.ranMilliseconds()) {
        logger.warning("partition \(partition.rawValue): \(long)")
      }
      turn.enter(.peers)
      var taken = try hearPeers(&durable, neighbours, &turn)
      turn.enter(.snapshots)
      if let checked = try passSnapshots(durable, neighbours, &turn) { return checked }
      turn.enter(.batches)
      let isBehind = durable.isCheckpointing && durable.core.dirtyRows > Self.dirtyRowsMax
      if !isBehind { taken += try drain(neighbours, &durable, &turn) }
      turn.enter(.configuration)
      try hearManager(&durable, neighbours)
      turn.enter(.clock)
      if steady - turn.tickAt >= Self.tickMilliseconds {
        turn.tickAt = steady
        try durable.tell(neighbours) { $0.tick(now: steady) }
      }
      turn.enter(.activity)
      try followActivity(&durable, checkpointer, neighbours, &turn)

      turn.enter(.work)
      let now = Clock.wallMilliseconds()
      var hasWorked = false
      if !durable.needsRebuild, durable.hasWork(wall: now), mayWork(&durable) {
        try durable.work(neighbours, now: now)
        hasWorked = true
        turn.framesInHand = 0
        turn.enter(.answers)
        try answer(&durable, neighbours, &turn)
      }
      turn.enter(.answers)
      try release(&durable, neighbours, &turn)
      turn.enter(.hello)
      try sayHello(&durable, neighbours, &turn, steady: steady)
      turn.enter(.checkpoint)
      try checkpoint(&durable, checkpointer, &turn, steady: steady, isStopping: isStopping)
      turn.enter(.audits)
      if !isStopping { try audit(&durable, neighbours, &turn, steady: steady) }

      if taken > 0 || hasWorked {
        turn.workedAt = steady
        if durable.isCheckpointing && !isStopping {
          let ended = Clock.steadyMilliseconds()
          let ease = Self.ease(after: ended - steady, checkpointing: ended - turn.checkpointAt)
          turn.enter(.wait, allowed: ease / 1_000 + 1)
          if ease > 0 { usleep(UInt32(ease)) }
        }
        continue
      }
      turn.enter(.rest)
      if isStopping || steady - turn.workedAt >= Self.restMilliseconds { try durable.rest() }
      if isStopping, steady >= turn.stopAt || !durable.isCheckpointing && !durable.isDirty { return nil }
      let isBusy = durable.isCheckpointing || isStopping || turn.audits.isBusy
      if durable.isCopying { continue }
      let patience = isBehind ? 1 : isBusy ? 5 : Self.tickMilliseconds
      turn.enter(.wait, allowed: patience)
      Socket.wait(for: &items, milliseconds: Int(patience))
    }
  }

  /// Rule 2. A window that is full, and a lease that is gone, may pass: what was taken waits.
  private func mayWork(_ durable: inout DurablePartition) -> Bool {
    switch durable.refusal(now: Clock.steadyMilliseconds()) {
    case nil, .tooFewReplicas: true
    case .notPrimary, .suspended, .windowFull: false
    }
  }

  // MARK: 1. The others

  private func hearPeers(
    _ durable: inout DurablePartition, _ neighbours: Neighbours, _ turn: inout Turn
  ) throws -> Int {
    var count = 0
    while count < Self.peerMessagesPerTurn, let event = neighbours.peers.receive(into: turn.peerFrame) {
      count += 1
      let now = neighbours.now
      switch event {
      case .message where SnapshotMessage.isOne(turn.peerFrame.bytes):
        try hearOfSnapshot(turn.peerFrame.bytes, durable, neighbours, &turn, now: now)
      case .message where AuditMessage.isOne(turn.peerFrame.bytes):
        // What came before it may be the entry that it names.
        try durable.settle(neighbours)
        hearOfAudit(turn.peerFrame.bytes, &durable, neighbours, &turn, now: now)
      case .message: try hear(turn.peerFrame.bytes, &durable, neighbours, now: now)
      case .connectionBroke(let node):
        try durable.tell(neighbours) { $0.connectionBroke(to: node, now: now) }
      case .died(let node, let incarnation):
        try durable.tell(neighbours) { $0.died(node, incarnation, now: now) }
      case .poked: break
      }
    }
    try durable.settle(neighbours)
    return count
  }

  private func hear(
    _ bytes: UnsafeRawBufferPointer, _ durable: inout DurablePartition, _ neighbours: Neighbours, now: Int64
  ) throws {
    let decoded: MessageCodec.Decoded
    do throws(MessageCodec.DecodingError) { decoded = try MessageCodec.read(bytes) } catch {
      return logger.warning("partition \(partition.rawValue): a peer's message was dropped: \(error)")
    }
    try durable.receive(decoded, neighbours, now: now, wall: Clock.wallMilliseconds())
  }

  // Rule 11. Any replica that has a log may be asked for its snapshot; what comes in is taken from whoever
  // the replica wants it of.

  private func hearOfSnapshot(
    _ bytes: UnsafeRawBufferPointer, _ durable: borrowing DurablePartition, _ neighbours: Neighbours,
    _ turn: inout Turn, now: Int64
  ) throws {
    guard let decoded = try? SnapshotMessage.read(bytes), decoded.cluster == setup.partition.clusterHash
    else {
      return logger.warning("partition \(partition.rawValue): a message about a snapshot was dropped")
    }
    switch decoded.message {
    case .request(let snapshot, let offset):
      guard durable.replica.role == .primary else { return }
      turn.source.piece(snapshot, offset, to: decoded.node, now: now) {
        send(.piece($0), to: decoded.node, neighbours)
      }
    case .piece(let piece):
      guard turn.sink != nil, turn.sink!.from == decoded.node else { return }
      try turn.sink!.take(piece)
    }
  }

  private func hearOfAudit(
    _ bytes: UnsafeRawBufferPointer, _ durable: inout DurablePartition, _ neighbours: Neighbours,
    _ turn: inout Turn, now: Int64
  ) {
    guard let decoded = try? AuditMessage.read(bytes), decoded.head.cluster == setup.partition.clusterHash,
      !durable.needsRebuild
    else { return logger.warning("partition \(partition.rawValue): a message about an audit was dropped") }
    turn.audits.hear(decoded, &durable, now: now) { send($0, to: $1, neighbours) }
  }

  private func send(_ message: AuditMessage, to node: String, _ neighbours: Neighbours) {
    var writer = ByteWriter(capacity: 256)
    message.write(
      cluster: setup.partition.clusterHash, partition: partition, node: setup.partition.node, into: &writer)
    neighbours.send(writer.bytes, to: node)
  }

  private func send(_ message: SnapshotMessage, to node: String, _ neighbours: Neighbours) {
    var writer = ByteWriter(capacity: 256)
    message.write(
      cluster: setup.partition.clusterHash, partition: partition, node: setup.partition.node, into: &writer)
    neighbours.send(writer.bytes, to: node)
  }

  /// - Returns: a snapshot that is wanted and was checked, or why it is refused.
  private func passSnapshots(
    _ durable: borrowing DurablePartition, _ neighbours: Neighbours, _ turn: inout Turn
  ) throws -> Result<DurablePartition.CheckedSnapshot, any Error>? {
    let now = neighbours.now
    if !neighbours.takeSnapshotsOffered().isEmpty { turn.source.offer(now: now) }
    turn.source.turn(durable.replica, now: now)
    if let node = neighbours.takeSnapshotWanted(), turn.sink?.from != node {
      turn.sink = try SnapshotSink(from: node, setup.partition, remover: remover)
    }
    guard durable.replica.isAwaitingSnapshot else {
      turn.sink.take()?.discard()
      return nil
    }
    if let checked = turn.sink?.checked { return checked }
    if let request = turn.sink?.request(now: now) { send(request, to: turn.sink!.from, neighbours) }
    return nil
  }

  private func hearManager(_ durable: inout DurablePartition, _ neighbours: Neighbours) throws {
    let told = told.withLock { told in
      defer { told.removeAll() }
      return told
    }
    let now = neighbours.now
    for record in told { try durable.tell(neighbours) { $0.configurationWasTold(record, now: now) } }
    for news in neighbours.takeNews() {
      switch news {
      case .read(let record): try durable.tell(neighbours) { $0.configurationWasRead(record, now: now) }
      case .changeEnded(let record, let outcome):
        try durable.tell(neighbours) { $0.compareAndSwapEnded(record, outcome, now: now) }
      }
    }
  }

  /// What follows from being the primary, or not any more.
  private func followActivity(
    _ durable: inout DurablePartition, _ checkpointer: Checkpointer, _ neighbours: Neighbours,
    _ turn: inout Turn
  ) throws {
    guard neighbours.hasActivityChanged || durable.needsRebuild else { return }
    neighbours.hasActivityChanged = false
    switch neighbours.activity {
    case .active:
      logger.info(
        "partition \(partition.rawValue) serves from entry \(durable.core.applied)",
        metadata: ["epoch": "\(durable.replica.epoch.rawValue)"])
      for place in turn.helloAt.indices { turn.helloAt[place] = 0 }
    case .suspended(let why): logger.info("partition \(partition.rawValue) is suspended: \(why.rawValue)")
    case .following, .learning, .inactive:
      let why = neighbours.activity.sentence
      logger.info(
        "partition \(partition.rawValue) is \(durable.replica.roleName)\(why.isEmpty ? "" : ": \(why)")",
        metadata: ["epoch": "\(durable.replica.epoch.rawValue)"])
      // Nobody was answered; dispatchers send it to the next primary.
      durable.core.forgetTaken()
      turn.framesInHand = 0
      turn.held.forget()
      turn.audits.forget()
      try sayStale(neighbours, durable.replica.epoch)
    }
    if durable.needsRebuild {
      if durable.isCheckpointing, !durable.isFreezing {
        while try !takeWritten(&durable, checkpointer) { usleep(1_000) }
      }
      try durable.rebuild(neighbours)
    }
    noteStatus(durable, neighbours, turn.source)
  }

  private func sayStale(_ neighbours: Neighbours, _ epoch: Epoch) throws {
    var stale = ByteWriter(capacity: 16)
    StaleFrame(partition: partition, epoch: epoch).write(into: &stale)
    for link in neighbours.links { _ = try link.send(stale.bytes) }
  }

  // MARK: 2. Dispatchers

  private func drain(
    _ neighbours: Neighbours, _ durable: inout DurablePartition, _ turn: inout Turn
  ) throws -> Int {
    var taken = 0
    for (place, link) in neighbours.links.enumerated() {
      while true {
        if turn.framesInHand == turn.frames.count {
          guard turn.frames.count < Self.framesMax else { return taken }
          turn.frames.append(DispatcherLink.Frame())
        }
        let frame = turn.frames[turn.framesInHand]
        guard try link.receive(into: frame) else { break }
        if frame.bytes.first == FrameKind.configurationReply.rawValue {
          neighbours.hear(frame.bytes, from: place)
          continue
        }
        if try accept(frame.bytes, &durable, &turn.received[place], link, dispatcher: place) {
          taken += 1
          turn.framesInHand += 1
          if taken >= Self.credit * 2 { break }
        }
      }
    }
    return taken
  }

  /// 4.
  private func answer(
    _ durable: inout DurablePartition, _ neighbours: Neighbours, _ turn: inout Turn
  ) throws {
    let now = neighbours.now
    let sn = durable.core.applied
    defer { durable.core.clearAnswers() }
    guard !durable.core.frames.isEmpty || !durable.core.audits.isEmpty else { return }
    guard turn.held.isEmpty, durable.replica.committed.sn >= sn,
      try !durable.core.hasReads || durable.tell(neighbours, { $0.mayAnswerRead(at: sn, now: now) })
    else { return turn.held.hold(durable.core) }
    for frame in durable.core.frames {
      try send(
        UnsafeRawBufferPointer(rebasing: durable.core.answers.bytes[frame.bytes]),
        neighbours.links[frame.dispatcher])
    }
    for ticket in durable.core.audits { turn.audits.add(ticket) }
  }

  private func release(
    _ durable: inout DurablePartition, _ neighbours: Neighbours, _ turn: inout Turn
  ) throws {
    guard !turn.held.isEmpty else { return }
    let now = neighbours.now
    let committed = durable.replica.committed.sn
    // Whether a read may be answered is the same for all that are committed.
    let mayRead = try durable.tell(neighbours) { $0.mayAnswerRead(at: committed, now: now) }
    let audits = try turn.held.release(
      through: committed, mayRead: mayRead, { try send($1, neighbours.links[$0]) })
    for ticket in audits { turn.audits.add(ticket) }
  }

  private func send(_ bytes: UnsafeRawBufferPointer, _ link: DispatcherLink) throws {
    if try !link.send(bytes) {
      logger.warning("answers were dropped, because the dispatcher is gone; its clients ask again")
    }
  }

  private func lookForRoom(_ durable: inout DurablePartition, _ turn: inout Turn) throws {
    let ranOut = durable.room.isFull
    try durable.lookForRoom()
    let room = durable.room
    remover.hurry(ranOut || room.isScarce)
    guard room.isFull != turn.isFull else { return }
    turn.isFull = room.isFull
    let directory = setup.partition.directory
    if room.isFull {
      logger.error(
        """
        partition \(partition.rawValue) refuses writes, because its disk is full: \(room.freeBytes >> 20) MiB \
        are free at \(directory). Make room: it goes on by itself when \(room.resumeBytes >> 20) MiB are free
        """)
    } else {
      logger.info("partition \(partition.rawValue) takes writes again: \(room.freeBytes >> 20) MiB are free")
    }
  }

  private func sayHello(
    _ durable: inout DurablePartition, _ neighbours: Neighbours, _ turn: inout Turn, steady: Int64
  ) throws {
    if steady - turn.statusAt >= Self.helloMilliseconds {
      turn.statusAt = steady
      try lookForRoom(&durable, &turn)
      tellOfRules(durable, &turn)
      noteStatus(durable, neighbours, turn.source)
    }
    guard neighbours.activity == .active else { return }
    for (place, link) in neighbours.links.enumerated()
    where steady - turn.helloAt[place] >= Self.helloMilliseconds {
      var hello = ByteWriter(capacity: 128)
      HelloFrame(
        partition: partition, epoch: durable.replica.epoch, incarnation: setup.partition.incarnation,
        credit: UInt32(Self.credit), node: setup.partition.node
      ).write(into: &hello)
      // Without a connection yet, soon again: nothing comes before the first hello arrives.
      turn.helloAt[place] =
        try link.send(hello.bytes) ? steady : steady - Self.helloMilliseconds + Self.retryMilliseconds
    }
  }

  private func tellOfRules(_ durable: borrowing DurablePartition, _ turn: inout Turn) {
    guard durable.core.rules != turn.rules else { return }
    turn.rules = durable.core.rules
    logger.info("partition \(partition.rawValue) goes by version \(turn.rules) of the rules")
  }

  private func noteStatus(
    _ durable: borrowing DurablePartition, _ neighbours: Neighbours, _ source: SnapshotSource
  ) {
    let replica = durable.replica
    let copying = replica.learner.flatMap { source.progress(of: $0) }
    let joined = replica.joinProgress(copying: copying)
    let (checkpointed, orders) = (durable.checkpointed.rawValue, durable.core.ordersPlaced)
    let replayBytes = durable.replayBytes
    let room = durable.room
    let directory = setup.partition.directory
    board.status.withLock {
      $0.epoch = replica.epoch
      $0.role = replica.roleName
      $0.last = replica.last.sn.rawValue
      $0.committed = replica.committed.sn.rawValue
      $0.checkpointed = checkpointed
      $0.orders = orders
      $0.replayBytes = replayBytes
      $0.joinedPercent = joined?.percent ?? 0
      $0.digestsCompared = UInt64(replica.count(.rule15Compared))
      $0.digestsDiffered = UInt64(replica.count(.rule15Differed))
      $0.isActive = neighbours.activity == .active
      $0.isFull = room.isFull
      $0.isUnclean = !replica.isClean
      $0.isHalted = replica.isHalted
      $0.activity = neighbours.activity.sentence
      $0.note =
        neighbours.lastAlarm.isEmpty
        ? room.isFull
          ? "refuses writes until \(room.resumeBytes >> 20) MiB are free at \(directory)"
          : neighbours.activity.sentence
        : neighbours.lastAlarm
    }
  }

  private func takeWritten(_ durable: inout DurablePartition, _ checkpointer: Checkpointer) throws -> Bool {
    guard let written = try checkpointer.takeWritten() else { return false }
    durable.written(written)
    return true
  }

  private func checkpoint(
    _ durable: inout DurablePartition, _ checkpointer: Checkpointer, _ turn: inout Turn, steady: Int64,
    isStopping: Bool
  ) throws {
    if durable.isCheckpointing { _ = try takeWritten(&durable, checkpointer) }
    let isWanted =
      isStopping
      || steady - turn.checkpointAt >= Self.checkpointMilliseconds && !turn.audits.holdsCheckpoints
    if !durable.isCheckpointing, isWanted, durable.isDirty {
      turn.checkpointAt = steady
      durable.freeze()
    }
    let applied = durable.core.applied
    let entries = Int(clamping: applied.rawValue - min(applied.rawValue, turn.applied.rawValue))
    turn.applied = applied
    if let frozen = durable.copyFrozen(atMost: max(Self.copiesPerTurn, entries * Self.copiesPerEntry)) {
      checkpointer.write(frozen, mayTrim: durable.mayTrim(holding: frozen))
    }
  }

  /// Goes on with audits, and sends what came out of those that are done.
  private func audit(
    _ durable: inout DurablePartition, _ neighbours: Neighbours, _ turn: inout Turn, steady: Int64
  ) throws {
    let isFrozen = durable.isCheckpointing
    let answers = turn.audits.turn(&durable, now: steady) { send($0, to: $1, neighbours) }
    if !isFrozen, durable.isCheckpointing { turn.checkpointAt = steady }
    for (dispatcher, answer) in answers {
      let isSent = try answer.withUnsafeBytes { try neighbours.links[dispatcher].send($0) }
      if !isSent { logger.warning("an audit's answer was dropped, because the dispatcher is gone") }
    }
  }

  /// - Returns: whether the frame was taken, and must stay.
  private func accept(
    _ bytes: UnsafeRawBufferPointer, _ durable: inout DurablePartition, _ received: inout ReceivedBatches,
    _ link: DispatcherLink, dispatcher: Int
  ) throws -> Bool {
    do {
      guard bytes.count > 0, bytes[0] == FrameKind.batch.rawValue else {
        throw FrameError.unknownKind(bytes.first ?? 0)
      }
      let (header, _, _) = try BatchHeader.read(bytes)
      guard header.partition == partition else { return false }
      // Rule 1, the epoch gate.
      let epoch = durable.replica.epoch
      guard header.epoch == epoch, durable.replica.role == .primary, !durable.needsRebuild else {
        // Its hello in this epoch makes the dispatcher send again what it had sent in the one before.
        if header.epoch < epoch, durable.replica.activity != .active {
          var stale = ByteWriter(capacity: 16)
          StaleFrame(partition: partition, epoch: epoch).write(into: &stale)
          _ = try link.send(stale.bytes)
        }
        return false
      }
      guard received.accepts(header) else {
        logger.info("batch \(header.number) waits for \(header.after), which was lost")
        return false
      }
      try durable.core.take(bytes, dispatcher: dispatcher, receivedAt: Clock.steadyMilliseconds())
      return true
    } catch let error as FrameError {
      logger.warning("a frame of the dispatcher was dropped: \(error)")
      return false
    }
  }
}
