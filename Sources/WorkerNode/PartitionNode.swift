import Bytes
import Cluster
import DurablePartition
import Files
import Foundation
import Logging
import NodeSupport
import SQLite
import Synchronization
import Wire
import WorkerCore
import ZeroMQ

/// A partition that runs: what it has on disk, and its socket, on one thread.
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
/// 8. say hello, hand over a checkpoint, when it is time.
final class PartitionNode: Sendable {
  struct Setup: Sendable {
    var partition: DurablePartition.Setup
    var node: String
    var incarnation: Incarnation
    var dispatcher: String
  }

  static let credit = 4
  private static let helloMilliseconds: Int64 = 250
  private static let retryMilliseconds: Int64 = 20
  /// How long a log rests before it proves what it has synced.
  private static let restMilliseconds: Int64 = 100
  private static let checkpointMilliseconds: Int64 = 2_000
  /// Rows that are copied for a checkpoint in one turn: some tenths of a millisecond.
  private static let copiesPerTurn = 512
  /// Rows that wait for a checkpoint before requests wait for it too.
  private static let dirtyRowsMax = 2_000_000
  /// How long a checkpoint may take before answers slow down for it.
  private static let easeMilliseconds: Int64 = 4_000

  /// How long to leave the cores to a checkpoint that is behind, in milliseconds: the longer it has been
  /// under way, the longer, so that answering and writing find a rate that both can keep. By its time, not
  /// its rows: a partition that has all the load may have as many as six that share it.
  private static func ease(checkpointing milliseconds: Int64) -> Int64 {
    max(0, min(50, (milliseconds - easeMilliseconds) / 500))
  }

  let board = PartitionStatusBoard()
  private let setup: Setup
  private var partition: PartitionID { setup.partition.partition }
  private var epoch: Epoch { setup.partition.epoch }
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

