import Bytes
import Cluster
import Marketplace
import Replication
import Wire

/// What lies between: links, clients, the configuration manager.
extension Simulation {
  // MARK: Links

  func passes(_ from: Int, _ to: Int) -> Bool { !cut[from][to] }

  func send(_ bytes: [UInt8], from: Int, to: Int) {
    guard to < workers.count, passes(from, to) else { return }
    var copies = 1
    if !isMended {
      if chance.permille(mix.lost) {
        count(.lost)
        return
      }
      if chance.permille(mix.repeated) {
        count(.repeated)
        copies = 2
      }
    }
    for _ in 0..<copies {
      var at = now + Int64(chance.pick(80...400))
      if !isMended, chance.permille(mix.delayed) {
        count(.delayed)
        at += Int64(chance.pick(5_000...chance.pick([30_000, 180_000, 180_000, 600_000])))
      } else if !isMended, mix.reordered {
        at += Int64(chance.below(3_000))
        if at < linkFreeAt[from][to] { count(.reordered) }
      } else {
        at = max(at, linkFreeAt[from][to])
      }
      linkFreeAt[from][to] = max(linkFreeAt[from][to], min(at, now + 5_000))
      queue.add(.deliver(from: from, to: to, bytes), at: at)
    }
  }

  // MARK: Clients

  func clientTurn(_ client: Client) {
    guard client.request == nil else { return }
    // Some time after everything was mended nobody begins anything new.
    guard now < chaosEnds + 1_500_000 else { return }
    client.begin(
      &chance, orders: referee.orders, at: now, answeredBefore: referee.answered,
      isFirst: client.attempt == 0)
    referee.isAsked(client.request!)
    sendRequest(client)
  }

  func sendRequest(_ client: Client) {
    guard let request = client.request else { return }
    client.attempt += 1
    var writer = ByteWriter(capacity: 256)
    BatchHeader(
      partition: Process.partition, epoch: Epoch(0), dispatcher: Incarnation(UInt64(client.place)),
      number: client.attempt
    ).write(.batch, into: &writer)
    request.bytes.withUnsafeBytes { BatchItem.write($0, deadlineMilliseconds: 600_000, into: &writer) }
    BatchHeader.setCount(1, in: &writer)
    let target = client.target
    let frame = Process.Request(
      client: client.place, attempt: client.attempt, isRead: request.isRead, frame: Array(writer.bytes),
      receivedAt: workers[target].wall(now))
    queue.add(
      .clientTimeout(client.place, client.attempt), at: now + Int64(chance.pick(250_000...400_000)))
    if !isMended, chance.permille(mix.lost) { return }
    var at = now + Int64(chance.pick(80...400))
    if !isMended, chance.permille(mix.delayed) { at += Int64(chance.pick(5_000...900_000)) }
    queue.add(.request(target, frame), at: at)
    if !isMended, chance.permille(mix.repeated) {
      queue.add(.request(target, frame), at: at + Int64(chance.pick(10...500_000)))
    }
  }

  /// Definitely not executed.
  func refuse(_ request: Process.Request, from place: Int) {
    queue.add(
      .reply(client: request.client, attempt: request.attempt, isTaken: false, [], from: place),
      at: now + Int64(chance.pick(80...400)))
  }

  func sendReply(_ waiting: Process.Waiting, isTaken: Bool, from place: Int) {
    if !isMended, chance.permille(mix.lost) { return }
    queue.add(
      .reply(
        client: waiting.client, attempt: waiting.attempt, isTaken: isTaken, waiting.reply, from: place),
      at: now + Int64(chance.pick(80...400)))
  }

  func replied(_ client: Client, _ attempt: UInt64, _ isTaken: Bool, _ reply: [UInt8], _ from: Int) {
    guard let request = client.request else { return }
    if isTaken {
      let facts = reply.withUnsafeBytes { ReplyFacts($0) }
      let id = reply.withUnsafeBytes { bytes in
        bytes.count < 18
          ? nil
          : RequestID(high: ReplyFacts.bigEndian(bytes, 2), low: ReplyFacts.bigEndian(bytes, 10))
      }
      guard let facts else { return referee.fail("\(workers[from].name) sent no reply") }
      guard id == request.id else { return }
      if facts.isFinal {
        note { "client \(client.place) is told \(facts) by \(self.workers[from].name)" }
        mixTrace(facts.code &+ facts.low)
        referee.isAnswered(request, facts, by: workers[from].name)
        if request.isRead { reads += 1 }
        client.request = nil
        client.target = from
        queue.add(.clientTurn(client.place), at: now + Int64(chance.pick(100...12_000)))
        return
      }
    }
    guard attempt == client.attempt else { return }
    client.target = chance.below(workers.count)
    queue.add(
      .clientTimeout(client.place, attempt), at: now + Int64(chance.pick(2_000...15_000)))
  }

