import Bytes
import Cluster
import DurablePartition
import Files
import PartitionStore
import Replication
import SimulatedDisk
import TestMarketplace
import Wire
import WorkerCore

/// Two replicas of a group side by side, each on a disk of its own, with a configuration manager that does what it is
/// asked. Every message arrives at once and in order, unless one of them is isolated.
final class Pair {
  /// One of them, and what it wants of the world.
  final class Member: Surroundings {
    let name: String
    let disk: SimulatedDisk
    let setup: DurablePartition.Setup
    var durable: DurablePartition
    private var writer: CheckpointWriter
    fileprivate(set) var alarms: [Replica.Alarm] = []
    fileprivate(set) var now: Int64
    fileprivate var outgoing: [[UInt8]] = []
    fileprivate var isAsked = false
    fileprivate var changes: [GroupRecord] = []
    private var batches: UInt64 = 0

    fileprivate init(
      _ name: String, _ disk: SimulatedDisk, life: UInt64, rowsMax: Int, rules: UInt16, now: Int64
    ) throws {
      var setup = Worker.setup(disk, epoch: life, mayCreate: life == 1, directory: "/\(name)/partitions/0003")
      setup.node = name
      setup.rowsMax = rowsMax
      setup.replication.digestBlocks = 4
      setup.replication.rules = rules
      self.name = name
      self.disk = disk
      self.setup = setup
      self.now = now
      durable = try DurablePartition(setup, now: now)
      writer = try CheckpointWriter(setup)
    }

    // MARK: Surroundings

    func send(_ message: UnsafeRawBufferPointer, to node: String) { outgoing.append(Array(message)) }
    func readConfiguration() { isAsked = true }
    func compareAndSwap(_ record: GroupRecord, why: String, committed: SequenceNumber) {
      changes.append(record)
    }
    func activityChanged(_ activity: Replica.Activity) {}
    func alarm(_ alarm: Replica.Alarm) { alarms.append(alarm) }
    func offerSnapshot(to node: String) {}
    func wantSnapshot(from node: String) {}

    // MARK: What it is told to do

    fileprivate func receive(_ bytes: [UInt8], now: Int64) throws {
      try bytes.withUnsafeBytes { bytes in
        try durable.receive(try MessageCodec.read(bytes), self, now: now, wall: .max / 2)
      }
      try durable.settle(self)
    }

    /// One group. It may be answered when it is committed.
    func work(_ requests: [Traffic.Sent], at wall: Int64) throws {
      batches += 1
      let frame = Batches.frame(
        requests.map { ($0.bytes, 1_000) }, partition: Worker.partition, number: batches,
        epoch: durable.replica.epoch, dispatcher: Incarnation(1))
      // It stays where it is until the group is done.
      try frame.withUnsafeBytes { bytes in
        if !requests.isEmpty { try durable.core.take(bytes, dispatcher: 0, receivedAt: self.now) }
        let refusal = durable.refusal(now: now)
        precondition(refusal == nil, "\(name): \(String(describing: refusal))")
        try durable.work(self, now: wall)
      }
    }

    func hasWork(at wall: Int64) -> Bool { durable.hasWork(wall: wall) }

    /// Answers of the last group.
    func answers() throws -> [[UInt8]] {
      var answers: [[UInt8]] = []
      for frame in durable.core.frames {
        let bytes = UnsafeRawBufferPointer(rebasing: durable.core.answers.bytes[frame.bytes])
        var (_, count, items) = try BatchHeader.read(bytes)
        for _ in 0..<count { answers.append(Array(try AnswerItem(&items).reply)) }
      }
      return answers
    }

    /// Writes the checkpoint that was begun, if all of it is committed.
    func write() throws {
      guard let checkpoint = durable.copyFrozen(atMost: .max) else { return }
      durable.written(try writer.write(checkpoint, mayTrim: durable.mayTrim(holding: checkpoint)))
    }

    func checkpoint() throws {
      if durable.isDirty, !durable.isCheckpointing { durable.freeze() }
      try write()
    }

