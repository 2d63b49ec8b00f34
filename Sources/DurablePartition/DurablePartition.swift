import Bytes
import Cluster
import Files
import Marketplace
import PartitionStore
import Replication
import ReplicationLog
import WorkerCore

/// A replica of a partition on its disk: its core, its log and its tables, and the order in which they are
/// used. What to do with them says a ``Replica``; this carries it out.
///
/// One thread's. Checkpoints are written by a ``CheckpointWriter``, on another thread where that is wanted.
/// What goes to others leaves through ``Surroundings``.
///
/// Invariant: SQLite holds what is committed, and nothing else. Memory holds all of the log where this is
/// the primary, and what is committed of it where it is not.
package struct DurablePartition: ~Copyable {
  package struct Setup: Sendable {
    package var directory: String
    package var cluster: String
    package var partition: PartitionID
    package var node: String
    package var incarnation: Incarnation
    /// It may begin empty: it never served, or gets its data from others.
    package var mayCreate: Bool
    package var terms: Terms
    package var windowMilliseconds: Int64
    /// Rows of one table that stay in memory.
    package var rowsMax: Int
    /// Writes are refused where less is free on the disk, in bytes.
    package var reserveBytes = 0
    package var rowsExpected = 65_536
    /// Entries that a start replays before it writes a checkpoint of them.
    package var replayCheckpointEntries: UInt64 = 100_000
    package var segmentBytes = SegmentFormat.segmentBytesDefault
    /// What stays of the log below the checkpoint.
    package var logTail = LogTail()
    package var replication = Replica.Settings()
    package var files: any FileSystem = SystemFiles()

    package init(
      directory: String, cluster: String, partition: PartitionID, node: String, incarnation: Incarnation,
      mayCreate: Bool, terms: Terms, windowMilliseconds: Int64, rowsMax: Int
    ) {
      self.directory = directory
      self.cluster = cluster
      self.partition = partition
      self.node = node
      self.incarnation = incarnation
      self.mayCreate = mayCreate
      self.terms = terms
      self.windowMilliseconds = windowMilliseconds
      self.rowsMax = rowsMax
    }

    package var databasePath: String { directory + "/partition.sqlite" }
    package var logDirectory: String { directory + "/log" }
    package var epochPath: String { directory + "/epoch" }
    /// A file that says that what is here must not be relied on (rule 9); gone once a snapshot is installed.
    package var uncleanPath: String { directory + "/unclean" }
    /// A file that says that what is here was found not to be the group's (rules 3, 10 and 15).
    package var divergedPath: String { directory + "/diverged" }
    package var clusterHash: UInt64 { XXH64.hash(cluster) }
    var logIdentity: ReplicationLog.Identity { .init(cluster: clusterHash, partition: partition) }
  }

  package let setup: Setup
  package var core: PartitionCore
  package private(set) var replica: Replica
  package private(set) var log: ReplicationLog
  private var reader: PartitionReader
  /// Blocks of the log, oldest first, as far back as the replica keeps their marks.
  private var places: BlockList<BlockPlace>
  /// Blocks of the log that the core has not applied: they are not known to be committed.
  private var pending: [PendingBlock] = []
  /// How much room there is.
  package private(set) var room: DiskRoom
  /// What SQLite holds.
  package private(set) var checkpointed: SequenceNumber
  /// Entries that the start took from the log.
  package let replayed: UInt64
  /// A checkpoint was begun, and is not yet written.
  package private(set) var isCheckpointing = false
  /// What it is of is being copied, or is not committed yet.
  package private(set) var isFreezing = false
  private var copied: Checkpoint?
  /// A checkpoint is to be begun as soon as this entry is applied, which must end a block.
  private var freezeAt: SequenceNumber?
  /// The core holds what may never have happened: ``rebuild()`` must come before anything else.
  package private(set) var needsRebuild = false
  /// Bytes of the log when the last checkpoint was written, and when the next was frozen.
  private var bytesAtCheckpoint: UInt64
  private var bytesAtFreeze: UInt64
  /// The entries of the block that is being assigned or received.
  private var hand = ByteWriter(capacity: 1 << 12)
  private var message = ByteWriter(capacity: 1 << 12)
  private var isGathering = false
  private var isSyncWanted = false

  private struct PendingBlock {
    let head: BlockHead
    let entries: [UInt8]
  }

  // MARK: Opening

  /// Opens what is in the folder, or begins there, and replays what is committed of the log from where
  /// SQLite ends.
  ///
  /// A long replay writes checkpoints on its way: so a start that is cut short has not been for nothing,
  /// and a partition that is killed again and again does not fall behind for ever.
  ///
  /// - Parameter now: milliseconds of a clock that counts suspend.
  /// - Throws: ``OpeningError``; `LogError`, `StoreError`, `SQLiteError`, `FileError`. Nothing of what was
  ///   there is lost by it.
  package init(_ setup: Setup, now: Int64) throws {
    let epoch = try Self.makeFolder(setup)
    if try setup.files.exists(setup.divergedPath) {
      let what = String(
        decoding: try setup.files.open(setup.divergedPath, .read).contents(to: 200), as: UTF8.self)
      throw OpeningError.diverged(setup.partition, directory: setup.directory, what)
    }
    var writer = try PartitionWriter(
      path: setup.databasePath, cluster: setup.cluster, partition: setup.partition, files: setup.files)
    let reader = try PartitionReader(path: setup.databasePath, files: setup.files)
    let state = try reader.state()
    var core = try Self.emptyCore(setup, reader)
    var checkpointed = state.applied
    var places = BlockList<BlockPlace>()
    var marks: [LogMark] = []
    var pending: [PendingBlock] = []
    var committed = state.applied
    var time = state.time

    let log: ReplicationLog
    do {
      log = try ReplicationLog(
        directory: setup.logDirectory, identity: setup.logIdentity, applied: state.applied,
        segmentBytes: setup.segmentBytes, mayBegin: setup.mayCreate, files: setup.files,
        found: { block, position in
          places.append(BlockPlace(sn: block.last, position: position))
          marks.append(LogMark(sn: block.last, tag: block.tag, hash: block.hash))
          committed = max(committed, block.committed)
          time = max(time, block.time)
        }
      ) { block, entries in
        pending.append(PendingBlock(head: BlockHead(block), entries: Array(entries)))
        try Self.replay(
          &pending, through: committed, setup, into: &core, reader, checkpoints: &writer,
          through: &checkpointed)
      }
    } catch LogError.replay(_, _, PartitionCore.ReplayError.rulesUnknown(let sn, let asked, let known)) {
      // No damage.
      throw PartitionCore.ReplayError.rulesUnknown(sn, asked: asked, known: known)
    }
    committed = max(committed, log.committed)
    try Self.replay(
      &pending, through: committed, setup, into: &core, reader, checkpoints: &writer, through: &checkpointed)
    var room = DiskRoom(reserveBytes: setup.reserveBytes)
    room.look(freeBytes: try setup.files.freeBytes(at: setup.directory))
    var replica = Replica(
      .init(
        cluster: setup.clusterHash, partition: setup.partition, node: setup.node,
        incarnation: setup.incarnation),
      .init(
        epoch: epoch, base: LogMark(sn: log.base.last, tag: Epoch(0), hash: log.base.hash), blocks: marks,
        time: time, committed: committed, checkpointed: state.applied,
        isClean: try !setup.files.exists(setup.uncleanPath)),
      settings: setup.replication, now: now)
    replica.applied(through: core.applied, digest: core.digest)
    replica.rulesHold(core.rules)
    self.setup = setup
    replayed = core.applied.rawValue - state.applied.rawValue
    bytesAtCheckpoint = log.bytesAppended
    bytesAtFreeze = log.bytesAppended
    self.checkpointed = checkpointed
    self.core = core
    self.log = log
    self.reader = reader
    self.room = room
    self.replica = replica
    self.places = places
    self.pending = pending
  }

  /// - Returns: the highest epoch that was accepted here (rule 1).
  private static func makeFolder(_ setup: Setup) throws -> Epoch {
    let isNew = try !setup.files.exists(setup.epochPath)
    guard setup.mayCreate || !isNew else {
      throw OpeningError.missing(setup.partition, directory: setup.directory)
    }
    try setup.files.makeDirectory(setup.logDirectory)
    // Somebody may have made them and died before they were durable.
    let parent = SystemFiles.directory(of: setup.directory)
    for directory in [SystemFiles.directory(of: parent), parent, setup.directory] {
      try setup.files.syncDirectory(directory)
    }
    return try EpochFile.read(setup.epochPath, files: setup.files).epoch
  }

  private static func emptyCore(_ setup: Setup, _ reader: borrowing PartitionReader) throws -> PartitionCore {
    let state = try reader.state()
    guard state.rules <= setup.replication.rules else {
      throw StoreError.unsupportedRules(
        path: setup.databasePath, version: state.rules, known: setup.replication.rules)
    }
    return PartitionCore(
      partition: setup.partition, terms: setup.terms, windowMilliseconds: setup.windowMilliseconds,
      applied: state.applied, time: state.time, ordersPlaced: state.ordersPlaced, digest: state.digest,
      rules: state.rules, rulesKnown: setup.replication.rules, horizon: try reader.requestHorizon(),
      rowsExpected: setup.rowsExpected)
  }

  private static func replay(
    _ pending: inout [PendingBlock], through committed: SequenceNumber, _ setup: Setup,
    into core: inout PartitionCore, _ reader: borrowing PartitionReader,
    checkpoints writer: inout PartitionWriter, through checkpointed: inout SequenceNumber
  ) throws {
    let count = pending.prefix { $0.head.last <= committed }.count
    for block in pending[..<count] {
      try apply(block, to: &core, reader)
      if core.applied.rawValue - checkpointed.rawValue >= setup.replayCheckpointEntries {
        let checkpoint = core.makeCheckpoint()
        try writer.write(checkpoint)
        core.written(checkpoint.receipt, keeping: setup.rowsMax)
        checkpointed = checkpoint.applied
      }
    }
    pending.removeFirst(count)
  }

  private static func apply(
    _ block: PendingBlock, to core: inout PartitionCore, _ reader: borrowing PartitionReader
  ) throws {
    try block.entries.withUnsafeBytes { entries in
      try core.takeLogged(
        entries, first: block.head.first, count: block.head.count, time: block.head.time)
      try reader.load(core.needsOfLogged(), into: &core)
      try reader.load(core.needsOfLoggedOrders(), isOfOrders: true, into: &core)
      core.replay()
    }
  }

  // MARK: What happened

  /// Hands something to the replica, and carries out what it wants done.
  ///
  /// - Throws: `FileError`: the disk failed, and the process must end. `SQLiteError`, `StoreError`: a row
  ///   can't be read.
  package mutating func tell<Result: Sendable>(
    _ surroundings: any Surroundings, _ body: (inout Replica) -> Result
  ) throws -> Result {
    let result = surroundings.step(&replica, body)
    try carryOut(surroundings)
    return result
  }

  /// A message of another replica, and its entries where it is a prepare. ``settle(_:)`` follows, after one or
  /// some of them.
  package mutating func receive(
    _ decoded: MessageCodec.Decoded, _ surroundings: any Surroundings, now: Int64, wall: Int64
  ) throws {
    if case .prepare = decoded.message {
      // A full disk takes nothing new: the sender comes again, or goes on without this member.
      guard try makeRoom(for: decoded.entries.count) else { return }
      hand.removeAll()
      hand.append(decoded.entries)
    }
    // Blocks that come together are made durable together: `settle(_:)` does it.
    isGathering = true
    defer { isGathering = false }
    try tell(surroundings) { $0.receive(decoded.message, decoded.envelope, now: now, wall: wall) }
  }

  /// Makes durable what was received, and says so: after messages, before anything else.
  package mutating func settle(_ surroundings: any Surroundings) throws {
    guard isSyncWanted else { return }
    try sync(surroundings)
    try carryOut(surroundings)
  }

  private mutating func carryOut(_ surroundings: any Surroundings) throws {
    while replica.hasEffects {
      var isToSync = false
      for effect in replica.takeEffects() {
        switch effect {
        case .sync: isToSync = true
        default: try carryOut(effect, surroundings)
        }
      }
      if isToSync, isGathering {
        isSyncWanted = true
      } else if isToSync {
        try sync(surroundings)
      }
    }
  }

  private mutating func carryOut(_ effect: Replica.Effect, _ surroundings: any Surroundings) throws {
    switch effect {
    case .send(let node, let envelope, let said):
      message.removeAll()
      MessageCodec.write(said, envelope, into: &message)
      surroundings.send(message.bytes, to: node)
    case .sendBlock(let node, let envelope, let end, let committed):
      try sendBlock(endingAt: end, to: node, envelope, committed, surroundings)
    case .append(let head, let committed): try append(head, committed: committed)
    case .appendNoOp(let head, let committed):
      hand.removeAll()
      NoOp.entry.withUnsafeBytes { hand.append($0) }
      // On a full disk nothing was done; the log is as it was.
      try log.makeRoom(for: hand.count)
      try append(head, committed: committed)
    case .cut(let mark):
      try log.cut(to: mark.sn, hash: mark.hash, tag: mark.tag)
      places.cut(to: mark.sn)
      pending.removeAll { $0.head.last > mark.sn }
    case .sync: preconditionFailure("syncs are gathered")
    case .makeEpochDurable(let epoch):
      do throws(FileError) {
        try EpochFile.write(
          replica.accepting.map { AcceptedEpoch($0) } ?? AcceptedEpoch(epoch), to: setup.epochPath,
          files: setup.files)
      } catch {
        surroundings.step(&replica) { $0.epochCouldNotBeMadeDurable() }
        throw error
      }
      let now = surroundings.now
      surroundings.step(&replica) { $0.epochIsDurable(epoch, now: now) }
    case .readConfiguration: surroundings.readConfiguration()
    case .compareAndSwap(let record, _, let why, let committed):
      surroundings.compareAndSwap(record, why: why, committed: committed)
    case .committed(let mark): if !needsRebuild { try applyPending(through: mark.sn, surroundings) }
    case .activity(let activity): surroundings.activityChanged(activity)
    case .rebuild: needsRebuild = true
    case .offerSnapshot(let node): surroundings.offerSnapshot(to: node)
    case .wantSnapshot(let node): surroundings.wantSnapshot(from: node)
    case .alarm(let alarm):
      surroundings.alarm(alarm)
      switch alarm {
      case .divergence(let sn): try noteDivergence("whose log is another one from entry \(sn) on")
      case .quarantined(let sn):
        // It must be set aside before a snapshot comes: another start does that. Without the note, on a full
        // disk too, it would only come here again.
        try setup.files.replace(setup.divergedPath, with: "whose log is another one from entry \(sn) on")
        throw OpeningError.quarantined(setup.partition)
      case .digest(let sn): try noteDivergence("whose rows are others at entry \(sn)")
      case .clockAhead, .foreignCluster, .configurationLost, .epochNotDurable: break
      }
    }
  }

  /// A start must not rely on what is here either. On a full disk it does, until it is compared again.
  private func noteDivergence(_ what: String) throws(FileError) {
    do {
      try setup.files.replace(setup.divergedPath, with: what)
    } catch {
      guard error.isDiskFull else { throw error }
    }
  }

  /// What is in hand.
  private mutating func append(_ head: BlockHead, committed: SequenceNumber) throws {
    precondition(log.last.next == head.first, "blocks follow each other")
    try log.append(
      hand.bytes, count: head.count, tag: head.tag, time: head.time, committed: committed,
      entriesHash: head.entriesHash)
    precondition(log.hash == head.hash, "the log and the replica chain their blocks alike")
    places.append(BlockPlace(sn: head.last, position: log.lastPosition!))
    pending.append(PendingBlock(head: head, entries: Array(hand.bytes)))
  }

  private mutating func sync(_ surroundings: any Surroundings) throws {
    isSyncWanted = false
    try log.sync()
    let mark = replica.last
    let now = surroundings.now
    surroundings.step(&replica) { $0.durable(through: mark, now: now) }
  }

  /// A prepare of a block that is in the log. One that was trimmed meanwhile is not sent: who needs it
  /// says so again, and gets a snapshot.
  private mutating func sendBlock(
    endingAt end: SequenceNumber, to node: String, _ envelope: PeerEnvelope, _ committed: LogMark,
    _ surroundings: any Surroundings
  ) throws {
    guard let place = places.item(endingAt: end), let found = try log.block(at: place.position) else {
      return
    }
    let head = BlockHead(found.header)
    message.removeAll()
    found.entries.withUnsafeBytes {
      MessageCodec.write(.prepare(head, committed: committed), envelope, entries: $0, into: &message)
    }
    surroundings.send(message.bytes, to: node)
  }

  /// What is in memory became committed, or is replayed: the rules are run over it.
  private mutating func applyPending(
    through committed: SequenceNumber, _ surroundings: any Surroundings
  ) throws {
    var count = 0
    while count < pending.count, pending[count].head.last <= committed {
      let block = pending[count]
      count += 1
      // Where this is the primary, the core has its own already.
      guard block.head.last > core.applied else { continue }
      try Self.apply(block, to: &core, reader)
      let (applied, digest) = (core.applied, core.digest)
      if replica.isDigestAwaited {
        surroundings.step(&replica) { $0.applied(through: applied, digest: digest) }
      } else {
        replica.applied(through: applied, digest: digest)
      }
      replica.rulesHold(core.rules)
      if freezeAt == applied { freeze() }
    }
    pending.removeFirst(count)
  }

  /// Throws the working set away, and loads it again from SQLite and the log, up to what is committed.
  /// What the core had taken is forgotten: nobody was answered.
  ///
  /// No checkpoint may be on its way to SQLite.
  package mutating func rebuild(_ surroundings: any Surroundings) throws {
    precondition(!isCheckpointing || isFreezing, "a checkpoint is being written")
    isCheckpointing = false
    isFreezing = false
    freezeAt = nil
    copied = nil
    needsRebuild = false
    core = try Self.emptyCore(setup, reader)
    replica.rulesHold(core.rules)
    pending = []
    for place in places.after(core.applied) {
      guard let found = try log.block(at: place.position) else { throw OpeningError.trimmed(setup.partition) }
      pending.append(PendingBlock(head: BlockHead(found.header), entries: found.entries))
    }
    try applyPending(through: replica.committed.sn, surroundings)
    try carryOut(surroundings)
  }

  // MARK: Answering

  /// Why no group may be worked on now; nil: one may. Rule 2.
  package mutating func refusal(now: Int64) -> Replica.Refusal? {
    needsRebuild ? .notPrimary : replica.refusal(now: now)
  }

  /// Whether there is anything to work on, if a group may be worked on now.
  ///
  /// - Parameter wall: wall-clock time.
  package mutating func hasWork(wall: Int64) -> Bool {
    core.switchRules(to: replica.agreedRules())
    return core.hasWork(now: wall)
  }

  /// Works on the group that the core has taken. Its answers may leave when the commit point has reached what
  /// the core has applied; those of reads only if ``Replica/mayAnswerRead(at:now:)`` says so then.
  ///
  /// - Parameter now: wall-clock time.
  /// - Throws: as ``tell(_:_:)``.
  package mutating func work(_ surroundings: any Surroundings, now: Int64) throws {
    let steady = surroundings.now
    switch replica.refusal(now: steady) {
    case nil: core.refuseWrites(try makeRoom(for: core.entriesBytesMax) ? nil : .diskFull)
    case .tooFewReplicas: core.refuseWrites(.tooFewReplicas)
    case .notPrimary, .suspended, .windowFull: preconditionFailure("no group may be worked on now")
    }
    try reader.loadReservations(into: &core, now: now)
    let needs = core.collectNeeds(now: now)
    if !needs.rows.isEmpty { try reader.load(needs.rows, into: &core) }
    if !needs.requests.isEmpty { try reader.load(needs.requests, into: &core) }
    let needsOfOrders = core.collectNeedsOfOrders()
    if !needsOfOrders.isEmpty { try reader.load(needsOfOrders, isOfOrders: true, into: &core) }
    core.switchRules(to: replica.agreedRules())
    core.seal(now: now, steady: steady)
    let isLogged = core.entryCount > 0
    if isLogged {
      let entriesHash = XXH64.hash(core.entries.bytes)
      guard
        let (head, committed) = replica.assign(
          entriesHash: entriesHash, count: core.entryCount, time: core.groupTime, now: steady)
      else { preconditionFailure("what may be worked on may be assigned") }
      try log.append(
        core.entries.bytes, count: head.count, tag: head.tag, time: head.time, committed: committed,
        entriesHash: entriesHash)
      precondition(head.first == core.applied.next && log.hash == head.hash, "the log is the replica's")
      places.append(BlockPlace(sn: head.last, position: log.lastPosition!))
      // To the others, while the disk is busy with it.
      for effect in replica.takeEffects() {
        if case .sendBlock(let node, let envelope, head.last, let through) = effect {
          message.removeAll()
          MessageCodec.write(
            .prepare(head, committed: through), envelope, entries: core.entries.bytes, into: &message)
          surroundings.send(message.bytes, to: node)
        } else {
          try carryOut(effect, surroundings)
        }
      }
    }
    // Applied before the sync: what goes to others is on its way meanwhile.
    core.apply()
    guard isLogged else { return }
    // What a primary applies is compared by the others, and is no step.
    replica.applied(through: core.applied, digest: core.digest)
    replica.rulesHold(core.rules)
    try sync(surroundings)
    try carryOut(surroundings)
  }

  /// The log rests: proves what it has synced.
  package mutating func rest() throws {
    if log.needsProof, try makeRoom(for: 0) { try log.prove() }
  }

  /// Looks at how much room the disk has; writes are taken accordingly.
  package mutating func lookForRoom() throws(FileError) {
    room.look(freeBytes: try setup.files.freeBytes(at: setup.directory))
    core.refuseWrites(room.isFull ? .diskFull : nil)
  }

  private mutating func makeRoom(for entriesBytes: Int) throws(FileError) -> Bool {
    guard !room.isFull else { return false }
    do {
      try log.makeRoom(for: entriesBytes)
      return true
    } catch {
      guard error.isDiskFull else { throw error }
      room.ranOut()
      return false
    }
  }

  // MARK: Checkpoints

  /// Bytes of the log that a start would replay.
  package var replayBytes: UInt64 { log.bytesAppended - bytesAtCheckpoint }

  package var isDirty: Bool { core.isDirty(since: checkpointed) }

  /// Begins a checkpoint of all that is here now; ``copyFrozen(atMost:)`` copies it, while groups go on.
  package mutating func freeze() {
    precondition(!isCheckpointing && !needsRebuild, "one checkpoint at a time, of what stays")
    isCheckpointing = true
    isFreezing = true
    freezeAt = nil
    bytesAtFreeze = log.bytesAppended
    core.freeze()
  }

  /// Begins a checkpoint of exactly this entry, now or when it is applied. Until then none may be begun.
  ///
  /// - Returns: false: more is applied already, and what it was of is gone.
  package mutating func freeze(at sn: SequenceNumber) -> Bool {
    precondition(!isCheckpointing && !needsRebuild, "one checkpoint at a time, of what stays")
    guard core.applied <= sn else { return false }
    if core.applied < sn { freezeAt = sn } else if isDirty { freeze() }
    return true
  }

  /// What ``freeze(at:)`` waits for is not wanted any more.
  package mutating func freezeNoMore() { freezeAt = nil }

  /// Copies some rows of the checkpoint that was begun, if there is one.
  ///
  /// - Returns: the checkpoint, when all of it was copied and is committed; for
  ///   ``CheckpointWriter/write(_:mayTrim:)``.
  package mutating func copyFrozen(atMost limit: Int) -> Checkpoint? {
    guard isFreezing else { return nil }
    if copied == nil { copied = core.copyFrozen(atMost: limit) }
    // What is not committed may never have happened, and a file is never undone.
    guard let checkpoint = copied, checkpoint.applied <= replica.committed.sn else { return nil }
    copied = nil
    isFreezing = false
    return checkpoint
  }

  /// Rows are left to copy: it is worth to go on at once.
  package var isCopying: Bool { isFreezing && copied == nil }

  /// How far the log may go once SQLite holds a checkpoint.
  package func mayTrim(holding checkpoint: Checkpoint) -> SequenceNumber {
    replica.mayTrim(checkpointing: checkpoint.applied)
  }

  /// The checkpoint that was copied is in SQLite: lets go of what it holds.
  package mutating func written(_ written: CheckpointWriter.Written) {
    isCheckpointing = false
    checkpointed = written.receipt.applied
    bytesAtCheckpoint = bytesAtFreeze
    core.written(written.receipt, keeping: setup.rowsMax)
    replica.checkpointed(through: checkpointed)
    if let first = written.firstInLog {
      let through = SequenceNumber(first.rawValue - 1)
      replica.trimmed(through: through)
      places.trim(through: through)
    }
  }
}

/// A partition's folder is not the one that it should be.
package enum OpeningError: Error, CustomStringConvertible {
  case missing(PartitionID, directory: String)
  /// What must be read again is not in the log any more; a new start reads what is there.
  case trimmed(PartitionID)
  /// Rules 3, 10 and 15: what is here contradicts the primary, as a process found.
  case diverged(PartitionID, directory: String, String)
  /// Rule 10: found now. A start makes it ``diverged(_:directory:_:)``.
  case quarantined(PartitionID)

  package var description: String {
    switch self {
    case .missing(let partition, let directory):
      "partition \(partition.rawValue) has served before, but its data is not in \(directory); "
        + "bring back the folder that this worker had"
    case .trimmed(let partition):
      "partition \(partition.rawValue) is read anew: what it has to apply again is not at hand"
    case .diverged(let partition, let directory, let what):
      "partition \(partition.rawValue): \(directory) contradicts the primary, \(what)"
    case .quarantined(let partition):
      "partition \(partition.rawValue): what was committed here is another thing in the group"
    }
  }
}
