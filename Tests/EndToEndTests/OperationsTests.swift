import Cluster
import Foundation
import LarisClient
import LarisProtocol
import TestSupport
import Testing

/// A dispatcher and workers, each started and ended by the test alone. Nothing of it stays behind.
private final class HandRun {
  let dispatcher: LoneDispatcher
  private var processes: [String: Process] = [:]
  let client: LarisClient
  let names: [String]
  /// Adjustments that were done, by shop.
  private(set) var sold: [UInt64: Int64] = [:]
  let partitions: Int

  init(
    replicas: Int, workers count: Int, partitions: Int, options: [String] = []
  ) throws {
    self.partitions = partitions
    dispatcher = try LoneDispatcher(
      replicas: replicas, workers: count, partitions: partitions, options: options)
    client = try LarisClient(dispatcher: dispatcher.services, budgetMilliseconds: 30_000)
    names = (1...count).map { "worker-\($0)" }
    for name in names { try start(name) }
    try waitUntilHealthy()
    for shop in shops {
      try done { request in
        request.registerShop.shopID = shop
        request.registerShop.name = "Toko \(shop)"
      }
      try done { request in
        request.putSku = .with { ($0.shopID, $0.skuID, $0.price) = (shop, 1, 1_000) }
      }
    }
  }

  deinit { for name in processes.keys { kill(name) } }

  /// One of each partition.
  lazy var shops: [UInt64] = (0..<partitions).map { partition in
    (1_000_000...).first { Int(Routing.partition(ofKey: $0, count: partitions).rawValue) == partition }!
  }

  func data(of node: String) -> String { dispatcher.folder.path + "/" + node }

  func start(_ node: String) throws {
    let arguments = [
      "worker", "--data", data(of: node), "--node", node, "--dispatcher", dispatcher.workers,
      "--replication-listen", "tcp://127.0.0.1:\(try freePort())",
    ]
    processes[node] = try Programs.start(
      "laris", arguments, appendingTo: dispatcher.folder.path + "/\(node).log")
  }

  func said(_ node: String) -> String {
    (try? String(contentsOfFile: dispatcher.folder.path + "/\(node).log", encoding: .utf8)) ?? ""
  }

  func kill(_ node: String) { end(node, SIGKILL) }
  func stop(_ node: String) { end(node, SIGTERM) }

  private func end(_ node: String, _ signal: Int32) {
    guard let process = processes.removeValue(forKey: node) else { return }
    Foundation.kill(process.processIdentifier, signal)
    process.waitUntilExit()
  }

  /// - Returns: the exit code of a worker that ends by itself.
  func end(of node: String) throws -> Int32 {
    guard let process = processes[node] else { throw Problem("\(node) does not run") }
    try wait("\(node) ends") { !process.isRunning }
    processes[node] = nil
    return process.terminationStatus
  }

  func laris(_ arguments: [String], _ exit: Int32 = 0, _ says: String = "") throws {
    let run = try dispatcher.laris(arguments)
    let said = run.output + run.errors
    #expect(run.exit == exit && (says.isEmpty || said.contains(says)), "\(arguments): \(run)")
  }

  func wait(_ what: String, seconds: Double = 60, _ isSo: () throws -> Bool) throws {
    let until = Date() + seconds
    while try !isSo() {
      guard Date() < until else {
        throw Problem(
          "within \(seconds) s it did not come about that \(what): \(try dispatcher.laris(["status"]))")
      }
      usleep(20_000)
    }
  }

  func waitUntilHealthy() throws {
    let run = try dispatcher.laris(["status", "--exit-when-healthy", "--timeout", "60"])
    guard run.exit == 0 else { throw Problem("not healthy: \(run.output)\(run.errors)\(dispatcher.said)") }
  }

  func partition(_ number: Int) throws -> Laris_PartitionStatus { try dispatcher.status().partitions[number] }

