import Cluster

/// Chaos, and its end.
extension Simulation {
  func trouble() {
    guard !isMended else { return }
    queue.add(.trouble, at: now + 1_000 + Int64(chance.below(Int(mix.pace) * 2)))
    if chance.permille(200) { operate() }
    if rot.permille(rots) { flipMemory(rot.pick(workers)) }
    let worker = chance.pick(workers)
    switch chance.below(12) {
    case 0, 1: crashSome(worker)
    case 2, 3:
      if mix.hastyRestarts, let primary = workers.first(where: { $0.name == record.primary }) {
        guard now >= hasteAt else { return }
        hasteAt = now + 1_200_000
        return pause(primary, Int64(chance.pick(200_000...260_000)))
      }
      guard mix.pauses else { return }
      pause(worker, Int64(chance.pick([20_000, 120_000, 190_000, 260_000, 700_000, 2_500_000])))
    case 4, 5: cutSome(worker)
    case 6:
      guard mix.clockJumps else { return }
      count(.clockJump)
      worker.wallOffset += Int64(chance.pick([-3_000, -500, 300, 1_500, 4_000]))
      worker.wallOffset = max(-6_000, min(6_000, worker.wallOffset))
      note { "\(worker.name)'s clock is \(worker.wallOffset) ms off" }
    case 7:
      guard mix.diskFull else { return }
      count(.diskFull)
      worker.disk.fullUntil = now + Int64(chance.pick(50_000...3_000_000))
      note { "\(worker.name)'s disk is full" }
    case 8:
      guard mix.managerAway, !managerIsAway else { return }
      count(.managerAway)
      managerIsAway = true
      note { "the manager is away" }
      queue.add(.mend(.manager), at: now + Int64(chance.pick(50_000...2_000_000)))
    case 9:
      guard mix.falseAlarms, worker.process != nil else { return }
      count(.falseAlarm)
      for other in workers where other !== worker {
        queue.add(.broke(other.place, worker.place), at: now + Int64(chance.below(2_000)))
      }
    case 10: troubleDispatcher(chance.pick(dispatchers))
    default: cutLines()
    }
  }

  private func crashSome(_ worker: Worker) {
    guard mix.crashes, worker.process != nil else { return }
    let forgets = mix.forgets
    let mayBeDamaged = isSpare(worker)
    crash(worker, forgets: forgets)
    var isDamaged = false
    if mix.bitFlips, mayBeDamaged, chance.permille(700) {
      isDamaged = true
      count(.bitFlip)
      worker.disk.isDamaged = true
      // What the log had is not to be relied on: some of what it acknowledged is gone.
      damage(worker)
    }
    queue.add(
      .start(worker.place), at: now + Int64(chance.pick([3_000, 30_000, 150_000, 400_000, 2_000_000])))
    // Everybody's power goes.
    guard chance.permille(isDamaged ? 500 : 150) else { return }
    count(.allCrash)
    for other in workers where other.process != nil {
      crash(other, forgets: forgets)
      queue.add(.start(other.place), at: now + Int64(chance.pick([3_000, 50_000, 400_000, 1_500_000])))
    }
    guard mix.dispatchers, chance.permille(500) else { return }
    for dispatcher in dispatchers { crash(dispatcher) }
  }

  private func cutSome(_ worker: Worker) {
    guard mix.cuts, workers.count > 1 else { return }
    if mix.isCalm { return split(Int64(chance.pick([400_000, 800_000, 1_500_000]))) }
    let length = Int64(chance.pick([30_000, 170_000, 250_000, 900_000, 2_000_000]))
    let other = (worker.place + 1 + chance.below(workers.count - 1)) % workers.count
    switch chance.below(4) {
    case 0:
      count(.oneWayCut)
      cutLink(worker.place, other, length)
    case 1:
      count(.pairCut)
      cutLink(worker.place, other, length)
      cutLink(other, worker.place, length)
    case 2: split(length)
    default:
      count(.isolated)
      for place in workers.indices where place != worker.place {
        cutLink(worker.place, place, length)
        cutLink(place, worker.place, length)
      }
      // From the dispatchers too, or from one, or from none.
      for dispatcher in dispatchers where chance.permille(500) {
        cutLine(dispatcher.place, worker.place, length)
      }
    }
  }

