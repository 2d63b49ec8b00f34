import Bytes
import Cluster
import Marketplace
import Wire
import WorkerCore

/// A worker's process: what `DurablePartition`, `PartitionNode` and the hub do around the cores.
extension Simulation {
  func start(_ worker: Worker) {
    guard worker.process == nil else { return }
    worker.incarnation += 1
    worker.pausedUntil = 0
    let identity = Replica.Identity(
      cluster: Process.cluster, partition: Process.partition, node: worker.name,
      incarnation: Incarnation(worker.incarnation))
    note {
      let damage = worker.disk.isDamaged ? ", damaged" : ""
      return "\(worker.name) starts at \(worker.disk.last), \(worker.disk.epoch)\(damage)"
    }
    if !isMended { upgradeByChance(worker) }
    var settings = settings
    settings.rules = worker.rules
    let process = Process(
      identity, worker.disk, settings, dispatchers: dispatchers.count, now: worker.boot(now))
    if process.isOutdated { return upgrade(worker, isOutdated: true) }
    #if DELIBERATE_BUGS
      if let bug { process.replica.mutation = bug.mutation }
    #endif
    process.hasDesk = mix.hasDesks
    worker.process = process
    if !worker.disk.isDamaged, worker.name != stray {
      referee.commits(worker.name, process.replica.committed, worker.disk)
    }
    for dispatcher in dispatchers.indices {
      breakLine(dispatcher, worker.place, Int64(chance.pick(300...5_000)))
    }
    queue.add(.tick(worker.place, worker.incarnation), at: now + 10_000)
    if mix.hasDesks { queue.add(.desk(worker.place, worker.incarnation), at: now + 5_000) }
    queue.add(.beacon(worker.place, worker.incarnation), at: now + 6_000)
    settle(worker)
  }

