import Cluster
import ConfigurationManager
import Foundation
import Synchronization
import TestSupport
import Testing

/// What every configuration manager must do. An implementation joins by being one of ``all``.
struct ConfigurationManagerContract: Sendable, CustomTestStringConvertible {
  /// A store of one cluster.
  struct Place {
    /// Opens it once more, as another process would.
    let open: () throws -> any ConfigurationManager
    /// Lets so many milliseconds pass for leases.
    let pass: (Int64) -> Void
  }

  let name: String
  /// Makes a new, empty one of a cluster.
  let make: @Sendable (ClusterRecord) throws -> Place
  /// Whether handles of one store see each other's leases. The embedded one has a single user.
  let sharesLiveness: Bool

  var testDescription: String { name }

  static let all = [memory, embedded, etcd]

  static let memory = ConfigurationManagerContract(
    name: "memory",
    make: { record in
      let content = MemoryStore.Content(record)
      let clock = ManualClock()
      return Place(open: { MemoryStore(content) { clock.now } }, pass: { clock.pass($0) })
    }, sharesLiveness: true)

  static let embedded = ConfigurationManagerContract(
    name: "embedded store",
    make: { record in
      let folder = try TestFolder()
      let path = folder.path + "/cluster.sqlite"
      try EmbeddedStore.create(path, record, exists: false)
      let clock = ManualClock()
      return Place(
        open: { [folder] in
          try EmbeddedStore(folder.path + "/cluster.sqlite", exists: true) { clock.now }
        }, pass: { clock.pass($0) })
    }, sharesLiveness: false)

  static let etcd = ConfigurationManagerContract(
    name: "etcd",
    make: { record in
      let options = EtcdOptions(
        endpoints: try SharedEtcd.endpoints(), prefix: "/test/\(UUID())/", callMilliseconds: 20_000)
      try EtcdStore.create(options, record)
      return Place(open: { try EtcdStore(options) }, pass: { usleep(UInt32($0) * 1_000) })
    }, sharesLiveness: true)

  static let record = ClusterRecord(
    id: "0190a6c2-0000-7000-8000-000000000001", name: "pasar malam 'é'", currency: "IDR", partitions: 6,
    replicas: 3, minReplicas: 2, initialWorkers: 3, reserveMilliseconds: 86_400_000, feeBasisPoints: 250,
    requestWindowMilliseconds: 86_400_000, createdAt: 1_763_323_200_000, leaseMilliseconds: 500)

  static func group(
    _ partition: UInt16, _ epoch: UInt64, _ primary: String?, _ incarnation: UInt64,
    secondaries: [String] = [], isOpened: Bool = false, proposal: GroupProposal? = nil
  ) -> GroupRecord {
    GroupRecord(
      partition: PartitionID(partition), epoch: Epoch(epoch), primary: primary,
      incarnation: Incarnation(incarnation), secondaries: secondaries, isOpened: isOpened, proposal: proposal)
  }

  static func change(
    _ record: GroupRecord, why: String = "because", by: String = "d-1@1", at: Int64 = 1,
    commit: UInt64 = 0
  ) -> GroupChange {
    GroupChange(record, why: why, by: by, commitPoint: SequenceNumber(commit), at: at)
  }
}

/// One etcd for all tests that do nothing to it; each has a prefix of its own there.
enum SharedEtcd {
  private static let started = Mutex<EtcdServers?>(nil)

  static func endpoints() throws -> [String] {
    try started.withLock { servers in
      if servers == nil {
        servers = try EtcdServers()
        // Statics are never released.
        atexit { SharedEtcd.end() }
      }
      return servers!.endpoints
    }
  }

  private static func end() { started.withLock { $0?.end() } }
}

final class ManualClock: Sendable {
  private let time = Mutex<Int64>(1_000_000)
  var now: Int64 { time.withLock { $0 } }
  func pass(_ milliseconds: Int64) { time.withLock { $0 += milliseconds } }
}

struct ConfigurationManagerTests {
  typealias Contract = ConfigurationManagerContract

  /// A store whose leases nobody waits for.
  private func open(_ contract: Contract, _ record: ClusterRecord = Contract.record) throws
    -> any ConfigurationManager
  {
    try contract.make(record).open()
  }

