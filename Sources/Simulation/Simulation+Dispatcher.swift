import Bytes
import Cluster
import DispatcherCore
import Wire

/// A dispatcher's process: what `DispatcherNode`, `WorkerRegistry` and `StoreThread` do around the cores.
extension Simulation {
  private static let tickMicroseconds: Int64 = 20_000
  private static let keepUpMicroseconds: Int64 = 200_000
  private static let leaseMilliseconds: Int64 = 1_000
  /// A worker that says nothing for so long is taken for gone.
  private static let silenceMilliseconds: Int64 = 800

  func start(_ dispatcher: Dispatcher) {
    guard dispatcher.process == nil else { return }
    dispatcher.incarnation += 1
    dispatcher.pausedUntil = 0
    note { "\(dispatcher.name) starts" }
    let terms = Controller.Terms(
      replicas: replicas, minReplicas: settings.minReplicas, initialWorkers: workers.count,
      healingMilliseconds: healingMilliseconds)
    dispatcher.process = DispatcherProcess(
      NodeRecord(
        kind: .dispatcher, node: dispatcher.name, incarnation: Incarnation(dispatcher.incarnation)),
      workers: workers.count, terms, limits: limits)
    for worker in workers { breakLine(dispatcher.place, worker.place, Int64(chance.pick(300...100_000))) }
    queue.add(.dispatcherTick(dispatcher.place, dispatcher.incarnation), at: now + 1_000)
    order(.keepUp, dispatcher)
  }

  func tick(_ dispatcher: Dispatcher) {
    queue.add(
      .dispatcherTick(dispatcher.place, dispatcher.incarnation), at: now + Self.tickMicroseconds)
    dispatcher.process!.core.tick(now: now / 1_000)
    turn(dispatcher)
  }