  func crash(_ worker: Worker, forgets: Bool) {
    guard worker.process != nil else { return }
    count(.crash)
    note { "\(worker.name) crashes" }
    collect(worker)
    worker.process = nil
    if let luck = worker.disk.crash(&chance, forgets: forgets) { count(luck) }
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

  // MARK: The replica

  /// Tells the replica of something, past the desk of its process.
  func tell<R>(_ worker: Worker, _ body: (inout Replica) -> R) -> R {
    let process = worker.process!
    guard mix.hasDesks else { return body(&process.replica) }
    guard bug == .twoGraces else { return process.desk.step(&process.replica, body) }
    // What the desk answers does not move the grace by which the replica decides.
    process.desk.close()
    return process.desk.step(&process.replica, body)
  }

  func tick(_ worker: Worker) {
    queue.add(.tick(worker.place, worker.incarnation), at: now + 10_000)
    tell(worker) { $0.tick(now: worker.boot(now)) }
    settle(worker)
    checkpoint(worker)
    work(worker)
    sayHello(worker)
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
    if process.isOutdated { return upgrade(worker, isOutdated: true) }
    if let failure = process.failure { referee.fail("\(worker.name): \(failure)") }
    if process.replica.epoch > worker.disk.epoch {
      referee.fail(
        "rule 1: \(worker.name) acts in \(process.replica.epoch), and \(worker.disk.epoch) is durable")
    }
    checkPrimaries(worker)
  }

  private func carryOut(_ effect: Replica.Effect, _ worker: Worker, _ process: Process) {
    switch effect {
    case .send(let node, let envelope, let message): post(message, envelope, from: worker, to: node)
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
      if !isMended, mix.crashes, chance.permille(600) {
        // Before the cut is on the disk, or just after.
        queue.add(.crash(worker.place, worker.incarnation), at: now + Int64(chance.pick(0...1_000)))
      }
    case .sync: sync(worker, process)
    case .makeEpochDurable(let epoch):
      queue.add(
        .epochDurable(worker.place, worker.incarnation, epoch), at: now + Int64(chance.pick(300...2_000)))
    case .readConfiguration: ask(worker, .read)
    case .compareAndSwap(let record, _, let why, let committed):
      note { "\(worker.name) asks for \(record.epoch) \(record.members) \(why)" }
      if mix.hastyRestarts, !isMended, worker.name == record.primary, worker.name != self.record.primary,
        now >= managerIsDeafUntil, chance.permille(700)
      {
        let life = "\(worker.name)@\(process.identity.incarnation)"
        return restartHastily(
          worker, GroupChange(record, why: why, by: life, commitPoint: committed, at: worker.wall(now)))
      }
      ask(worker, .change(record, why: why, committed: committed))
    case .committed(let mark): committed(worker, process, mark)
    case .activity(let activity): follow(activity, worker, process)
    case .rebuild(let mark):
      note { "\(worker.name) loads again through \(mark.sn)" }
      process.load(worker.disk, through: mark.sn)
    case .offerSnapshot(let node): offerSnapshot(worker, process, to: place(of: node))
    case .wantSnapshot: count(.snapshotWanted)
    case .alarm(let alarm):
      note { "\(worker.name) raises \(alarm)" }
      switch alarm {
      case .clockAhead: break
      case .divergence where worker.name == stray, .quarantined where worker.name == stray:
        isStrayFound = true
      case .digest where faults[Fault.memoryFlip.rawValue] > 0: startAnew(worker)
      case .divergence, .quarantined, .digest, .foreignCluster, .configurationLost, .epochNotDurable:
        referee.fail("\(worker.name) raises \(alarm)")
      }
    }
  }

  private func follow(_ activity: Replica.Activity, _ worker: Worker, _ process: Process) {
    note { "\(worker.name) \(process.replica.epoch) is \(activity)" }
    switch activity {
    case .active:
      referee.leads(worker.name, worker.disk)
      for place in process.helloAt.indices { process.helloAt[place] = .min / 2 }
      if bug == .dedupeLost {
        process.core.requests = AnsweredRequests(entriesPerGeneration: 256, generationsMax: 2)
        process.forgetsRequests = true
      }
    case .suspended: break
    case .following, .learning, .inactive:
      process.forgetTaken()
      for dispatcher in dispatchers.indices { sayStale(worker, process, to: dispatcher) }
    }
  }

  private func post(_ message: PeerMessage, _ envelope: PeerEnvelope, from worker: Worker, to node: String) {
    note { "\(worker.name) → \(node) \(envelope.epoch) \(message)" }
    var writer = ByteWriter(capacity: 256)
    MessageCodec.write(message, envelope, into: &writer)
    send(Array(writer.bytes), from: worker.place, to: place(of: node))
  }

  // MARK: The thread that receives

  func receive(_ bytes: [UInt8], from: Int, _ worker: Worker) {
    let process = worker.process!
    if mix.hasDesks {
      let answer = bytes.withUnsafeBytes { bytes -> BeaconDesk.Outgoing? in
        guard let decoded = try? MessageCodec.read(bytes) else { return nil }
        return process.desk.receive(decoded.message, decoded.envelope, now: worker.boot(now))
      }
      if let answer {
        count(.deskAnswered)
        post(answer.message, answer.envelope, from: worker, to: answer.to)
      }
    }
    if process.stuckUntil > now {
      queue.add(.handOver(worker.place, worker.incarnation, bytes), at: process.stuckUntil)
    } else {
      hear(bytes, worker)
    }
  }

  func sendDeskBeacons(_ worker: Worker) {
    queue.add(.desk(worker.place, worker.incarnation), at: now + 10_000)
    for beacon in worker.process!.desk.beacons(now: worker.boot(now)) {
      count(.deskBeacon)
      post(beacon.message, beacon.envelope, from: worker, to: beacon.to)
    }
  }

  // MARK: The partition's thread

  func hear(_ bytes: [UInt8], _ worker: Worker) {
    let process = worker.process!
    bytes.withUnsafeBytes { bytes in
      do {
        let decoded = try MessageCodec.read(bytes)
        if case .prepare = decoded.message {
          // Rule 9: a full disk takes nothing new.
          guard worker.disk.fullUntil <= now else { return }
          process.hand = Array(decoded.entries)
        }
        tell(worker) {
          $0.receive(decoded.message, decoded.envelope, now: worker.boot(now), wall: worker.wall(now))
        }
      } catch { referee.fail("a message can't be read: \(error)") }
    }
    settle(worker)
    work(worker)
  }

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
    if !isMended, chance.permille(mix.stuckThreads) {
      count(.threadStuck)
      delay += Int64(chance.pick([60_000, 180_000, 220_000, 500_000, 1_200_000, 2_600_000]))
      process.stuckUntil = now + delay
      note { "\(worker.name)'s thread waits for its disk until \(process.stuckUntil)" }
    }
    queue.add(.synced(worker.place, worker.incarnation, worker.disk.beginSync()), at: now + delay)
  }

