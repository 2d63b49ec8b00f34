import Bytes
import Cluster
import DurablePartition
import Files
import Marketplace
import PartitionStore
import Replication
import ReplicationLog
import SQLite
import TestMarketplace
import Wire
import WorkerCore

/// Nobody else is there: a group of one, and a configuration manager that says so.
final class Alone: Surroundings {
  var now: Int64 = 1
  var isAsked = false
  func send(_ message: UnsafeRawBufferPointer, to node: String) {
    preconditionFailure("\(node) is not there")
  }
  func readConfiguration() { isAsked = true }
  func compareAndSwap(_ record: GroupRecord, why: String, committed: SequenceNumber) {
    preconditionFailure("nothing changes: \(why)")
  }
  func activityChanged(_ activity: Replica.Activity) {}
  func alarm(_ alarm: Replica.Alarm) { preconditionFailure("\(alarm)") }
  func offerSnapshot(to node: String) { preconditionFailure("\(node) is not there") }
  func wantSnapshot(from node: String) { preconditionFailure("\(node) is not there") }
}

/// A partition as a worker runs it, without sockets: the real core, log and tables on the files that it is
/// given, checkpoints by hand.
final class Worker {
  static let cluster = "0190a6c2-0000-7000-8000-00000000c1a5"
  static let partition = PartitionID(3)
  static let directory = "/worker/partitions/0003"

  static func setup(
    _ files: any FileSystem, epoch: UInt64, mayCreate: Bool, reserveBytes: Int = 0,
    directory: String = directory
  ) -> DurablePartition.Setup {
    var setup = DurablePartition.Setup(
      directory: directory, cluster: cluster, partition: partition, node: "alone",
      incarnation: Incarnation(epoch), mayCreate: mayCreate,
      terms: Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250),
      windowMilliseconds: 86_400_000, rowsMax: 40)
    setup.rowsExpected = 256
    setup.replayCheckpointEntries = 100
    setup.segmentBytes = 16 << 10
    setup.logTail = LogTail(milliseconds: .max, bytes: 2 * setup.segmentBytes)
    setup.reserveBytes = reserveBytes
    setup.files = files
    return setup
  }

  private let setup: DurablePartition.Setup
  private let surroundings = Alone()
  /// The last entry that the start found.
  let recovered: UInt64
  var durable: DurablePartition
  private var writer: CheckpointWriter
  private var batches: UInt64 = 0

  init(_ setup: DurablePartition.Setup) throws {
    var durable = try DurablePartition(setup, now: surroundings.now)
    let writer = try CheckpointWriter(setup)
    recovered = durable.replica.last.sn.rawValue
    // It takes an epoch of its own, with a block that changes nothing.
    let record = GroupRecord(
      partition: setup.partition, epoch: Epoch(setup.incarnation.rawValue), primary: setup.node,
      incarnation: setup.incarnation, isOpened: true)
    let now = surroundings.now
    try durable.tell(surroundings) { $0.tick(now: now) }
    precondition(surroundings.isAsked)
    try durable.tell(surroundings) { $0.configurationWasRead(record, now: now) }
    precondition(durable.replica.activity == .active, "\(durable.replica.activity)")
    let noOp = Block(
      first: recovered + 1, count: 1, time: durable.replica.time, entries: NoOp.entry)
    self.setup = setup
    self.durable = durable
    self.writer = writer
    blocks = [noOp]
  }

  var applied: UInt64 { durable.core.applied.rawValue }
  var reservations: Reservations { durable.core.books.reservations }
  func hasWork(at now: Milliseconds) -> Bool { durable.hasWork(wall: now) }

  /// What a group put into the log.
  struct Block: Sendable {
    var first: UInt64
    var count: UInt32
    var time: Milliseconds
    var entries: [UInt8]
  }
  private(set) var blocks: [Block]

  /// One group; its answers, in order. They may be told to whoever asked.
  @discardableResult
  func tell(_ requests: [Traffic.Sent], at now: Milliseconds) throws -> [[UInt8]] {
    batches += 1
    let before = applied
    surroundings.now += 1
    let frame = Batches.frame(
      requests.map { ($0.bytes, 1_000) }, partition: Self.partition, number: batches,
      epoch: durable.replica.epoch, dispatcher: Incarnation(1))
    // It stays where it is until the group is done.
    try frame.withUnsafeBytes { bytes in
      if !requests.isEmpty { try durable.core.take(bytes, dispatcher: 0, receivedAt: surroundings.now) }
      try durable.work(surroundings, now: now)
    }
    precondition(durable.replica.committed.sn == durable.core.applied, "what is answered is committed")
    if applied > before {
      blocks.append(
        Block(
          first: before + 1, count: UInt32(applied - before), time: durable.core.time,
          entries: Array(durable.core.entries.bytes)))
    }
    var answers: [[UInt8]] = []
    for frame in durable.core.frames {
      let bytes = UnsafeRawBufferPointer(rebasing: durable.core.answers.bytes[frame.bytes])
      var (_, count, items) = try BatchHeader.read(bytes)
      for _ in 0..<count { answers.append(Array(try AnswerItem(&items).reply)) }
    }
    durable.core.clearAnswers()
    if frozen == nil { frozen = durable.copyFrozen(atMost: 16) }
    return answers
  }

  private var frozen: Checkpoint?

  /// Begins a checkpoint, which groups copy some of; one that could not be written is not begun anew.
  func freeze() { if durable.isDirty, !durable.isCheckpointing { durable.freeze() } }

  /// Writes it, as the thread of checkpoints does.
  func write() throws {
    if frozen == nil { frozen = durable.copyFrozen(atMost: .max) }
    guard let checkpoint = frozen else { return }
    let written = try writer.write(checkpoint, mayTrim: durable.mayTrim(holding: checkpoint))
    frozen = nil
    durable.written(written)
  }

  /// How many orders of each state the tables have.
  static func orderStates(files: any FileSystem) throws -> [String: Int] {
    let database = try Database(directory + "/partition.sqlite", mode: .readOnly, vfs: files.sqliteVFS)
    let read = try database.prepare("SELECT state, count(*) FROM orders GROUP BY state")
    var states: [String: Int] = [:]
    while try read.step() { states[read.text(0)] = Int(read.int64(1)) }
    return states
  }

  func checkpoint() throws {
    freeze()
    try write()
  }
}