  @discardableResult
  func done(_ make: (inout Laris_Request) -> Void) throws -> Laris_Reply {
    var request = Laris_Request()
    request.requestID = LarisClient.newRequestID()
    make(&request)
    switch try client.call(request) {
    case .done(let reply): return reply
    case let other: throw Problem("not done: \(other)")
    }
  }

  static func adjustment(of shop: UInt64) -> Laris_Request {
    var request = Laris_Request()
    request.requestID = LarisClient.newRequestID()
    request.adjustStock = .with { ($0.shopID, $0.skuID, $0.delta) = (shop, 1, 1) }
    return request
  }

  /// So many adjustments in every shop.
  func sell(_ count: Int = 5) throws {
    for shop in shops {
      for _ in 0..<count {
        try done { $0.adjustStock = Self.adjustment(of: shop).adjustStock }
        sold[shop, default: 0] += 1
      }
    }
  }

  func stock(_ shop: UInt64) throws -> Int64 {
    try done { $0.getSku = .with { ($0.shopID, $0.skuID) = (shop, 1) } }.sku.onHand
  }

  /// Nothing is missing, nothing is there twice.
  func check() throws {
    for shop in shops { #expect(try stock(shop) == sold[shop, default: 0], "shop \(shop)") }
    try laris(["audit"], 0, "clean: the books balance")
  }
}

/// What operators do to a cluster, and what it does by itself for them.
extension EndToEndTests {
  @Test
  func `below the least number of replicas writes are refused with a reason, reads go on, and it recovers`()
    throws
  {
    let run = try HandRun(replicas: 3, workers: 3, partitions: 1)
    try run.sell()
    let primary = try run.partition(0).primary
    let others = run.names.filter { $0 != primary }
    for name in others { run.kill(name) }
    let hasty = try LarisClient(dispatcher: run.dispatcher.services, budgetMilliseconds: 1_000)
    var refused: Laris_Reply?
    try run.wait("writes are refused") {
      // Nothing of what is refused is ever done.
      guard case .notExecuted(let reply?) = try hasty.call(HandRun.adjustment(of: run.shops[0])) else {
        throw Problem("it was not refused")
      }
      refused = reply
      return reply.code == .tooFewReplicas
    }
    #expect(
      refused?.message.contains("Too few replicas") == true && refused?.next.contains("same id") == true)
    #expect(refused?.retryAfterMilliseconds == 1_000)
    #expect(try run.stock(run.shops[0]) == run.sold[run.shops[0]])
    let row = try run.partition(0)
    #expect(row.active && row.primary == primary && row.inSync == 1)
    try run.laris(["status"], 1, "refuses writes: it has 1 of 3 replicas, and an answer needs 2")
    // Of those that were dropped one is enough.
    try run.start(others[0])
    try run.sell()
    #expect(try run.partition(0).inSync >= 2)
    try run.start(others[1])
    try run.waitUntilHealthy()
    try run.check()
  }

  @Test func `primaries that piled up while a worker was away come back by themselves, and history says why`()
    throws
  {
    let run = try HandRun(replicas: 3, workers: 3, partitions: 6, options: ["--rebalance-after", "2"])
    for name in run.names.dropLast() {
      run.kill(name)
      try run.wait("others lead what \(name) led") {
        try run.dispatcher.status().partitions.allSatisfy { $0.active && $0.primary != name }
      }
      try run.start(name)
      try run.sell(1)
    }
    try run.wait("each leads two") {
      try run.sell(1)
      let leads = Dictionary(
        try run.dispatcher.status().partitions.map { ($0.primary, 1) }, uniquingKeysWith: +)
      return leads == ["worker-1": 2, "worker-2": 2, "worker-3": 2]
    }
    try run.waitUntilHealthy()
    let histories = try (0..<6).map { try run.dispatcher.laris(["status", "--history", "\($0)"]).output }
    #expect(histories.contains { $0.contains("; rebalanced: worker-3 leads") }, "\(histories)")
    try run.check()
  }