  func join() { thread.withLock { $0 }?.join() }

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
      // A start that finds no room, or can't read, has lost nothing.
      if !wasServing, error.isDiskFull || error.operation.changesNothing { return true }
      endForDisk()
    case let error as SQLiteError:
      if error.isDiskFailure { endForDisk() }
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
    board.status.withLock { $0.note = "replaying the log" }
    let began = Clock.steadyMilliseconds()
    var durable = try DurablePartition(setup.partition)
    logger.info(
      "partition \(partition.rawValue) serves from entry \(durable.core.applied)",
      metadata: [
        "epoch": "\(epoch.rawValue)", "replayed": "\(durable.replayed)",
        "milliseconds": "\(Clock.steadyMilliseconds() - began)",
      ])
    let checkpointer = try Checkpointer(setup.partition, stop: stop, logger: logger)
    defer { checkpointer.close() }
    try serve(&durable, checkpointer)
  }

  // MARK: Serving

  /// What the loop keeps from turn to turn, besides what is durable.
  private struct Turn {
    var helloAt: Int64 = 0
    var workedAt: Int64 = 0
    var checkpointAt: Int64
    var received = ReceivedBatches()
    var waitingAudits: [(ticket: PartitionCore.AuditTicket, from: SequenceNumber)] = []
    var isFull = false
  }

  private func serve(_ durable: inout DurablePartition, _ checkpointer: Checkpointer) throws {
    let link = try DispatcherLink(
      to: setup.dispatcher, as: "\(setup.node)/\(setup.incarnation)/\(partition.rawValue)",
      in: context)
    let frames = (0..<Self.credit * 2).map { _ in DispatcherLink.Frame() }
    let audits = Audits()
    var turn = Turn(
      // Partitions of a machine take turns.
      checkpointAt: Clock.steadyMilliseconds()
        + Int64(partition.rawValue % 8) * Self.checkpointMilliseconds / 8)
    board.status.withLock {
      $0.isActive = true
      $0.note = ""
      $0.epoch = epoch
    }
    while true {
      let isStopping = stop.isSet
      let steady = Clock.steadyMilliseconds()
      let isBehind = durable.isCheckpointing && durable.core.dirtyRows > Self.dirtyRowsMax
      let taken = isBehind ? 0 : try drain(link, frames, &durable.core, &turn)
      let now = Clock.wallMilliseconds()
      if durable.core.hasWork(now: now) {
        try durable.work(now: now)
        try send(&durable.core, link, &turn)
      }
      if steady - turn.helloAt >= Self.helloMilliseconds {
        try lookForRoom(&durable, &turn)
        // Without a connection yet, soon again: nothing comes before the first hello arrives.
        turn.helloAt =
          try sayHello(link, durable)
          ? steady : steady - Self.helloMilliseconds + Self.retryMilliseconds
      }
      try checkpoint(&durable, checkpointer, &turn, steady: steady, isStopping: isStopping)
      try audit(audits, link, &turn, checkpointed: durable.checkpointed)

      if taken > 0 {
        turn.workedAt = steady
        let ease =
          durable.isCheckpointing && !isStopping ? Self.ease(checkpointing: steady - turn.checkpointAt) : 0
        if ease > 0 { usleep(UInt32(ease) * 1_000) }
        continue
      }
      if isStopping || steady - turn.workedAt >= Self.restMilliseconds { try durable.rest() }
      if isStopping, !durable.isCheckpointing, !durable.isDirty { return }
      let isBusy =
        durable.isCheckpointing || isStopping || !turn.waitingAudits.isEmpty || audits.isRunning
      if durable.isFreezing { continue }
      link.wait(milliseconds: isBehind ? 1 : isBusy ? 5 : Int(Self.retryMilliseconds))
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

  private func lookForRoom(_ durable: inout DurablePartition, _ turn: inout Turn) throws {
    try durable.lookForRoom()
    let room = durable.room
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
    board.status.withLock {
      $0.note =
        room.isFull
        ? "refuses writes until \(room.resumeBytes >> 20) MiB are free at \(directory)" : ""
    }
  }

  private func sayHello(_ link: DispatcherLink, _ durable: borrowing DurablePartition) throws -> Bool {
    var hello = ByteWriter(capacity: 128)
    HelloFrame(
      partition: partition, epoch: epoch, incarnation: setup.incarnation, credit: UInt32(Self.credit),
      node: setup.node
    ).write(into: &hello)
    let isSent = try link.send(hello.bytes)
    let (committed, checkpointed) = (durable.log.synced.rawValue, durable.checkpointed.rawValue)
    let (orders, replayBytes) = (durable.core.ordersPlaced, durable.replayBytes)
    board.status.withLock {
      $0.committed = committed
      $0.checkpointed = checkpointed
      $0.orders = orders
      $0.replayBytes = replayBytes
    }
    return isSent
  }

  private func checkpoint(
    _ durable: inout DurablePartition, _ checkpointer: Checkpointer, _ turn: inout Turn, steady: Int64,
    isStopping: Bool
  ) throws {
    if durable.isCheckpointing, let written = try checkpointer.takeWritten() { durable.written(written) }
    let isWanted =
      isStopping || !turn.waitingAudits.isEmpty
      || steady - turn.checkpointAt >= Self.checkpointMilliseconds
    if !durable.isCheckpointing, isWanted, durable.isDirty {
      turn.checkpointAt = steady
      durable.freeze()
    }
    if let frozen = durable.copyFrozen(atMost: Self.copiesPerTurn) { checkpointer.write(frozen) }
  }

  /// Starts audits whose asker's writes are all in SQLite, and sends those that are done.
  private func audit(
    _ audits: Audits, _ link: DispatcherLink, _ turn: inout Turn, checkpointed: SequenceNumber
  ) throws {
    turn.waitingAudits.removeAll { waiting in
      guard waiting.from <= checkpointed else { return false }
      audits.run(waiting.ticket, database: setup.partition.databasePath, epoch: epoch)
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
      guard header.partition == partition else { return false }
      // Rule 1, the epoch gate.
      guard header.epoch == epoch else {
        if header.epoch < epoch {
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
      try core.take(bytes, dispatcher: 0, receivedAt: Clock.wallMilliseconds())
      return true
    } catch let error as FrameError {
      logger.warning("a frame of the dispatcher was dropped: \(error)")
      return false
    }
  }
}
