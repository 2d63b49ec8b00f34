import Cluster
import ConfigurationManager
import Curl
import Foundation
import TestSupport
import Testing

/// What etcd and the way to it do wrong, and what is said of it.
struct EtcdFaultTests {
  private typealias Contract = ConfigurationManagerContract
  private static let record = ConfigurationManagerContract.record

  private static func options(
    _ endpoints: [String], prefix: String = "/fault/\(UUID())/", milliseconds: Int64 = 10_000
  ) -> EtcdOptions {
    EtcdOptions(endpoints: endpoints, prefix: prefix, callMilliseconds: milliseconds)
  }

  /// The outcome, and that it came within the bound and what a busy machine adds.
  private static func timed<Value>(_ milliseconds: Int64, _ body: () throws -> Value) rethrows -> Value {
    let began = SteadyClock.milliseconds()
    defer {
      let took = SteadyClock.milliseconds() - began
      #expect(took < milliseconds + 2_000, "it took \(took) ms")
    }
    return try body()
  }

  private static func isUnknown(_ outcome: ChangeOutcome) -> Bool {
    if case .unknown(let why) = outcome { return !why.isEmpty }
    return false
  }

  private static func port(_ endpoint: String) -> Int { Int(endpoint.split(separator: ":").last!)! }

  @Test func `a change whose answer is lost is asked for again, and is made once`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let direct = Self.options(endpoints)
    try EtcdStore.create(direct, Self.record)
    let proxy = FaultProxy(to: Self.port(endpoints[0]))
    defer { proxy.end() }
    let store = try EtcdStore(Self.options([proxy.endpoint], prefix: direct.prefix))
    for epoch: UInt64 in 1...20 {
      let change = Contract.change(Contract.group(0, epoch, "a", epoch))
      // Of the read, which is made again; of the transaction, which was carried out.
      proxy.set(.dropOne(after: Int(epoch % 2)))
      #expect(store.change(change, as: nil) == .accepted)
      #expect(proxy.dropped == Int(epoch))
    }
    #expect(try store.history(of: PartitionID(0)).map(\.record.epoch.rawValue) == Array(1...20))
  }

  @Test func `a change of which no answer comes is unknown in time, and was made or not`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let direct = Self.options(endpoints)
    try EtcdStore.create(direct, Self.record)
    let truth = try EtcdStore(direct)
    let proxy = FaultProxy(to: Self.port(endpoints[0]))
    defer { proxy.end() }
    let store = try EtcdStore(Self.options([proxy.endpoint], prefix: direct.prefix, milliseconds: 500))

    // The read is lost: nothing was done.
    proxy.set(.dropAnswers)
    let first = Contract.change(Contract.group(0, 1, "a", 1))
    #expect(Self.isUnknown(Self.timed(500) { store.change(first, as: nil) }))
    #expect(proxy.dropped > 0)
    #expect(try truth.group(PartitionID(0)).epoch == Epoch(0))

    // The transaction's answer is: it was done. Claims and marks need no read before.
    #expect(throws: ConfigurationError.self) {
      _ = try Self.timed(500) { try store.claim(node: "a", folder: "one") }
    }
    #expect(try !truth.claim(node: "a", folder: "two"), "it was carried out")
    proxy.set(.none)
    #expect(try store.claim(node: "a", folder: "one"))
    #expect(store.change(first, as: nil) == .accepted)
  }

  @Test func `a change that was made though nobody said so is found by asking again`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let direct = Self.options(endpoints)
    try EtcdStore.create(direct, Self.record)
    let truth = try EtcdStore(direct)
    let proxy = FaultProxy(to: Self.port(endpoints[0]))
    defer { proxy.end() }
    let store = try EtcdStore(Self.options([proxy.endpoint], prefix: direct.prefix, milliseconds: 400))
    var (unknown, made) = (0, 0)
    for epoch: UInt64 in 1...30 {
      let change = Contract.change(Contract.group(0, epoch, "a", epoch))
      // Some time within the call: before the read, between it and the transaction, or after.
      let delay = UInt32(epoch * 150)
      let fault = Thread {
        usleep(delay)
        proxy.set(.dropAnswers)
      }
      fault.start()
      let outcome = Self.timed(400) { store.change(change, as: nil) }
      while !fault.isFinished { usleep(100) }
      proxy.set(.none)
      switch outcome {
      case .unknown:
        unknown += 1
        if try truth.group(PartitionID(0)).epoch == Epoch(epoch) { made += 1 }
      case .accepted: #expect(try truth.group(PartitionID(0)).epoch == Epoch(epoch))
      default: Issue.record("epoch \(epoch): \(outcome)")
      }
      #expect(truth.change(change, as: nil) == .accepted)
    }
    #expect(try truth.history(of: PartitionID(0)).count == 30)
    print("lost answers: \(unknown) unknown, of which \(made) had been made")
  }

  @Test(arguments: [FaultProxy.Fault.cut, .silent, .delay(5_000), .dropAnswers])
  func `whatever the network does, every call ends in time and says that it knows nothing`(
    _ fault: FaultProxy.Fault
  ) throws {
    let endpoints = try SharedEtcd.endpoints()
    let direct = Self.options(endpoints)
    try EtcdStore.create(direct, Self.record)
    let proxy = FaultProxy(to: Self.port(endpoints[0]))
    defer { proxy.end() }
    let store = try EtcdStore(Self.options([proxy.endpoint], prefix: direct.prefix, milliseconds: 300))
    let node = NodeRecord(kind: .dispatcher, node: "d", incarnation: Incarnation(1))
    let session = try store.register(node, milliseconds: 60_000)
    proxy.set(fault)
    let change = Contract.change(Contract.group(0, 1, "a", 1))
    #expect(Self.isUnknown(Self.timed(300) { store.change(change, as: nil) }))
    #expect(
      Self.isUnknown(
        Self.timed(300) { store.propose(nil, to: PartitionID(0), ifEpoch: Epoch(0), as: nil) }))
    let calls: [(String, () throws -> Void)] = [
      ("groups", { _ = try store.groups(since: nil) }), ("group", { _ = try store.group(PartitionID(0)) }),
      ("history", { _ = try store.history(of: PartitionID(0)) }),
      ("markOpened", { try store.markOpened(PartitionID(0)) }),
      ("claim", { _ = try store.claim(node: "a", folder: "b") }), ("nodes", { _ = try store.nodes() }),
      ("register", { _ = try store.register(node, milliseconds: 60_000) }),
      ("keepAlive", { _ = try store.keepAlive(session) }),
      ("campaign", { _ = try store.campaign(session, life: node.life) }),
      ("controller", { _ = try store.controller() }), ("end", { try store.end(session) }),
    ]
    for (name, call) in calls {
      let error = #expect(throws: ConfigurationError.self, "\(name)") { try Self.timed(300) { try call() } }
      #expect(error?.kind == .unavailable, "\(name): \(String(describing: error))")
    }
    let late = #expect(throws: ConfigurationError.self) {
      _ = try EtcdStore(Self.options([proxy.endpoint], prefix: direct.prefix, milliseconds: 300))
    }
    #expect(late?.kind == .unavailable)
    proxy.set(.none)
    #expect(store.change(change, as: nil) == .accepted)
  }

  @Test func `endpoints that are away or silent cost a part of the time, once`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let silent = FaultProxy(to: Self.port(endpoints[0]))
    defer { silent.end() }
    silent.set(.silent)
    let away = "http://127.0.0.1:\(EtcdServers.freePort())"
    let options = Self.options([away, silent.endpoint, endpoints[0]], milliseconds: 4_000)
    try Self.timed(4_000) { try EtcdStore.create(options, Self.record) }
    let store = try Self.timed(4_000) { try EtcdStore(options) }
    let began = SteadyClock.milliseconds()
    for _ in 0..<20 { _ = try store.groups() }
    #expect(SteadyClock.milliseconds() - began < 2_000, "what answered last is asked first")
  }

  @Test func `leases and elections survive the loss of answers`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let direct = Self.options(endpoints)
    try EtcdStore.create(direct, Self.record)
    let proxy = FaultProxy(to: Self.port(endpoints[0]))
    defer { proxy.end() }
    let store = try EtcdStore(Self.options([proxy.endpoint], prefix: direct.prefix))
    let node = NodeRecord(kind: .dispatcher, node: "d", incarnation: Incarnation(7))
    proxy.set(.dropNext(2))
    let session = try store.register(node, milliseconds: 60_000)
    #expect(try store.nodes() == [node])
    proxy.set(.dropNext(1))
    let leadership = try #require(try store.campaign(session, life: node.life))
    #expect(leadership.session == session.id, "the first attempt won, and the second one learnt it")
    #expect(try store.controller() == leadership)
    let change = Contract.change(Contract.group(1, 1, "a", 1))
    proxy.set(.dropNext(1))
    #expect(store.change(change, as: leadership) == .accepted)
    proxy.set(.dropNext(1))
    try store.resign(leadership)
    #expect(try store.controller() == nil)
  }

  @Test func `an etcd that holds another cluster is never written to`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let options = Self.options(endpoints)
    try EtcdStore.create(options, Self.record)
    let store = try EtcdStore(options)
    let node = NodeRecord(kind: .dispatcher, node: "d", incarnation: Incarnation(1))
    let session = try store.register(node, milliseconds: 60_000)
    let raw = RawEtcd(endpoints[0])
    for isEmpty in [true, false] {
      try raw.delete(under: options.prefix)
      if !isEmpty {
        var other = Self.record
        other.id = "0190a6c2-0000-7000-8000-000000000002"
        try EtcdStore.create(options, other)
      }
      let change = Contract.change(Contract.group(0, 1, "a", 1))
      guard case .unknown(let why) = store.change(change, as: nil) else {
        Issue.record("it was not unknown")
        return
      }
      #expect(why.contains("does not hold the cluster \(Self.record.id) any more"))
      for call: () throws -> Void in [
        { _ = try store.groups() }, { _ = try store.claim(node: "a", folder: "b") },
        { _ = try store.nodes() },
        { _ = try store.campaign(session, life: node.life) },
        { _ = try store.register(node, milliseconds: 60_000) },
      ] {
        let error = #expect(throws: ConfigurationError.self, performing: call)
        #expect(error?.kind == .otherCluster)
      }
      #expect(try raw.get(options.prefix + "groups/0000") == nil)
    }
  }

  @Test func `a cluster is made where there is none, and over nobody's keys`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let options = Self.options(endpoints)
    let missing = #expect(throws: ConfigurationError.self) { _ = try EtcdStore(options) }
    #expect(missing?.kind == .missing)
    let proxy = FaultProxy(to: Self.port(endpoints[0]))
    defer { proxy.end() }
    proxy.set(.dropNext(1))
    var lossy = options
    lossy.endpoints = [proxy.endpoint]
    try EtcdStore.create(lossy, Self.record)
    #expect(proxy.dropped == 1)
    var other = Self.record
    other.id = "another"
    let exists = #expect(throws: ConfigurationError.self) { try EtcdStore.create(options, other) }
    #expect(exists?.kind == .exists)
    #expect(try EtcdStore(options).cluster == Self.record)

    let leftover = Self.options(endpoints)
    try RawEtcd(endpoints[0]).put(leftover.prefix + "groups/0000", [1])
    let refused = #expect(throws: ConfigurationError.self) { try EtcdStore.create(leftover, Self.record) }
    #expect(refused?.kind == .notMade)
  }

  @Test func `values that no program of ours writes are refused by key, whatever they are`() throws {
    let endpoints = try SharedEtcd.endpoints()
    let options = Self.options(endpoints)
    try EtcdStore.create(options, Self.record)
    let store = try EtcdStore(options)
    let raw = RawEtcd(endpoints[0])
    let change = Contract.change(
      Contract.group(
        0, 1, "worker-1", 77, secondaries: ["worker-2", "worker-3"], proposal: .remove("worker-2")))
    #expect(store.change(change, as: nil) == .accepted)
    let key = options.prefix + "groups/0000"
    let sound = try #require(try raw.get(key))
    let seed = UInt64.random(in: 0 ... .max)
    var random = SplitMix64(seed: seed)
    let words = [
      "null", "-1", "1e99", "18446744073709551615", "[]", "{}", "\"\"", "{\"version\":1}", "\u{0}",
    ]
    var (refused, read) = (0, 0)
    for _ in 0..<400 {
      var bytes = sound
      for _ in 0..<random.pick(1...3) {
        let at = random.pick(0...bytes.count - 1)
        switch random.pick(0...4) {
        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.removeSubrange(at..<min(bytes.count, at + random.pick(1...9)))
        case 2: bytes.insert(contentsOf: Array(random.pick(words).utf8), at: at)
        case 3: bytes = Array(bytes[..<at])
        default:
          let from = random.pick(0...bytes.count - 1)
          bytes.insert(contentsOf: bytes[from..<min(bytes.count, from + random.pick(1...40))], at: at)
        }
        if bytes.isEmpty { bytes = [0] }
      }
      try raw.put(key, bytes)
      do {
        let group = try store.groups()[0]
        #expect(group.problem == nil, "seed \(seed): \(bytes)")
        read += 1
      } catch {
        let isTold = error.kind == .damaged || error.kind == .tooNew
        #expect(isTold && error.description.contains(key), "seed \(seed): \(error)")
        guard case .unknown = store.change(Contract.change(Contract.group(0, 2, "b", 1)), as: nil) else {
          Issue.record("seed \(seed): a change over \(bytes)")
          return
        }
        refused += 1
      }
    }
    #expect(refused > 200 && read > 0, "\(refused) refused, \(read) read, seed \(seed)")

    let text = String(decoding: sound, as: UTF8.self)
    try raw.put(key, Array(text.replacingOccurrences(of: "\"version\":1", with: "\"version\":2").utf8))
    let newer = #expect(throws: ConfigurationError.self) { _ = try store.groups() }
    #expect(newer?.kind == .tooNew)
    try raw.put(key, sound)
    #expect(try store.groups()[0] == change.record)
    try raw.put(options.prefix + "groups/0001", sound)
    let misplaced = #expect(throws: ConfigurationError.self) { _ = try store.groups() }
    #expect(misplaced?.kind == .damaged, "a value under another partition's key")
  }

  @Test(
    arguments: [
      ([], "1 to 16 endpoints"), (["etcd-1:2379"], "no address"), (["https://etcd-1"], "no address"),
      (["ftp://127.0.0.1:2379"], "no address"),
      (["http://127.0.0.1:2379/v3"], "more than scheme, host and port"),
      (["http://root:secret@127.0.0.1:2379"], "more than scheme"), (["http://10.0.0.1:2379"], "plain text"),
      (["http://127.0.0.1.example.com:2379"], "plain text"),
      (["http://localhost.example.com:2379"], "plain text"),
    ] as [([String], String)])
  func `options that can't be meant are refused before anything is sent`(
    _ endpoints: [String], _ says: String
  ) {
    let problem = EtcdOptions(endpoints: endpoints).problem
    #expect(problem?.contains(says) == true, "\(String(describing: problem))")
  }

  @Test func `options that can be meant are taken`() {
    for endpoint in ["http://127.0.0.1:2379", "http://localhost:2379", "http://[::1]:2379", "https://e:2379"]
    {
      #expect(EtcdOptions(endpoints: [endpoint]).problem == nil, "\(endpoint)")
    }
    #expect(EtcdOptions(endpoints: ["http://10.0.0.1:1"], allowsPlaintext: true).problem == nil)
    #expect(EtcdOptions(endpoints: ["https://e:1"], user: "root").problem != nil)
    #expect(EtcdOptions(endpoints: ["https://e:1"], password: "x").problem != nil)
    #expect(EtcdOptions(endpoints: ["https://e:1"], tls: .init(certificate: "/dev/null")).problem != nil)
    #expect(EtcdOptions(endpoints: ["https://e:1"], tls: .init(authority: "/nowhere/ca.pem")).problem != nil)
    #expect(EtcdOptions(endpoints: ["https://e:1"], prefix: "laris").problem != nil)
  }
}