  /// What ends every turn: batches leave, and replies.
  private func turn(_ dispatcher: Dispatcher) {
    let process = dispatcher.process!
    process.core.dispatch(now: now / 1_000)
    for departure in process.core.departures {
      let place = Int(departure.connection[0])
      let incarnation = departure.connection[1...].withUnsafeBytes {
        UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self))
      }
      let frame = DispatcherFrame.batch(Array(departure.frame))
      if !send(frame, from: dispatcher.place, to: place, incarnation) {
        process.core.unreachable(departure.partition)
      }
    }
    process.core.clearDepartures()
    for outgoing in process.core.outgoing {
      let frames = outgoing.frames.map {
        Array(UnsafeRawBufferPointer(rebasing: process.core.replyBytes.bytes[process.core.ranges[$0]]))
      }
      reply(frames, to: outgoing.envelope.connection, from: dispatcher)
    }
    process.core.clearOutgoing()
  }

  // MARK: Clients

  func receive(
    _ frames: [[UInt8]], fromClient client: Int, _ connection: UInt64, _ dispatcher: Dispatcher
  ) {
    let process = dispatcher.process!
    let id = [UInt8(client)] + withUnsafeBytes(of: connection.littleEndian) { Array($0) }
    let message = process.core.begin(Envelope(connection: id, prefix: []), count: frames.count)
    for (index, frame) in frames.enumerated() {
      frame.withUnsafeBytes { process.core.add($0, index: index, to: message, now: now / 1_000) }
    }
    turn(dispatcher)
  }

  // MARK: Workers

  /// The process says that it is there, whatever its partition's thread does.
  func sayWhoIsThere(_ worker: Worker) {
    queue.add(.beacon(worker.place, worker.incarnation), at: now + 150_000)
    let holds = worker.disk.last.sn.rawValue > 0
    for place in dispatchers.indices { _ = send(.beacon(holds: holds), from: worker, to: place) }
  }

  func receive(_ frame: WorkerFrame, from worker: Int, _ incarnation: UInt64, _ dispatcher: Dispatcher) {
    let process = dispatcher.process!
    switch frame {
    case .beacon(let holds):
      // One process at a time has the folder. What an earlier one sent may come late.
      if let known = process.workers[worker], known.incarnation > incarnation { return }
      process.workers[worker] = .init(incarnation: incarnation, at: now / 1_000, holds: holds)
      control(dispatcher)
      _ = send(.told(process.group), from: dispatcher.place, to: worker, incarnation)
    case .question(let question): order(.question(question, worker: worker), dispatcher)
    case .bytes(let bytes): receive(bytes, Process.routingID(worker, incarnation), dispatcher)
    }
    turn(dispatcher)
  }

  private func receive(_ bytes: [UInt8], _ connection: [UInt8], _ dispatcher: Dispatcher) {
    let process = dispatcher.process!
    do {
      try bytes.withUnsafeBytes { bytes in
        switch FrameKind(rawValue: bytes[0]) {
        case .answers: try process.core.answers(bytes, now: now / 1_000)
        case .hello:
          let hello = try HelloFrame(bytes)
          if opens(hello, dispatcher) {
            process.core.hello(hello, connection: connection, now: now / 1_000)
            if !process.core.departures.isEmpty { count(.batchSentAgain) }
          }
        case .stale: process.core.stale(try StaleFrame(bytes), connection: connection)
        default: referee.fail("a dispatcher got a frame of kind \(bytes[0])")
        }
      }
    } catch { referee.fail("a dispatcher can't read a frame: \(error)") }
  }

  /// Whether the configuration agrees. Before its first request the manager is told that it has begun.
  private func opens(_ hello: HelloFrame, _ dispatcher: Dispatcher) -> Bool {
    let process = dispatcher.process!
    let group = process.group
    guard group.epoch == hello.epoch, group.primary == hello.node, group.incarnation == hello.incarnation
    else {
      if hello.epoch > group.epoch, now - process.lookedAt >= 50_000 {
        process.lookedAt = now
        order(.look, dispatcher)
      }
      return false
    }
    if !group.isOpened { order(.open, dispatcher) }
    return group.isOpened
  }

  // MARK: The controller

  private func control(_ dispatcher: Dispatcher) {
    let process = dispatcher.process!
    guard let plans = process.plans else { return }
    let clock = now / 1_000
    let alive = workers.compactMap { worker -> Controller.Worker? in
      guard let heard = process.workers[worker.place], clock - heard.at <= Self.silenceMilliseconds else {
        return nil
      }
      return Controller.Worker(
        node: worker.name, incarnation: Incarnation(heard.incarnation),
        isDraining: plans.draining.contains(worker.name), holds: heard.holds ? [Process.partition] : [])
    }
    let steps = process.controller.steps(
      groups: [process.group], alive: alive, moves: plans.moves, now: clock)
    guard process.leads(now: clock) != nil else { return }
    for move in plans.moves where move.isDone(in: process.group) {
      process.plans?.moves.removeAll { $0 == move }
      order(.end(move), dispatcher)
    }
    for step in steps where !process.isChanging {
      process.isChanging = true
      order(.step(step), dispatcher)
    }
  }

  private func see(_ group: GroupRecord, _ dispatcher: Dispatcher) {
    let process = dispatcher.process!
    guard process.group != group, process.group.epoch <= group.epoch else { return }
    let concerned = Set(process.group.concerned).union(group.concerned)
    process.group = group
    if group.primary != nil { process.core.assigned(group.partition, epoch: group.epoch) }
    // Who was given something, or lost it, hears of it at once.
    for worker in workers where concerned.contains(worker.name) {
      guard let heard = process.workers[worker.place] else { continue }
      _ = send(.told(group), from: dispatcher.place, to: worker.place, heard.incarnation)
    }
  }

  // MARK: The manager

  private func order(_ order: StoreOrder, _ dispatcher: Dispatcher) {
    queue.add(.store(dispatcher.place, dispatcher.incarnation, order), at: now + managerDelay)
  }

  func carryOut(_ order: StoreOrder, _ dispatcher: Dispatcher) {
    let process = dispatcher.process!
    managerIsCutOff = dispatcher.cutOffUntil > now
    defer { managerIsCutOff = false }
    switch order {
    case .keepUp:
      if !managerSaysNothing { keepUp(dispatcher, process) }
      let next = Self.keepUpMicroseconds + managerDelay
      queue.add(.store(dispatcher.place, dispatcher.incarnation, .keepUp), at: now + next)
    case .look:
      if !managerSaysNothing { lookForChanges(dispatcher, process) }
    case .settle: settle(dispatcher, process)
    case .open:
      guard !managerSaysNothing else { return }
      manager.markOpened(Process.partition)
      look()
      lookForChanges(dispatcher, process)
    case .step(let step): carryOut(step, dispatcher, process)
    case .end(let move):
      if !managerSaysNothing { _ = manager.setMove(nil, of: move.partition, insteadOf: move) }
      // Whatever became of it, what is planned is told again.
      process.plans = nil
    case .question(let question, let worker): answer(question, worker, dispatcher, process)
    }
    turn(dispatcher)
  }

  private func keepUp(_ dispatcher: Dispatcher, _ process: DispatcherProcess) {
    if let session = process.session { process.session = manager.keepAlive(session, now: managerNow) }
    if process.session == nil {
      process.session = manager.register(
        process.node, milliseconds: Self.leaseMilliseconds, now: managerNow)
    }
    let session = process.session!
    let present = manager.campaign(session, life: process.node.life, now: managerNow)
    process.leadership = present?.session == session.id ? present : nil
    if let revision = present?.revision, revision != controllerRevision {
      if controllerRevision > 0 { count(.controllerChanged) }
      controllerRevision = revision
      note { "\(present!.life) is the controller" }
    }
    lookForChanges(dispatcher, process)
  }

  private func lookForChanges(_ dispatcher: Dispatcher, _ process: DispatcherProcess) {
    let view = manager.groups(since: process.revision)
    process.revision = view.revision
    process.plans = manager.plans
    for group in view.groups { see(group, dispatcher) }
  }

  private func carryOut(
    _ step: Controller.Step, _ dispatcher: Dispatcher, _ process: DispatcherProcess
  ) {
    guard let leadership = process.leads(now: now / 1_000) else {
      process.isChanging = false
      return
    }
    note { "\(dispatcher.name), the controller: \(step)" }
    let outcome: ChangeOutcome
    switch step {
    case .place(let record, let why):
      outcome = change(
        GroupChange(record, why: why, by: process.node.life, at: Worker.epoch + now / 1_000), as: leadership)
    case .ask(_, let proposal, let epoch, _): outcome = propose(proposal, epoch, as: leadership)
    }
    switch outcome {
    case .accepted, .unknown: self.order(.settle, dispatcher)
    case .refused(let present):
      process.isChanging = false
      see(present, dispatcher)
    case .deposed:
      process.leadership = nil
      process.isChanging = false
    }
  }

  /// Nothing else is done with the group until it was read.
  private func settle(_ dispatcher: Dispatcher, _ process: DispatcherProcess) {
    guard !managerSaysNothing else {
      queue.add(.store(dispatcher.place, dispatcher.incarnation, .settle), at: now + 100_000)
      return
    }
    process.isChanging = false
    see(manager.group(Process.partition), dispatcher)
  }

  private func answer(
    _ question: Question, _ worker: Int, _ dispatcher: Dispatcher, _ process: DispatcherProcess
  ) {
    let outcome = outcome(of: question, process)
    switch outcome {
    case .read(let present), .refused(let present): see(present, dispatcher)
    case .accepted: see(manager.group(Process.partition), dispatcher)
    case .unknown, .notAsked: break
    }
    _ = send(
      .answer(question.number, outcome), from: dispatcher.place, to: worker,
      question.incarnation.rawValue)
  }

  private func outcome(of question: Question, _ process: DispatcherProcess) -> DispatcherFrame.Answer {
    guard case .change(let record, let why, let committed) = question.what else {
      return managerSaysNothing ? .unknown : .read(manager.group(Process.partition))
    }
    if managerIsAway || managerIsCutOff, chance.permille(500) { return .notAsked }
    // What was seen last will do, unless it speaks against the change: it may be old.
    if process.group.objection(to: record, by: question.node, question.incarnation) != nil {
      guard !managerSaysNothing else { return .notAsked }
      let present = manager.group(Process.partition)
      if present.objection(to: record, by: question.node, question.incarnation) != nil {
        return .refused(present)
      }
    }
    let life = "\(question.node)@\(question.incarnation)"
    let change = GroupChange(
      record, why: why, by: life, commitPoint: committed, at: Worker.epoch + now / 1_000)
    switch self.change(change, as: nil) {
    case .accepted: return .accepted
    case .refused(let present): return .refused(present)
    case .unknown, .deposed: return .unknown
    }
  }

  // MARK: What a worker gets of one

  func receive(_ frame: DispatcherFrame, from dispatcher: Int, _ worker: Worker) {
    switch frame {
    case .batch(let bytes): accept(bytes, from: dispatcher, worker)
    case .told(let record): heard(worker, .told(record))
    case .answer(let number, let answer): hear(answer, number, from: dispatcher, worker)
    }
  }
}
