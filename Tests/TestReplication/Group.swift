import Bytes
import Cluster
import Replication

/// Replicas side by side, without chance: every message arrives at once, in order, unless it is held.
package final class Group {
  package static let cluster: UInt64 = 7
  package static let partition = PartitionID(3)

  package var now: Int64 = 1_000
  package var wall: [String: Int64] = [:]
  package var record: GroupRecord
  package var replicas: [String: Replica] = [:]
  package var epochs: [String: Epoch] = [:]
  /// Blocks of each log.
  package var heads: [String: [BlockHead]] = [:]
  package var activities: [String: [Replica.Activity]] = [:]
  package var alarms: [String: [Replica.Alarm]] = [:]
  package var rebuilds: [String: LogMark] = [:]
  package var snapshots: [String] = []
  /// Messages that do not arrive, by who sends them and who should get them.
  package var cut: Set<String> = []
  /// Whose syncs don't end.
  package var unsynced: Set<String> = []
  /// What the manager says to a change instead of doing it.
  package var swapOutcome: ((GroupRecord) -> Replica.SwapOutcome?)?
  package var swaps: [GroupRecord] = []
  /// What is in blocks, by its hash.
  package var entries: [UInt64: [UInt8]] = [NoOp.entry.withUnsafeBytes { XXH64.hash($0) }: NoOp.entry]
  /// Told of every message that is sent: to whom, and what.
  package var onPost: ((String, PeerEnvelope, PeerMessage) -> Void)?
  private var committed: [String: SequenceNumber] = [:]
  private var queue: [() -> Void] = []

  package init(_ names: [String], secondaries: [String]? = nil, settings: Replica.Settings = .init()) {
    record = GroupRecord(
      partition: Self.partition, epoch: Epoch(1), primary: names[0], incarnation: Incarnation(1),
      secondaries: secondaries ?? Array(names.dropFirst()), isOpened: true)
    for name in names { start(name, incarnation: 1, settings: settings) }
    run(50)
  }

  package func start(
    _ name: String, incarnation: UInt64, settings: Replica.Settings = .init(), isClean: Bool = true
  ) {
    let heads = heads[name] ?? []
    replicas[name] = Replica(
      .init(
        cluster: Self.cluster, partition: Self.partition, node: name, incarnation: Incarnation(incarnation)),
      .init(
        epoch: epochs[name] ?? Epoch(0), base: .empty, blocks: heads.map(\.mark), time: heads.last?.time ?? 0,
        committed: .zero, checkpointed: .zero, isClean: isClean),
      settings: settings, now: now)
    settle(name)
    drain()
  }

  package func refusal(_ name: String, at now: Int64) -> Replica.Refusal? {
    replicas[name]?.refusal(now: now)
  }

  /// Of a read that saw nothing yet.
  package func mayRead(_ name: String, at now: Int64) -> Bool {
    replicas[name]?.mayAnswerRead(at: .zero, now: now) ?? false
  }

  package func crash(_ name: String) { replicas[name] = nil }

  /// Time passes, and everybody looks at the clock every ten milliseconds.
  package func run(_ milliseconds: Int64) {
    for _ in 0..<milliseconds / 10 {
      now += 10
      for name in replicas.keys.sorted() { act(name) { $0.tick(now: self.now) } }
    }
  }

  package func act(_ name: String, _ body: (inout Replica) -> Void) {
    guard replicas[name] != nil else { return }
    body(&replicas[name]!)
    settle(name)
    drain()
  }

  /// A block of one entry.
  @discardableResult
  package func write(_ name: String) -> BlockHead? {
    let time = (replicas[name]?.time ?? 0) + 1
    let bytes = withUnsafeBytes(of: now.littleEndian) { Array($0) }
    let hash = bytes.withUnsafeBytes { XXH64.hash($0) }
    guard let (head, _) = replicas[name]?.assign(entriesHash: hash, count: 1, time: time, now: now)
    else { return nil }
    entries[hash] = bytes
    append(head, name)
    sync(name)
    settle(name)
    drain()
    return head
  }

  package func sync(_ name: String) {
    guard !unsynced.contains(name) else { return }
    queue.append { [self] in
      act(name) { $0.durable(through: $0.last, now: self.now) }
    }
  }

  package func deliver(_ message: PeerMessage, _ envelope: PeerEnvelope, to name: String) {
    act(name) { $0.receive(message, envelope, now: self.now, wall: self.wall[name] ?? 1_000_000) }
  }

  private func drain() {
    while !queue.isEmpty { queue.removeFirst()() }
  }

  private func settle(_ name: String) {
    while replicas[name]?.hasEffects == true {
      for effect in replicas[name]!.takeEffects() { carryOut(effect, name) }
    }
  }

  private func carryOut(_ effect: Replica.Effect, _ name: String) {
    switch effect {
    case .send(let to, let envelope, let message): post(message, envelope, from: name, to: to)
    case .sendBlock(let to, let envelope, let sn, let committed):
      guard let head = heads[name]?.first(where: { $0.last == sn }) else { return }
      post(.prepare(head, committed: committed), envelope, from: name, to: to)
    case .append(let head, _), .appendNoOp(let head, _): append(head, name)
    case .cut(let mark):
      precondition(mark.sn >= committed[name, default: .zero], "what is committed is never cut")
      heads[name]?.removeAll { $0.last > mark.sn }
    case .sync: sync(name)
    case .makeEpochDurable(let epoch):
      queue.append { [self] in
        epochs[name] = epoch
        act(name) { $0.epochIsDurable(epoch, now: self.now) }
      }
    case .readConfiguration:
      queue.append { [self] in act(name) { $0.configurationWasRead(self.record, now: self.now) } }
    case .compareAndSwap(let wanted, let expecting, _, _):
      swaps.append(wanted)
      let outcome: Replica.SwapOutcome
      if let forced = swapOutcome?(wanted) {
        outcome = forced
      } else if record.epoch == expecting {
        record = wanted
        outcome = .accepted
      } else {
        outcome = .refused(record)
      }
      queue.append { [self] in act(name) { $0.compareAndSwapEnded(wanted, outcome, now: self.now) } }
    case .activity(let activity): activities[name, default: []].append(activity)
    case .alarm(let alarm): alarms[name, default: []].append(alarm)
    case .rebuild(let mark): rebuilds[name] = mark
    case .offerSnapshot(let to): snapshots.append(to)
    case .committed(let mark): committed[name] = max(committed[name, default: .zero], mark.sn)
    case .wantSnapshot: break
    }
  }

  private func append(_ head: BlockHead, _ name: String) {
    precondition((heads[name]?.last?.last ?? .zero).next == head.first, "blocks follow each other")
    heads[name, default: []].append(head)
  }

  private func post(_ message: PeerMessage, _ envelope: PeerEnvelope, from: String, to: String) {
    onPost?(to, envelope, message)
    guard !cut.contains(from + to) else { return }
    queue.append { [self] in deliver(message, envelope, to: to) }
  }
}

extension Replica {
  package var isActive: Bool { activity == .active }
}