/// All that a partition's tables hold, in one number.
enum TablesDigest {
  private static let tables = [
    // How far it goes is asked for apart: a start adds an entry that changes nothing.
    "meta WHERE key NOT IN ('applied_sn', 'applied_digest') ORDER BY key",
    "shops ORDER BY shop_id", "skus ORDER BY shop_id, sku_id", "orders ORDER BY sn",
    "payments ORDER BY provider, reference", "accounts ORDER BY kind, owner",
    "transfers ORDER BY sn, number",
    // How answers and reservations share rows is a matter of which checkpoints were made.
    "(SELECT request_id, sn, fingerprint, code, answer FROM requests) ORDER BY request_id",
    """
    (SELECT o.sn, r.expires_at FROM reservations r, json_each(r.sns) n, orders o
      WHERE o.sn = n.value AND o.state = 'placed') ORDER BY sn
    """,
  ]

  static func of(_ path: String, files: any FileSystem) throws -> UInt64 {
    let database = try Database(path, mode: .readOnly, vfs: files.sqliteVFS)
    var digest: UInt64 = 0
    var row = ByteWriter()
    for table in tables {
      let rows = try database.prepare("SELECT * FROM \(table)")
      while try rows.step() {
        row.removeAll()
        for column in 0..<rows.columnCount {
          let value = rows.blob(column)
          row.append(littleEndian: UInt32(value.count))
          row.append(value)
        }
        digest = XXH64.hash(row.bytes, seed: digest)
      }
      digest = digest &* 31 &+ 1
    }
    return digest
  }
}
