import Cluster

/// The configuration manager: `ConfigurationState`, which is slow, or away, or says nothing of what it did.
extension Simulation {
  /// Milliseconds of the manager's clock.
  var managerNow: Int64 { now / 1_000 }

  /// Something may have changed there.
  func look(_ why: @autoclosure () -> String = "") {
    let present = manager.group(Process.partition)
    if present.epoch != record.epoch {
      note {
        let change = self.manager.history(of: Process.partition).last
        return "manager: \(present.epoch) \(present.members) because \(change?.why ?? "") \(why())"
      }
      mixTrace(present.epoch.rawValue)
    } else if present.proposal != record.proposal {
      note { "manager: asked to \(present.proposal.map { "\($0)" } ?? "do nothing")" }
    }
    record = present
    checkRules()
  }

  /// How long a question takes to get there and back.
  var managerDelay: Int64 {
    let delay = Int64(chance.pick(600...4_000))
    guard !isMended, chance.permille(mix.manager / 2) else { return delay }
    count(.managerSlow)
    return delay + Int64(chance.pick(10_000...700_000))
  }

  var managerSaysNothing: Bool {
    managerIsAway || managerIsCutOff || (!isMended && chance.permille(mix.manager / 2))
  }

  private enum Passage { case well, lostRequest, lostReply, late }

  private var passage: Passage {
    if managerIsAway || managerIsCutOff { return .lostRequest }
    if now < managerIsDeafUntil {
      count(.managerLostRequest)
      return .lostRequest
    }
    guard !isMended, chance.permille(mix.manager) else { return .well }
    switch chance.below(3) {
    case 0:
      count(.managerLostRequest)
      return .lostRequest
    case 1:
      count(.managerLostReply)
      return .lostReply
    default:
      count(.managerLateChange)
      return .late
    }
  }

  func change(_ change: GroupChange, as leadership: Leadership?) -> ChangeOutcome {
    let passage = passage
    switch passage {
    case .lostRequest: return .unknown("lost")
    case .late where leadership == nil:
      queue.add(.lateChange(change), at: now + Int64(chance.pick(1_000...2_000_000)))
      return .unknown("late")
    case .well, .lostReply, .late:
      let outcome = manager.change(change, as: leadership, now: managerNow)
      look()
      return passage == .well ? outcome : .unknown("lost")
    }
  }

  func propose(_ proposal: GroupProposal?, _ epoch: Epoch, as leadership: Leadership) -> ChangeOutcome {
    let passage = passage
    switch passage {
    case .lostRequest: return .unknown("lost")
    case .late:
      queue.add(
        .lateAsk(proposal, epoch, leadership), at: now + Int64(chance.pick(1_000...1_000_000)))
      return .unknown("late")
    case .well, .lostReply:
      let outcome = manager.propose(
        proposal, to: Process.partition, ifEpoch: epoch, as: leadership, now: managerNow)
      look()
      return passage == .well ? outcome : .unknown("lost")
    }
  }

  // MARK: A worker's questions, as `Neighbours` asks them

  func ask(_ worker: Worker, _ what: Question.What) {
    let process = worker.process!
    process.questions.number += 1
    let number = process.questions.number
    let isTaken = sendQuestion(worker, process, what)
    switch what {
    case .read: if isTaken { process.questions.reading = number }
    case .change(let record, _, _):
      guard isTaken else { return tellLater(worker, .swapped(record, .notAsked)) }
      process.questions.changes.append((number, record))
      if process.questions.changes.count > 8 { process.questions.changes.removeFirst() }
    }
  }

  private func sendQuestion(_ worker: Worker, _ process: Process, _ what: Question.What) -> Bool {
    let boot = worker.boot(now)
    let count = dispatchers.count
    // A connection takes messages long before it is known to be broken, so one that stays silent is the
    // wrong one.
    if process.questions.unanswered != 0,
      boot - process.questions.unansweredSince >= Process.Questions.patience
    {
      process.questions.preferred = (process.questions.preferred + 1) % count
    }
    let question = Question(
      node: worker.name, incarnation: process.identity.incarnation, number: process.questions.number,
      what: what)
    for offset in 0..<count {
      let place = (process.questions.preferred + offset) % count
      guard send(.question(question), from: worker, to: place) else { continue }
      process.questions.preferred = place
      process.questions.unanswered = question.number
      process.questions.unansweredSince = boot
      return true
    }
    return false
  }

  private func tellLater(_ worker: Worker, _ answer: ManagerAnswer) {
    queue.add(
      .managerSaid(worker.place, worker.incarnation, answer), at: now + Int64(chance.pick(10...10_000)))
  }

  func hear(_ answer: DispatcherFrame.Answer, _ number: UInt64, from dispatcher: Int, _ worker: Worker) {
    let process = worker.process!
    let next = (dispatcher + 1) % dispatchers.count
    if number == process.questions.unanswered { process.questions.unanswered = 0 }
    if number == process.questions.reading, case .read(let record) = answer {
      process.questions.reading = 0
      return heard(worker, .record(record))
    }
    guard let place = process.questions.changes.firstIndex(where: { $0.number == number }) else {
      // A dispatcher that is of no use now; another may be.
      if number == process.questions.reading { process.questions.preferred = next }
      return
    }
    let record = process.questions.changes.remove(at: place).record
    switch answer {
    case .accepted: heard(worker, .swapped(record, .accepted))
    case .refused(let present): heard(worker, .swapped(record, .refused(present)))
    case .notAsked:
      process.questions.preferred = next
      heard(worker, .swapped(record, .notAsked))
    case .unknown, .read: heard(worker, .swapped(record, .unknown))
    }
  }
}
