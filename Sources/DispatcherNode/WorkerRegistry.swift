import Cluster
import Foundation
import LarisProtocol
import Logging
import NodeProtocol
import NodeSupport
import Wire

/// The workers that were heard of, and the cluster map as it was seen last: the controller's shell.
///
/// What must be asked of the configuration store is asked through ``StoreThread``, and carried on with
/// when its report is there; ``carryOn(now:)`` says what came of it.
final class WorkerRegistry {
  private struct Worker {
    var beacon: Laris_Beacon
    var connection: [UInt8]
    var heardAt: Int64
    var heardAtWall: Int64
  }

  /// What is to be sent, or taken up, because the store has spoken.
  struct Outcome {
    var assignments: [(connection: [UInt8], assignment: Laris_Assignment)] = []
    var hellos: [(hello: HelloFrame, connection: [UInt8])] = []
    var operators: [(ticket: Int, outcome: OperatorOutcome)] = []
    var answers: [(connection: [UInt8], answer: ConfigurationAnswer)] = []
    var didGroupsChange = false
  }

  /// A worker that is silent for so long is not alive.
  private static let silenceMilliseconds: Int64 = 2_000
  /// Names that are taken, so that strangers can't grow the store for ever.
  private static let workersMax = 4_096
  /// Of members, that wait for the store.
  private static let questionsMax = 8_192

  private let cluster: ClusterRecord
  private let store: StoreThread
  private let node: NodeRecord
  private let logger: Logger
  private var controller: Controller
  /// Up to when this dispatcher is it.
  private var controllerUntil: Int64 = 0
  private(set) var groups: [GroupRecord]
  private var workers: [String: Worker] = [:]
  /// To whom names belong, as the store said.
  private var folders: [String: String] = [:]
  /// Workers whose claim is asked for, with what they said last.
  private var claiming: [String: Worker] = [:]
  /// Groups of which a change is under way, and why.
  private var changing: [PartitionID: String] = [:]
  private var lookedAt: Int64 = 0
  /// What operators want; nil: not known yet.
  private(set) var plans: Plans?
  private var questions = 0
  /// Members wait for the store.
  var isAsked: Bool { questions > 0 }
  /// Partitions that serve once the store knows that they do.
  private var opening: [PartitionID: (hello: HelloFrame, connection: [UInt8])] = [:]

  init(
    cluster: ClusterRecord, groups: [GroupRecord], store: StoreThread, node: NodeRecord,
    rebalanceMilliseconds: Int64?, logger: Logger
  ) {
    self.cluster = cluster
    self.groups = groups
    self.store = store
    self.node = node
    self.logger = logger
    controller = Controller(
      .init(
        replicas: cluster.replicas, minReplicas: cluster.minReplicas, initialWorkers: cluster.initialWorkers,
        restMilliseconds: rebalanceMilliseconds))
  }

  private func isController(now: Int64) -> Bool { now < controllerUntil }

  private func answer(refused: String = "") -> Laris_Assignment {
    var assignment = Laris_Assignment()
    assignment.version = UInt32(FrameKind.version)
    assignment.clusterID = cluster.id
    assignment.dispatcherIncarnation = node.incarnation.rawValue
    assignment.refused = refused
    return assignment
  }

