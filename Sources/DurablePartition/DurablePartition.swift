import Bytes
import Cluster
import Files
import Marketplace
import PartitionStore
import ReplicationLog
import WorkerCore

/// A partition on its disk: its core, its log and its tables, and the order in which they are used.
///
/// One thread's. Checkpoints are written by a ``CheckpointWriter``, on another thread where that is wanted.
package struct DurablePartition: ~Copyable {
  package struct Setup: Sendable {
    package var directory: String
    package var cluster: String
    package var partition: PartitionID
    package var epoch: Epoch
    /// It never served: it may begin empty.
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
    package var files: any FileSystem = SystemFiles()

    package init(
      directory: String, cluster: String, partition: PartitionID, epoch: Epoch, mayCreate: Bool,
      terms: Terms, windowMilliseconds: Int64, rowsMax: Int
    ) {
      self.directory = directory
      self.cluster = cluster
      self.partition = partition
      self.epoch = epoch
      self.mayCreate = mayCreate
      self.terms = terms
      self.windowMilliseconds = windowMilliseconds
      self.rowsMax = rowsMax
    }

    package var databasePath: String { directory + "/partition.sqlite" }
    package var logDirectory: String { directory + "/log" }
    package var epochPath: String { directory + "/epoch" }
  }

  package let setup: Setup
  package var core: PartitionCore
  package private(set) var log: ReplicationLog
  private let reader: PartitionReader
  /// How much room there is.
  package private(set) var room: DiskRoom
  /// What SQLite holds.
  package private(set) var checkpointed: SequenceNumber
  /// Entries that the start took from the log.
  package let replayed: UInt64
  /// A checkpoint was begun, and is not yet written.
  package private(set) var isCheckpointing = false
  /// What it is of is being copied.
  package private(set) var isFreezing = false
  /// Bytes of the log when the last checkpoint was written, and when the next was frozen.
  private var bytesAtCheckpoint: UInt64
  private var bytesAtFreeze: UInt64

  // MARK: Opening

  /// Opens what is in the folder, or begins there, and replays the log from where SQLite ends.
  ///
  /// A long replay writes checkpoints on its way: so a start that is cut short has not been for nothing,
  /// and a partition that is killed again and again does not fall behind for ever.
  ///
  /// - Throws: ``OpeningError``; `LogError`, `StoreError`, `SQLiteError`, `FileError`. Nothing of what was
  ///   there is lost by it.
  package init(_ setup: Setup) throws {
    try Self.acceptEpoch(setup)
    var writer = try PartitionWriter(
      path: setup.databasePath, cluster: setup.cluster, partition: setup.partition, files: setup.files)
    let reader = try PartitionReader(path: setup.databasePath, files: setup.files)
    let state = try reader.state()
    var core = PartitionCore(
      partition: setup.partition, terms: setup.terms, windowMilliseconds: setup.windowMilliseconds,
      applied: state.applied, time: state.time, ordersPlaced: state.ordersPlaced,
      horizon: try reader.requestHorizon(), rowsExpected: setup.rowsExpected)
    var checkpointed = state.applied
    let log = try ReplicationLog(
      directory: setup.logDirectory,
      identity: .init(cluster: XXH64.hash(setup.cluster), partition: setup.partition),
      applied: state.applied, segmentBytes: setup.segmentBytes, mayBegin: setup.mayCreate,
      files: setup.files
    ) { block, entries in
      try core.takeLogged(entries, first: block.first, count: block.count, time: block.time)
      try reader.load(core.needsOfLogged(), into: &core)
      try reader.load(core.needsOfLoggedOrders(), isOfOrders: true, into: &core)
      core.replay()
      if core.applied.rawValue - checkpointed.rawValue >= setup.replayCheckpointEntries {
        let checkpoint = core.makeCheckpoint()
        try writer.write(checkpoint)
        core.written(checkpoint.receipt, keeping: setup.rowsMax)
        checkpointed = checkpoint.applied
      }
    }
    var room = DiskRoom(reserveBytes: setup.reserveBytes)
    room.look(freeBytes: try setup.files.freeBytes(at: setup.directory))
    self.setup = setup
    replayed = core.applied.rawValue - state.applied.rawValue
    bytesAtCheckpoint = log.bytesAppended
    bytesAtFreeze = log.bytesAppended
    self.checkpointed = checkpointed
    self.core = core
    self.log = log
    self.reader = reader
    self.room = room
  }

  /// Rule 1: a higher epoch is durable before it is acted on; a lower one is not acted on.
  private static func acceptEpoch(_ setup: Setup) throws {
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
    let accepted = try EpochFile.read(setup.epochPath, files: setup.files)
    guard accepted <= setup.epoch else {
      throw OpeningError.epochIsLower(setup.partition, given: setup.epoch, accepted: accepted)
    }
    if accepted < setup.epoch {
      try EpochFile.write(setup.epoch, to: setup.epochPath, files: setup.files)
    }
  }

  // MARK: Answering

  /// Works on the group that the core has taken; its answers may leave when this returns.
  ///
  /// - Throws: `FileError`: the disk failed, and the process must end. `SQLiteError`, `StoreError`: a row
  ///   can't be read.
  package mutating func work(now: Int64) throws {
    core.acceptsWrites = try makeRoom(for: core.entriesBytesMax)
    try reader.loadReservations(into: &core, now: now)
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
    // Applied while the disk is busy with what was appended.
    core.apply()
    if isLogged { try log.sync() }
  }

  /// The log rests: proves what it has synced.
  package mutating func rest() throws {
    if log.needsProof, try makeRoom(for: 0) { try log.prove() }
  }

  /// Looks at how much room the disk has; writes are taken accordingly.
  package mutating func lookForRoom() throws(FileError) {
    room.look(freeBytes: try setup.files.freeBytes(at: setup.directory))
    core.acceptsWrites = !room.isFull
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
    precondition(!isCheckpointing, "one checkpoint at a time")
    isCheckpointing = true
    isFreezing = true
    bytesAtFreeze = log.bytesAppended
    core.freeze()
  }

  /// Copies some rows of the checkpoint that was begun, if there is one.
  ///
  /// - Returns: the checkpoint, when that was the last of it; for ``CheckpointWriter/write(_:)``.
  package mutating func copyFrozen(atMost limit: Int) -> Checkpoint? {
    guard isFreezing, let checkpoint = core.copyFrozen(atMost: limit) else { return nil }
    isFreezing = false
    return checkpoint
  }

  /// The checkpoint that was copied is in SQLite: lets go of what it holds.
  package mutating func written(_ written: CheckpointWriter.Written) {
    isCheckpointing = false
    checkpointed = written.receipt.applied
    bytesAtCheckpoint = bytesAtFreeze
    core.written(written.receipt, keeping: setup.rowsMax)
  }
}

/// A partition's folder is not the one that it should be.
package enum OpeningError: Error, CustomStringConvertible {
  case missing(PartitionID, directory: String)
  case epochIsLower(PartitionID, given: Epoch, accepted: Epoch)

  package var description: String {
    switch self {
    case .missing(let partition, let directory):
      "partition \(partition.rawValue) has served before, but its data is not in \(directory); "
        + "bring back the folder that this worker had"
    case .epochIsLower(let partition, let given, let accepted):
      "partition \(partition.rawValue) was given epoch \(given.rawValue), but had \(accepted.rawValue)"
    }
  }
}