    func tables() throws -> PartitionStore.TablesDigest {
      try PartitionStore.TablesDigest(
        path: setup.databasePath, windowMilliseconds: setup.windowMilliseconds, files: disk)
    }
  }

  private(set) var members: [String: Member] = [:]
  private(set) var record: GroupRecord
  private var now: Int64 = 1_000
  private var lives: [String: UInt64] = [:]
  /// The version of the rules that each one's next process knows.
  var rules: [String: UInt16] = [:]
  /// Who hears of nobody, and whom nobody hears, the manager neither.
  var isolated: Set<String> = []

  /// - Parameter rowsMax: rows of a table that each keeps in memory.
  init(rowsMax: (a: Int, b: Int) = (40, 40)) throws {
    record = GroupRecord(
      partition: Worker.partition, epoch: Epoch(1), primary: "a", incarnation: Incarnation(1),
      secondaries: ["b"], isOpened: true)
    for (name, rowsMax) in [("a", rowsMax.a), ("b", rowsMax.b)] {
      let disk = SimulatedDisk()
      try disk.makeDirectory("/\(name)")
      try start(name, on: disk, rowsMax: rowsMax)
    }
    try run(200)
    precondition(a.durable.replica.activity == .active, "\(a.durable.replica.activity)")
  }

  var a: Member { members["a"]! }
  var b: Member { members["b"]! }

  private func start(_ name: String, on disk: SimulatedDisk, rowsMax: Int) throws {
    lives[name, default: 0] += 1
    members[name] = try Member(
      name, disk, life: lives[name]!, rowsMax: rowsMax, rules: rules[name] ?? 1, now: now)
  }

  /// Kills a process, and starts the next one on its disk.
  ///
  /// - Parameter meanwhile: what happens to the disk.
  func restart(_ name: String, meanwhile: (Member) throws -> Void = { _ in }) throws {
    let (disk, rowsMax) = (members[name]!.disk, members[name]!.setup.rowsMax)
    let gone = members.removeValue(forKey: name)!
    try meanwhile(gone)
    try start(name, on: disk, rowsMax: rowsMax)
  }

  /// An operator, or the controller, wants something of the group, and all hear of it.
  func ask(_ proposal: GroupProposal?) throws {
    record.proposal = proposal
    let (record, now) = (record, now)
    for member in members.values {
      try member.durable.tell(member) { $0.configurationWasTold(record, now: now) }
    }
  }

  /// Time passes.
  func run(_ milliseconds: Int64) throws {
    for _ in 0..<milliseconds / 10 {
      now += 10
      for member in members.values.sorted(by: { $0.name < $1.name }) {
        member.now = now
        let now = now
        try member.durable.tell(member) { $0.tick(now: now) }
      }
      try deliver()
    }
  }

  /// Until nobody has anything to say.
  func deliver() throws {
    var isBusy = true
    while isBusy {
      isBusy = false
      for member in members.values.sorted(by: { $0.name < $1.name }) {
        if member.durable.needsRebuild { try member.durable.rebuild(member) }
        if try deliver(of: member) { isBusy = true }
      }
    }
  }

  private func deliver(of member: Member) throws -> Bool {
    let (messages, changes, isAsked) = (member.outgoing, member.changes, member.isAsked)
    member.outgoing = []
    member.changes = []
    member.isAsked = false
    guard !isolated.contains(member.name) else { return false }
    if let other = members[member.name == "a" ? "b" : "a"], !isolated.contains(other.name) {
      for message in messages { try other.receive(message, now: now) }
    }
    let now = now
    for change in changes {
      let isAccepted = change.epoch == record.epoch.next
      if isAccepted { record = change }
      let outcome: Replica.SwapOutcome = isAccepted ? .accepted : .refused(record)
      try member.durable.tell(member) { $0.compareAndSwapEnded(change, outcome, now: now) }
    }
    if isAsked {
      let record = record
      try member.durable.tell(member) { $0.configurationWasRead(record, now: now) }
    }
    return !messages.isEmpty || !changes.isEmpty || isAsked
  }
}
