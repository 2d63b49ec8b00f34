import Bytes
import Cluster
import DispatcherCore
import Referee

/// One seeded run: clients, dispatchers, workers, their networks, disks and clocks, and the configuration
/// manager, in one thread and one order of events. First chaos, then everything is mended and must converge.
///
/// Times are microseconds of the world's own clock.
package final class Simulation {
  package struct Result: Sendable {
    package var seed: UInt64
    /// The first thing that was wrong.
    package var failure: String?
    /// The same for every run of the seed.
    package var traceHash: UInt64
    /// That were logged and committed.
    package var commands: UInt64
    package var reads: UInt64
    package var events: UInt64
    package var epochs: UInt64
    /// By ``CommandKind``.
    package var kinds: [UInt64]
    package var faults: [UInt64]
    package var branches: [UInt64]
    package var simulatedMilliseconds: Int64
  }

  enum Event {
    // A worker's process. Numbers after its place are the incarnation that is meant.
    case start(Int)
    case upgrade(Int)
    case tick(Int, UInt64)
    case crash(Int, UInt64)
    case desk(Int, UInt64)
    case beacon(Int, UInt64)
    case deliver(from: Int, to: Int, [UInt8])
    /// From the thread that receives to the partition's.
    case handOver(Int, UInt64, [UInt8])
    case synced(Int, UInt64, Disk.Sync)
    case epochDurable(Int, UInt64, Epoch)
    case managerSaid(Int, UInt64, ManagerAnswer)
    case broke(Int, Int)
    case died(Int, Int, UInt64)
    case checkpointWritten(Int, UInt64, generation: Int)
    case snapshot(Int, Tables, LogMark)
    // Dispatchers.
    case startDispatcher(Int)
    case dispatcherTick(Int, UInt64)
    case fromWorker(Int, UInt64, line: UInt64, Int, UInt64, WorkerFrame)
    case toWorker(Int, UInt64, Int, line: UInt64, DispatcherFrame)
    case store(Int, UInt64, StoreOrder)
    case lateChange(GroupChange)
    case lateAsk(GroupProposal?, Epoch, Leadership)
    // Clients.
    case client(Int)
    case begin(Int)
    case fromClient(Int, UInt64, Int, connection: UInt64, [[UInt8]])
    case toClient(Int, connection: UInt64, [[UInt8]])
    case trouble
    case mend(FaultMend)
  }

  enum FaultMend {
    case link(Int, Int)
    case line(Int, Int)
    case client(Int, Int)
    case manager
    case drain(String)
  }

  enum ManagerAnswer {
    case told(GroupRecord)
    case record(GroupRecord)
    case swapped(GroupRecord, Replica.SwapOutcome)
  }

  let seed: UInt64
  #if DELIBERATE_BUGS
    package var bug: DeliberateBug?
  #else
    var bug: DeliberateBug? { nil }
  #endif
  var chance: Chance
  var mix: FaultMix
  /// Of what is upgraded when, apart, and in how many of 1,000 starts; 0: nothing ever is.
  var versions: Chance
  let upgrades: Int
  /// Of what rots in memory, apart too.
  var rot: Chance
  let rots: Int
  /// What all disks have in common is in trouble: no sync succeeds. In one seed of five, where it is
  /// not calm; apart as well.
  let storageOutage: Range<Int64>
  /// Who came back with another history after the end, and whether that was found.
  var stray = ""
  var isStrayFound = false
  var settings = Replica.Settings()
  var limits = DispatcherCore.Limits()
  let healingMilliseconds: Int64
  /// Microseconds between a client's requests: some worlds are calm, and have moments with nothing under way.
  let pauseMax: Int
  /// Batches that a partition takes before it has answered one.
  let credit: UInt32
  var queue = EventQueue<Event>()
  var now: Int64 = 0
  var workers: [Worker] = []
  var dispatchers: [Dispatcher] = []
  var clients: [Client] = []
  var referee = Referee(Process.terms, partition: Process.partition.rawValue)
  var manager: ConfigurationState
  /// As the manager has it.
  var record: GroupRecord
  var controllerRevision: UInt64 = 0
  var managerIsAway = false
  /// Of whoever asks it at the moment.
  var managerIsCutOff = false
  /// When the next primary may be silent for just longer than a grace.
  var hasteAt: Int64 = 0
  /// Until then it loses the changes that are asked for.
  var managerIsDeafUntil: Int64 = 0
  /// Between workers: `cut[from][to]`.
  var cut: [[Bool]] = []
  /// Nothing is delivered on a link before what was sent on it before, unless the mixture says so.
  var linkFreeAt: [[Int64]] = []
  /// `lines[dispatcher][worker]`.
  var lines: [[Line]] = []
  /// `clientCut[client][dispatcher]`.
  var clientCut: [[Bool]] = []
  let replicas: Int
  /// Later, where trouble leaves little time for commands.
  var chaosEnds: Int64
  var isMended = false
  var faults = [UInt64](repeating: 0, count: Fault.allCases.count)
  var branches = [UInt64](repeating: 0, count: Branch.allCases.count)
  var events: UInt64 = 0
  var reads: UInt64 = 0
  var trace: UInt64 = 0
  private let say: ((String) -> Void)?

  /// - Parameter say: gets a line for everything that happens.
  package init(seed: UInt64, say: ((String) -> Void)? = nil) {
    self.seed = seed
    self.say = say
    chance = Chance(seed: seed)
    mix = FaultMix(&chance)
    versions = Chance(seed: XXH64.hash(seed))
    upgrades = versions.pick([0, 100, 300, 600])
    rot = Chance(seed: XXH64.hash(seed &+ 1))
    rots = rot.pick([0, 0, 0, 20])
    var storage = Chance(seed: XXH64.hash(seed &+ 3))
    let outageBegins = Int64(storage.pick(500...7_500)) * 1_000
    let outageLasts = !mix.isCalm && storage.permille(200) ? Int64(storage.pick(2...100)) * 1_000 : 0
    storageOutage = outageBegins..<outageBegins + outageLasts
    let count = chance.pick([1, 2, 3, 3, 3, 4])
    replicas = min(count, chance.pick([1, 2, 2, 3, 3]))
    chaosEnds = Int64(chance.pick(8...12)) * 1_000_000
    settings.digestBlocks = 8
    settings.stallMilliseconds = Int64(chance.pick([400, 2_000]))
    settings.absenceMilliseconds = Int64(chance.pick([600, 2_000]))
    settings.drainMilliseconds = Int64(chance.pick([300, 1_000]))
    settings.windowBlocks = chance.pick([4, 16, 64])
    if replicas == 3, chance.permille(500) { settings.minReplicas = 2 }
    healingMilliseconds = Int64(chance.pick([200, 1_500]))
    pauseMax = mix.isCalm ? 150_000 : chance.pick([8_000, 8_000, 40_000])
    credit = UInt32(chance.pick([4, 4, 16, 64]))
    limits.silenceMilliseconds = Int64(chance.pick([600, 2_000]))
    limits.resendMilliseconds = Int64(chance.pick([300, 1_000]))
    limits.batchItemsMax = chance.pick([1, 3, 2_048])
    for place in 0..<count {
      let worker = Worker(
        name: String(UnicodeScalar(UInt8(97 + place))), place: place, bootOffset: Int64(chance.below(100_000))
      )
      if mix.drifts { worker.drift = Int64(chance.pick(0...40_000)) - 20_000 }
      workers.append(worker)
    }
    for place in 0..<chance.pick([1, 2, 2, 2, 2]) {
      dispatchers.append(Dispatcher(name: ["x", "y"][place], place: place))
    }
    manager = ConfigurationState(
      ClusterRecord(
        id: "simulated", name: "laris", currency: "IDR", partitions: 1, replicas: replicas,
        minReplicas: settings.minReplicas, initialWorkers: count,
        reserveMilliseconds: UInt64(Process.terms.reserveMilliseconds),
        feeBasisPoints: UInt32(Process.terms.feeBasisPoints), requestWindowMilliseconds: Process.window,
        createdAt: Worker.epoch))
    record = manager.group(Process.partition)
    cut = Array(repeating: Array(repeating: false, count: count), count: count)
    linkFreeAt = Array(repeating: Array(repeating: 0, count: count), count: count)
    lines = Array(repeating: Array(repeating: Line(), count: count), count: dispatchers.count)
    for place in 0..<6 {
      clients.append(Client(place: place, dispatchers: dispatchers.count, isCalm: mix.isCalm, &chance))
    }
    clientCut = Array(
      repeating: Array(repeating: false, count: dispatchers.count), count: clients.count)
  }

  // MARK: Running

  package func run() -> Result {
    note {
      """
      \(self.workers.count) workers, \(self.dispatchers.count) dispatchers, \(self.replicas) replicas, \
      upgrades at \(self.upgrades) of 1,000 starts, minReplicas \(self.settings.minReplicas), \
      window \(self.settings.windowBlocks), \(self.mix)
      """
    }
    if mix.drifts { count(.drift) }
    for dispatcher in dispatchers {
      queue.add(.startDispatcher(dispatcher.place), at: Int64(chance.below(5_000)))
    }
    for worker in workers { queue.add(.start(worker.place), at: Int64(chance.below(5_000))) }
    for client in clients {
      queue.add(.client(client.place), at: Int64(chance.below(10_000)))
      for _ in 0..<client.requestsMax { queue.add(.begin(client.place), at: Int64(chance.below(50_000))) }
    }
    queue.add(.trouble, at: 300_000 + mix.pace)
    while referee.failure == nil, let (at, event) = queue.next() {
      now = max(now, at)
      if !isMended, now >= chaosEnds { endChaos() }
      events += 1
      handle(event)
      if isMended, events & 63 == 0, hasConverged {
        finish()
        break
      }
      if isMended, now > chaosEnds + 60_000_000 {
        referee.fail("nothing converges within 60 s: \(whatIsOpen)")
      }
    }
    if referee.failure == nil { meetAnotherHistory() }
    for worker in workers { collect(worker) }
    mixTrace(referee.committed)
    return Result(
      seed: seed, failure: referee.failure, traceHash: trace, commands: referee.commands, reads: reads,
      events: events, epochs: record.epoch.rawValue, kinds: referee.kinds, faults: faults,
      branches: branches, simulatedMilliseconds: now / 1_000)
  }

  private func endChaos() {
    if referee.commands + reads < Self.commandsMin, now < Self.chaosMax {
      chaosEnds += 1_000_000
      // Where nothing ever works, nothing is shown.
      mix.pace = min(mix.pace * 2, Self.chaosMax)
      if now > Self.chaosEases {
        mix.ease()
        // Under a primary whose clock is ahead nothing is ever written (rule 16).
        for worker in workers { worker.wallOffset /= 2 }
      }
    } else {
      mend()
    }
  }

  /// Commands and reads that chaos lasts for, if they come within so many microseconds.
  static let commandsMin: UInt64 = 2_000
  private static let chaosEases: Int64 = 30_000_000
  private static let chaosMax: Int64 = 300_000_000

  func note(_ line: () -> String) {
    guard let say else { return }
    let digits = String(now)
    say(String(repeating: " ", count: max(0, 9 - digits.count)) + digits + "  " + line())
  }

  func count(_ fault: Fault) { faults[fault.rawValue] += 1 }
  func mixTrace(_ value: UInt64) { trace = XXH64.hash(value, seed: trace) }

  func collect(_ worker: Worker) {
    guard let process = worker.process else { return }
    for place in branches.indices { branches[place] += UInt64(process.replica.branches[place]) }
  }

  func handle(_ event: Event) {
    switch event {
    case .start(let place): start(workers[place])
    case .upgrade(let place): upgrade(workers[place], isOutdated: false)
    case .tick(let place, let incarnation):
      if let worker = running(place, incarnation, event) { tick(worker) }
    case .crash(let place, let incarnation):
      guard workers[place].incarnation == incarnation else { return }
      crash(workers[place], forgets: mix.forgets)
      queue.add(.start(place), at: now + Int64(chance.pick(3_000...300_000)))
    case .desk(let place, let incarnation):
      if let worker = running(place, incarnation, event, isThread: false) { sendDeskBeacons(worker) }
    case .beacon(let place, let incarnation):
      if let worker = running(place, incarnation, event, isThread: false) { sayWhoIsThere(worker) }
    case .deliver(let from, let to, let bytes):
      if let worker = running(to, nil, event, isThread: false) { receive(bytes, from: from, worker) }
    case .handOver(let place, let incarnation, let bytes):
      if let worker = running(place, incarnation, event) { hear(bytes, worker) }
    case .synced(let place, let incarnation, let sync):
      if let worker = running(place, incarnation, event) { synced(worker, sync) }
    case .epochDurable(let place, let incarnation, let epoch):
      if let worker = running(place, incarnation, event) { epochDurable(worker, epoch) }
    case .managerSaid(let place, let incarnation, let answer):
      if let worker = running(place, incarnation, event) { heard(worker, answer) }
    case .broke(let place, let other):
      guard let worker = running(place, nil, event) else { return }
      tell(worker) { $0.connectionBroke(to: self.workers[other].name, now: worker.boot(self.now)) }
      settle(worker)
    case .died(let place, let other, let incarnation):
      guard let worker = running(place, nil, event) else { return }
      tell(worker) {
        $0.died(self.workers[other].name, Incarnation(incarnation), now: worker.boot(self.now))
      }
      settle(worker)
    case .checkpointWritten(let place, let incarnation, let generation):
      if let worker = running(place, incarnation, event) { checkpointWritten(worker, generation) }
    case .snapshot(let place, let tables, let mark):
      if let worker = running(place, nil, event) { install(tables, mark, worker) }

    case .startDispatcher(let place): start(dispatchers[place])
    case .dispatcherTick(let place, let incarnation):
      if let dispatcher = running(dispatcher: place, incarnation, event) { tick(dispatcher) }
    case .fromWorker(let place, let incarnation, let line, let worker, let life, let frame):
      guard lines[place][worker].number == line,
        let dispatcher = running(dispatcher: place, incarnation, event)
      else { return }
      receive(frame, from: worker, life, dispatcher)
    case .toWorker(let place, let incarnation, let dispatcher, let line, let frame):
      guard lines[dispatcher][place].number == line, let worker = running(place, incarnation, event) else {
        return
      }
      receive(frame, from: dispatcher, worker)
    case .store(let place, let incarnation, let order):
      if let dispatcher = running(dispatcher: place, incarnation, event) { carryOut(order, dispatcher) }
    case .lateChange(let change):
      if manager.change(change, now: managerNow) == .accepted { look("late") }
    case .lateAsk(let proposal, let epoch, let leadership):
      if manager.propose(
        proposal, to: Process.partition, ifEpoch: epoch, as: leadership, now: managerNow) == .accepted
      {
        look("late")
      }

    case .client(let place): turn(clients[place])
    case .begin(let place): begin(clients[place])
    case .fromClient(let place, let incarnation, let client, let connection, let frames):
      guard let dispatcher = running(dispatcher: place, incarnation, event) else { return }
      receive(frames, fromClient: client, connection, dispatcher)
    case .toClient(let place, let connection, let frames):
      guard clients[place].connection.number == connection else { return }
      receive(frames, clients[place])
    case .trouble: trouble()
    case .mend(let what): mend(what)
    }
  }

  /// nil: no process is there, or not that one any more; or it is paused, or its thread waits for its disk,
  /// and the event waits too.
  private func running(
    _ place: Int, _ incarnation: UInt64?, _ event: Event, isThread: Bool = true
  ) -> Worker? {
    let worker = workers[place]
    guard let process = worker.process, incarnation == nil || worker.incarnation == incarnation else {
      return nil
    }
    let until = isThread ? max(worker.pausedUntil, process.stuckUntil) : worker.pausedUntil
    if until > now {
      queue.add(event, at: until)
      return nil
    }
    return worker
  }

  private func running(dispatcher place: Int, _ incarnation: UInt64, _ event: Event) -> Dispatcher? {
    let dispatcher = dispatchers[place]
    guard dispatcher.process != nil, dispatcher.incarnation == incarnation else { return nil }
    if dispatcher.pausedUntil > now {
      queue.add(event, at: dispatcher.pausedUntil)
      return nil
    }
    return dispatcher
  }

  func place(of node: String) -> Int { Int(node.utf8.first!) - 97 }

  // MARK: The end

  private var hasConverged: Bool {
    guard clients.allSatisfy({ $0.pending.isEmpty }) else { return false }
    guard record.members.count == replicas, record.proposal == nil else { return false }
    guard workers.allSatisfy({ $0.process != nil }), dispatchers.allSatisfy({ $0.process != nil }) else {
      return false
    }
    guard upgrades == 0 || referee.rules == Self.latestRules else { return false }
    for worker in workers where record.members.contains(worker.name) {
      guard let replica = worker.process?.replica, replica.epoch == record.epoch,
        replica.committed.sn.rawValue == referee.committed, replica.last == replica.committed
      else { return false }
      if worker.name == record.primary, replica.activity != .active { return false }
    }
    return true
  }

  private var whatIsOpen: String {
    let open = clients.reduce(0) { $0 + $1.pending.count }
    let states = workers.map { worker in
      guard let replica = worker.process?.replica else { return "\(worker.name) down" }
      return
        "\(worker.name) \(replica.epoch) \(replica.activity) C \(replica.committed.sn) of \(replica.last.sn)"
    }
    let asked = record.proposal.map { ", asked to \($0)" } ?? ""
    return
      "\(open) requests wait; \(record.epoch) \(record.members)\(asked); \(states.joined(separator: "; "))"
  }

  /// Everybody's tables, as a checkpoint of all that was applied would have them.
  private func finish() {
    for worker in workers where record.members.contains(worker.name) {
      guard let process = worker.process else { continue }
      var tables = worker.disk.tables
      // A checkpoint that is under way is of an earlier moment.
      if let frozen = process.frozen { tables.write(frozen) }
      tables.write(process.core.makeCheckpoint())
      referee.compare(worker.name, tables)
      // What was taken off the core must not be lost: things go on.
      worker.disk.tables = tables
      mixTrace(process.core.digest)
      if let primary = workers.first(where: { $0.name == record.primary })?.process,
        primary.core.digest != process.core.digest
      {
        referee.fail("\(worker.name) has another digest than the primary")
      }
      process.load(worker.disk, through: tables.applied)
    }
  }
}