  /// A worker said who it is.
  ///
  /// - Returns: what it is told; nil where it is leaving and wants nothing, or the store must speak first.
  func heard(_ beacon: Laris_Beacon, from connection: [UInt8], now: Int64) -> Laris_Assignment? {
    // Rule 18.
    guard beacon.clusterID.isEmpty || beacon.clusterID == cluster.id else {
      return answer(
        refused:
          "worker \(beacon.node) belongs to cluster \(beacon.clusterID), and this dispatcher to \(cluster.id) "
          + "(\(cluster.name)); give it another data folder, or another --dispatcher")
    }
    guard plans?.removed.contains(beacon.node) != true else {
      return answer(
        refused:
          "worker \(beacon.node) was taken out of the cluster; if it is to come back: "
          + "laris worker remove \(beacon.node) --undo, else give it another data folder and another name")
    }
    if beacon.leaving {
      workers[beacon.node]?.heardAt = 0
      return nil
    }
    guard isValid(beacon) else {
      logger.warning("a beacon without a name or an incarnation was dropped")
      return nil
    }
    // The rule is four partitions a worker, so no cluster has more of them than of partitions.
    guard workers[beacon.node] != nil || workers.count + claiming.count < Self.workersMax else {
      return answer(refused: "this dispatcher has \(Self.workersMax) workers, and takes no more")
    }
    let worker = Worker(
      beacon: beacon, connection: connection, heardAt: now, heardAtWall: Clock.wallMilliseconds())
    // A name belongs to the folder that came with it first: an empty one is never taken for it.
    guard let folder = folders[beacon.node] else {
      if claiming.updateValue(worker, forKey: beacon.node) == nil {
        store.tell(.claim(node: beacon.node, folder: beacon.folder))
      }
      return nil
    }
    guard folder == beacon.folder else { return answer(refused: takenName(beacon.node)) }
    return note(worker, now: now)
  }

  private func takenName(_ node: String) -> String {
    "the name \(node) belongs to a worker with another data folder; "
      + "start that one, or choose another --node for this one"
  }

  /// A worker whose name is its own.
  private func note(_ worker: Worker, now: Int64) -> Laris_Assignment? {
    let beacon = worker.beacon
    if let known = workers[beacon.node], known.beacon.incarnation != beacon.incarnation {
      // One process at a time has the folder. What an earlier one sent may come late.
      if beacon.startedAt < known.beacon.startedAt, isAlive(known, now: now) { return nil }
      logger.info("worker \(beacon.node) started again", metadata: ["pid": "\(beacon.pid)"])
    } else if workers[beacon.node] == nil {
      logger.info("worker \(beacon.node) joined", metadata: ["pid": "\(beacon.pid)"])
    }
    workers[beacon.node] = worker
    control(now: now)
    return assignment(of: beacon)
  }

  private func assignment(of beacon: Laris_Beacon) -> Laris_Assignment {
    var assignment = answer()
    assignment.reserveMilliseconds = cluster.reserveMilliseconds
    assignment.feeBasisPoints = cluster.feeBasisPoints
    assignment.partitionCount = UInt32(cluster.partitions)
    assignment.requestWindowMilliseconds = UInt64(cluster.requestWindowMilliseconds)
    assignment.replicas = UInt32(cluster.replicas)
    assignment.minReplicas = UInt32(cluster.minReplicas)
    assignment.leaseMilliseconds = UInt64(cluster.leaseMilliseconds)
    assignment.clusterName = cluster.name
    assignment.currency = cluster.currency
    assignment.initialWorkers = UInt32(cluster.initialWorkers)
    assignment.createdAt = cluster.createdAt
    // Who has left a group is told of it as long as it says that it runs it.
    let runs = Set(beacon.partitions.map(\.partition))
    var peers: Set<String> = []
    for group in groups {
      let isLearner = group.learner == beacon.node
      let isMember = group.members.contains(beacon.node)
      guard isMember || isLearner || runs.contains(UInt32(group.partition.rawValue)) else { continue }
      var row = Laris_PartitionAssignment()
      row.partition = UInt32(group.partition.rawValue)
      row.epoch = group.epoch.rawValue
      row.mayCreate = isLearner || (isMember && !group.isOpened)
      row.group = group.message
      assignment.partitions.append(row)
      peers.formUnion(group.concerned)
    }
    peers.remove(beacon.node)
    let now = Clock.steadyMilliseconds()
    assignment.peers = peers.sorted().compactMap { name in
      guard let worker = workers[name] else { return nil }
      var peer = Laris_Peer()
      peer.node = name
      peer.incarnation = worker.beacon.incarnation
      peer.replication = worker.beacon.replication
      peer.host = worker.beacon.host
      peer.lockPath = worker.beacon.lockPath
      peer.alive = isAlive(worker, now: now)
      return peer
    }
    return assignment
  }

