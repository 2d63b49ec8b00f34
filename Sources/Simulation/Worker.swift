import Bytes
import Cluster
import Marketplace
import Replication
import Wire
import WorkerCore

/// A worker's machine: its clock and disk, and the process that runs there or does not.
final class Worker {
  let name: String
  let place: Int
  var disk = Disk()
  var process: Process?
  var incarnation: UInt64
  /// Until then the process does nothing: what comes waits.
  var pausedUntil: Int64 = 0
  var bootOffset: Int64
  /// Of a million.
  var drift: Int64 = 0
  var wallOffset: Int64 = 0

  init(name: String, place: Int, bootOffset: Int64) {
    self.name = name
    self.place = place
    self.bootOffset = bootOffset
    incarnation = UInt64(place + 1) << 32
  }

  func boot(_ now: Int64) -> Int64 { (now + now * drift / 1_000_000) / 1_000 + bootOffset }
  func wall(_ now: Int64) -> Int64 { Self.epoch + now / 1_000 + wallOffset }
  static let epoch: Int64 = 1_800_000_000_000
}

/// One life of a worker's process: the production cores, and what its thread keeps besides.
final class Process {
  struct Waiting {
    let sn: SequenceNumber
    let client: Int
    let attempt: UInt64
    let isRead: Bool
    let reply: [UInt8]
  }

  struct Request {
    let client: Int
    let attempt: UInt64
    let isRead: Bool
    let frame: [UInt8]
    let receivedAt: Int64
  }

  var replica: Replica
  var core: PartitionCore
  var waiting: [Waiting] = []
  var inbox: [Request] = []
  var frozen: (checkpoint: Checkpoint, digest: UInt64)?
  var isWriting = false
  /// New with every load of the working set.
  var generation = 0
  var digest: UInt64
  var transfersSeen = 0
  /// Of the prepare that is being received.
  var hand: [UInt8] = []
  var isSyncing = false
  var wantsSync = false
  var forgetsRequests = false
  var checkpointAt: Int64 = 0

  static let partition = PartitionID(3)
  static let cluster: UInt64 = 0x1A71_5C10
  static let terms = Terms(reserveMilliseconds: 900, feeBasisPoints: 250)
  static let window: Milliseconds = 86_400_000

  init(_ identity: Replica.Identity, _ disk: Disk, _ settings: Replica.Settings, now: Int64) {
    let start = disk.start
    replica = Replica(identity, start, settings: settings, now: now)
    core = Self.emptyCore(disk.tables)
    digest = disk.tables.digest
    load(disk, through: start.committed)
  }

  private static func emptyCore(_ tables: Tables) -> PartitionCore {
    var core = PartitionCore(
      partition: partition, terms: terms, windowMilliseconds: window, applied: tables.applied,
      time: tables.time, ordersPlaced: tables.ordersPlaced, horizon: tables.horizon, rowsExpected: 1)
    core.requests = AnsweredRequests(
      entriesPerGeneration: 256, generationsMax: 2, horizon: tables.horizon)
    var placed: [(UInt64, Int64)] = []
    for (key, order) in tables.orders where order.state == .placed { placed.append((key, order.expiresAt)) }
    // A dictionary has no order of its own.
    placed.sort { $0.0 < $1.0 }
    for (key, expires) in placed { core.books.reservations.insert(at: expires, key) }
    return core
  }

  /// The working set anew, from SQLite and the log up to `sn`.
  func load(_ disk: Disk, through sn: SequenceNumber) {
    generation += 1
    core = Self.emptyCore(disk.tables)
    digest = disk.tables.digest
    transfersSeen = 0
    frozen = nil
    isWriting = false
    forgetsRequests = false
    waiting.removeAll()
    apply(disk, through: sn)
  }

  /// Applies the log's blocks up to `sn` that are not applied yet.
  func apply(_ disk: Disk, through sn: SequenceNumber) {
    var place = disk.place(after: core.applied)
    while place < disk.log.count, disk.log[place].head.last <= sn {
      let block = disk.log[place]
      block.entries.withUnsafeBytes { bytes in
        do {
          try core.takeLogged(
            bytes, first: block.head.first, count: block.head.count, time: block.head.time)
        } catch { fatalError("a block can't be applied: \(error)") }
        disk.tables.load(core.needsOfLogged(), into: &core.books)
        disk.tables.load(core.needsOfLoggedOrders(), into: &core.books)
        core.replay()
      }
      noteApplied()
      place += 1
    }
  }

  /// Rule 15: chains what the block's money did, and how far it got.
  func noteApplied() {
    var sum = digest ^ core.applied.rawValue &* 0x9E37_79B9_7F4A_7C15
    sum = XXH64.hash(core.ordersPlaced, seed: sum)
    for transfer in core.books.transfers[transfersSeen...] {
      sum = XXH64.hash(UInt64(bitPattern: transfer.amount), seed: sum)
      sum = XXH64.hash(transfer.credit.owner, seed: sum)
    }
    transfersSeen = core.books.transfers.count
    digest = sum
    replica.applied(through: core.applied, digest: digest)
  }

  func freeze() {
    frozen = (core.makeCheckpoint(), digest)
    transfersSeen = 0
  }
}
