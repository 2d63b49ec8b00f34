import Cluster
import Testing

struct ControllerTests {
  private static func group(
    _ partition: UInt16, epoch: UInt64 = 0, on primary: String? = nil, _ incarnation: UInt64 = 0,
    with secondaries: [String] = [], isOpened: Bool = false, asked proposal: GroupProposal? = nil
  ) -> GroupRecord {
    GroupRecord(
      partition: PartitionID(partition), epoch: Epoch(epoch), primary: primary,
      incarnation: Incarnation(incarnation), secondaries: secondaries, isOpened: isOpened, proposal: proposal)
  }

  private static func worker(
    _ node: String, _ incarnation: UInt64 = 1, zone: String? = nil, isDraining: Bool = false,
    holds: Set<UInt16> = [], halted: Set<UInt16> = []
  ) -> Controller.Worker {
    Controller.Worker(
      node: node, incarnation: Incarnation(incarnation), zone: zone, isDraining: isDraining,
      holds: Set(holds.map { PartitionID($0) }), halted: Set(halted.map { PartitionID($0) }))
  }

  private static func steps(
    _ groups: [GroupRecord], _ alive: [Controller.Worker], replicas: Int = 1, initialWorkers: Int = 1,
    moves: [Move] = [], after milliseconds: Int64 = 0
  ) -> [Controller.Step] {
    var controller = Controller(.init(replicas: replicas, initialWorkers: initialWorkers))
    if milliseconds > 0 { _ = controller.steps(groups: groups, alive: alive, moves: moves, now: 0) }
    return controller.steps(groups: groups, alive: alive, moves: moves, now: milliseconds)
  }

  private static func records(_ steps: [Controller.Step]) -> [GroupRecord] {
    steps.compactMap { step in
      switch step {
      case .place(let record, _): record
      case .ask: nil
      }
    }
  }

  private static func asked(_ steps: [Controller.Step]) -> [GroupProposal?] {
    steps.compactMap { step in
      if case .ask(_, let proposal, _, _) = step { return .some(proposal) }
      return nil
    }
  }

  private static let six = (0..<6).map { group(UInt16($0)) }

  // MARK: Placement

  @Test(arguments: 0...2)
  func `the first placement waits until all initial workers are there`(_ alive: Int) {
    let workers = (0..<alive).map { Self.worker("w\($0)") }
    #expect(Self.steps(Self.six, workers, initialWorkers: 3).isEmpty)
  }

  @Test func `without workers nothing is placed, even if none is waited for`() {
    #expect(Self.steps(Self.six, [], initialWorkers: 0).isEmpty)
  }

  @Test(arguments: [(1, 6), (2, 6), (3, 6), (4, 6), (5, 64), (7, 64), (64, 64), (3, 1)], 1...3)
  func `replicas and primaries are spread evenly over the workers`(_ shape: (Int, Int), _ replicas: Int)
    throws
  {
    let (count, partitions) = shape
    let groups = (0..<partitions).map { Self.group(UInt16($0)) }
    let workers = (0..<count).map { Self.worker("w\($0)", UInt64(100 + $0)) }
    let steps = Self.steps(groups, workers, replicas: replicas, initialWorkers: count)
    let records = Self.records(steps)
    #expect(steps.count == partitions && records.map(\.partition) == groups.map(\.partition))
    var (load, primaries): ([String: Int], [String: Int]) = ([:], [:])
    for record in records {
      #expect(record.problem == nil && record.epoch == Epoch(1))
      #expect(record.members.count == min(replicas, count))
      for member in record.members { load[member, default: 0] += 1 }
      primaries[try #require(record.primary), default: 0] += 1
      #expect(record.incarnation == workers.first { $0.node == record.primary }?.incarnation)
    }
    let loads = workers.map { load[$0.node, default: 0] }
    #expect(loads.max()! - loads.min()! <= 1, "\(loads)")
    let leads = workers.map { primaries[$0.node, default: 0] }
    #expect(leads.max()! - leads.min()! <= 2, "\(leads)")
  }

  @Test func `replicas stand in different zones, as far as there are zones`() throws {
    let groups = (0..<12).map { Self.group(UInt16($0)) }
    let zones = ["x": "a", "y": "a", "z": "a", "u": "b", "v": "b", "w": "c"]
    let workers = zones.map { Self.worker($0.key, zone: $0.value) }
    for record in Self.records(Self.steps(groups, workers, replicas: 3)) {
      #expect(Set(record.members.map { zones[$0]! }) == ["a", "b", "c"], "\(record)")
    }
    for record in Self.records(Self.steps(groups, workers, replicas: 4)) {
      #expect(Set(record.members.map { zones[$0]! }).count == 3 && record.members.count == 4)
    }
  }

  @Test func `the order in which workers are named does not matter`() {
    let workers = ["a", "b", "c"].map { Self.worker($0) }
    #expect(
      Self.steps(Self.six, workers, replicas: 2) == Self.steps(Self.six, workers.reversed(), replicas: 2))
  }