  private func isValid(_ beacon: Laris_Beacon) -> Bool {
    NodeRecord.isName(beacon.node) && beacon.incarnation != 0 && NodeRecord.isName(beacon.folder)
      && (beacon.zone.isEmpty || NodeRecord.isName(beacon.zone))
      && beacon.replication.utf8.count <= NodeRecord.addressBytesMax
      && beacon.host.utf8.count <= NodeRecord.addressBytesMax && beacon.lockPath.utf8.count <= 4_096
  }

  /// Asks for what the controller wants, where this dispatcher is it.
  private func control(now: Int64) {
    guard let plans else { return }
    let alive = workers.values.filter { isAlive($0, now: now) }.map { seen($0.beacon, plans) }
    let isController = isController(now: now)
    for move in plans.moves where isController && move.isDone(in: groups[Int(move.partition.rawValue)]) {
      logger.info("\(move): done")
      self.plans?.moves.removeAll { $0 == move }
      store.tell(.end(move))
    }
    for step in controller.steps(groups: groups, alive: alive, moves: plans.moves, now: now)
    where changing[step.partition] == nil {
      switch step {
      case .place(let record, let why) where isController: change(record, why)
      case .ask(let partition, let proposal, let epoch, let why) where isController:
        changing[partition] = why
        store.tell(.ask(proposal, why: why, partition, ifEpoch: epoch))
      case .place, .ask: break
      }
    }
  }

  /// A worker as the controller sees it.
  private func seen(_ beacon: Laris_Beacon, _ plans: Plans) -> Controller.Worker {
    var worker = Controller.Worker(
      node: beacon.node, incarnation: Incarnation(beacon.incarnation),
      zone: beacon.zone.isEmpty ? nil : beacon.zone, isDraining: plans.draining.contains(beacon.node))
    for row in beacon.partitions {
      guard Int(row.partition) < groups.count else { continue }
      let group = groups[Int(row.partition)]
      worker.holds.insert(group.partition)
      if isInSync(row, beacon.node, group) { worker.inSync.insert(group.partition) }
      if row.full { worker.full.insert(group.partition) }
      if row.halted { worker.halted.insert(group.partition) }
    }
    return worker
  }

  /// Whether it follows, or acts, as a member of the group as it is now.
  private func isInSync(_ row: Laris_PartitionBeacon, _ node: String, _ group: GroupRecord) -> Bool {
    guard row.epoch == group.epoch.rawValue else { return false }
    return group.primary == node
      ? row.active : row.role == "secondary" && group.secondaries.contains(node)
  }

  private func change(_ record: GroupRecord, _ why: String) {
    changing[record.partition] = why
    let change = GroupChange(record, why: why, by: node.life, at: Clock.wallMilliseconds())
    store.tell(.change(change))
  }

  private func isAlive(_ worker: Worker, now: Int64) -> Bool {
    worker.heardAt > 0 && now - worker.heardAt <= Self.silenceMilliseconds
  }

  func isKnown(_ node: String) -> Bool { workers[node] != nil }
  func isAlive(_ node: String) -> Bool {
    workers[node].map { isAlive($0, now: Clock.steadyMilliseconds()) } ?? false
  }

  func incarnation(of node: String) -> Incarnation {
    Incarnation(workers[node]?.beacon.incarnation ?? 0)
  }
  /// What it said of a partition last, maybe long ago.
  func replica(of partition: PartitionID, on node: String) -> Laris_PartitionBeacon? {
    workers[node]?.beacon.partitions.first { $0.partition == UInt32(partition.rawValue) }
  }
  /// This dispatcher, for a history.
  var life: String { node.life }