  private func syncFails(inOneOf1000 share: Int) -> Bool {
    guard !isMended else { return false }
    if storageOutage.contains(now) {
      count(.storageOutage)
      return true
    }
    guard share > 0, chance.permille(share) else { return false }
    count(.syncError)
    return true
  }

  private func endForDisk(_ worker: Worker) {
    // As with damage, never the last copy.
    if bug == .syncErrorIsRecorded, record.members != [worker.name] { worker.disk.isDamaged = true }
    crash(worker, forgets: true)
    queue.add(.start(worker.place), at: now + Int64(chance.pick(20_000...800_000)))
  }

  func synced(_ worker: Worker, _ sync: Disk.Sync) {
    let process = worker.process!
    process.isSyncing = false
    if syncFails(inOneOf1000: mix.syncErrors) {
      // Rule 9: the process ends, and nothing is tried again.
      note { "\(worker.name): a sync fails" }
      return endForDisk(worker)
    }
    if worker.disk.endSync(sync) { tell(worker) { $0.durable(through: sync.mark, now: worker.boot(now)) } }
    if process.wantsSync || worker.disk.last != process.replica.durable { self.sync(worker, process) }
    settle(worker)
    work(worker)
  }

  func epochDurable(_ worker: Worker, _ epoch: Epoch) {
    if syncFails(inOneOf1000: mix.syncErrors > 0 ? 30 : 0) {
      // Rule 1: what can't make its epoch durable ends.
      tell(worker) { $0.epochCouldNotBeMadeDurable() }
      tell(worker) { $0.tick(now: worker.boot(now)) }
      if worker.process!.replica.isActing(at: worker.boot(now)) { referee.fail("rule 1: it goes on") }
      return endForDisk(worker)
    }
    worker.disk.epoch = max(worker.disk.epoch, epoch)
    tell(worker) { $0.epochIsDurable(epoch, now: worker.boot(now)) }
    settle(worker)
  }

  func heard(_ worker: Worker, _ answer: ManagerAnswer) {
    let boot = worker.boot(now)
    switch answer {
    case .told(let record): tell(worker) { $0.configurationWasTold(record, now: boot) }
    case .record(let record): tell(worker) { $0.configurationWasRead(record, now: boot) }
    case .swapped(let wanted, let outcome):
      tell(worker) { $0.compareAndSwapEnded(wanted, outcome, now: boot) }
    }
    settle(worker)
  }

  // MARK: Groups of requests

  /// A batch of a dispatcher: rule 1, the epoch gate.
  func accept(_ frame: [UInt8], from dispatcher: Int, _ worker: Worker) {
    let process = worker.process!
    do {
      let header = try frame.withUnsafeBytes { try BatchHeader.read($0).header }
      guard header.epoch == process.replica.epoch, process.replica.role == .primary else {
        if header.epoch < process.replica.epoch, process.replica.activity != .active {
          sayStale(worker, process, to: dispatcher)
        }
        return
      }
      guard process.inbox.count < Process.batchesMax, process.received[dispatcher].accepts(header) else {
        return
      }
      process.inbox.append(
        Process.Batch(dispatcher: dispatcher, frame: frame, receivedAt: worker.boot(now)))
    } catch { return referee.fail("a batch can't be read: \(error)") }
    work(worker)
  }

