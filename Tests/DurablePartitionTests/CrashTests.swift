import Bytes
import Cluster
import DurablePartition
import Foundation
import Marketplace
import PartitionStore
import ReplicationLog
import SimulatedDisk
import Synchronization
import TestSupport
import Testing
import WorkerCore

/// The disk under a partition crashes at every write, sync, rename and removal of a run: whatever a power cut
/// leaves, nothing that was answered is missing, and the state is the log's replay.
///
/// `LARIS_CRASH_RUNS=100` runs so many seeds, with more tearing; `LARIS_CRASH_SEED=7 LARIS_CRASH_OPERATION=123`
/// runs that crash alone.
struct CrashTests {
  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  static let seeds: [UInt64] =
    if let seed = number("LARIS_CRASH_SEED") { [seed] } else { Array(1...(number("LARIS_CRASH_RUNS") ?? 1)) }

  @Test(arguments: seeds)
  func `after a crash at any operation nothing that was answered is missing`(_ seed: UInt64) throws {
    let run = try ScriptedRun(seed: seed)
    let reference = try Reference(run.blocks)
    #expect(run.commands >= 3_000)
    #expect(run.checkpoints >= 10)
    #expect(run.segmentChanges >= 5)
    let only = Self.number("LARIS_CRASH_OPERATION").map(Int.init)
    let tears = Self.number("LARIS_CRASH_RUNS") == nil ? 1 : 3

    var crashes: [(moment: ScriptedRun.Moment, crash: Snapshot.Crash)] = []
    var last: (version: Int, answered: Int)?
    for moment in run.moments where only == nil || moment.operation.index == only {
      // What is durable changes by syncs only: between two of them one crash tells all.
      if last?.version != moment.snapshot.durableVersion || last?.answered != moment.answered {
        last = (moment.snapshot.durableVersion, moment.answered)
        crashes.append((moment, .forgetting))
      }
      // Writes differ little where they are all kept.
      if moment.operation.kind != .write || moment.operation.index % 16 == 0 {
        crashes.append((moment, .keeping))
      }
      for tear in 0..<tears {
        crashes.append((moment, .tearing(seed: seed << 32 | UInt64(moment.operation.index * 8 + tear))))
      }
    }
    #expect(only != nil || run.moments.count > 500)
    let failures = Mutex<[String]>([])
    let all = crashes
    let checked = Atomic(0)
    DispatchQueue.concurrentPerform(iterations: all.count) { index in
      guard failures.withLock({ $0.count < 5 }) else { return }
      let (moment, crash) = all[index]
      do {
        try Recovery(run, reference, moment, crash).check()
        checked.add(1, ordering: .relaxed)
      } catch {
        failures.withLock {
          $0.append(
            """
            \(crash) at \(moment.operation), \(moment.answered) groups answered: \(error)
            again: LARIS_CRASH_SEED=\(seed) LARIS_CRASH_OPERATION=\(moment.operation.index) \
            deploy/test.sh --filter CrashTests
            """)
        }
      }
    }
    let figures = "\(run.commands) commands, \(run.moments.count) operations, \(all.count) crashes"
    print("seed \(seed): \(figures)")
    let found = failures.withLock { $0 }
    #expect(found.isEmpty, "seed \(seed): \(found.joined(separator: "\n"))")
    #expect(checked.load(ordering: .relaxed) == all.count || !found.isEmpty)
    #expect(only != nil || Recovery.damages.load(ordering: .relaxed) > 300, "damage was tried")
  }
}

/// Some thousand commands with checkpoints and segment changes, and the disk at each of its operations.
struct ScriptedRun: Sendable {
  /// A group that was worked on; answered if the moment says so.
  struct Group: Sendable {
    var requests: [Traffic.Sent]
    var answers: [[UInt8]]
    /// The last entry when its answers left.
    var applied: UInt64
  }

  struct Moment: Sendable {
    var operation: SimulatedDisk.Operation
    var snapshot: Snapshot
    /// Groups whose answers had left.
    var answered: Int
    /// It had begun to serve, so it may not begin anew.
    var hasServed: Bool
  }