  /// A partition says that it serves: whether the cluster map agrees. Before its first request
  /// the store is told that it has begun.
  func opens(_ hello: HelloFrame, from connection: [UInt8], now: Int64) -> Bool {
    guard isKnown(hello) else {
      lookForLater(hello, now: now)
      return false
    }
    if groups[Int(hello.partition.rawValue)].isOpened { return true }
    if opening.updateValue((hello, connection), forKey: hello.partition) == nil {
      store.tell(.open(hello.partition))
    }
    return false
  }

  private func isKnown(_ hello: HelloFrame) -> Bool {
    let number = Int(hello.partition.rawValue)
    guard number < groups.count else { return false }
    return groups[number].epoch == hello.epoch && groups[number].primary == hello.node
      && groups[number].incarnation == hello.incarnation
  }

  /// A partition's replica asks the configuration store something.
  ///
  /// - Returns: what it is told at once; nil: the store must speak first.
  func asked(_ question: ConfigurationQuestion, from connection: [UInt8]) -> ConfigurationAnswer? {
    let number = Int(question.partition.rawValue)
    func told(_ outcome: ConfigurationAnswer.Outcome) -> ConfigurationAnswer {
      ConfigurationAnswer(number: question.number, partition: question.partition, outcome: outcome)
    }
    // Rule 18. What this cluster's groups are is none of another's business.
    guard question.cluster == cluster.id, number < groups.count else {
      logger.warning(
        """
        \(question.node) asks for \(question.partition) of cluster \(question.cluster), and this one is \
        \(cluster.id) with \(groups.count) partitions
        """)
      return told(.refused(nil))
    }
    guard questions < Self.questionsMax else { return told(.notAsked) }
    questions += 1
    store.tell(.question(question, from: connection, known: groups[number]))
    return nil
  }

  /// Another dispatcher may have seen to a later epoch. A stranger may say so too: it is only looked,
  /// and not often.
  private func lookForLater(_ hello: HelloFrame, now: Int64) {
    let number = Int(hello.partition.rawValue)
    guard number < groups.count, hello.epoch > groups[number].epoch, now - lookedAt >= 50 else { return }
    lookedAt = now
    store.tell(.look)
  }

  /// Takes up what the store has said since.
  func carryOn(now: Int64) -> Outcome {
    var outcome = Outcome()
    var concerned: Set<String> = []
    for report in store.reports() {
      switch report {
      case .controller(let until): controllerUntil = until
      case .claimed(let name, let folder, let isOurs):
        guard let worker = claiming.removeValue(forKey: name), let isOurs else { continue }
        guard isOurs else {
          outcome.assignments.append((worker.connection, answer(refused: takenName(name))))
          continue
        }
        folders[name] = folder
        if let assignment = heard(worker.beacon, from: worker.connection, now: now) {
          outcome.assignments.append((worker.connection, assignment))
        }
      case .settled(let partition, let present, let isMade):
        let why = changing.removeValue(forKey: partition)
        guard let present else { continue }
        if isMade {
          logger.info(
            "partition \(partition.rawValue): \(why ?? "")",
            metadata: ["epoch": "\(present.epoch.rawValue)"])
        }
        see(present, &outcome, &concerned)
      case .answered(let answer, let connection, let present):
        questions -= 1
        outcome.answers.append((connection, answer))
        if let present { see(present, &outcome, &concerned) }
      case .operators(let done, let ticket): outcome.operators.append((ticket, done))
      case .plans(let known):
        plans = known
        for name in known.removed { workers[name] = nil }
      case .seen(let changed): for group in changed { see(group, &outcome, &concerned) }
      case .opened(let partition, let isOpened):
        guard let waiting = opening.removeValue(forKey: partition), isOpened else { continue }
        groups[Int(partition.rawValue)].isOpened = true
        if isKnown(waiting.hello) { outcome.hellos.append(waiting) }
      }
    }
    // Who was given something, or lost it, hears of it at once.
    for name in concerned {
      guard let worker = workers[name], isAlive(worker, now: now) else { continue }
      outcome.assignments.append((worker.connection, assignment(of: worker.beacon)))
    }
    return outcome
  }