  private func sayStale(_ worker: Worker, _ process: Process, to dispatcher: Int) {
    var stale = ByteWriter(capacity: 16)
    StaleFrame(partition: Process.partition, epoch: process.replica.epoch).write(into: &stale)
    _ = send(.bytes(Array(stale.bytes)), from: worker, to: dispatcher)
  }

  private func sayHello(_ worker: Worker) {
    guard let process = worker.process, process.replica.activity == .active, process.stuckUntil <= now else {
      return
    }
    for dispatcher in dispatchers.indices where now - process.helloAt[dispatcher] >= 250_000 {
      var hello = ByteWriter(capacity: 64)
      HelloFrame(
        partition: Process.partition, epoch: process.replica.epoch,
        incarnation: process.identity.incarnation, credit: credit, node: worker.name
      ).write(into: &hello)
      // Without a connection yet, soon again: nothing comes before the first hello arrives.
      process.helloAt[dispatcher] =
        send(.bytes(Array(hello.bytes)), from: worker, to: dispatcher) ? now : now - 230_000
    }
  }

  /// Takes the batches that wait as one group.
  func work(_ worker: Worker) {
    guard let process = worker.process, worker.pausedUntil <= now, process.stuckUntil <= now else { return }
    defer { if worker.process === process { release(worker, process) } }
    let wall = worker.wall(now)
    process.core.refuseWrites(worker.disk.fullUntil <= now ? nil : .diskFull)
    process.core.switchRules(to: process.replica.agreedRules())
    guard !process.inbox.isEmpty || process.core.hasWork(now: wall) else { return }
    var batches = process.inbox
    var left: [Process.Batch] = []
    switch process.replica.refusal(now: worker.boot(now)) {
    case nil: break
    case .tooFewReplicas: process.core.refuseWrites(.tooFewReplicas)
    case .windowFull, .notPrimary: return
    case .suspended(let why):
      guard bug == .readWithoutLease, why != .reconciling else { return }
      process.core.refuseWrites(.tooFewReplicas)
      left = batches.filter { !isRead($0) }
      batches.removeAll { !isRead($0) }
      guard !batches.isEmpty else { return }
    }
    process.inbox = left
    var frames: [UnsafeMutableRawBufferPointer] = []
    defer { for frame in frames { frame.deallocate() } }
    for batch in batches {
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: batch.frame.count, alignment: 8)
      bytes.copyBytes(from: batch.frame)
      frames.append(bytes)
      do {
        try process.core.take(
          UnsafeRawBufferPointer(bytes), dispatcher: batch.dispatcher, receivedAt: batch.receivedAt)
      } catch { referee.fail("a batch was not taken: \(error)") }
    }
    prefetch(worker, process, wall)
    process.core.seal(now: wall, steady: worker.boot(now))
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
    }
    process.core.apply()
    if isLogged { process.noteApplied() }
    if !process.core.frames.isEmpty {
      process.held.append(
        Process.Held(
          sn: process.core.applied, hasReads: process.core.hasReads,
          frames: process.core.frames.map { frame in
            let bytes = UnsafeRawBufferPointer(rebasing: process.core.answers.bytes[frame.bytes])
            return (frame.dispatcher, Array(bytes))
          }))
    }
    process.core.clearAnswers()
    if isLogged { sync(worker, process) }
    settle(worker)
  }

  /// Rows and answers that SQLite has and memory lacks.
  private func prefetch(_ worker: Worker, _ process: Process, _ wall: Int64) {
    if let missing = process.core.missingReservations(now: wall) {
      worker.disk.tables.load(missing, into: &process.core.books.reservations)
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
  }

  private func isRead(_ batch: Process.Batch) -> Bool {
    batch.frame.withUnsafeBytes { bytes in
      guard let (_, count, reader) = try? BatchHeader.read(bytes) else { return false }
      var items = reader
      for _ in 0..<count {
        guard let item = try? BatchItem(&items), let request = try? DecodedRequest(item.request),
          case .query = request.body
        else { return false }
      }
      return true
    }
  }

  private func committed(_ worker: Worker, _ process: Process, _ mark: LogMark) {
    note { "\(worker.name) commits \(mark)" }
    mixTrace(mark.hash)
    referee.commits(worker.name, mark, worker.disk)
    guard referee.failure == nil else { return }
    if process.core.applied < mark.sn { process.apply(worker.disk, through: mark.sn) }
    if process.core.applied == mark.sn {
      referee.goesBy(process.core.rules, worker.name, at: mark.sn.rawValue)
    }
    checkRules()
    release(worker, process)
  }

  /// Sends the answers that wait for no more than what is committed. A read that may not leave keeps what is
  /// behind it.
  private func release(_ worker: Worker, _ process: Process) {
    guard !process.held.isEmpty, process.stuckUntil <= now else { return }
    let committed = process.replica.committed.sn
    let isBug = bug == .answerBeforeCommit
    var mayRead: Bool?
    var count = 0
    for group in process.held {
      guard group.sn <= committed || isBug else { break }
      if group.hasReads, !isBug {
        if mayRead == nil {
          mayRead = tell(worker) { $0.mayAnswerRead(at: committed, now: worker.boot(now)) }
        }
        // Rule 6; a write's answer is safe without a lease, a read's is not.
        guard mayRead! else { break }
      }
      for frame in group.frames { _ = send(.bytes(frame.bytes), from: worker, to: frame.dispatcher) }
      count += 1
    }
    process.held.removeFirst(count)
  }

  // MARK: Checkpoints, trimming, snapshots

  private func checkpoint(_ worker: Worker) {
    guard let process = worker.process else { return }
    if process.frozen == nil, now >= process.checkpointAt, process.core.applied > worker.disk.tables.applied {
      process.checkpointAt = now + Int64(chance.pick(150_000...900_000))
      process.freeze()
    }
    if let frozen = process.frozen, !process.isWriting,
      frozen.applied <= process.replica.committed.sn
    {
      process.isWriting = true
      queue.add(
        .checkpointWritten(worker.place, worker.incarnation, generation: process.generation),
        at: now + Int64(chance.pick(3_000...60_000)))
    }
  }

  func checkpointWritten(_ worker: Worker, _ generation: Int) {
    let process = worker.process!
    guard process.generation == generation, process.isWriting, let frozen = process.frozen else { return }
    worker.disk.tables.write(frozen)
    process.core.written(frozen.receipt, keeping: 16)
    process.replica.checkpointed(through: frozen.applied)
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

  func install(_ tables: Tables, _ mark: LogMark, _ worker: Worker) {
    let process = worker.process!
    guard process.replica.isAwaitingSnapshot else { return }
    note { "\(worker.name) installs a snapshot of \(mark)" }
    worker.disk.replace(with: tables, base: mark)
    process.load(worker.disk, through: mark.sn)
    tell(worker) { $0.snapshotIsInstalled(mark, time: tables.time, now: worker.boot(now)) }
    settle(worker)
  }

  // MARK: I1

  private func checkPrimaries(_ worker: Worker) {
    guard let process = worker.process, process.replica.isActing(at: worker.boot(now)) else { return }
    if record.primary != worker.name {
      referee.fail(
        """
        I1: \(worker.name) acts in \(process.replica.epoch), but \(record.primary ?? "nobody") is the \
        primary, in \(record.epoch)
        """)
    }
    for other in workers where other !== worker && other.pausedUntil <= now {
      if let process = other.process, process.replica.isActing(at: other.boot(now)) {
        referee.fail("I1: \(worker.name) and \(other.name) act as primary")
      }
    }
  }
}