  let groups: [Group]
  let blocks: [Worker.Block]
  let moments: [Moment]
  let checkpoints: Int
  let segmentChanges: Int
  let now: Milliseconds
  var commands: Int { groups.reduce(0) { $0 + $1.requests.count } }

  init(seed: UInt64) throws {
    struct Progress {
      var moments: [Moment] = []
      var answered = 0
      var hasServed = false
      var segments: Set<String> = []
    }
    let progress = Mutex(Progress())
    let disk = SimulatedDisk()
    var traffic = Traffic(seed: seed)
    var groups: [Group] = []
    var checkpoints = 0
    try disk.makeDirectory("/worker")
    disk.setObserver { operation, snapshot in
      progress.withLock {
        $0.moments.append(
          Moment(
            operation: operation, snapshot: snapshot, answered: $0.answered, hasServed: $0.hasServed))
        if operation.path.hasSuffix(".lz4") { $0.segments.insert(operation.path) }
      }
    }
    let worker = try Worker(Worker.setup(disk, epoch: 1, mayCreate: true))
    progress.withLock { $0.hasServed = true }
    for turn in 1...300 {
      let requests = traffic.group(traffic.random.pick(1...21))
      let answers = try worker.tell(requests, at: traffic.now)
      try traffic.learn(answers)
      groups.append(Group(requests: requests, answers: answers, applied: worker.applied))
      progress.withLock { $0.answered += 1 }
      if traffic.random.chance(4) { try worker.durable.rest() }
      // A checkpoint is written while others are answered.
      if turn % 25 == 10 { worker.freeze() }
      if turn % 25 == 13 {
        try worker.write()
        checkpoints += 1
      }
    }
    disk.setObserver(nil)
    self.groups = groups
    self.checkpoints = checkpoints
    blocks = worker.blocks
    now = traffic.now
    (moments, segmentChanges) = progress.withLock { ($0.moments, $0.segments.count - 1) }
  }
}

/// A replay of the log from scratch, by a partition that has nothing else: its tables after every block.
struct Reference: Sendable {
  /// By the block's last entry.
  let digests: [UInt64: UInt64]

  init(_ blocks: [Worker.Block]) throws {
    let disk = SimulatedDisk()
    let setup = Worker.setup(disk, epoch: 1, mayCreate: true)
    try disk.makeDirectory(setup.directory)
    var core = PartitionCore(
      partition: setup.partition, terms: setup.terms, windowMilliseconds: setup.windowMilliseconds,
      applied: .zero, time: 0, ordersPlaced: 0, horizon: 0)
    var writer = try PartitionWriter(
      path: setup.databasePath, cluster: setup.cluster, partition: setup.partition, files: disk)
    var digests: [UInt64: UInt64] = [0: try TablesDigest.of(setup.databasePath, files: disk)]
    for block in blocks {
      try block.entries.withUnsafeBytes {
        try core.takeLogged($0, first: SequenceNumber(block.first), count: block.count, time: block.time)
        core.replay()
      }
      try writer.write(core.makeCheckpoint())
      digests[core.applied.rawValue] = try TablesDigest.of(setup.databasePath, files: disk)
    }
    self.digests = digests
  }
}

/// Where a log is damaged that a killed process left.
private struct LastSynced {
  var path: String
  var bytes: Range<Int>
  var entry: SequenceNumber

  /// The last block with entries of which the mark says that it was synced; nil: there is none.
  init?(_ directory: String, _ disk: SimulatedDisk) throws {
    guard try disk.exists(directory), let marked = try SyncedMark.read(in: directory, files: disk) else {
      return nil
    }
    let names = try LogScan.names(in: directory, files: disk)
    guard !names.isEmpty else { return nil }
    var found: (String, Range<Int>, SequenceNumber)?
    _ = try LogScan(directory: directory, names: names, marked: marked, files: disk) {
      block, path, offset, _ in
      guard block.count > 0, block.last <= marked else { return }
      found = (path, offset..<offset + 104 + Int(block.frameBytes), block.last)
    }
    guard let found else { return nil }
    (path, bytes, entry) = found
  }
}

