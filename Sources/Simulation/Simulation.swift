import Bytes
import Cluster
import Marketplace
import Replication
import Wire
import WorkerCore

/// One seeded run: workers, clients, their network, disks and clocks, and the configuration manager, in one
/// thread and one order of events. First chaos, then everything is mended and must converge.
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
    package var faults: [UInt64]
    package var branches: [UInt64]
    package var simulatedMilliseconds: Int64
  }

  enum Event {
    case tick(Int, UInt64)
    case deliver(from: Int, to: Int, [UInt8])
    case synced(Int, UInt64, Disk.Sync)
    case epochDurable(Int, UInt64, Epoch)
    case managerAsked(Int, UInt64, ManagerRequest)
    case managerSaid(Int, UInt64, ManagerAnswer)
    case lateSwap(GroupRecord, expecting: Epoch, why: String)
    case told(Int, GroupRecord)
    case broke(Int, Int)
    case died(Int, Int, UInt64)
    case request(Int, Process.Request)
    case reply(client: Int, attempt: UInt64, isTaken: Bool, [UInt8], from: Int)
    case clientTurn(Int)
    case clientTimeout(Int, UInt64)
    case checkpointWritten(Int, UInt64, generation: Int)
    case snapshot(Int, Tables, LogMark)
    case start(Int)
    case trouble
    case controller
    case mend(FaultMend)
  }

  enum FaultMend {
    case link(Int, Int)
    case manager
  }

  enum ManagerRequest {
    case read
    case swap(GroupRecord, expecting: Epoch, why: String)
  }

  enum ManagerAnswer {
    case record(GroupRecord)
    case failed
    case swapped(GroupRecord, Replica.SwapOutcome)
  }

  let seed: UInt64
  let bug: DeliberateBug?
  var chance: Chance
  var mix: FaultMix
  var settings = Replica.Settings()
  var queue = EventQueue<Event>()
  var now: Int64 = 0
  var workers: [Worker] = []
  var clients: [Client] = []
  var referee = Referee(Process.terms, partition: Process.partition.rawValue)
  var record: GroupRecord
  var managerIsAway = false
  /// `cut[from][to]`.
  var cut: [[Bool]] = []
  /// Nothing is delivered on a link before what was sent on it before, unless the mixture says so.
  var linkFreeAt: [[Int64]] = []
  let replicas: Int
  let chaosEnds: Int64
  var isMended = false
  var proposedAt: Int64 = 0
  var faults = [UInt64](repeating: 0, count: Fault.allCases.count)
  var branches = [UInt64](repeating: 0, count: Branch.allCases.count)
  var events: UInt64 = 0
  var reads: UInt64 = 0
  var trace: UInt64 = 0
  private let say: ((String) -> Void)?

  /// - Parameter say: gets a line for everything that happens.
  package init(seed: UInt64, bug: DeliberateBug? = nil, say: ((String) -> Void)? = nil) {
    self.seed = seed
    self.bug = bug
    self.say = say
    chance = Chance(seed: seed)
    mix = FaultMix(&chance)
    let count = chance.pick([1, 2, 3, 3, 3, 4])
    replicas = min(count, chance.pick([1, 2, 2, 3, 3]))
    chaosEnds = Int64(chance.pick(8...12)) * 1_000_000
    settings.digestBlocks = 8
    settings.stallMilliseconds = Int64(chance.pick([400, 2_000]))
    settings.windowBlocks = chance.pick([4, 16, 64])
    if replicas == 3, chance.permille(500) { settings.minReplicas = 2 }
    for place in 0..<count {
      let worker = Worker(
        name: String(UnicodeScalar(UInt8(97 + place))), place: place, bootOffset: Int64(chance.below(100_000))
      )
      if mix.drifts { worker.drift = Int64(chance.pick(0...40_000)) - 20_000 }
      workers.append(worker)
    }
    record = GroupRecord(
      partition: Process.partition, epoch: Epoch(1), primary: "a",
      incarnation: Incarnation(workers[0].incarnation + 1),
      secondaries: workers[1..<max(1, replicas)].map(\.name), isOpened: true)
    cut = Array(repeating: Array(repeating: false, count: count), count: count)
    linkFreeAt = Array(repeating: Array(repeating: 0, count: count), count: count)
    for place in 0..<12 { clients.append(Client(place: place, target: chance.below(count))) }
  }

  // MARK: Running

  package func run() -> Result {
    note {
      "\(self.workers.count) workers, \(self.replicas) replicas, minReplicas \(self.settings.minReplicas), window \(self.settings.windowBlocks), \(self.mix)"
    }
    if mix.drifts { count(.drift) }
    for worker in workers { queue.add(.start(worker.place), at: Int64(chance.below(5_000))) }
    for client in clients { queue.add(.clientTurn(client.place), at: Int64(chance.below(50_000))) }
    queue.add(.trouble, at: mix.pace)
    queue.add(.controller, at: 200_000)
    let limit = chaosEnds + 60_000_000
    while referee.failure == nil, let (at, event) = queue.next() {
      now = max(now, at)
      if !isMended, now >= chaosEnds { mend() }
      events += 1
      handle(event)
      if isMended, events & 63 == 0, hasConverged {
        finish()
        break
      }
      if now > limit {
        referee.fail("nothing converges within 60 s: \(whatIsOpen)")
      }
    }
    for worker in workers { collect(worker) }
    mixTrace(referee.committed)
    return Result(
      seed: seed, failure: referee.failure, traceHash: trace, commands: referee.commands, reads: reads,
      events: events, epochs: record.epoch.rawValue, faults: faults, branches: branches,
      simulatedMilliseconds: now / 1_000)
  }

  func note(_ line: () -> String) {
    guard let say else { return }
    let digits = String(now)
    say(String(repeating: " ", count: max(0, 9 - digits.count)) + digits + "  " + line())
  }

  func count(_ fault: Fault) { faults[fault.rawValue] += 1 }
  func mixTrace(_ value: UInt64) { trace = XXH64.hash(value, seed: trace) }

  private func collect(_ worker: Worker) {
    guard let process = worker.process else { return }
    for place in branches.indices { branches[place] += UInt64(process.replica.branches[place]) }
  }

  private func handle(_ event: Event) {
    switch event {
    case .start(let place): start(workers[place])
    case .tick(let place, let incarnation):
      guard let worker = running(place, incarnation, event) else { return }
      tick(worker)
    case .deliver(let from, let to, let bytes):
      guard let worker = running(to, nil, event) else { return }
      receive(bytes, from: from, worker)
    case .synced(let place, let incarnation, let sync):
      guard let worker = running(place, incarnation, event) else { return }
      synced(worker, sync)
    case .epochDurable(let place, let incarnation, let epoch):
      guard let worker = running(place, incarnation, event) else { return }
      if !isMended, mix.syncErrors > 0, chance.permille(30) {
        // Rule 1: what can't make its epoch durable ends.
        count(.syncError)
        worker.process!.replica.epochCouldNotBeMadeDurable()
        worker.process!.replica.tick(now: worker.boot(now))
        if worker.process!.replica.isActing(at: worker.boot(now)) { referee.fail("rule 1: it goes on") }
        crash(worker, forgets: true)
        queue.add(.start(place), at: now + Int64(chance.pick(20_000...800_000)))
        return
      }
      worker.disk.epoch = max(worker.disk.epoch, epoch)
      worker.process!.replica.epochIsDurable(epoch, now: worker.boot(now))
      settle(worker)
    case .managerAsked(let place, let incarnation, let request): manage(place, incarnation, request)
    case .managerSaid(let place, let incarnation, let answer):
      guard let worker = running(place, incarnation, event) else { return }
      heard(worker, answer)
    case .lateSwap(let record, let expecting, let why):
      if self.record.epoch == expecting { install(record, why + ", late") }
    case .told(let place, let record):
      guard let worker = running(place, nil, event) else { return }
      worker.process!.replica.configurationWasTold(record, now: worker.boot(now))
      settle(worker)
    case .broke(let place, let other):
      guard let worker = running(place, nil, event) else { return }
      worker.process!.replica.connectionBroke(to: workers[other].name, now: worker.boot(now))
      settle(worker)
    case .died(let place, let other, let incarnation):
      guard let worker = running(place, nil, event) else { return }
      worker.process!.replica.died(
        workers[other].name, Incarnation(incarnation), now: worker.boot(now))
      settle(worker)
    case .request(let place, let request):
      guard let worker = running(place, nil, event) else { return }
      guard worker.process!.inbox.count < 64 else {
        return refuse(request, from: place)
      }
      worker.process!.inbox.append(request)
      work(worker)
    case .reply(let client, let attempt, let isTaken, let bytes, let from):
      replied(clients[client], attempt, isTaken, bytes, from)
    case .clientTurn(let place): clientTurn(clients[place])
    case .clientTimeout(let place, let attempt):
      guard clients[place].attempt == attempt, clients[place].request != nil else { return }
      clients[place].target = chance.below(workers.count)
      sendRequest(clients[place])
    case .checkpointWritten(let place, let incarnation, let generation):
      guard let worker = running(place, incarnation, event) else { return }
      checkpointWritten(worker, generation)
    case .snapshot(let place, let tables, let mark):
      guard let worker = running(place, nil, event) else { return }
      install(tables, mark, worker)
    case .trouble: trouble()
    case .controller: control()
    case .mend(let what):
      switch what {
      case .link(let from, let to): cut[from][to] = false
      case .manager: managerIsAway = false
      }
    }
  }

  /// nil: no process is there, or not that one any more, or it is paused, and the event waits.
  private func running(_ place: Int, _ incarnation: UInt64?, _ event: Event) -> Worker? {
    let worker = workers[place]
    guard worker.process != nil, incarnation == nil || worker.incarnation == incarnation else { return nil }
    if worker.pausedUntil > now {
      queue.add(event, at: worker.pausedUntil)
      return nil
    }
    return worker
  }

  // MARK: A worker's process

  private func start(_ worker: Worker) {
    guard worker.process == nil else { return }
    worker.incarnation += 1
    worker.pausedUntil = 0
    let identity = Replica.Identity(
      cluster: Process.cluster, partition: Process.partition, node: worker.name,
      incarnation: Incarnation(worker.incarnation))
    note {
      "\(worker.name) starts at \(worker.disk.last), \(worker.disk.epoch)\(worker.disk.isDamaged ? ", damaged" : "")"
    }
    let process = Process(identity, worker.disk, settings, now: worker.boot(now))
    if let bug { process.replica.mutation = bug.mutation }
    worker.process = process
    if !worker.disk.isDamaged { referee.commits(worker.name, process.replica.committed, worker.disk) }
    queue.add(.tick(worker.place, worker.incarnation), at: now + 10_000)
    settle(worker)
  }

  func crash(_ worker: Worker, forgets: Bool) {
    guard worker.process != nil else { return }
    note { "\(worker.name) crashes" }
    collect(worker)
    worker.process = nil
    worker.disk.crash(&chance, forgets: forgets)
    for other in workers where other !== worker {
      if !cut[worker.place][other.place], chance.permille(700) {
        queue.add(.broke(other.place, worker.place), at: now + Int64(chance.pick(100...2_000)))
      }
      if mix.proofs, chance.permille(500) {
        count(.deathProven)
        queue.add(
          .died(other.place, worker.place, worker.incarnation), at: now + Int64(chance.pick(500...20_000)))
      }
    }
  }

  private func tick(_ worker: Worker) {
    let process = worker.process!
    queue.add(.tick(worker.place, worker.incarnation), at: now + 10_000)
    process.replica.tick(now: worker.boot(now))
    settle(worker)
    checkpoint(worker)
    work(worker)
  }

  /// Carries out what the replica decided, and checks what must always hold.
  func settle(_ worker: Worker) {
    guard let process = worker.process else { return }
    while process.replica.hasEffects {
      for effect in process.replica.takeEffects() {
        carryOut(effect, worker, process)
        if worker.process !== process { return }
      }
    }
    if process.replica.epoch > worker.disk.epoch {
      referee.fail(
        "rule 1: \(worker.name) acts in \(process.replica.epoch), and \(worker.disk.epoch) is durable")
    }
    checkPrimaries(worker)
  }

  private func carryOut(_ effect: Replica.Effect, _ worker: Worker, _ process: Process) {
    switch effect {
    case .send(let node, let envelope, let message):
      note { "\(worker.name) → \(node) \(envelope.epoch) \(message)" }
      var writer = ByteWriter(capacity: 256)
      MessageCodec.write(message, envelope, into: &writer)
      send(Array(writer.bytes), from: worker.place, to: place(of: node))
    case .sendBlock(let node, let envelope, let sn, let committed):
      let at = worker.disk.place(after: SequenceNumber(sn.rawValue - 1))
      guard at < worker.disk.log.count, worker.disk.log[at].head.last == sn else { return }
      let block = worker.disk.log[at]
      note { "\(worker.name) → \(node) \(envelope.epoch) prepare \(block.head), C \(committed.sn)" }
      var writer = ByteWriter(capacity: 512)
      block.entries.withUnsafeBytes {
        MessageCodec.write(.prepare(block.head, committed: committed), envelope, entries: $0, into: &writer)
      }
      send(Array(writer.bytes), from: worker.place, to: place(of: node))
    case .append(let head, let committed):
      if head.previousHash != worker.disk.last.hash {
        referee.fail(
          "\(worker.name) appends \(head) to \(worker.disk.last), which is not what stood before it")
      }
      worker.disk.append(StoredBlock(head, process.hand, committed: committed))
    case .appendNoOp(let head, let committed):
      worker.disk.append(StoredBlock(head, NoOp.entry, committed: committed))
    case .cut(let mark):
      note { "\(worker.name) cuts its log to \(mark)" }
      worker.disk.cut(to: mark)
    case .sync: sync(worker, process)
    case .makeEpochDurable(let epoch):
      queue.add(
        .epochDurable(worker.place, worker.incarnation, epoch), at: now + Int64(chance.pick(300...2_000)))
    case .readConfiguration: ask(worker, .read)
    case .compareAndSwap(let record, let expecting, let why, _):
      note { "\(worker.name) asks for \(record.epoch) \(record.members) \(why)" }
      ask(worker, .swap(record, expecting: expecting, why: why))
    case .committed(let mark): committed(worker, process, mark)
    case .activity(let activity):
      note { "\(worker.name) \(process.replica.epoch) is \(activity)" }
      switch activity {
      case .active:
        referee.leads(worker.name, worker.disk)
        if process.replica.agreedRules() != 1 { referee.fail("\(worker.name) agrees on other rules") }
        if bug == .dedupeLost {
          process.core.requests = AnsweredRequests(entriesPerGeneration: 256, generationsMax: 2)
          process.forgetsRequests = true
        }
      case .suspended: break
      case .following, .learning, .inactive: process.waiting.removeAll()
      }
    case .rebuild(let mark):
      note { "\(worker.name) loads again through \(mark.sn)" }
      process.load(worker.disk, through: mark.sn)
    case .offerSnapshot(let node): offerSnapshot(worker, process, to: place(of: node))
    case .wantSnapshot: count(.snapshotWanted)
    case .alarm(let alarm):
      note { "\(worker.name) raises \(alarm)" }
      switch alarm {
      case .clockAhead: break
      case .divergence, .quarantined, .digest, .foreignCluster, .configurationLost, .epochNotDurable:
        referee.fail("\(worker.name) raises \(alarm)")
      }
    }
  }

  func place(of node: String) -> Int { Int(node.utf8.first!) - 97 }

  private func sync(_ worker: Worker, _ process: Process) {
    guard !process.isSyncing else {
      process.wantsSync = true
      return
    }
    process.isSyncing = true
    process.wantsSync = false
    var delay = Int64(chance.pick(100...1_200))
    if !isMended, chance.permille(mix.slowSync) {
      count(.slowSync)
      delay += Int64(chance.pick(5_000...400_000))
    }
    queue.add(.synced(worker.place, worker.incarnation, worker.disk.beginSync()), at: now + delay)
  }

  private func synced(_ worker: Worker, _ sync: Disk.Sync) {
    let process = worker.process!
    process.isSyncing = false
    if !isMended, mix.syncErrors > 0, chance.permille(mix.syncErrors) {
      // Rule 9: the process ends, and nothing is tried again.
      count(.syncError)
      note { "\(worker.name): a sync fails" }
      crash(worker, forgets: true)
      queue.add(.start(worker.place), at: now + Int64(chance.pick(20_000...800_000)))
      return
    }
    if worker.disk.endSync(sync) { process.replica.durable(through: sync.mark, now: worker.boot(now)) }
    if process.wantsSync || worker.disk.last != process.replica.durable { self.sync(worker, process) }
    settle(worker)
    work(worker)
  }

  private func receive(_ bytes: [UInt8], from: Int, _ worker: Worker) {
    let process = worker.process!
    bytes.withUnsafeBytes { bytes in
      do {
        let decoded = try MessageCodec.read(bytes)
        if case .prepare = decoded.message {
          // Rule 9: a full disk takes nothing new.
          guard worker.disk.fullUntil <= now else { return }
          process.hand = Array(decoded.entries)
        }
        process.replica.receive(
          decoded.message, decoded.envelope, now: worker.boot(now), wall: worker.wall(now))
      } catch { referee.fail("a message can't be read: \(error)") }
    }
    settle(worker)
    work(worker)
  }

  /// Takes the batches that wait as one group: what a partition's thread does.
  private func work(_ worker: Worker) {
    guard let process = worker.process, worker.pausedUntil <= now else { return }
    let wall = worker.wall(now)
    guard !process.inbox.isEmpty || (process.replica.role == .primary && process.core.hasWork(now: wall))
    else { return }
    let refusal = process.replica.refusal(now: worker.boot(now))
    if let refusal {
      if refusal == .windowFull { return }
      let isBug =
        bug == .readWithoutLease && process.replica.role == .primary
        && refusal != .suspended(.reconciling) && !process.inbox.isEmpty
        && process.inbox.allSatisfy(\.isRead)
      guard isBug else { return refuseAll(process, worker) }
    }
    let requests = process.inbox
    process.inbox.removeAll()
    process.core.refuseWrites(worker.disk.fullUntil <= now && refusal == nil ? nil : .diskFull)
    var frames: [UnsafeMutableRawBufferPointer] = []
    defer { for frame in frames { frame.deallocate() } }
    for (place, request) in requests.enumerated() {
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: request.frame.count, alignment: 8)
      bytes.copyBytes(from: request.frame)
      frames.append(bytes)
      do {
        try process.core.take(
          UnsafeRawBufferPointer(bytes), dispatcher: place, receivedAt: request.receivedAt)
      } catch { referee.fail("a batch was not taken: \(error)") }
    }
    let (needs, ids) = process.core.collectNeeds(now: wall)
    worker.disk.tables.load(needs, into: &process.core.books)
    if !process.forgetsRequests {
      for id in ids {
        guard let known = worker.disk.tables.requests[id] else { continue }
        known.body.withUnsafeBytes { body in
          process.core.requests.insertLoaded(
            id, fingerprint: known.fingerprint, sequenceNumber: known.sequenceNumber, code: known.code,
            body: body)
        }
      }
    }
    worker.disk.tables.load(process.core.collectNeedsOfOrders(), into: &process.core.books)
    process.core.seal(now: wall)
    let isLogged = process.core.entryCount > 0
    if isLogged {
      let entries = Array(process.core.entries.bytes)
      guard
        let (head, committed) = process.replica.assign(
          entriesHash: entries.withUnsafeBytes { XXH64.hash($0) }, count: process.core.entryCount,
          time: process.core.groupTime, now: worker.boot(now))
      else { return referee.fail("\(worker.name) may assign and may not") }
      if head.first != process.core.applied.next {
        return referee.fail("\(worker.name) assigns \(head), but has applied \(process.core.applied)")
      }
      note { "\(worker.name) assigns \(head)" }
      worker.disk.append(StoredBlock(head, entries, committed: committed))
      sync(worker, process)
    }
    process.core.apply()
    if isLogged { process.noteApplied() }
    for frame in process.core.frames {
      let request = requests[frame.dispatcher]
      let bytes = UnsafeRawBufferPointer(rebasing: process.core.answers.bytes[frame.bytes])
      do {
        var (_, count, items) = try BatchHeader.read(bytes)
        for _ in 0..<count {
          process.waiting.append(
            Process.Waiting(
              sn: process.core.applied, client: request.client, attempt: request.attempt,
              isRead: request.isRead, reply: Array(try AnswerItem(&items).reply)))
        }
      } catch { referee.fail("answers can't be read: \(error)") }
    }
    process.core.clearAnswers()
    settle(worker)
    release(worker, process)
  }

  private func refuseAll(_ process: Process, _ worker: Worker) {
    for request in process.inbox { refuse(request, from: worker.place) }
    process.inbox.removeAll()
  }

  private func committed(_ worker: Worker, _ process: Process, _ mark: LogMark) {
    note { "\(worker.name) commits \(mark)" }
    mixTrace(mark.hash)
    referee.commits(worker.name, mark, worker.disk)
    guard referee.failure == nil else { return }
    if process.core.applied < mark.sn { process.apply(worker.disk, through: mark.sn) }
    release(worker, process)
  }

  /// Sends the answers that wait for no more than what is committed.
  private func release(_ worker: Worker, _ process: Process) {
    var sent = 0
    for waiting in process.waiting {
      guard waiting.sn <= process.replica.committed.sn || bug == .answerBeforeCommit else { break }
      sent += 1
      // Rule 6; a write's answer is safe without a lease, a read's is not.
      if waiting.isRead, !process.replica.mayAnswerRead(at: waiting.sn, now: worker.boot(now)),
        bug != .answerBeforeCommit
      {
        continue
      }
      sendReply(waiting, isTaken: true, from: worker.place)
    }
    if sent > 0 { process.waiting.removeFirst(sent) }
  }

  // MARK: Checkpoints, trimming, snapshots

  private func checkpoint(_ worker: Worker) {
    let process = worker.process!
    if process.frozen == nil, now >= process.checkpointAt, process.core.applied > worker.disk.tables.applied {
      process.checkpointAt = now + Int64(chance.pick(150_000...900_000))
      process.freeze()
    }
    if let frozen = process.frozen, !process.isWriting,
      frozen.checkpoint.applied <= process.replica.committed.sn
    {
      process.isWriting = true
      queue.add(
        .checkpointWritten(worker.place, worker.incarnation, generation: process.generation),
        at: now + Int64(chance.pick(3_000...60_000)))
    }
  }

  private func checkpointWritten(_ worker: Worker, _ generation: Int) {
    let process = worker.process!
    guard process.generation == generation, process.isWriting, let frozen = process.frozen else { return }
    worker.disk.tables.write(frozen.checkpoint, digest: frozen.digest)
    process.core.written(frozen.checkpoint.receipt, keeping: 16)
    process.replica.checkpointed(through: frozen.checkpoint.applied)
    process.frozen = nil
    process.isWriting = false
    let tail: UInt64 = mix.shortLogs ? 0 : 400
    let through = min(process.replica.mayTrim, worker.disk.tables.applied)
    guard through.rawValue > tail else { return }
    let before = worker.disk.base
    worker.disk.trim(through: SequenceNumber(through.rawValue - tail))
    if worker.disk.base != before {
      count(.trimmed)
      process.replica.trimmed(through: worker.disk.base.sn)
    }
  }

  private func offerSnapshot(_ worker: Worker, _ process: Process, to place: Int) {
    let tables = worker.disk.tables
    guard let mark = process.replica.index.mark(at: tables.applied) else { return }
    note { "\(worker.name) sends \(self.workers[place].name) a snapshot of \(mark)" }
    guard passes(worker.place, place) else { return }
    queue.add(.snapshot(place, tables, mark), at: now + Int64(chance.pick(5_000...150_000)))
  }

  private func install(_ tables: Tables, _ mark: LogMark, _ worker: Worker) {
    let process = worker.process!
    guard process.replica.isAwaitingSnapshot else { return }
    note { "\(worker.name) installs a snapshot of \(mark)" }
    worker.disk.replace(with: tables, base: mark)
    process.load(worker.disk, through: mark.sn)
    process.replica.snapshotIsInstalled(mark, time: tables.time, now: worker.boot(now))
    settle(worker)
  }

  // MARK: I1

  private func checkPrimaries(_ worker: Worker) {
    guard let process = worker.process, process.replica.isActing(at: worker.boot(now)) else { return }
    if record.primary != worker.name {
      referee.fail(
        "I1: \(worker.name) acts in \(process.replica.epoch), but \(record.primary ?? "nobody") is the primary, in \(record.epoch)"
      )
    }
    for other in workers where other !== worker && other.pausedUntil <= now {
      if let process = other.process, process.replica.isActing(at: other.boot(now)) {
        referee.fail("I1: \(worker.name) and \(other.name) act as primary")
      }
    }
  }

  // MARK: The end

  private var hasConverged: Bool {
    guard clients.allSatisfy({ $0.request == nil }) else { return false }
    guard record.members.count == replicas else { return false }
    guard workers.allSatisfy({ $0.process != nil }) else { return false }
    for worker in workers where record.members.contains(worker.name) {
      guard let replica = worker.process?.replica, replica.epoch == record.epoch,
        replica.committed.sn.rawValue == referee.committed, replica.last == replica.committed
      else { return false }
      if worker.name == record.primary, replica.activity != .active { return false }
    }
    return true
  }

  private var whatIsOpen: String {
    let open = clients.count { $0.request != nil }
    let states = workers.map { worker in
      guard let replica = worker.process?.replica else { return "\(worker.name) down" }
      return
        "\(worker.name) \(replica.epoch) \(replica.activity) C \(replica.committed.sn) of \(replica.last.sn)"
    }
    return "\(open) clients wait; \(record.epoch) \(record.members); \(states.joined(separator: "; "))"
  }

  /// Everybody's tables, as a checkpoint of all that was applied would have them.
  private func finish() {
    for worker in workers where record.members.contains(worker.name) {
      guard let process = worker.process else { continue }
      var tables = worker.disk.tables
      // A checkpoint that is under way is of an earlier moment.
      if let frozen = process.frozen { tables.write(frozen.checkpoint, digest: frozen.digest) }
      tables.write(process.core.makeCheckpoint(), digest: process.digest)
      referee.compare(worker.name, tables)
      mixTrace(process.digest)
      if let primary = workers.first(where: { $0.name == record.primary })?.process,
        primary.digest != process.digest
      {
        referee.fail("\(worker.name) has another digest than the primary")
      }
    }
  }
}
