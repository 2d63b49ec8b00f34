import Cluster
import TestSupport
import Testing

/// The controller over groups that carry out what they are asked for, sooner or later, while workers leave
/// and come.
struct ControllerRunTests {
  private struct World {
    let replicas: Int
    var random: SplitMix64
    var controller: Controller
    var groups: [GroupRecord]
    /// By name.
    var workers: [String: Controller.Worker]
    var alive: Set<String>
    var moves: [Move] = []
    var now: Int64 = 0
    var counts: [String: Int] = [:]

    init(seed: UInt64) {
      random = SplitMix64(seed: seed)
      replicas = random.pick(1...4)
      let count = random.pick(1...7)
      let zones = random.pick(0...3)
      workers = [:]
      for number in 0..<count {
        let zone = zones == 0 ? nil : "z\(random.pick(1...zones))"
        workers["w\(number)"] = Controller.Worker(
          node: "w\(number)", incarnation: Incarnation(1), zone: zone)
      }
      alive = Set(workers.keys)
      groups = (0..<random.pick(1...12)).map { .unplaced(PartitionID(UInt16($0))) }
      controller = Controller(.init(replicas: replicas, initialWorkers: random.pick(1...count)))
    }

    /// Who is alive and a member follows, unless its process is not the one that the group knows.
    var living: [Controller.Worker] {
      workers.values.filter { alive.contains($0.node) }.map { worker in
        var worker = worker
        for group in groups where group.members.contains(worker.node) {
          if group.primary != worker.node || group.incarnation == worker.incarnation {
            worker.inSync.insert(group.partition)
          }
        }
        return worker
      }
    }

    /// By how many primaries the workers differ that could take them from each other.
    var imbalance: Int {
      let leads = Dictionary(groups.compactMap(\.primary).map { ($0, 1) }, uniquingKeysWith: +)
      return groups.flatMap { group in
        group.secondaries.map { leads[group.primary!, default: 0] - leads[$0, default: 0] }
      }.max() ?? 0
    }

    /// Takes the controller's steps, as a configuration manager would. What must be true of them is checked.
    @discardableResult
    mutating func control(_ seed: UInt64) -> Int {
      let steps = controller.steps(groups: groups, alive: living, moves: moves, now: now)
      #expect(Set(steps.map(\.partition)).count >= steps.count - groups.count)
      var joining = Set(
        groups.compactMap { group -> String? in
          guard case .join(let node) = group.proposal else { return nil }
          return steps.contains { $0.partition == group.partition } ? nil : node
        })
      for step in steps {
        let number = Int(step.partition.rawValue)
        switch step {
        case .place(let record, _):
          #expect(record.problem == nil, "seed \(seed): \(record)")
          #expect(record.epoch == groups[number].epoch.next)
          #expect(alive.contains(record.primary!), "seed \(seed): \(step)")
          #expect(alive.isSuperset(of: record.members), "seed \(seed): \(step)")
          groups[number] = record
          count("placed")
        case .ask(_, let proposal, let epoch, let why):
          if why.hasPrefix("rebalanced") { checkBalancing(step, groups[number], seed) }
          guard groups[number].epoch == epoch else { continue }
          switch proposal {
          case .join(let node):
            #expect(alive.contains(node) && !groups[number].members.contains(node), "seed \(seed): \(step)")
            #expect(!workers[node]!.isDraining, "seed \(seed): \(step)")
            #expect(joining.insert(node).inserted, "seed \(seed): \(node) catches up twice")
            count("join")
          case .switchover(let node):
            #expect(
              alive.contains(node) && groups[number].secondaries.contains(node), "seed \(seed): \(step)")
            count("switchover")
          case .remove(let node):
            let rest = groups[number].members.filter { $0 != node && alive.contains($0) }
            #expect(groups[number].secondaries.contains(node), "seed \(seed): \(step)")
            #expect(rest.count >= controller.terms.minReplicas, "seed \(seed): \(step)")
            count("remove")
          case nil: count("withdrawn")
          }
          groups[number].proposal = proposal
        }
      }
      return steps.count
    }

    /// Gently: no other switchover is under way, nobody joins, nothing is wrong with the group, and it evens something out.
    private mutating func checkBalancing(_ step: Controller.Step, _ group: GroupRecord, _ seed: UInt64) {
      count("rebalanced")
      guard case .ask(_, .switchover(let target)?, _, _) = step else {
        Issue.record("seed \(seed): \(step)")
        return
      }
      let leads = Dictionary(groups.compactMap(\.primary).map { ($0, 1) }, uniquingKeysWith: +)
      #expect(leads[group.primary!]! - leads[target, default: 0] > 1, "seed \(seed): \(step) \(leads)")
      #expect(alive.isSuperset(of: group.members), "seed \(seed): \(group)")
      #expect(!workers[target]!.isDraining && group.proposal == nil, "seed \(seed): \(group)")
      let others = groups.filter { other in
        guard let primary = other.primary, alive.contains(primary) else { return false }
        switch other.proposal {
        case .switchover, .join: return other.partition != group.partition
        case .remove, nil: return false
        }
      }
      #expect(others.isEmpty, "seed \(seed): \(others)")
    }