  @Test func `that a worker started again is its groups' own business`() {
    let groups = [
      Self.group(0, epoch: 4, on: "a", 1, isOpened: true), Self.group(1, epoch: 9, on: "b", 1),
      Self.group(2, epoch: 2, on: "a", 1, with: ["b"]),
    ]
    for replicas in 1...2 {
      let steps = Self.steps(
        groups, [Self.worker("a", 2), Self.worker("b", 1)], replicas: replicas, after: 60_000)
      #expect(Self.records(steps).isEmpty, "\(steps)")
    }
  }

  @Test func `a partition whose worker is away stays with it`() {
    let groups = [Self.group(0, epoch: 1, on: "a", 1, isOpened: true), Self.group(1, epoch: 1, on: "b", 1)]
    #expect(Self.steps(groups, [Self.worker("b")], after: 60_000).isEmpty)
  }

  @Test func `a worker that joins later gets nothing that is placed`() {
    let groups = (0..<6).map { Self.group(UInt16($0), epoch: 1, on: $0 < 3 ? "a" : "b", 1) }
    #expect(Self.steps(groups, ["a", "b", "c"].map { Self.worker($0) }, after: 60_000).isEmpty)
  }

  @Test func `what was left unplaced goes to who has least, without waiting again`() {
    var groups = (0..<6).map { Self.group(UInt16($0), epoch: 1, on: $0 < 3 ? "a" : "b", 1) }
    groups += [Self.group(6), Self.group(7)]
    let steps = Self.steps(groups, [Self.worker("b"), Self.worker("c")], initialWorkers: 9)
    #expect(Self.records(steps).map(\.primary) == ["c", "c"])
  }

  @Test func `who is being drained gets no placement`() {
    let steps = Self.steps(Self.six, [Self.worker("a", isDraining: true), Self.worker("b")], replicas: 2)
    #expect(Self.records(steps).count == 6)
    #expect(Self.records(steps).allSatisfy { $0.members == ["b"] })
  }

  // MARK: Healing

  @Test func `a group below its replica count gets a new member after a delay, an old one at once`() {
    let groups = [Self.group(0, epoch: 3, on: "a", 1)]
    let fresh = [Self.worker("a"), Self.worker("b")]
    for (after, expected) in [(0, []), (29_999, []), (30_000, [GroupProposal.join("b")])] {
      #expect(Self.asked(Self.steps(groups, fresh, replicas: 2, after: Int64(after))) == expected, "\(after)")
    }
    let back = fresh + [Self.worker("c", holds: [0])]
    #expect(Self.asked(Self.steps(groups, back, replicas: 2)) == [.join("c")])
  }

  @Test func `a worker that has stopped in a group is not asked to join it, before it is started again`() {
    let groups = [Self.group(0, epoch: 3, on: "a", 1)]
    let workers = [Self.worker("a"), Self.worker("b", holds: [0], halted: [0]), Self.worker("c")]
    #expect(Self.steps(groups, workers, replicas: 2).isEmpty)
    #expect(Self.asked(Self.steps(groups, workers, replicas: 2, after: 30_000)) == [.join("c")])
    #expect(Self.steps(groups, Array(workers[...1]), replicas: 2, after: 30_000).isEmpty)
    // What stands is taken back.
    let asked = [Self.group(0, epoch: 3, on: "a", 1, asked: .join("b"))]
    #expect(Self.asked(Self.steps(asked, workers, replicas: 2)) == [nil])
  }