  /// A primary and a dispatcher on one side, everybody else and the manager on the other. Clients reach both.
  private func split(_ length: Int64) {
    guard let primary = workers.first(where: { $0.name == record.primary }) else { return }
    count(.split)
    let mine = mix.isCalm ? dispatchers[dispatchers.count - 1] : chance.pick(dispatchers)
    note { "\(primary.name) and \(mine.name) are cut off from everybody for \(length)" }
    mine.cutOffUntil = now + length
    for other in workers where other !== primary {
      cutLink(primary.place, other.place, length)
      cutLink(other.place, primary.place, length)
      cutLine(mine.place, other.place, length)
    }
    for dispatcher in dispatchers where dispatcher !== mine {
      cutLine(dispatcher.place, primary.place, length)
    }
  }

  private func troubleDispatcher(_ dispatcher: Dispatcher) {
    guard mix.dispatchers, dispatcher.process != nil else { return }
    if chance.permille(600) { return crash(dispatcher) }
    count(.dispatcherPaused)
    dispatcher.pausedUntil = now + Int64(chance.pick([50_000, 400_000, 1_300_000, 2_500_000]))
    note { "\(dispatcher.name) is paused until \(dispatcher.pausedUntil)" }
  }

  func crash(_ dispatcher: Dispatcher) {
    guard dispatcher.process != nil else { return }
    count(.dispatcherCrash)
    note { "\(dispatcher.name) crashes" }
    dispatcher.process = nil
    for worker in workers {
      breakLine(dispatcher.place, worker.place, 0)
    }
    queue.add(
      .startDispatcher(dispatcher.place), at: now + Int64(chance.pick([3_000, 100_000, 700_000, 2_000_000])))
  }

  private func cutLines() {
    guard mix.lineCuts else { return }
    let length = Int64(chance.pick([100_000, 600_000, 1_500_000]))
    let dispatcher = chance.pick(dispatchers)
    if chance.permille(500) {
      cutLine(dispatcher.place, chance.pick(workers).place, length)
    } else {
      let client = chance.pick(clients)
      count(.connectionCut)
      note { "client \(client.place) and \(dispatcher.name) are cut off for \(length)" }
      clientCut[client.place][dispatcher.place] = true
      queue.add(.mend(.client(client.place, dispatcher.place)), at: now + length)
    }
  }

  private func cutLine(_ dispatcher: Int, _ worker: Int, _ length: Int64) {
    count(.lineCut)
    note { "\(self.dispatchers[dispatcher].name) and \(self.workers[worker].name) are cut off for \(length)" }
    lines[dispatcher][worker].isCut = true
    queue.add(.mend(.line(dispatcher, worker)), at: now + length)
  }

  func breakLine(_ dispatcher: Int, _ worker: Int, _ length: Int64) {
    lines[dispatcher][worker].number += 1
    lines[dispatcher][worker].upAt = now + length
  }

  /// What operators want.
  private func operate() {
    guard mix.operators, !managerIsAway, record.primary != nil else { return }
    switch chance.below(4) {
    case 0, 1:
      guard record.proposal == nil, !record.secondaries.isEmpty else { return }
      let target = chance.pick(record.secondaries)
      count(.switchoverAsked)
      note { "operator: switchover \(target)" }
      _ = manager.propose(
        .switchover(target), to: record.partition, ifEpoch: record.epoch, now: managerNow)
    case 2:
      let node = chance.pick(workers).name
      guard manager.plans.draining.isEmpty else { return }
      count(.drainAsked)
      note { "operator: drain \(node)" }
      manager.setPlan(.draining, for: node)
      queue.add(.mend(.drain(node)), at: now + Int64(chance.pick(500_000...4_000_000)))
    default:
      let outside = workers.map(\.name).filter { !record.members.contains($0) }
      guard !outside.isEmpty, manager.plans.moves.isEmpty else { return }
      count(.moveAsked)
      let move = Move(
        partition: record.partition, source: chance.pick(record.members), target: chance.pick(outside))
      note { "operator: \(move)" }
      _ = manager.setMove(move, of: record.partition, insteadOf: nil)
    }
    look()
  }

  private func pause(_ worker: Worker, _ length: Int64) {
    guard worker.process != nil else { return }
    count(.paused)
    worker.pausedUntil = now + length
    note { "\(worker.name) is paused until \(worker.pausedUntil)" }
  }