    mutating func count(_ what: String) { counts[what, default: 0] += 1 }

    /// A group does what its rules let it: drops the silent, takes over, or carries out what it is asked for.
    mutating func act(_ number: Int) {
      let group = groups[number]
      guard let primary = group.primary else { return }
      var next = group
      next.epoch = group.epoch.next
      if !alive.contains(primary) {
        guard let heir = group.secondaries.first(where: { alive.contains($0) }) else { return }
        next.primary = heir
        next.incarnation = workers[heir]!.incarnation
        next.secondaries = group.secondaries.filter { $0 != heir }
      } else if workers[primary]!.incarnation != group.incarnation {
        next.incarnation = workers[primary]!.incarnation
        count("restarted")
      } else if let silent = group.secondaries.first(where: { !alive.contains($0) }) {
        next.secondaries = group.secondaries.filter { $0 != silent }
      } else {
        switch group.proposal {
        case .join(let node) where alive.contains(node) && !group.members.contains(node):
          next.secondaries.append(node)
          workers[node]!.holds.insert(group.partition)
        case .switchover(let node) where group.secondaries.contains(node):
          next.primary = node
          next.incarnation = workers[node]!.incarnation
          next.secondaries = group.secondaries.filter { $0 != node } + [primary]
        case .remove(let node) where group.secondaries.contains(node):
          next.secondaries = group.secondaries.filter { $0 != node }
        default: return
        }
        next.proposal = nil
      }
      #expect(next.problem == nil)
      groups[number] = next
    }

    mutating func disturb() {
      let name = random.pick(workers.keys.sorted())
      switch random.pick(0...9) {
      case 0...2:
        alive.remove(name)
        count("left")
      case 3...5:
        if alive.insert(name).inserted {
          workers[name]!.incarnation = Incarnation(workers[name]!.incarnation.rawValue + 1)
        }
      case 6: workers[name]!.isDraining.toggle()
      case 7:
        let group = random.pick(groups)
        guard let source = group.members.first else { return }
        moves.append(Move(partition: group.partition, source: source, target: name))
      default: moves.removeAll()
      }
    }
  }

  @Test func `whoever leaves and comes, no group is emptied, no dead node named, and all converges`() {
    var counts: [String: Int] = [:]
    let first = UInt64.random(in: 0 ... .max)
    for seed in (0..<400).map({ first &+ $0 }) {
      var world = World(seed: seed)
      for _ in 0..<300 {
        world.now += Int64(world.random.pick(0...5_000))
        if world.random.chance(20) { world.disturb() }
        if world.random.chance(70) { world.control(seed) }
        world.act(world.random.pick(0...world.groups.count - 1))
        let isSound = world.groups.allSatisfy { $0.problem == nil }
        #expect(isSound, "seed \(seed)")
      }
      // All come back, nobody is drained.
      world.alive = Set(world.workers.keys)
      world.moves = []
      for name in world.workers.keys { world.workers[name]!.isDraining = false }
      var quiet = 0
      for _ in 0..<5_000 where quiet < 3 {
        world.now += 10_000
        let before = world.groups
        let steps = world.control(seed)
        for number in world.groups.indices { world.act(number) }
        quiet = steps == 0 && world.groups == before && world.now > 40_000 ? quiet + 1 : 0
        if quiet > 0 { world.now += 30_000 }
      }
      #expect(quiet == 3, "seed \(seed) does not come to rest: \(world.groups)")
      let wanted = min(world.replicas, world.workers.count)
      for group in world.groups {
        #expect(group.members.count == wanted, "seed \(seed): \(group), \(wanted) wanted")
        #expect(group.proposal == nil, "seed \(seed): \(group)")
        #expect(Set(group.members).isSubset(of: world.alive))
      }
      #expect(world.imbalance <= 1, "seed \(seed): \(world.groups)")
      counts.merge(world.counts) { $0 + $1 }
    }
    for what in ["placed", "restarted", "join", "switchover", "remove", "withdrawn", "left", "rebalanced"] {
      #expect(counts[what, default: 0] > 100, "\(what): \(counts), from seed \(first)")
    }
  }

  @Test func `a drained worker ends with nothing, where others can take it`() {
    let first = UInt64.random(in: 0 ... .max)
    for seed in (0..<200).map({ first &+ $0 }) {
      var world = World(seed: seed)
      world.now = 1
      for _ in 0..<3 { world.control(seed) }
      let drained = world.random.pick(world.workers.keys.sorted())
      world.workers[drained]!.isDraining = true
      let others = world.workers.count - 1
      for _ in 0..<2_000 {
        world.now += 1_000
        world.control(seed)
        world.act(world.random.pick(0...world.groups.count - 1))
      }
      guard world.groups.allSatisfy({ $0.primary != nil }) else { continue }
      let left = world.groups.filter { $0.members.contains(drained) }
      if others >= max(1, world.controller.terms.minReplicas) {
        #expect(left.isEmpty, "seed \(seed): \(left)")
        let wanted = min(world.replicas, others)
        #expect(world.groups.allSatisfy { $0.members.count == wanted }, "seed \(seed)")
      } else {
        #expect(!left.isEmpty, "seed \(seed): the last copy was given up")
      }
    }
  }
}