  @Test(arguments: Contract.all)
  func `a new cluster is what it was made as, with no partition placed`(_ contract: Contract) throws {
    let store = try open(contract)
    #expect(store.cluster == Contract.record)
    #expect(try store.groups() == (0..<6).map { Contract.group($0, 0, nil, 0) })
    #expect(try store.group(PartitionID(5)) == Contract.group(5, 0, nil, 0))
    #expect(try store.history(of: PartitionID(0)).isEmpty)
    #expect(try store.nodes().isEmpty)
    #expect(try store.controller() == nil)
  }

  @Test(arguments: Contract.all)
  func `extreme terms come back as they are`(_ contract: Contract) throws {
    var record = Contract.record
    record.name = ""
    record.currency = "\u{0}'\";--漢字🛵"
    record.partitions = 4_096
    record.replicas = 255
    record.minReplicas = 255
    record.initialWorkers = 65_535
    record.reserveMilliseconds = 3_155_760_000_000
    record.feeBasisPoints = 10_000
    record.requestWindowMilliseconds = 3_155_760_000_000
    record.createdAt = .min
    let store = try open(contract, record)
    #expect(store.cluster == record)
    #expect(try store.groups().map(\.partition.rawValue) == Array(0..<4_096))
  }

  @Test(arguments: Contract.all)
  func `extreme groups and changes come back as they are`(_ contract: Contract) throws {
    let store = try open(contract)
    let names = (0..<254).map { "\($0)-" + String(repeating: "é", count: 30) }
    let record = Contract.group(
      2, 1, "w'2\"\u{0}/", .max, secondaries: names, proposal: .switchover("🛵/\\"))
    let change = GroupChange(
      record, why: String(repeating: "\u{1}", count: 256), by: String(repeating: "\"", count: 256),
      commitPoint: SequenceNumber(UInt64(Int64.max)), at: .min)
    #expect(change.problem == nil)
    #expect(store.change(change, as: nil) == .accepted)
    #expect(try store.group(PartitionID(2)) == record)
    #expect(try store.groups()[2] == record)
    #expect(try store.history(of: PartitionID(2)) == [change])
  }

  @Test(arguments: Contract.all)
  func `a change is accepted from the epoch before it only`(_ contract: Contract) throws {
    let store = try open(contract)
    let empty = Contract.group(1, 0, nil, 0)
    for wrong: UInt64 in [2, 3, 1 << 40] {
      #expect(store.change(Contract.change(Contract.group(1, wrong, "a", 1)), as: nil) == .refused(empty))
    }
    #expect(try store.group(PartitionID(1)) == empty)

    let first = Contract.group(1, 1, "a", 1, secondaries: ["b", "c"])
    #expect(store.change(Contract.change(first, why: "placed"), as: nil) == .accepted)
    let rival = Contract.change(Contract.group(1, 1, "b", 2), why: "lost the race")
    #expect(store.change(rival, as: nil) == .refused(first))
    #expect(try store.groups()[1] == first)

    let second = Contract.group(1, 2, "a", .max, secondaries: ["c"])
    #expect(store.change(Contract.change(second, why: "b is silent"), as: nil) == .accepted)
    #expect(store.change(rival, as: nil) == .refused(second))
    #expect(try store.groups()[1] == second)
  }

  @Test(arguments: Contract.all)
  func `a change that was accepted is accepted again, also after later ones`(_ contract: Contract) throws {
    let store = try open(contract)
    let first = Contract.change(Contract.group(0, 1, "a", 1, secondaries: ["b"]), at: 1, commit: 7)
    let second = Contract.change(Contract.group(0, 2, "b", 2), at: 2)
    for change in [first, first, second, first, second] {
      #expect(store.change(change, as: nil) == .accepted)
    }
    #expect(try store.history(of: PartitionID(0)) == [first, second])
    // Of another process, at another time, for another reason: not the same.
    for other in [
      Contract.change(first.record, by: "d-2@2", at: 1, commit: 7),
      Contract.change(first.record, at: 2, commit: 7),
      Contract.change(first.record, why: "else", at: 1, commit: 7), Contract.change(first.record, at: 1),
    ] {
      #expect(store.change(other, as: nil) == .refused(second.record))
    }
  }

  @Test(arguments: Contract.all)
  func `a change touches its own partition only`(_ contract: Contract) throws {
    let store = try open(contract)
    let record = Contract.group(4, 1, "w'4", 77, proposal: .join("w-5"))
    #expect(store.change(Contract.change(record), as: nil) == .accepted)
    var expected = (0..<6).map { Contract.group($0, 0, nil, 0) }
    expected[4] = record
    #expect(try store.groups() == expected)
  }

