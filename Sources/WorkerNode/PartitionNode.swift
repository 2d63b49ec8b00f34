import Bytes
import Cluster
import Foundation
import LarisProtocol
import Logging
import Marketplace
import NodeSupport
import PartitionStore
import ReplicationLog
import SQLite
import Synchronization
import Wire
import WorkerCore
import ZeroMQ

/// A partition that runs: its core, its log, its tables and its socket, on one thread.
///
/// A turn of its loop:
///
/// 1. drain the socket, as far as credit goes;
/// 2. bring in the rows that are needed;
/// 3. give what is new sequence numbers and one time;
/// 4. append it to the log;
/// 5. apply it, while the disk is busy with what was appended;
/// 6. sync the log: the commit point;
/// 7. send the answers;
/// 8. say hello, hand over a checkpoint, trim the log, when it is time.
final class PartitionNode: Sendable {
  struct Setup: Sendable {
    var directory: String
    var cluster: String
    var node: String
    var incarnation: Incarnation
    var partition: PartitionID
    var epoch: Epoch
    /// It never served: it may begin empty.
    var mayCreate: Bool
    var terms: Terms
    var windowMilliseconds: Int64
    var dispatcher: String
    /// Rows of one table that stay in memory.
    var rowsMax: Int
  }

  static let credit = 4
  private static let helloMilliseconds: Int64 = 250
  private static let retryMilliseconds: Int64 = 20
  /// How long a log rests before it proves what it has synced.
  private static let restMilliseconds: Int64 = 100
  private static let checkpointMilliseconds: Int64 = 2_000
  /// Segments of the log that are kept below the checkpoint.
  private static let tailSegments = 2
  /// Rows that are copied for a checkpoint in one turn: some tenths of a millisecond.
  private static let copiesPerTurn = 512
  /// Rows that wait for a checkpoint before requests wait for it too.
  private static let dirtyRowsMax = 2_000_000
  /// Rows that wait for a checkpoint before answers slow down for it.
  private static let dirtyRowsEase = 100_000

  /// How long to leave the cores to a checkpoint that is behind, in milliseconds: the more rows wait,
  /// the longer, so that answering and writing find a rate that both can keep.
  private static func ease(_ dirtyRows: Int) -> Int {
    max(0, min(50, (dirtyRows - dirtyRowsEase) / 4_000))
  }

  let board = PartitionStatusBoard()
  private let setup: Setup
  private let stop: StopFlag
  private let context: ZeroMQContext
  private let logger: Logger
  private let thread = Mutex<NodeThread?>(nil)

  init(_ setup: Setup, context: ZeroMQContext, stop: StopFlag, logger: Logger) {
    self.setup = setup
    self.context = context
    self.stop = stop
    self.logger = logger
  }

