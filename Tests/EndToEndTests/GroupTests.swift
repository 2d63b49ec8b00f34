import Cluster
import Foundation
import LarisProtocol
import NodeProtocol
import SQLite
import Testing

/// A dispatcher's process, and workers that only say what workers say.
extension EndToEndTests {
  private func next(
    _ record: GroupRecord, _ change: (inout GroupRecord) -> Void
  ) -> GroupRecord {
    var next = record
    next.epoch = record.epoch.next
    next.proposal = nil
    change(&next)
    return next
  }

  /// Of what was refused: what is there, without what the controller may ask of it meanwhile.
  private func refused(_ outcome: ConfigurationAnswer.Outcome) -> GroupRecord? {
    guard case .refused(var record?) = outcome else { return nil }
    record.proposal = nil
    return record
  }

  @Test func `members hear of their groups whole, and change them through the dispatcher`() throws {
    let dispatcher = try LoneDispatcher(replicas: 3, workers: 3, partitions: 2)
    let workers = try (1...3).map { try FakeWorker("worker-\($0)", of: dispatcher) }
    for worker in workers { worker.zone = "zone of \(worker.node)" }
    try workers.live(until: "all have both partitions and know each other") {
      workers.allSatisfy { $0.assignment.partitions.count == 2 && $0.assignment.peers.count == 2 }
    }
    for worker in workers {
      #expect(worker.assignment.replicas == 3 && worker.assignment.minReplicas == 2)
      #expect(worker.assignment.leaseMilliseconds == 160 && worker.assignment.currency == "IDR")
      #expect(worker.assignment.partitions.allSatisfy { $0.epoch == 1 && $0.mayCreate })
      for peer in worker.assignment.peers {
        #expect(peer.node != worker.node && peer.alive && peer.incarnation == 1)
        #expect(peer.replication == "tcp://\(peer.node):12122" && peer.host == "host of \(peer.node)")
        #expect(peer.lockPath == "/\(peer.node)/lock")
      }
    }
    let first = try #require(try workers[0].group(0))
    #expect(Set(first.members) == ["worker-1", "worker-2", "worker-3"] && first.problem == nil)
    for worker in workers { #expect(try worker.group(0) == first) }
    func worker(_ name: String?) throws -> FakeWorker {
      try #require(workers.first { $0.node == name })
    }
    let primary = try worker(first.primary)
    let (heir, other) = (try worker(first.secondaries[0]), try worker(first.secondaries[1]))
    #expect(try heir.ask(0, .read) == .read(first))

    // Rule 7: a secondary proposes itself with all others but the old primary, and nothing else.
    let second = next(first) {
      $0.primary = heir.node
      $0.secondaries = [other.node]
    }
    var alone = second
    alone.secondaries = []
    #expect(try heir.ask(0, .change(alone, why: "", committed: .zero)) == .refused(first))
    #expect(try other.ask(0, .change(second, why: "", committed: .zero)) == .refused(first))
    let story = "\(first.primary!) is silent"
    #expect(
      try heir.ask(0, .change(second, why: story, committed: SequenceNumber(1_234))) == .accepted(second))
    // Without another word of theirs: who is in it, and who has left it but still runs it.
    try other.listen(milliseconds: 10_000)
    #expect(try other.group(0) == second)
    var runs = Laris_PartitionBeacon()
    runs.partition = 0
    primary.partitions = [runs]
    try workers.live(until: "who has left knows it") {
      try primary.group(0)?.epoch == second.epoch && primary.row(0)?.group.primary == heir.node
    }
    let isLearner = try primary.group(0)?.learner == primary.node
    #expect(primary.row(0)?.mayCreate == isLearner, "it has the data: it may be asked back at once")
    // Too late, by a stranger, of a cluster that this is not, of a partition that is none.
    let late = next(first) { $0.secondaries = [] }
    #expect(refused(try primary.ask(0, .change(late, why: "late", committed: .zero))) == second)
    let stranger = next(second) { $0.secondaries.append(primary.node) }
    #expect(refused(try primary.ask(0, .change(stranger, why: "", committed: .zero))) == second)
    #expect(try heir.ask(0, .read, cluster: "another") == .refused(nil))
    #expect(try heir.ask(9, .read) == .refused(nil))
    // Another process of the same name takes its own epoch.
    let again = try FakeWorker(heir.node, incarnation: 7, of: dispatcher)
    let third = next(second) { $0.incarnation = again.incarnation }
    #expect(try again.ask(0, .change(third, why: "started again", committed: .zero)) == .accepted(third))
    #expect(refused(try heir.ask(0, .change(third, why: "x", committed: .zero))) == third)

    let history = try dispatcher.laris(["status", "--history", "0"])
    let lines = history.output.split(separator: "\n")
    #expect(history.exit == 0 && lines.count == 4, "\(history.output)\(history.errors)")
    let told = lines.count > 2 ? String(lines[2]) : ""
    #expect(
      told.contains(story) && told.contains("1,234") && told.contains("\(heir.node)@\(heir.incarnation)"))
    // All are kept, and told in pages.
    var last = third
    for _ in 0..<130 {
      last = next(last) { $0.incarnation = again.incarnation }
      #expect(try again.ask(0, .change(last, why: "and again", committed: .zero)) == .accepted(last))
    }
    func epochs(_ options: [String]) throws -> [UInt64] {
      let said = try dispatcher.laris(["status", "--history", "0", "--json"] + options)
      #expect(said.exit == 0, "\(said.errors)")
      return try Laris_GroupHistory(jsonString: said.output).changes.map(\.epoch)
    }
    #expect(try epochs(["--all"]) == Array(1...last.epoch.rawValue))
    #expect(try epochs([]) == Array((last.epoch.rawValue - 63)...last.epoch.rawValue))
    let none = try dispatcher.laris(["status", "--history", "2"])
    #expect(none.exit == 1 && none.errors.contains("There is no partition 2"), "\(none.errors)")
    #expect(dispatcher.said.contains("a change was refused"))
  }

  @Test func `a change that the store does not answer is unknown, and may be asked again`() throws {
    let dispatcher = try LoneDispatcher(replicas: 1, workers: 1, partitions: 1)
    let worker = try FakeWorker("worker-1", of: dispatcher)
    try [worker].live(until: "the partition is placed") { worker.row(0) != nil }
    let placed = try #require(try worker.group(0))
    let stranger = try Database(dispatcher.folder.path + "/dispatcher/cluster.sqlite", mode: .readWrite)
    try stranger.execute("BEGIN IMMEDIATE")
    let again = next(placed) { _ in }
    #expect(try worker.ask(0, .change(again, why: "1", committed: .zero)) == .unknown)
    // Not even asked while the store is known to be away; unknown again when it was tried once more.
    for _ in 0..<20 {
      let outcome = try worker.ask(0, .change(again, why: "2", committed: .zero))
      #expect(outcome == .unknown || outcome == .notAsked)
    }
    let drain = try dispatcher.laris(["worker", "drain", "worker-1", "--no-wait", "--timeout", "0.5"])
    #expect([NodeExit.unknown, NodeExit.unreachable, NodeExit.notExecuted].contains(drain.exit), "\(drain)")
    try stranger.execute("ROLLBACK")
    // What was unknown was not made: a read tells, once the store is in reach.
    var outcome = ConfigurationAnswer.Outcome.notAsked
    try [worker].live(until: "the store is asked again") {
      outcome = try worker.ask(0, .read)
      return outcome != .notAsked && outcome != .unknown
    }
    #expect(outcome == .read(placed))
    #expect(try worker.ask(0, .change(again, why: "3", committed: .zero)) == .accepted(again))
    #expect(try worker.ask(0, .change(again, why: "3", committed: .zero)) == .refused(again))
  }

  /// Of `laris`.
  private enum NodeExit {
    static let unknown: Int32 = 3
    static let unreachable: Int32 = 69
    static let notExecuted: Int32 = 75
  }

  @Test func `the lag of who follows or joins is what it is behind the primary, and never less than none`()
    throws
  {
    let dispatcher = try LoneDispatcher(replicas: 3, workers: 3, partitions: 1)
    let workers = try (1...3).map { try FakeWorker("worker-\($0)", of: dispatcher) }
    try workers.live(until: "the partition is placed") { workers.allSatisfy { $0.row(0) != nil } }
    let placed = try #require(try workers[0].group(0))
    /// What it knows to be committed is behind, in every one of them.
    func say(_ node: String, _ role: String, last: UInt64) throws {
      let worker = try #require(workers.first { $0.node == node })
      worker.partitions = [
        .with {
          ($0.partition, $0.epoch, $0.role, $0.active) = (0, placed.epoch.rawValue, role, role == "primary")
          ($0.last, $0.committed) = (last, last - 7)
        }
      ]
    }
    try say(try #require(placed.primary), "primary", last: 1_000)
    try say(placed.secondaries[0], "secondary", last: 970)
    // It spoke after the primary did.
    try say(placed.secondaries[1], "secondary", last: 1_020)
    try workers.live(until: "all are in sync") { try dispatcher.status().partitions[0].inSync == 3 }
    let said = "\(placed.secondaries[0]) -30, \(placed.secondaries[1]) -0"
    for command in [["partition", "list"], ["status"]] {
      let run = try dispatcher.laris(command)
      #expect(run.output.contains(said), "\(command): \(run.output)")
    }
    let secondary = placed.secondaries[1]
    let alone = next(placed) { $0.secondaries = [placed.secondaries[0]] }
    let primary = try #require(workers.first { $0.node == placed.primary })
    #expect(try primary.ask(0, .change(alone, why: "silent", committed: .zero)) == .accepted(alone))
    try say(secondary, "learner", last: 400)
    primary.partitions[0].joinedPercent = 40
    for worker in workers { worker.partitions[0].epoch = alone.epoch.rawValue }
    try workers.live(until: "it is to join again") {
      let row = try dispatcher.status().partitions[0]
      return row.joinedPercent == 40 && row.members.contains { $0.role == "learner" && $0.last == 400 }
    }
    let list = try dispatcher.laris(["partition", "list"])
    #expect(list.output.contains("\(secondary) joins (40 %) -600"), "\(list.output)")
  }

  @Test func `a status that is watched is printed again after a change, and ends with Ctrl-C`() throws {
    let dispatcher = try LoneDispatcher(replicas: 1, workers: 1, partitions: 1)
    let worker = try FakeWorker("worker-1", of: dispatcher)
    try [worker].live(until: "the partition is placed") { worker.row(0) != nil }
    let log = dispatcher.folder.path + "/watch.log"
    // As from a terminal: a test's thread has signals blocked, and a child inherits that.
    signal(SIGINT, SIG_DFL)
    var (interrupt, blocked) = (sigset_t(), sigset_t())
    sigemptyset(&interrupt)
    sigaddset(&interrupt, SIGINT)
    pthread_sigmask(SIG_UNBLOCK, &interrupt, &blocked)
    defer { pthread_sigmask(SIG_SETMASK, &blocked, nil) }
    let watch = try Programs.start(
      "laris", ["status", "--watch", "--dispatcher", dispatcher.services], appendingTo: log)
    defer { if watch.isRunning { Foundation.kill(watch.processIdentifier, SIGKILL) } }
    func screens() throws -> [Substring] {
      try String(contentsOfFile: log, encoding: .utf8).split(separator: /(?m)^(?=cluster )/)
    }
    try [worker].live(until: "it is printed") { try screens().contains { $0.contains("worker-1") } }
    #expect(try !screens().contains { $0.contains("the disk is odd") })
    worker.partitions = [
      .with {
        ($0.partition, $0.epoch, $0.role, $0.active) = (0, 1, "primary", true)
        $0.note = "the disk is odd"
      }
    ]
    try [worker].live(until: "it is printed again") {
      let screens = try screens()
      return screens.count > 1 && screens.last!.contains("the disk is odd")
    }
    #expect(watch.isRunning)
    watch.interrupt()
    try [worker].live(until: "it ends") { !watch.isRunning }
    #expect(watch.terminationReason == .uncaughtSignal && watch.terminationStatus == SIGINT)
  }

  @Test func `what an operator wants is asked of the primary, outlives the dispatcher, and is reported`()
    throws
  {
    let dispatcher = try LoneDispatcher(replicas: 2, workers: 2, partitions: 1)
    let two = try (1...2).map { try FakeWorker("worker-\($0)", of: dispatcher) }
    try two.live(until: "the partition is placed") { two.allSatisfy { $0.row(0) != nil } }
    let workers = two + [try FakeWorker("worker-3", of: dispatcher)]
    func worker(_ name: String?) throws -> FakeWorker {
      try #require(workers.first { $0.node == name })
    }
    let placed = try #require(try two[0].group(0))
    let (primary, secondary) = (try worker(placed.primary), try worker(placed.secondaries.first))

    // A switchover is a wish to the primary, in the same epoch.
    func laris(_ arguments: [String], _ exit: Int32 = 0, _ says: String = "") throws {
      let run = try dispatcher.laris(arguments)
      #expect(
        run.exit == exit && (says.isEmpty || (run.output + run.errors).contains(says)), "\(arguments): \(run)"
      )
    }
    try workers.live(until: "worker-3 is there") { try dispatcher.status().workers.count == 3 }
    try laris(["partition", "switchover", "0", "--to", "worker-3"], 1, "'worker-3' is no secondary")
    try laris(["partition", "switchover", "7", "--to", "worker-1"], 1, "There is no partition 7")
    try laris(["partition", "switchover", "0", "--to", secondary.node, "--no-wait"], 0, "asked for")
    try workers.live(until: "the primary is asked") {
      try primary.group(0)?.proposal == .switchover(secondary.node)
    }
    #expect(try primary.group(0)?.epoch == placed.epoch)
    let switched = next(placed) {
      $0.primary = secondary.node
      $0.secondaries = [primary.node]
    }
    #expect(
      try primary.ask(0, .change(switched, why: "switchover", committed: .zero)) == .accepted(switched))

    // A move: join, then remove, and each step is in the group's record.
    let move = ["partition", "move", "0", "--from", primary.node, "--to", "worker-3"]
    try laris(move + ["--undo", "--no-wait"], 0)
    try laris(["partition", "move", "0", "--from", "worker-9", "--to", "worker-3"], 1, "has no replica")
    try laris(
      ["partition", "move", "0", "--from", primary.node, "--to", secondary.node], 1, "has a replica")
    try laris(["partition", "move", "0", "--from", primary.node, "--to", "worker-9"], 1, "no worker")
    try laris(move + ["--no-wait"], 0, "asked for")
    // Whatever stops meanwhile.
    dispatcher.kill()
    try dispatcher.start()
    let learner = try worker("worker-3")
    try workers.live(until: "the learner is asked to join") {
      try learner.group(0)?.proposal == .join("worker-3")
    }
    #expect(learner.row(0)?.mayCreate == true)
    // As soon as the new process has heard of them.
    try workers.live(until: "the learner is told of the others") {
      Set(learner.assignment.peers.map(\.node)) == ["worker-1", "worker-2"]
    }
    var beacon = Laris_PartitionBeacon()
    (beacon.partition, beacon.epoch, beacon.role, beacon.joinedPercent) = (0, 2, "primary", 50)
    secondary.partitions = [beacon]
    try workers.live(until: "the status says how far it is") {
      try dispatcher.status().partitions[0].move.percent == 40
    }
    let status = try dispatcher.status().partitions[0]
    #expect(status.members.map(\.role) == ["primary", "secondary", "learner"])
    #expect(status.asked == "join worker-3" && status.joinedPercent == 50 && !status.active)
    let joined = next(switched) { $0.secondaries.append("worker-3") }
    #expect(try secondary.ask(0, .change(joined, why: "caught up", committed: .zero)) == .accepted(joined))
    try workers.live(until: "the source is to leave") {
      try secondary.group(0)?.proposal == .remove(primary.node)
    }
    let moved = next(joined) { $0.secondaries = ["worker-3"] }
    #expect(try secondary.ask(0, .change(moved, why: "moved", committed: .zero)) == .accepted(moved))
    try workers.live(until: "the move is over") { try !dispatcher.status().partitions[0].hasMove }
    try laris(move, 0, "done")

    // A drain.
    try laris(["worker", "drain", "worker-9"], 1, "There is no worker 'worker-9'")
    try laris(["worker", "drain", "worker-3", "--no-wait"], 0, "asked for")
    try workers.live(until: "the other one is to take its place") {
      try secondary.group(0)?.proposal == .join(primary.node)
    }
    try laris(["worker", "list"], 0, "draining")
    try laris(["worker", "drain", "worker-3", "--undo"], 0, "takes replicas again")
    try workers.live(until: "nothing is to be done") { try secondary.group(0)?.proposal == nil }
    try laris(["partition", "list"], 0, "worker-3")
    let list = try dispatcher.laris(["worker", "list"])
    #expect(!list.output.contains("draining"), "\(list.output)")
  }
}