  @Test(arguments: Contract.all)
  func `of many that change at once one wins each epoch`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let epochs: UInt64 = 20
    let seed = UInt64.random(in: 0 ... .max)
    let stores = try (0..<4).map { _ in Unshared(try place.open()) }
    let won = Mutex<[UInt64: [String]]>([:])
    DispatchQueue.concurrentPerform(iterations: stores.count) { number in
      var random = SplitMix64(seed: seed &+ UInt64(number))
      let store = stores[number].value
      var epoch: UInt64 = 1
      let until = Date() + 60
      while epoch <= epochs, Date() < until {
        let change = Contract.change(
          Contract.group(3, epoch, "w-\(number)", UInt64(random.pick(1...9))), by: "w-\(number)@1")
        switch store.change(change, as: nil) {
        case .accepted:
          won.withLock { $0[epoch, default: []].append(change.by) }
          epoch += 1
        case .refused(let present): epoch = present.epoch.rawValue + 1
        // A lock that another has for long.
        case .unknown: epoch = (try? store.group(PartitionID(3)))?.epoch.next.rawValue ?? epoch
        case .deposed: Issue.record("nobody is the controller, seed \(seed)")
        }
      }
    }
    let winners = won.withLock { $0 }
    let history = try stores[0].value.history(of: PartitionID(3))
    #expect(history.map(\.record.epoch.rawValue) == Array(1...epochs), "seed \(seed)")
    for change in history {
      let told = winners[change.record.epoch.rawValue] ?? []
      #expect(told.isEmpty || told == [change.by], "seed \(seed), \(change.record.epoch): \(told)")
    }
  }

  @Test(arguments: Contract.all)
  func `what is asked of a primary goes with the epoch that it was asked in`(_ contract: Contract) throws {
    let store = try open(contract)
    let partition = PartitionID(3)
    #expect(
      store.propose(.join("b"), to: partition, ifEpoch: Epoch(1), as: nil)
        == .refused(Contract.group(3, 0, nil, 0)))
    var record = Contract.group(3, 1, "a", 1)
    #expect(store.change(Contract.change(record), as: nil) == .accepted)
    for proposal: GroupProposal? in [.join("b"), .switchover("b"), .remove("b"), nil, .join("c")] {
      #expect(store.propose(proposal, to: partition, ifEpoch: Epoch(1), as: nil) == .accepted)
      record.proposal = proposal
      #expect(try store.group(partition) == record, "the epoch stays")
    }
    // Why it is asked stands beside it, and goes with it.
    #expect(
      store.propose(.switchover("b"), why: "balance 'é'", to: partition, ifEpoch: Epoch(1), as: nil)
        == .accepted)
    #expect(try store.group(partition).proposalWhy == "balance 'é'")
    #expect(store.propose(record.proposal, to: partition, ifEpoch: Epoch(1), as: nil) == .accepted)
    #expect(try store.group(partition) == record)
    for wrong: UInt64 in [0, 2, 9] {
      #expect(store.propose(nil, to: partition, ifEpoch: Epoch(wrong), as: nil) == .refused(record))
    }
    // The change that carries it out says what is asked from then on.
    let next = Contract.group(3, 2, "a", 1, secondaries: ["c"])
    #expect(store.change(Contract.change(next, why: "c joined"), as: nil) == .accepted)
    #expect(try store.group(partition) == next)
    #expect(try store.history(of: partition).count == 2, "asking is no change")
  }

  @Test(arguments: Contract.all)
  func `every accepted change is kept in history, and no refused one`(_ contract: Contract) throws {
    let store = try open(contract)
    let first = Contract.change(
      Contract.group(3, 1, "a", 1, secondaries: ["b"]), why: "placed on a", by: "d@1", at: 10)
    let second = Contract.change(
      Contract.group(3, 2, "b", 2, proposal: .join("c")), why: "a is silent", by: "b@2", at: 12, commit: 99)
    #expect(store.change(first, as: nil) == .accepted)
    #expect(store.change(Contract.change(Contract.group(3, 1, "b", 1), at: 11), as: nil) != .accepted)
    #expect(store.change(second, as: nil) == .accepted)
    #expect(try store.history(of: PartitionID(3)) == [first, second])
    #expect(try store.history(of: PartitionID(2)).isEmpty)
  }

  @Test(arguments: Contract.all)
  func `every change is kept, and told a page at a time`(_ contract: Contract) throws {
    let store = try open(contract)
    let page = UInt64(GroupChange.historyPage)
    let total = 2 * page + 9
    for epoch in 1...total {
      let change = Contract.change(Contract.group(0, epoch, "a", epoch), at: Int64(epoch))
      #expect(store.change(change, as: nil) == .accepted)
    }
    func epochs(before epoch: UInt64?) throws -> [UInt64] {
      try store.history(of: PartitionID(0), before: epoch.map { Epoch($0) }).map(\.record.epoch.rawValue)
    }
    #expect(try epochs(before: nil) == Array((total - page + 1)...total))
    #expect(try epochs(before: total - page + 1) == Array(10...(page + 9)))
    #expect(try epochs(before: 10) == Array(1...9))
    #expect(try epochs(before: 1).isEmpty && epochs(before: 0).isEmpty)
    #expect(try epochs(before: .max) == epochs(before: nil))
    let first = Contract.change(Contract.group(0, 1, "a", 1), at: 1)
    #expect(store.change(first, as: nil) == .accepted, "the same again")
  }

  @Test(arguments: Contract.all)
  func `what was opened stays opened, whatever changes later`(_ contract: Contract) throws {
    let store = try open(contract)
    #expect(store.change(Contract.change(Contract.group(5, 1, "a", 1)), as: nil) == .accepted)
    try store.markOpened(PartitionID(5))
    try store.markOpened(PartitionID(5))
    #expect(try store.groups()[5] == Contract.group(5, 1, "a", 1, isOpened: true))
    #expect(try store.groups().filter(\.isOpened).count == 1)
    // The record of a change does not decide it.
    let closed = Contract.group(5, 2, "a", 2, isOpened: false)
    #expect(store.change(Contract.change(closed), as: nil) == .accepted)
    #expect(store.propose(.join("b"), to: PartitionID(5), ifEpoch: Epoch(2), as: nil) == .accepted)
    #expect(
      try store.groups()[5] == Contract.group(5, 2, "a", 2, isOpened: true, proposal: .join("b")))
    let opened = Contract.group(4, 1, "a", 2, isOpened: true)
    #expect(store.change(Contract.change(opened), as: nil) == .accepted)
    #expect(try store.groups()[4] == Contract.group(4, 1, "a", 2, isOpened: false))
  }

  @Test(arguments: Contract.all)
  func `a later look shows what changed since, and nothing is missed`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let (writer, reader) = (try place.open(), try place.open())
    var view = try reader.groups(since: nil)
    #expect(view.groups.count == 6)
    #expect(try reader.groups(since: view.revision).groups.isEmpty)
    #expect(writer.change(Contract.change(Contract.group(2, 1, "a", 1)), as: nil) == .accepted)
    try writer.markOpened(PartitionID(4))
    view = try reader.groups(since: view.revision)
    #expect(view.groups == [Contract.group(2, 1, "a", 1), Contract.group(4, 0, nil, 0, isOpened: true)])
    #expect(writer.propose(.join("b"), to: PartitionID(2), ifEpoch: Epoch(1), as: nil) == .accepted)
    #expect(writer.change(Contract.change(Contract.group(0, 1, "b", 1)), as: nil) == .accepted)
    view = try reader.groups(since: view.revision)
    #expect(
      view.groups == [Contract.group(0, 1, "b", 1), Contract.group(2, 1, "a", 1, proposal: .join("b"))])
    #expect(writer.propose(nil, to: PartitionID(2), ifEpoch: Epoch(1), as: nil) == .accepted)
    view = try reader.groups(since: view.revision)
    #expect(view.groups == [Contract.group(2, 1, "a", 1)])
    #expect(try reader.groups(since: view.revision).groups.isEmpty)
  }

  @Test(arguments: Contract.all)
  func `all of it is there for the next process`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let record = Contract.group(0, 1, "a", .max, secondaries: ["c", "b"], proposal: .switchover("b"))
    do {
      let store = try place.open()
      #expect(store.change(Contract.change(record, commit: 3), as: nil) == .accepted)
      try store.markOpened(PartitionID(0))
      #expect(try store.claim(node: "a", folder: "one"))
    }
    let store = try place.open()
    #expect(store.cluster == Contract.record)
    var opened = record
    opened.isOpened = true
    #expect(try store.groups()[0] == opened)
    #expect(try store.history(of: PartitionID(0)) == [Contract.change(record, commit: 3)])
    #expect(try !store.claim(node: "a", folder: "two"))
  }

  @Test(arguments: Contract.all)
  func `a node's name belongs to the folder that came with it first`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let store = try place.open()
    #expect(try store.claim(node: "worker-1", folder: "one"))
    #expect(try store.claim(node: "worker-1", folder: "one"))
    #expect(try !store.claim(node: "worker-1", folder: "two"))
    #expect(try store.claim(node: "worker-2", folder: "two"))
    let again = try place.open()
    #expect(try !again.claim(node: "worker-1", folder: "two"))
    #expect(try again.claim(node: "worker-1", folder: "one"))
  }

  // MARK: What operators want

  @Test(arguments: Contract.all)
  func `what operators want is there for the next controller`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let store = try place.open()
    #expect(try store.plans() == Plans())
    let long = String(repeating: "é", count: 32)
    for _ in 0..<2 { try store.setPlan(.draining, for: "worker-1") }
    try store.setPlan(.draining, for: long)
    let (first, second) = (
      Move(partition: PartitionID(5), source: "a/\"", target: long),
      Move(partition: PartitionID(0), source: "b", target: "c")
    )
    for move in [first, second] {
      #expect(try store.setMove(move, of: move.partition, insteadOf: nil) == move)
    }
    #expect(
      try place.open().plans() == Plans(draining: ["worker-1", long], moves: [second, first]),
      "moves are by partition")
    for _ in 0..<2 { try store.setPlan(nil, for: "worker-1") }
    #expect(try store.setMove(nil, of: first.partition, insteadOf: first) == nil)
    #expect(try place.open().plans() == Plans(draining: [long], moves: [second]))
    for _ in 0..<2 { try store.setPlan(.removed, for: long) }
    #expect(try place.open().plans() == Plans(removed: [long], moves: [second]))
    try store.setPlan(.draining, for: long)
    #expect(try place.open().plans() == Plans(draining: [long], moves: [second]))
  }

  @Test(arguments: Contract.all)
  func `a move is replaced by who knows it only`(_ contract: Contract) throws {
    let store = try open(contract)
    let partition = PartitionID(2)
    let move = Move(partition: partition, source: "a", target: "b")
    let other = Move(partition: partition, source: "a", target: "c")
    #expect(try store.setMove(nil, of: partition, insteadOf: other) == nil, "there is none")
    #expect(try store.setMove(other, of: partition, insteadOf: move) == nil, "nor is one made of it")
    #expect(try store.setMove(move, of: partition, insteadOf: nil) == move)
    #expect(try store.setMove(move, of: partition, insteadOf: nil) == move, "once done it is done")
    #expect(try store.setMove(other, of: partition, insteadOf: nil) == move)
    #expect(try store.setMove(nil, of: partition, insteadOf: other) == move)
    #expect(try store.setMove(move.undone, of: partition, insteadOf: move) == move.undone)
    #expect(try store.setMove(move.undone, of: partition, insteadOf: move) == move.undone)
    #expect(try store.plans() == Plans(moves: [move.undone]))
  }

  // MARK: Who is there

  private static func node(_ name: String, _ incarnation: UInt64 = 1) -> NodeRecord {
    NodeRecord(
      kind: .dispatcher, node: name, incarnation: Incarnation(incarnation),
      addresses: ["services": "tcp://127.0.0.1:12120"], zone: "zona/é")
  }

  /// Leases are for seconds where they are real.
  private static let lease: Int64 = 2_000

  /// Lets a lease run out, and looks until it has: a store may take its time to see it.
  private func expire(_ place: Contract.Place, until isGone: () throws -> Bool) rethrows {
    place.pass(Self.lease)
    let limit = Date() + 30
    while try !isGone(), Date() < limit { place.pass(20) }
    #expect(try isGone())
  }

  @Test(arguments: Contract.all)
  func `a node is there until its lease runs out, or is given up`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let store = try place.open()
    let worker = NodeRecord(kind: .worker, node: "d-1", incarnation: Incarnation(.max))
    let a = try store.register(Self.node("d-1"), milliseconds: Self.lease)
    #expect(a.milliseconds >= Self.lease)
    let b = try store.register(worker, milliseconds: Self.lease)
    #expect(try store.nodes() == [Self.node("d-1"), worker])
    if contract.sharesLiveness { #expect(try place.open().nodes() == [Self.node("d-1"), worker]) }
    try store.end(b)
    try store.end(b)
    #expect(try store.nodes() == [Self.node("d-1")])
    #expect(try store.keepAlive(b) == nil)
    let longer = try #require(try store.keepAlive(a))
    #expect(longer.id == a.id && longer.expiresAt >= a.expiresAt)
    try expire(place) { try store.nodes().isEmpty }
    #expect(try store.keepAlive(a) == nil)
  }

  @Test(arguments: Contract.all)
  func `a lease that is kept alive outlasts its length`(_ contract: Contract) throws {
    let place = try contract.make(Contract.record)
    let store = try place.open()
    var session = try store.register(Self.node("d-1"), milliseconds: Self.lease)
    for _ in 0..<8 {
      place.pass(Self.lease / 4)
      session = try #require(try store.keepAlive(session))
    }
    #expect(try store.nodes() == [Self.node("d-1")])
  }

  @Test(arguments: Contract.all)
  func `a later process of the same name takes its place, and stays when the earlier lease ends`(
    _ contract: Contract
  ) throws {
    let store = try open(contract)
    let old = try store.register(Self.node("d-1", 1), milliseconds: Self.lease)
    _ = try store.register(Self.node("d-1", 2), milliseconds: 10 * Self.lease)
    #expect(try store.nodes() == [Self.node("d-1", 2)])
    try store.end(old)
    #expect(try store.nodes() == [Self.node("d-1", 2)])
  }

  @Test(arguments: Contract.all)
  func `one is the controller until it resigns or its lease runs out, each under a higher revision`(
    _ contract: Contract
  ) throws {
    let place = try contract.make(Contract.record)
    let store = try place.open()
    let other = contract.sharesLiveness ? try place.open() : store
    let (first, second) = (Self.node("d-1"), Self.node("d-2"))
    let a = try store.register(first, milliseconds: Self.lease)
    let b = try other.register(second, milliseconds: 60 * Self.lease)
    let one = try #require(try store.campaign(a, life: first.life))
    #expect(one.session == a.id && one.life == first.life)
    #expect(try store.campaign(a, life: first.life) == one, "asking again changes nothing")
    #expect(try other.campaign(b, life: second.life) == one, "the other is told who it is")
    #expect(try other.controller() == one)

    try store.resign(one)
    #expect(try store.controller() == nil)
    let two = try #require(try other.campaign(b, life: second.life))
    #expect(two.session == b.id && two.revision > one.revision)
    try store.resign(one)
    #expect(try store.controller() == two, "who is deposed can't depose")

    try other.resign(two)
    let three = try #require(try store.campaign(a, life: first.life))
    #expect(three.revision > two.revision)
    try expire(place) { try store.controller() == nil }
    #expect(try store.campaign(a, life: first.life) == nil, "without a lease nobody leads")
    let four = try #require(try other.campaign(b, life: second.life))
    #expect(four.session == b.id && four.revision > three.revision)
  }

  @Test(arguments: Contract.all)
  func `who is deposed changes nothing any more`(_ contract: Contract) throws {
    let store = try open(contract)
    let (first, second) = (Self.node("d-1"), Self.node("d-2"))
    let a = try store.register(first, milliseconds: 30 * Self.lease)
    let b = try store.register(second, milliseconds: 30 * Self.lease)
    let old = try #require(try store.campaign(a, life: first.life))
    let change = Contract.change(Contract.group(0, 1, "a", 1))
    #expect(store.change(change, as: old) == .accepted)
    #expect(store.propose(.join("b"), to: PartitionID(0), ifEpoch: Epoch(1), as: old) == .accepted)
    try store.resign(old)
    let next = Contract.change(Contract.group(0, 2, "b", 1))
    #expect(store.change(next, as: old) == .deposed)
    let new = try #require(try store.campaign(b, life: second.life))
    #expect(store.change(next, as: old) == .deposed)
    #expect(store.propose(nil, to: PartitionID(0), ifEpoch: Epoch(1), as: old) == .deposed)
    #expect(try store.group(PartitionID(0)) == Contract.group(0, 1, "a", 1, proposal: .join("b")))
    #expect(store.change(change, as: old) == .accepted, "what was accepted stays so")
    #expect(store.change(next, as: new) == .accepted)
  }
}

/// A value that one thread at a time uses, though the compiler can't see it.
struct Unshared<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
