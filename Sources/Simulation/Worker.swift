import Bytes
import Cluster
import Marketplace
import Wire
import WorkerCore

/// A worker's machine: its clock and disk, and the process that runs there or does not.
final class Worker {
  let name: String
  let place: Int
  var disk = Disk()
  var process: Process?
  var incarnation: UInt64
  /// The highest version of the rules that the program there knows.
  var rules: UInt16 = 1
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

/// One life of a worker's process: the production cores, what its partition's thread keeps besides, and the
/// desk that it shares with the thread that receives.
final class Process {
  /// Answers of a group, which wait for the commit point.
  struct Held {
    let sn: SequenceNumber
    let hasReads: Bool
    let frames: [(dispatcher: Int, bytes: [UInt8])]
  }

  struct Batch {
    let dispatcher: Int
    let frame: [UInt8]
    let receivedAt: Int64
  }

  /// What is asked of the configuration manager, of which dispatcher.
  struct Questions {
    var number: UInt64 = 0
    /// Of the last read, and of changes that were asked for lately.
    var reading: UInt64 = 0
    var changes: [(number: UInt64, record: GroupRecord)] = []
    /// Which dispatcher is asked first: the one that took the last question, as long as it answers.
    var preferred = 0
    /// The last question that was not answered yet; 0: none.
    var unanswered: UInt64 = 0
    var unansweredSince: Int64 = 0
    /// In milliseconds.
    static let patience: Int64 = 250
  }

  let identity: Replica.Identity
  var replica: Replica
  var desk = BeaconDesk()
  /// Whether beacons have a thread of their own.
  var hasDesk = true
  /// Until then the partition's thread waits for its disk.
  var stuckUntil: Int64 = 0
  var core: PartitionCore
  var held: [Held] = []
  var inbox: [Batch] = []
  var received: [ReceivedBatches]
  var helloAt: [Int64]
  var questions = Questions()
  var frozen: Checkpoint?
  var isWriting = false
  /// New with every load of the working set.
  var generation = 0
  /// Of the prepare that is being received.
  var hand: [UInt8] = []
  var isSyncing = false
  var wantsSync = false
  var forgetsRequests = false
  var checkpointAt: Int64 = 0
  /// What went wrong in it that never may.
  private(set) var failure: String?
  /// What rows that a fault changed make of the digest.
  var rot: UInt64 = 0
  /// Its data goes by rules that this program does not know: it must end.
  private(set) var isOutdated = false

  /// The cluster's only one.
  static let partition = PartitionID(0)
  static let cluster: UInt64 = 0x1A71_5C10
  static let terms = Terms(reserveMilliseconds: 900, feeBasisPoints: 250)
  static let window: Milliseconds = 86_400_000
  /// Batches that may wait while none may be worked on.
  static let batchesMax = 64

  init(
    _ identity: Replica.Identity, _ disk: Disk, _ settings: Replica.Settings, dispatchers: Int, now: Int64
  ) {
    self.identity = identity
    let start = disk.start
    replica = Replica(identity, start, settings: settings, now: now)
    core = Self.emptyCore(disk.tables, rulesKnown: settings.rules)
    received = Array(repeating: ReceivedBatches(), count: dispatchers)
    helloAt = Array(repeating: 0, count: dispatchers)
    load(disk, through: start.committed)
  }

  private static func emptyCore(_ tables: Tables, rulesKnown: UInt16) -> PartitionCore {
    var core = PartitionCore(
      partition: partition, terms: terms, windowMilliseconds: window, applied: tables.applied,
      time: tables.time, ordersPlaced: tables.ordersPlaced, digest: tables.digest, rules: tables.rules,
      rulesKnown: rulesKnown, horizon: tables.horizon, rowsExpected: 1)
    core.requests = AnsweredRequests(
      entriesPerGeneration: 256, generationsMax: 2, horizon: tables.horizon)
    return core
  }

  /// The working set anew, from SQLite and the log up to `sn`.
  func load(_ disk: Disk, through sn: SequenceNumber) {
    generation += 1
    core = Self.emptyCore(disk.tables, rulesKnown: replica.settings.rules)
    isOutdated = disk.tables.rules > replica.settings.rules
    replica.rulesHold(core.rules)
    frozen = nil
    isWriting = false
    forgetsRequests = false
    forgetTaken()
    apply(disk, through: sn)
  }

  /// Nobody is answered; dispatchers send it to the next primary.
  func forgetTaken() {
    inbox.removeAll()
    held.removeAll()
  }

  /// Applies the log's blocks up to `sn` that are not applied yet.
  func apply(_ disk: Disk, through sn: SequenceNumber) {
    var place = disk.place(after: core.applied)
    while failure == nil, !isOutdated, place < disk.log.count, disk.log[place].head.last <= sn {
      let block = disk.log[place]
      block.entries.withUnsafeBytes { bytes in
        do {
          try core.takeLogged(
            bytes, first: block.head.first, count: block.head.count, time: block.head.time)
        } catch PartitionCore.ReplayError.rulesUnknown {
          isOutdated = true
          return
        } catch {
          failure = "a block can't be applied: \(error)"
          return
        }
        disk.tables.load(core.needsOfLogged(), into: &core.books)
        disk.tables.load(core.needsOfLoggedOrders(), into: &core.books)
        core.replay()
      }
      if failure != nil || isOutdated { return }
      noteApplied()
      place += 1
    }
  }

  /// Rules 15 and 17.
  func noteApplied() {
    let (applied, digest) = (core.applied, core.digest ^ rot)
    if hasDesk, replica.isDigestAwaited {
      desk.step(&replica) { $0.applied(through: applied, digest: digest) }
    } else {
      replica.applied(through: applied, digest: digest)
    }
    replica.rulesHold(core.rules)
  }

  func freeze() { frozen = core.makeCheckpoint() }

  /// How a dispatcher's socket knows this process's connection: the worker's place, and which life it is.
  static func routingID(_ place: Int, _ incarnation: UInt64) -> [UInt8] {
    [UInt8(place)] + withUnsafeBytes(of: incarnation.littleEndian) { Array($0) }
  }
}