  @Test func `the delay begins anew when the group was whole meanwhile`() {
    var controller = Controller(.init(replicas: 2, initialWorkers: 1))
    let alive = [Self.worker("a"), Self.worker("b"), Self.worker("c")]
    let weak = [Self.group(0, epoch: 3, on: "a", 1)]
    let whole = [Self.group(0, epoch: 4, on: "a", 1, with: ["b"])]
    #expect(controller.steps(groups: weak, alive: alive, now: 0).isEmpty)
    #expect(controller.steps(groups: whole, alive: alive, now: 20_000).isEmpty)
    #expect(controller.steps(groups: weak, alive: alive, now: 40_000).isEmpty)
    #expect(controller.steps(groups: weak, alive: alive, now: 69_999).isEmpty)
    #expect(controller.steps(groups: weak, alive: alive, now: 70_000).count == 1)
  }

  @Test func `a worker catches up in one group at a time`() {
    let groups = (0..<6).map { Self.group(UInt16($0), epoch: 1, on: "a", 1) }
    let steps = Self.steps(
      groups, [Self.worker("a"), Self.worker("b"), Self.worker("c")], replicas: 2, after: 30_000)
    #expect(Self.asked(steps) == [.join("b"), .join("c")])
    var busy = groups
    busy[5].proposal = .join("b")
    let more = Self.steps(busy, [Self.worker("a"), Self.worker("b")], replicas: 2, after: 30_000)
    #expect(more.isEmpty)
  }

  @Test func `a join of one that went away is asked of another, or of nobody`() {
    let groups = [Self.group(0, epoch: 1, on: "a", 1, asked: .join("b"))]
    let c = [Self.worker("a"), Self.worker("c")]
    #expect(Self.asked(Self.steps(groups, c, replicas: 2, after: 30_000)) == [.join("c")])
    #expect(Self.asked(Self.steps(groups, [Self.worker("a")], replicas: 2)) == [nil])
    #expect(Self.asked(Self.steps(groups, [Self.worker("c")], replicas: 2)) == [nil], "nobody to do it")
    #expect(Self.steps(groups, [Self.worker("a"), Self.worker("b")], replicas: 2).isEmpty)
  }

  @Test func `what has come about is not asked for any more`() {
    let alive = [Self.worker("a"), Self.worker("b")]
    for stands: GroupProposal in [.join("b"), .switchover("a"), .remove("c")] {
      let groups = [Self.group(0, epoch: 2, on: "a", 1, with: ["b"], asked: stands)]
      #expect(Self.asked(Self.steps(groups, alive, replicas: 2)) == [nil], "\(stands)")
    }
  }

  @Test func `a group with too many replicas gives one up, first who is away`() {
    let group = [Self.group(0, epoch: 2, on: "a", 1, with: ["b", "c"])]
    let all = ["a", "b", "c"].map { Self.worker($0) }
    #expect(Self.asked(Self.steps(group, all, replicas: 2)) == [.remove("c")])
    #expect(Self.asked(Self.steps(group, [all[0], all[2]], replicas: 2)) == [.remove("b")])
    #expect(Self.steps(group, [all[0]], replicas: 2).isEmpty, "not while that leaves too few alive")
  }

  // MARK: Draining and moves

  @Test func `a drained worker is replaced, switched from, and removed`() {
    let alive = [Self.worker("a", isDraining: true), Self.worker("b"), Self.worker("c")]
    var group = Self.group(0, epoch: 1, on: "a", 1, with: ["b"])
    #expect(Self.asked(Self.steps([group], alive, replicas: 2)) == [.join("c")])
    group.secondaries = ["b", "c"]
    #expect(Self.asked(Self.steps([group], alive, replicas: 2)) == [.switchover("b")])
    (group.primary, group.secondaries) = ("b", ["c", "a"])
    #expect(Self.asked(Self.steps([group], alive, replicas: 2)) == [.remove("a")])
    group.secondaries = ["c"]
    #expect(Self.steps([group], alive, replicas: 2).isEmpty)
  }