  /// A member has just proposed itself. Its process ends; the next one is there before the proposal is
  /// carried out, and what the others ask for meanwhile is lost.
  func restartHastily(_ worker: Worker, _ change: GroupChange) {
    count(.hastyRestart)
    managerIsDeafUntil = now + Int64(chance.pick(50_000...400_000))
    queue.add(.lateChange(change), at: now + Int64(chance.pick(80_000...500_000)))
    crash(worker, forgets: false)
    queue.add(.start(worker.place), at: now + Int64(chance.pick(1_000...20_000)))
  }

  private func cutLink(_ from: Int, _ to: Int, _ length: Int64) {
    note { "the link from \(self.workers[from].name) to \(self.workers[to].name) is cut for \(length)" }
    cut[from][to] = true
    queue.add(.mend(.link(from, to)), at: now + length)
  }

  /// Whether the group can do without its data: others have theirs, and it is not about to be the only one.
  private func isSpare(_ worker: Worker) -> Bool {
    guard record.primary != nil, record.primary != worker.name,
      !workers.contains(where: { $0.disk.isDamaged })
    else { return false }
    if record.members.count >= 3 || !record.members.contains(worker.name) { return true }
    func leads(_ what: Question.What) -> Bool {
      if case .change(let wanted, _, _) = what { wanted.primary == worker.name } else { false }
    }
    return !queue.contains { event in
      switch event {
      case .fromWorker(_, _, _, _, _, .question(let question)): leads(question.what)
      case .store(_, _, .question(let question, _)): leads(question.what)
      case .lateChange(let change): change.record.primary == worker.name
      default: false
      }
    }
  }

  /// A bit of a row, so that what its process applies is another thing from now on.
  private func flipMemory(_ worker: Worker) {
    guard let process = worker.process, isSpare(worker) else { return }
    count(.memoryFlip)
    note { "a bit of \(worker.name)'s rows flips" }
    process.rot = rot.next() | 1
  }

  /// What an operator does with a replica that stopped: the worker is started again, and relies on nothing there.
  func startAnew(_ worker: Worker) {
    worker.disk.isDamaged = true
    queue.add(.crash(worker.place, worker.incarnation), at: now + Int64(rot.pick(3_000...900_000)))
  }

  private func damage(_ worker: Worker) {
    let written = worker.disk.place(after: worker.disk.tables.applied)
    let kept = written + chance.below(worker.disk.log.count - written + 1)
    if kept < worker.disk.log.count {
      let mark = kept == 0 ? worker.disk.base : worker.disk.log[kept - 1].head.mark
      guard mark.sn >= worker.disk.tables.applied else { return }
      worker.disk.cut(to: mark)
      worker.disk.forgetGhost()
    }
  }

  func mend(_ what: FaultMend) {
    switch what {
    case .link(let from, let to): cut[from][to] = false
    case .line(let dispatcher, let worker):
      lines[dispatcher][worker].isCut = false
      breakLine(dispatcher, worker, Int64(chance.pick(100...20_000)))
    case .client(let client, let dispatcher): clientCut[client][dispatcher] = false
    case .manager: managerIsAway = false
    case .drain(let node): manager.setPlan(nil, for: node)
    }
  }

  /// Everything works again.
  func mend() {
    isMended = true
    note { "everything is mended" }
    managerIsAway = false
    managerIsDeafUntil = 0
    for from in workers.indices { for to in workers.indices { cut[from][to] = false } }
    for dispatcher in dispatchers {
      for worker in workers where lines[dispatcher.place][worker.place].isCut {
        mend(.line(dispatcher.place, worker.place))
      }
      for client in clients { clientCut[client.place][dispatcher.place] = false }
      dispatcher.pausedUntil = 0
      dispatcher.cutOffUntil = 0
      if dispatcher.process == nil {
        queue.add(.startDispatcher(dispatcher.place), at: now + Int64(chance.below(50_000)))
      }
    }
    for node in workers.map(\.name) { manager.setPlan(nil, for: node) }
    if let move = manager.plans[Process.partition] {
      _ = manager.setMove(nil, of: Process.partition, insteadOf: move)
    }
    for worker in workers {
      if let process = worker.process, process.rot != 0 { crash(worker, forgets: false) }
      worker.pausedUntil = 0
      worker.wallOffset = 0
      worker.disk.fullUntil = 0
      if worker.process == nil { queue.add(.start(worker.place), at: now + Int64(chance.below(50_000))) }
    }
    upgradeAll()
  }
}