  @Test func `a worker that will never come back is taken out, unless it is needed, and can be taken back`()
    throws
  {
    let run = try HandRun(replicas: 2, workers: 3, partitions: 3)
    try run.sell()
    try run.laris(["worker", "remove", "worker-9"], 1, "There is no worker 'worker-9'")
    try run.laris(["worker", "remove", "worker-3"], 1, "worker-3 is alive")
    try run.laris(["worker", "drain", "worker-3"], 0, "done")
    run.stop("worker-3")
    try run.laris(["worker", "remove", "worker-3"], 0, "is not of this cluster any more")
    try run.laris(["worker", "remove", "worker-3"], 0)
    try run.wait("it is not listed") {
      try run.dispatcher.status().workers.allSatisfy { $0.node != "worker-3" }
    }
    try run.laris(["worker", "drain", "worker-3"], 1, "was taken out of the cluster")
    try run.laris(["partition", "move", "0", "--from", "worker-1", "--to", "worker-3"], 1, "was taken out")
    // Whoever comes under the name, over a restart of the dispatcher too.
    run.dispatcher.kill()
    try run.dispatcher.start()
    try run.start("worker-3")
    #expect(try run.end(of: "worker-3") == 1)
    #expect(run.said("worker-3").contains("laris worker remove worker-3 --undo"), "\(run.said("worker-3"))")
    try run.laris(["worker", "remove", "worker-3", "--undo"], 0, "may come back")
    try run.start("worker-3")
    try run.wait("it is back") {
      try run.dispatcher.status().workers.contains { $0.node == "worker-3" && $0.alive && !$0.draining }
    }
    try run.waitUntilHealthy()
    try run.check()
  }

  @Test func `a worker that alone has a partition is not taken out`() throws {
    let run = try HandRun(replicas: 1, workers: 2, partitions: 2)
    let only = try run.partition(1).primary
    run.kill(only)
    try run.wait("it is away") { try !run.dispatcher.status().workers.first { $0.node == only }!.alive }
    try run.laris(
      ["worker", "remove", only], 1, "\(only) is a member of partitions 1; nobody else has all of 1")
    try run.start(only)
    try run.waitUntilHealthy()
    try run.check()
  }