  private func see(_ group: GroupRecord, _ outcome: inout Outcome, _ concerned: inout Set<String>) {
    let number = Int(group.partition.rawValue)
    guard number < groups.count, groups[number] != group else { return }
    concerned.formUnion(groups[number].concerned)
    concerned.formUnion(group.concerned)
    groups[number] = group
    outcome.didGroupsChange = true
  }

  func describe(into status: inout Laris_ClusterStatus, now: Int64) {
    for worker in workers.values.sorted(by: { $0.beacon.node < $1.beacon.node }) {
      var row = Laris_WorkerStatus()
      row.node = worker.beacon.node
      row.incarnation = worker.beacon.incarnation
      row.pid = worker.beacon.pid
      row.startedAt = worker.beacon.startedAt
      row.alive = isAlive(worker, now: now)
      row.lastHeardAt = worker.heardAtWall
      row.zone = worker.beacon.zone
      row.draining = plans?.draining.contains(worker.beacon.node) ?? false
      row.replication = worker.beacon.replication
      status.workers.append(row)
    }
    for group in groups {
      var row = Laris_PartitionStatus()
      row.partition = UInt32(group.partition.rawValue)
      row.epoch = group.epoch.rawValue
      row.primary = group.primary ?? ""
      row.note = group.primary == nil ? "waits for \(cluster.initialWorkers) workers" : "its primary is away"
      if group.primary == nil, !isController(now: now) { row.note = "waits for the controller to place it" }
      if let primary = group.primary, let worker = workers[primary], isAlive(worker, now: now),
        let beacon = worker.beacon.partitions.first(where: { $0.partition == row.partition })
      {
        row.active = beacon.active
        row.committed = beacon.committed
        row.checkpointed = beacon.checkpointed
        row.orders = beacon.orders
        row.replayBytes = beacon.replayBytes
        row.note = beacon.note.isEmpty && !beacon.active ? beacon.activity : beacon.note
        row.joinedPercent = UInt32(min(100, beacon.joinedPercent))
      }
      // Rule 14.
      if row.active, group.members.count < cluster.minReplicas {
        row.note =
          "refuses writes: it has \(group.members.count) of \(cluster.replicas) replicas, and an answer needs "
          + "\(cluster.minReplicas); bring a worker back"
      }
      for worker in workers.values.sorted(by: { $0.beacon.node < $1.beacon.node })
      where isAlive(worker, now: now) {
        guard let beacon = worker.beacon.partitions.first(where: { $0.partition == row.partition }),
          beacon.halted
        else { continue }
        row.note += "\(row.note.isEmpty ? "" : "; ")\(worker.beacon.node): \(beacon.note)"
      }
      row.asked = group.proposal.map { "\($0)" } ?? ""
      row.members = group.concerned.map { member($0, of: group, isActive: row.active, now: now) }
      row.inSync = UInt32(row.members.count(where: \.inSync))
      if let move = plans?[group.partition] {
        row.move.from = move.source
        row.move.to = move.target
        row.move.percent = UInt32(move.perCent(in: group, joined: Int(row.joinedPercent)))
      }
      status.partitions.append(row)
    }
  }

  private func member(
    _ node: String, of group: GroupRecord, isActive: Bool, now: Int64
  ) -> Laris_MemberStatus {
    var row = Laris_MemberStatus()
    row.node = node
    row.role = group.primary == node ? "primary" : group.secondaries.contains(node) ? "secondary" : "learner"
    guard let worker = workers[node] else { return row }
    row.alive = isAlive(worker, now: now)
    let number = UInt32(group.partition.rawValue)
    guard row.alive, let beacon = worker.beacon.partitions.first(where: { $0.partition == number }) else {
      return row
    }
    row.epoch = beacon.epoch
    row.last = max(beacon.last, beacon.committed)
    row.committed = beacon.committed
    row.activity = beacon.activity
    row.inSync = group.primary == node ? isActive : isInSync(beacon, node, group)
    row.digestsCompared = beacon.digestsCompared
    row.digestsDiffered = beacon.digestsDiffered
    return row
  }
}