  func start() {
    thread.withLock { thread in
      thread = NodeThread("partition-\(setup.partition.rawValue)") { [self] in
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

  func join() { thread.withLock { $0 }?.join() }

  /// - Returns: whether it is worth another try from what is on disk.
  private func mayPass(_ error: any Error) -> Bool {
    logger.critical("partition \(setup.partition.rawValue) stops: \(error)")
    board.status.withLock {
      $0.isActive = false
      $0.note = "\(error)"
    }
    // Rule 9: nobody knows what a failed write or sync left behind. The next start reads what is there.
    if let error = error as? LogError, case .io = error {
      logger.critical("the node ends, because its disk failed")
      _exit(NodeError.Exit.no.rawValue)
    }
    // Damage, a foreign file and missing data stay what they are; SQLite's locks and limits may not.
    return error is SQLiteError || error is CheckpointFailed
  }

  // MARK: Opening

  private func run() throws {
    let partition = setup.partition
    try openFolder()
    let database = setup.directory + "/partition.sqlite"
    let logDirectory = setup.directory + "/log"
    do { _ = try PartitionWriter(path: database, cluster: setup.cluster, partition: partition) }
    let reader = try PartitionReader(path: database)
    let state = try reader.state()
    var core = PartitionCore(
      partition: partition, terms: setup.terms, windowMilliseconds: setup.windowMilliseconds,
      applied: state.applied, time: state.time, ordersPlaced: state.ordersPlaced,
      horizon: try reader.requestHorizon())
    try reader.loadReservations(into: &core)
    board.status.withLock { $0.note = "replaying the log" }
    let began = Clock.steadyMilliseconds()
    var log = try ReplicationLog(
      directory: logDirectory,
      identity: .init(cluster: XXH64.hash(setup.cluster), partition: partition), applied: state.applied,
      mayBegin: setup.mayCreate
    ) { block, entries in
      try core.takeLogged(entries, first: block.first, count: block.count, time: block.time)
      try reader.load(core.needsOfLogged(), into: &core)
      try reader.load(core.needsOfLoggedOrders(), isOfOrders: true, into: &core)
      core.replay()
    }
    logger.info(
      "partition \(partition.rawValue) serves from entry \(core.applied)",
      metadata: [
        "epoch": "\(setup.epoch.rawValue)", "replayed": "\(core.applied.rawValue - state.applied.rawValue)",
        "milliseconds": "\(Clock.steadyMilliseconds() - began)",
      ])
    let checkpointer = Checkpointer(
      name: "checkpoint-\(partition.rawValue)", path: database, cluster: setup.cluster,
      partition: partition, logDirectory: logDirectory, logger: logger)
    defer { checkpointer.close() }
    try serve(&core, &log, reader, checkpointer, database: database, checkpointed: state.applied)
  }

  private func openFolder() throws {
    let epochPath = setup.directory + "/epoch"
    let isNew = !FileManager.default.fileExists(atPath: epochPath)
    guard setup.mayCreate || !isNew else {
      throw NodeError(
        .no,
        "partition \(setup.partition.rawValue) has served before, but its data is not in \(setup.directory); "
          + "bring back the folder that this worker had")
    }
    try FileManager.default.createDirectory(
      atPath: setup.directory + "/log", withIntermediateDirectories: true)
    // Rule 1: a higher epoch is durable before it is acted on; a lower one is not acted on.
    let accepted = try EpochFile.read(epochPath)
    guard accepted <= setup.epoch else {
      throw NodeError(
        .no,
        "partition \(setup.partition.rawValue) was given epoch \(setup.epoch.rawValue), but had \(accepted.rawValue)"
      )
    }
    if accepted < setup.epoch { try EpochFile.write(setup.epoch, to: epochPath) }
  }

  // MARK: Serving

  /// What the loop keeps from turn to turn, besides core and log.
  private struct Turn {
    var helloAt: Int64 = 0
    var workedAt: Int64 = 0
    /// Written into SQLite.
    var checkpointed: SequenceNumber
    var checkpointAt: Int64
    var isCheckpointing = false
    /// What it is of is being copied.
    var isFreezing = false
    /// Bytes of the log when the last checkpoint was written, and when the next was frozen.
    var bytesAtCheckpoint: UInt64
    var bytesAtFreeze: UInt64
    var received = ReceivedBatches()
    var waitingAudits: [(ticket: PartitionCore.AuditTicket, from: SequenceNumber)] = []
  }

  private func serve(
    _ core: inout PartitionCore, _ log: inout ReplicationLog, _ reader: borrowing PartitionReader,
    _ checkpointer: Checkpointer, database: String, checkpointed: SequenceNumber
  ) throws {
    let link = try DispatcherLink(
      to: setup.dispatcher, as: "\(setup.node)/\(setup.incarnation)/\(setup.partition.rawValue)",
      in: context)
    let frames = (0..<Self.credit * 2).map { _ in DispatcherLink.Frame() }
    let audits = Audits()
    var turn = Turn(
      // Partitions of a machine take turns.
      checkpointed: checkpointed,
      checkpointAt: Clock.steadyMilliseconds()
        + Int64(setup.partition.rawValue % 8) * Self.checkpointMilliseconds / 8,
      bytesAtCheckpoint: log.bytesAppended, bytesAtFreeze: log.bytesAppended)
    board.status.withLock {
      $0.isActive = true
      $0.note = ""
      $0.epoch = setup.epoch
    }
    while true {
      let isStopping = stop.isSet
      let steady = Clock.steadyMilliseconds()
      let isFull = turn.isCheckpointing && core.dirtyRows > Self.dirtyRowsMax
      let taken = isFull ? 0 : try drain(link, frames, &core, &turn)
      let now = Clock.wallMilliseconds()
      if core.hasWork(now: now) {
        try work(&core, &log, reader, now: now)
        try send(&core, link, &turn)
      }
      if steady - turn.helloAt >= Self.helloMilliseconds {
        // Without a connection yet, soon again: nothing comes before the first hello arrives.
        turn.helloAt =
          try sayHello(link, core, log, turn)
          ? steady : steady - Self.helloMilliseconds + Self.retryMilliseconds
      }
      try checkpoint(&core, &log, checkpointer, &turn, steady: steady, isStopping: isStopping)
      try audit(audits, link, &turn, database: database)

      if taken > 0 {
        turn.workedAt = steady
        let ease = turn.isCheckpointing && !isStopping ? Self.ease(core.dirtyRows) : 0
        if ease > 0 { usleep(UInt32(ease) * 1_000) }
        continue
      }
      if log.needsProof, isStopping || steady - turn.workedAt >= Self.restMilliseconds { try log.prove() }
      if isStopping, !turn.isCheckpointing, !core.isDirty(since: turn.checkpointed) { return }
      let isBusy = turn.isCheckpointing || isStopping || !turn.waitingAudits.isEmpty || audits.isRunning
      if turn.isFreezing { continue }
      link.wait(milliseconds: isFull ? 1 : isBusy ? 5 : Int(Self.retryMilliseconds))
    }
  }

  /// 1.
  private func drain(
    _ link: DispatcherLink, _ frames: [DispatcherLink.Frame], _ core: inout PartitionCore, _ turn: inout Turn
  ) throws -> Int {
    var taken = 0
    while taken < frames.count {
      guard try link.receive(into: frames[taken]) else { break }
      if try accept(frames[taken].bytes, &core, &turn.received, link) { taken += 1 }
    }
    return taken
  }

  /// 2 to 6.
  private func work(
    _ core: inout PartitionCore, _ log: inout ReplicationLog, _ reader: borrowing PartitionReader, now: Int64
  ) throws {
    let needs = core.collectNeeds(now: now)
    if !needs.rows.isEmpty { try reader.load(needs.rows, into: &core) }
    if !needs.requests.isEmpty { try reader.load(needs.requests, into: &core) }
    let needsOfOrders = core.collectNeedsOfOrders()
    if !needsOfOrders.isEmpty { try reader.load(needsOfOrders, isOfOrders: true, into: &core) }
    core.seal(now: now)
    let isLogged = core.entryCount > 0
    if isLogged {
      try log.append(core.entries.bytes, count: core.entryCount, tag: setup.epoch, time: core.groupTime)
    }
    core.apply()
    if isLogged { try log.sync() }
  }

  /// 7.
  private func send(_ core: inout PartitionCore, _ link: DispatcherLink, _ turn: inout Turn) throws {
    for frame in core.frames {
      let bytes = UnsafeRawBufferPointer(rebasing: core.answers.bytes[frame.bytes])
      if try !link.send(bytes) {
        logger.warning("answers were dropped, because the dispatcher is gone; its clients ask again")
      }
    }
    for ticket in core.audits { turn.waitingAudits.append((ticket, core.applied)) }
    core.clearAnswers()
  }

  private func sayHello(
    _ link: DispatcherLink, _ core: borrowing PartitionCore, _ log: borrowing ReplicationLog, _ turn: Turn
  ) throws -> Bool {
    var hello = ByteWriter(capacity: 128)
    HelloFrame(
      partition: setup.partition, epoch: setup.epoch, incarnation: setup.incarnation,
      credit: UInt32(Self.credit), node: setup.node
    ).write(into: &hello)
    let isSent = try link.send(hello.bytes)
    let (committed, orders) = (log.synced.rawValue, core.ordersPlaced)
    let replayBytes = log.bytesAppended - turn.bytesAtCheckpoint
    board.status.withLock {
      $0.committed = committed
      $0.checkpointed = turn.checkpointed.rawValue
      $0.orders = orders
      $0.replayBytes = replayBytes
    }
    return isSent
  }

  private func checkpoint(
    _ core: inout PartitionCore, _ log: inout ReplicationLog, _ checkpointer: Checkpointer,
    _ turn: inout Turn, steady: Int64, isStopping: Bool
  ) throws {
    if turn.isCheckpointing, let written = try checkpointer.takeWritten() {
      turn.isCheckpointing = false
      turn.checkpointed = written.receipt.applied
      turn.bytesAtCheckpoint = turn.bytesAtFreeze
      core.written(written.receipt, keeping: setup.rowsMax)
      try log.trim(through: written.durable, tailSegments: Self.tailSegments)
    }
    let isWanted =
      isStopping || !turn.waitingAudits.isEmpty
      || steady - turn.checkpointAt >= Self.checkpointMilliseconds
    if !turn.isCheckpointing, isWanted, core.isDirty(since: turn.checkpointed) {
      turn.checkpointAt = steady
      turn.isCheckpointing = true
      turn.isFreezing = true
      turn.bytesAtFreeze = log.bytesAppended
      core.freeze()
    }
    if turn.isFreezing, let frozen = core.copyFrozen(atMost: Self.copiesPerTurn) {
      turn.isFreezing = false
      checkpointer.write(frozen)
    }
  }

  /// Starts audits whose asker's writes are all in SQLite, and sends those that are done.
  private func audit(_ audits: Audits, _ link: DispatcherLink, _ turn: inout Turn, database: String) throws {
    let checkpointed = turn.checkpointed
    turn.waitingAudits.removeAll { waiting in
      guard waiting.from <= checkpointed else { return false }
      audits.run(waiting.ticket, database: database, epoch: setup.epoch)
      return true
    }
    for answer in audits.takeAnswers() {
      let isSent = try answer.withUnsafeBytes { try link.send($0) }
      if !isSent { logger.warning("an audit's answer was dropped, because the dispatcher is gone") }
    }
  }

  /// Which batches a dispatcher has sent, so that none is executed before one that was lost.
  private struct ReceivedBatches {
    private var dispatcher = Incarnation(0)
    private var last: UInt64 = 0

    mutating func accepts(_ header: BatchHeader) -> Bool {
      if header.dispatcher != dispatcher {
        dispatcher = header.dispatcher
        last = 0
      }
      if header.number & BatchHeader.unordered != 0 { return true }
      guard header.after <= last else { return false }
      last = max(last, header.number)
      return true
    }
  }

  /// - Returns: whether the frame was taken, and must stay.
  private func accept(
    _ bytes: UnsafeRawBufferPointer, _ core: inout PartitionCore, _ received: inout ReceivedBatches,
    _ link: DispatcherLink
  ) throws -> Bool {
    do {
      guard bytes.count > 0, bytes[0] == FrameKind.batch.rawValue else {
        throw FrameError.unknownKind(bytes.first ?? 0)
      }
      let (header, _, _) = try BatchHeader.read(bytes)
      guard header.partition == setup.partition else { return false }
      // Rule 1, the epoch gate.
      guard header.epoch == setup.epoch else {
        if header.epoch < setup.epoch {
          var stale = ByteWriter(capacity: 16)
          StaleFrame(partition: setup.partition, epoch: setup.epoch).write(into: &stale)
          _ = try link.send(stale.bytes)
        }
        return false
      }
      guard received.accepts(header) else {
        logger.info("batch \(header.number) waits for \(header.after), which was lost")
        return false
      }
      try core.take(bytes, dispatcher: 0, receivedAt: Clock.wallMilliseconds())
      return true
    } catch let error as FrameError {
      logger.warning("a frame of the dispatcher was dropped: \(error)")
      return false
    }
  }
}