/// A start after a crash, by the real way in, and what must hold then.
struct Recovery {
  struct Wrong: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  private let run: ScriptedRun
  private let reference: Reference
  private let moment: ScriptedRun.Moment
  private let disk: SimulatedDisk
  private let number: Int
  /// Of the process alone: the power goes later.
  private let isKilled: Bool

  init(_ run: ScriptedRun, _ reference: Reference, _ moment: ScriptedRun.Moment, _ crash: Snapshot.Crash) {
    self.run = run
    self.reference = reference
    self.moment = moment
    disk = moment.snapshot.afterCrash(crash)
    number = moment.operation.index
    isKilled = crash == .keeping
  }

  func check() throws {
    if isKilled { try checkDamage() }
    let answered = moment.answered
    let setup = Worker.setup(disk, epoch: 2, mayCreate: !moment.hasServed)
    let worker = try Worker(setup)
    let applied = worker.recovered
    let promised = answered == 0 ? 0 : run.groups[answered - 1].applied
    guard applied >= promised else {
      throw Wrong("it ends at entry \(applied), but entry \(promised) was answered")
    }
    try worker.checkpoint()
    guard let expected = reference.digests[applied] else { throw Wrong("no block ends at entry \(applied)") }
    let audit = try PartitionAudit(path: setup.databasePath, files: disk)
    guard audit.isClean else {
      throw Wrong("the books do not balance: \(audit.checks.filter { $0.violations > 0 })")
    }
    guard try TablesDigest.of(setup.databasePath, files: disk) == expected else {
      throw Wrong("the tables at entry \(applied) are not what the log makes")
    }
    // Those of late, and some of before.
    for index in 0..<answered where index + 4 >= answered || index % 16 == number % 16 {
      let again = try worker.tell(run.groups[index].requests, at: run.now + 7)
      guard again == run.groups[index].answers else { throw Wrong("group \(index) is answered differently") }
    }
    // It goes on, and the next crash forgets none of that.
    var traffic = Traffic(seed: UInt64(number), series: 2, now: run.now + 7)
    var groups: [(requests: [Traffic.Sent], answers: [[UInt8]])] = []
    for _ in 0..<3 {
      let requests = traffic.group(5)
      groups.append((requests, try worker.tell(requests, at: traffic.now)))
    }
    guard isKilled || number % 4 == 0 else { return }
    let after = disk.snapshot.afterCrash(
      isKilled || number % 8 == 0 ? .forgetting : .tearing(seed: UInt64(number)))
    let next = try Worker(Worker.setup(after, epoch: 3, mayCreate: false))
    for (index, group) in groups.enumerated() {
      guard try next.tell(group.requests, at: traffic.now + 7) == group.answers else {
        throw Wrong("new group \(index) is answered differently after a second crash")
      }
    }
  }

  /// Besides its death a byte of what was synced last is damaged: that is never taken for a torn tail.
  private func checkDamage() throws {
    let damaged = moment.snapshot.afterCrash(.keeping)
    guard let block = try LastSynced(Worker.directory + "/log", damaged) else { return }
    var random = SplitMix64(seed: UInt64(number))
    let place = random.pick(block.bytes.lowerBound...block.bytes.upperBound - 1)
    damaged.flip(block.path, at: place, mask: UInt8(1) << UInt8(random.pick(0...7)))
    do {
      let worker = try Worker(Worker.setup(damaged, epoch: 2, mayCreate: false))
      // Another frame may hold the same entries.
      guard worker.applied >= block.entry.rawValue else {
        throw Wrong("byte \(place) of \(block.path) was flipped, and it serves from entry \(worker.applied)")
      }
    } catch let error as LogError {
      guard error.description.contains("\(block.path) is damaged at byte \(block.bytes.lowerBound)") else {
        throw Wrong("byte \(place) of \(block.path) was flipped: \(error)")
      }
      Self.damages.add(1, ordering: .relaxed)
    }
  }

  static let damages = Atomic(0)
}