  @Test func `a lost configuration is made anew by the workers' folders, and nothing is missing`() throws {
    let run = try HandRun(replicas: 3, workers: 3, partitions: 3)
    try run.sell()
    // worker-3 falls behind, and out of every group.
    run.kill("worker-3")
    try run.wait("it is in no group") {
      try run.dispatcher.status().partitions.allSatisfy { row in
        row.active && !row.members.contains { $0.node == "worker-3" && $0.role != "learner" }
      }
    }
    try run.sell()
    run.dispatcher.kill()
    try FileManager.default.removeItem(atPath: run.dispatcher.folder.path + "/dispatcher")
    run.kill("worker-2")
    let data = run.dispatcher.folder.path + "/dispatcher"
    func recover(_ workers: [String], _ more: [String] = []) throws -> Run {
      try Run.program(
        "laris",
        ["cluster", "recover", "--data", data] + workers.flatMap { ["--worker", run.data(of: $0)] } + more)
    }
    let early = try recover(run.names)
    #expect(early.exit == 1 && early.errors.contains("stop all workers first"), "\(early)")
    run.kill("worker-1")

    // Without the one that was dropped: it is only asked for. Without a member: nobody can know.
    let some = try recover(["worker-1", "worker-2"])
    #expect(some.exit == 1 && some.errors.contains("the cluster had worker-3 too"), "\(some)")
    let less = try recover(["worker-1", "worker-3"], ["--without", "worker-2"])
    #expect(less.exit == 1 && less.output.contains("worker-2 of e"), "\(less)")
    #expect(less.output.contains("or choose with --restart 0=WORKER"), "\(less)")
    let dry = try recover(["worker-1", "worker-2"], ["--without", "worker-3", "--dry-run"])
    #expect(dry.exit == 0 && dry.output.contains("nothing that was answered is missing"), "\(dry)")
    #expect(!FileManager.default.fileExists(atPath: data))
    let stale = try recover(run.names, ["--dry-run", "--restart", "0=worker-3"])
    #expect(stale.exit == 0 && stale.output.contains("which is no member of e"), "\(stale)")

    let made = try recover(run.names)
    #expect(
      made.exit == 0 && made.output.contains("is recovered from worker-1, worker-2, worker-3"), "\(made)")
    #expect(try recover(run.names).errors.contains("holds a cluster already"))
    try run.dispatcher.start()
    for name in run.names { try run.start(name) }
    try run.waitUntilHealthy()
    try run.check()
    try run.sell()
    try run.check()
    let status = try run.dispatcher.status()
    #expect(status.clusterID == run.dispatcher.cluster)
    #expect(status.partitions.allSatisfy { $0.epoch > Recovery.leap && $0.primary != "worker-3" })
    try run.laris(["status", "--history", "0"], 0, "recovered from worker-")
    try run.laris(["status", "--history", "0"], 0, "laris cluster recover")
  }

  @Test func `a partition whose members are all lost goes on from an old replica only by an operator's word`()
    throws
  {
    let run = try HandRun(replicas: 2, workers: 2, partitions: 1)
    try run.sell()
    let row = try run.partition(0)
    let (primary, old) = (row.primary, row.members.first { $0.node != row.primary }!.node)
    let restart = ["partition", "restart-from", "0", "--node", old]
    run.stop(old)
    try run.wait("\(old) is dropped") {
      try run.partition(0).members.filter { $0.role != "learner" }.count == 1
    }
    let kept = run.sold[run.shops[0]]!
    try run.sell()
    try run.wait("\(primary) has told of it") {
      try run.partition(0).committed >= UInt64(run.sold[run.shops[0]]!) + 2
    }
    try run.laris(restart, 1, "\(primary) is alive, and a member of partition 0")
    run.kill(primary)
    try run.start(old)
    try run.wait("\(primary) is away, \(old) is there") {
      let workers = try run.dispatcher.status().workers
      return workers.contains { $0.node == old && $0.alive }
        && workers.contains { $0.node == primary && !$0.alive }
    }
    #expect(try !run.partition(0).active)
    try run.laris(["partition", "restart-from", "0", "--node", primary], 1, "\(primary) is away")
    try run.laris(restart, 1, "--accept-loss 0")
    try run.laris(restart, 1, "and maybe later ones are lost")
    #expect(try !run.partition(0).active, "telling changes nothing")
    try run.laris(restart + ["--accept-loss", "0"], 0, "done")
    #expect(try run.stock(run.shops[0]) == kept, "what the old one had")
    try run.laris(["audit"], 0, "clean: the books balance")
    try run.laris(["status", "--history", "0"], 0, "an operator restarts it from \(old)")
    try run.done { $0.adjustStock = HandRun.adjustment(of: run.shops[0]).adjustStock }
    #expect(try run.stock(run.shops[0]) == kept + 1)

    // Rule 10: who had more comes back, and what only it has is kept.
    try run.start(primary)
    try run.waitUntilHealthy()
    #expect(try run.partition(0).primary == old && run.stock(run.shops[0]) == kept + 1)
    let folders = try FileManager.default.contentsOfDirectory(atPath: run.data(of: primary) + "/partitions")
    let aside = try #require(folders.first { $0.hasPrefix("0000.diverged-") }, "\(folders)")
    let log = run.data(of: primary) + "/partitions/\(aside)/log"
    let dumped = try Run.program("laris", ["log", "dump", log, "--from", "\(kept + 2)"])
    #expect(dumped.exit == 0 && dumped.output.contains("adjustStock"), "\(dumped)")
    try run.laris(["audit"], 0, "clean: the books balance")
  }
}