  @Test func `a drain leaves as many replicas as there can be, and never too few`() {
    var group = Self.group(0, epoch: 1, on: "a", 1, with: ["b", "c"])
    let three = [Self.worker("a", isDraining: true), Self.worker("b"), Self.worker("c")]
    #expect(Self.asked(Self.steps([group], three, replicas: 3)) == [.switchover("b")])
    group = Self.group(0, epoch: 2, on: "b", 1, with: ["c", "a"])
    #expect(Self.asked(Self.steps([group], three, replicas: 3)) == [.remove("a")])
    // A second one would leave one replica of three.
    group = Self.group(0, epoch: 3, on: "b", 1, with: ["c"])
    let two = [Self.worker("b"), Self.worker("c", isDraining: true)]
    #expect(Self.steps([group], two, replicas: 3).isEmpty)
    // The only copy stays where it is.
    let last = Self.group(0, epoch: 3, on: "a", 1)
    #expect(Self.steps([last], [Self.worker("a", isDraining: true)], replicas: 1, after: 60_000).isEmpty)
  }

  @Test func `a move joins, switches over and removes, with progress, and can go back`() {
    let alive = ["a", "b", "c"].map { Self.worker($0) }
    let move = Move(partition: PartitionID(0), source: "a", target: "c")
    var group = Self.group(0, epoch: 1, on: "a", 1, with: ["b"])
    func asked(_ move: Move) -> [GroupProposal?] {
      Self.asked(Self.steps([group], alive, replicas: 2, moves: [move]))
    }
    #expect(asked(move) == [.join("c")])
    #expect(move.perCent(in: group) == 0 && move.perCent(in: group, joined: 50) == 40)
    group.secondaries = ["b", "c"]
    #expect(asked(move) == [.switchover("c")])
    #expect(move.perCent(in: group) == 80)
    (group.primary, group.secondaries) = ("c", ["b", "a"])
    #expect(asked(move) == [.remove("a")])
    #expect(move.perCent(in: group) == 90)
    #expect(asked(move.undone) == [.switchover("a")])
    group.secondaries = ["b"]
    #expect(asked(move) == [] && move.isDone(in: group) && move.perCent(in: group) == 100)
    // Of a secondary: no switchover.
    group = Self.group(0, epoch: 9, on: "b", 1, with: ["a", "c"])
    #expect(asked(move) == [.remove("a")])
    #expect(
      Self.asked(Self.steps([group], [alive[1]], replicas: 2, moves: [move])) == [], "only one is alive")
  }

  // MARK: Balance and room

  /// Three workers, replicas on all of them, all led by the first, which is as `w0` says.
  private static func piledUp(
    _ count: Int = 6, _ change: (inout [Controller.Worker]) -> Void = { _ in }
  ) -> (groups: [GroupRecord], workers: [Controller.Worker]) {
    let groups = (0..<count).map {
      group(UInt16($0), epoch: 4, on: "w0", 1, with: ["w1", "w2"], isOpened: true)
    }
    var workers = (0..<3).map { worker("w\($0)") }
    for place in workers.indices { workers[place].inSync = Set(groups.map(\.partition)) }
    change(&workers)
    return (groups, workers)
  }

  @Test func `primaries that have piled up are spread, one at a time, until the workers differ by one`()
    throws
  {
    var (groups, workers) = Self.piledUp()
    var controller = Controller(.init(replicas: 3, initialWorkers: 3))
    var switched = 0
    for second in 0..<120 {
      let now = Int64(second) * 1_000
      let steps = controller.steps(groups: groups, alive: workers, now: now)
      if second < 30 { #expect(steps.isEmpty, "after \(second) s") }
      #expect(steps.count <= 1)
      guard case .ask(let partition, .switchover(let target)?, _, let why) = steps.first else { continue }
      #expect(why.hasPrefix("rebalanced: w0 leads"), "\(why)")
      switched += 1
      let number = Int(partition.rawValue)
      // It is asked for one while it takes.
      groups[number].proposal = .switchover(target)
      #expect(controller.steps(groups: groups, alive: workers, now: now + 500).isEmpty)
      groups[number].proposal = nil
      groups[number].primary = target
      groups[number].secondaries = ["w0", "w1", "w2"].filter { $0 != target }
      groups[number].epoch = groups[number].epoch.next
    }
    let leads = Dictionary(groups.map { ($0.primary!, 1) }, uniquingKeysWith: +)
    #expect(leads == ["w0": 2, "w1": 2, "w2": 2] && switched == 4)
  }

  @Test func `a difference of one is left as it is`() {
    let (groups, workers) = Self.piledUp(1)
    #expect(Self.steps(groups, workers, replicas: 3, after: 60_000).isEmpty)
  }

  @Test(arguments: [
    "a member does not follow", "a worker is away", "a worker is drained", "the disk is full",
    "it is switched off",
    "it moves", "a replica is missing", "another one gets a replica",
  ])
  func `what is not at peace is not rebalanced`(_ what: String) {
    var (groups, workers) = Self.piledUp(3) { workers in
      switch what {
      case "a member does not follow": workers[2].inSync = []
      case "a worker is away": workers.remove(at: 2)
      case "a worker is drained": workers[1].isDraining = true
      case "the disk is full":
        for place in 1...2 { workers[place].full = workers[place].inSync }
      default: break
      }
    }
    if what == "a replica is missing" {
      for place in groups.indices { groups[place].secondaries.removeLast() }
    }
    if what == "another one gets a replica" {
      groups.append(Self.group(3, epoch: 4, on: "w1", 1, with: ["w0"], isOpened: true))
      groups[3].proposal = .join("w2")
    }
    let moves =
      what == "it moves" ? groups.map { Move(partition: $0.partition, source: "w2", target: "w9") } : []
    var controller = Controller(
      .init(replicas: 3, initialWorkers: 3, restMilliseconds: what == "it is switched off" ? nil : 30_000))
    for second in 0..<90 {
      for step in controller.steps(groups: groups, alive: workers, moves: moves, now: Int64(second) * 1_000) {
        guard case .ask(_, let proposal, _, let why) = step else { continue }
        #expect(!why.hasPrefix("rebalanced"), "\(what): \(step)")
        #expect(proposal != .switchover("w1") || what != "a worker is drained", "\(step)")
      }
    }
  }

  @Test func `a join that nobody is there to bring about keeps no other group from being rebalanced`() {
    var (groups, workers) = Self.piledUp(3)
    groups.append(Self.group(3, epoch: 4, on: "gone", 1, with: [], isOpened: true))
    groups[3].proposal = .join("w2")
    var controller = Controller(.init(replicas: 3, initialWorkers: 3))
    let steps = (0..<90).flatMap { second in
      controller.steps(groups: groups, alive: workers, now: Int64(second) * 1_000)
    }
    #expect(
      steps.contains { step in
        if case .ask(_, .switchover, _, let why) = step { why.hasPrefix("rebalanced") } else { false }
      })
    // The same, while it is brought about.
    workers.append(Self.worker("gone"))
    var other = Controller(.init(replicas: 3, initialWorkers: 3))
    for second in 0..<90 {
      for step in other.steps(groups: groups, alive: workers, now: Int64(second) * 1_000) {
        if case .ask(_, .switchover, _, _) = step { Issue.record("\(step)") }
      }
    }
  }

  @Test func `a primary whose disk is full hands over to a secondary that has room, and not at once again`() {
    let (groups, workers) = Self.piledUp(1) { workers in
      workers[0].full = workers[0].inSync
      workers[1].full = workers[1].inSync
    }
    #expect(Self.steps(groups, workers, replicas: 3, after: 29_000).isEmpty, "it has only just changed")
    let steps = Self.steps(groups, workers, replicas: 3, after: 30_000)
    #expect(Self.asked(steps) == [.switchover("w2")] && "\(steps)".contains("the disk of w0 is full"))
    let nowhere = workers.map { worker in
      var worker = worker
      worker.full = worker.inSync
      return worker
    }
    #expect(Self.steps(groups, nowhere, replicas: 3, after: 60_000).isEmpty)
    let late = workers.map { worker in
      var worker = worker
      if worker.node == "w2" { worker.inSync = [] }
      return worker
    }
    #expect(Self.steps(groups, late, replicas: 3, after: 60_000).isEmpty, "it does not follow")
  }
}