  // MARK: The configuration manager

  func ask(_ worker: Worker, _ request: ManagerRequest) {
    var delay = Int64(chance.pick(300...3_000))
    if !isMended, chance.permille(mix.manager) {
      count(.managerSlow)
      delay += Int64(chance.pick(10_000...700_000))
    }
    queue.add(.managerAsked(worker.place, worker.incarnation, request), at: now + delay)
  }

  func manage(_ place: Int, _ incarnation: UInt64, _ request: ManagerRequest) {
    func answer(_ answer: ManagerAnswer, after: Int64 = 0) {
      queue.add(
        .managerSaid(place, incarnation, answer), at: now + after + Int64(chance.pick(300...3_000)))
    }
    switch request {
    case .read:
      if managerIsAway || (!isMended && chance.permille(mix.manager)) {
        return answer(.failed, after: Int64(chance.pick(1_000...200_000)))
      }
      answer(.record(record))
    case .swap(let wanted, let expecting, let why):
      if managerIsAway { return answer(.swapped(wanted, chance.permille(500) ? .unknown : .notAsked)) }
      if !isMended, chance.permille(mix.manager) {
        // Nobody will know by the answer: not done, done, or done later.
        switch chance.below(3) {
        case 0: count(.managerLostRequest)
        case 1:
          count(.managerLostReply)
          if record.epoch == expecting { install(wanted, why) }
        default:
          count(.managerLateChange)
          queue.add(
            .lateSwap(wanted, expecting: expecting, why: why), at: now + Int64(chance.pick(1_000...2_000_000))
          )
        }
        return answer(.swapped(wanted, .unknown))
      }
      guard record.epoch == expecting else { return answer(.swapped(wanted, .refused(record))) }
      install(wanted, why)
      answer(.swapped(wanted, .accepted))
    }
  }

  func install(_ wanted: GroupRecord, _ why: String) {
    note { "manager: \(wanted.epoch) \(wanted.members) because \(why)" }
    mixTrace(wanted.epoch.rawValue)
    record = wanted
  }

  func heard(_ worker: Worker, _ answer: ManagerAnswer) {
    let process = worker.process!
    let boot = worker.boot(now)
    switch answer {
    case .record(let record): process.replica.configurationWasRead(record, now: boot)
    case .failed: process.replica.configurationWasRead(nil, now: boot)
    case .swapped(let wanted, let outcome): process.replica.compareAndSwapEnded(wanted, outcome, now: boot)
    }
    settle(worker)
  }

  /// The controller: rule 14, and an operator's wishes. Tells everybody what it sees, late or not.
  func control() {
    queue.add(.controller, at: now + 200_000)
    if record.proposal != nil {
      if now - proposedAt > 3_000_000 { record.proposal = nil }
    } else if record.members.count < replicas {
      let candidates = workers.filter { worker in
        worker.process != nil && worker.pausedUntil <= now && !record.members.contains(worker.name)
      }
      if !candidates.isEmpty { propose(.join(chance.pick(candidates).name)) }
    } else if mix.operators, !isMended, !record.secondaries.isEmpty, chance.permille(200) {
      if chance.permille(700) {
        count(.switchoverAsked)
        propose(.switchover(chance.pick(record.secondaries)))
      } else if workers.count > replicas || chance.permille(300) {
        count(.removalAsked)
        propose(.remove(chance.pick(record.secondaries)))
      }
    }
    for worker in workers where !managerIsAway {
      queue.add(.told(worker.place, record), at: now + Int64(chance.pick(500...(isMended ? 5_000 : 60_000))))
    }
  }

  private func propose(_ proposal: GroupProposal) {
    note { "controller: \(proposal)" }
    proposedAt = now
    record.proposal = proposal
  }
}
