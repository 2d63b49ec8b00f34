import Foundation
import LarisClient
import LarisProtocol
import TestSupport
import Testing

/// Nodes by hand, with their configuration in a real etcd. Whatever a test does, nothing stays behind.
private final class EtcdCluster {
  let folder: TestFolder
  let etcd: EtcdServers
  let services: String
  let workers: String
  let client: LarisClient
  private var nodes: [String: Process] = [:]

  init(workers count: Int = 2, partitions: Int = 4, options: [String] = []) throws {
    folder = try TestFolder()
    etcd = try EtcdServers()
    services = "tcp://127.0.0.1:\(try freePort())"
    workers = "tcp://127.0.0.1:\(try freePort())"
    client = try LarisClient(dispatcher: services, budgetMilliseconds: 60_000)
    let made = try Run.program(
      "laris",
      ["cluster", "init", "--partitions", "\(partitions)", "--workers", "\(count)"] + options
        + etcdArguments)
    guard made.exit == 0 else { throw Problem("no cluster was made: \(made.errors)") }
    try startDispatcher()
    for number in 1...count { try startWorker(number) }
    try becomeHealthy()
  }

  var etcdArguments: [String] { ["--etcd", etcd.endpoints.joined(separator: ",")] }

  func startDispatcher(_ name: String = "dispatcher-1", data: String? = nil) throws {
    try start(
      name,
      [
        "dispatcher", "--data", folder.path + "/" + (data ?? name), "--node", name, "--listen", services,
        "--worker-listen", workers,
      ] + etcdArguments)
  }

  func startWorker(_ number: Int) throws {
    let name = "worker-\(number)"
    try start(name, ["worker", "--data", folder.path + "/" + name, "--node", name, "--dispatcher", workers])
  }

  func start(_ name: String, _ arguments: [String]) throws {
    nodes[name] = try Programs.start("laris", arguments, appendingTo: log(name))
  }

  func log(_ name: String) -> String { folder.path + "/\(name).log" }
  func said(_ name: String) -> String { (try? String(contentsOfFile: log(name), encoding: .utf8)) ?? "" }

  func kill(_ name: String) {
    guard let process = nodes.removeValue(forKey: name) else { return }
    Foundation.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  /// SIGTERM, and the exit code.
  func stop(_ name: String) -> Int32 {
    guard let process = nodes.removeValue(forKey: name) else { return -1 }
    process.terminate()
    process.waitUntilExit()
    return process.terminationStatus
  }

  func laris(_ arguments: [String]) throws -> Run {
    try Run.program("laris", arguments + ["--dispatcher", services])
  }

  func becomeHealthy() throws {
    let status = try laris(["status", "--exit-when-healthy", "--timeout", "60"])
    guard status.exit == 0 else {
      throw Problem("not healthy: \(status.output)\(status.errors)\(nodes.keys.map { said($0) })")
    }
  }

  func done(_ request: Laris_Request) throws -> Laris_Reply {
    switch try client.call(request) {
    case .done(let reply): return reply
    case let other: throw Problem("\(other)")
    }
  }

  func epochs() throws -> [UInt64] {
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    return try done(request).status.partitions.map(\.epoch)
  }

  func wait(_ what: String, seconds: Int = 60, _ isSo: () throws -> Bool) throws {
    try waitUntil(
      what, seconds: seconds, state: "\(try laris(["status"]))\(nodes.keys.map { said($0) })", isSo)
  }

  /// Waits until the partitions' epochs are these, in any order: a worker that was killed counts as alive
  /// for a while.
  func becomeHealthy(epochs wanted: [UInt64]) throws {
    try wait("the epochs are \(wanted)") { try epochs().sorted() == wanted }
    try becomeHealthy()
  }

  deinit {
    for name in nodes.keys { kill(name) }
    etcd.end()
  }
}

extension EndToEndTests {
  private static func shop(_ id: UInt64) -> [Laris_Request] {
    var shop = Laris_Request()
    shop.requestID = LarisClient.newRequestID()
    shop.registerShop.shopID = id
    shop.registerShop.name = "Toko \(id)"
    var sku = Laris_Request()
    sku.requestID = LarisClient.newRequestID()
    sku.putSku.shopID = id
    sku.putSku.skuID = 1
    sku.putSku.price = 1_000
    sku.putSku.onHand = 1_000_000
    sku.putSku.name = "Kopi"
    return [shop, sku]
  }

  private static func order(_ shop: UInt64) -> Laris_Request {
    var request = Laris_Request()
    request.requestID = LarisClient.newRequestID()
    request.placeOrder.shopID = shop
    request.placeOrder.buyerID = 7
    var line = Laris_Line()
    line.skuID = 1
    line.quantity = 1
    request.placeOrder.lines = [line]
    return request
  }

  @Test func `with etcd a dispatcher's folder holds nothing: another one with an empty folder goes on`()
    throws
  {
    let cluster = try EtcdCluster()
    var answered: [(Laris_Request, Laris_Reply)] = []
    func place(_ requests: [Laris_Request]) throws {
      for request in requests { answered.append((request, try cluster.done(request))) }
    }
    for shop: UInt64 in 1...8 { try place(Self.shop(shop) + (0..<5).map { _ in Self.order(shop) }) }
    #expect(try cluster.epochs() == [1, 1, 1, 1])

    cluster.kill("dispatcher-1")
    try cluster.startDispatcher("dispatcher-2")
    try cluster.becomeHealthy()
    #expect(try cluster.epochs() == [1, 1, 1, 1], "workers that went on keep their epochs")
    for (request, reply) in answered { #expect(try cluster.done(request) == reply) }

    // A worker that starts again takes new epochs from whichever dispatcher hears it first.
    cluster.kill("worker-1")
    try cluster.startWorker(1)
    try cluster.becomeHealthy(epochs: [1, 1, 2, 2])
    for shop: UInt64 in 1...8 { try place((0..<5).map { _ in Self.order(shop) }) }
    for (request, reply) in answered { #expect(try cluster.done(request) == reply) }
    let audit = try cluster.laris(["audit"])
    #expect(audit.exit == 0, "\(audit.output)\(audit.errors)")
    for name in ["worker-1", "worker-2", "dispatcher-2"] { #expect(cluster.stop(name) == 0, "\(name)") }
  }

  @Test func `an etcd that stands still for ten seconds under load costs no request`() throws {
    // A group that lost a lease on a busy machine would need etcd.
    let cluster = try EtcdCluster(options: ["--replicas", "2", "--lease", "1000"])
    let results = cluster.folder.path + "/sale.json"
    let load = Process()
    load.executableURL = URL(fileURLWithPath: try Programs.path("laris-loadtest"))
    load.arguments = [
      "run", "--rate", "1000", "--seconds", "15", "--shops", "50", "--json", "--no-retry", "--max-errors",
      "0",
      "--dispatcher", cluster.services,
    ]
    _ = FileManager.default.createFile(atPath: results, contents: nil)
    load.standardOutput = FileHandle(forWritingAtPath: results)
    load.standardError = FileHandle.nullDevice
    try load.run()
    defer { if load.isRunning { load.terminate() } }
    func orders() throws -> UInt64 {
      var request = Laris_Request()
      request.getStatus = Laris_GetStatus()
      return try cluster.done(request).status.dispatcher.done
    }
    let before = try orders()
    try cluster.wait("it sells", seconds: 30) { try orders() >= before + 1_000 }

    cluster.etcd.stop()
    let stopped = try orders()
    let until = Date() + 10
    while Date() < until { usleep(50_000) }
    #expect(try orders() > stopped + 8_000, "it went on all the time")
    #expect(try cluster.epochs() == [1, 1, 1, 1], "no group has changed")
    cluster.etcd.goOn()

    load.waitUntilExit()
    let said = try String(contentsOfFile: results, encoding: .utf8)
    #expect(load.terminationStatus == 0, "\(said)")
    let log = cluster.said("dispatcher-1")
    #expect(log.contains("the cluster's configuration is out of reach; what serves goes on"), "\(log)")

    // It is heard of again, and can be changed: all groups have both workers.
    cluster.kill("worker-2")
    try cluster.wait("all go on without it", seconds: 30) { try cluster.epochs().allSatisfy { $0 > 1 } }
    try cluster.startWorker(2)
    try cluster.becomeHealthy()
    #expect(cluster.said("dispatcher-1").contains("in reach again"))
    let audit = try cluster.laris(["audit"])
    #expect(audit.exit == 0, "\(audit)")
    #expect(audit.output.matches(of: /: 2 replicas equal at entry [0-9]/).count == 4, "\(audit)")
  }

  @Test func `of two dispatchers one is the controller, and the other takes over`() throws {
    let cluster = try EtcdCluster(workers: 1, partitions: 2)
    let folder = cluster.folder.path
    let services = "tcp://127.0.0.1:\(try freePort())"
    try cluster.start(
      "dispatcher-2",
      [
        "dispatcher", "--data", folder + "/dispatcher-2", "--node", "dispatcher-2", "--listen", services,
        "--worker-listen", "tcp://127.0.0.1:\(try freePort())",
      ] + cluster.etcdArguments)
    let up = try Run.program("laris", ["status", "--dispatcher", services, "--timeout", "30"])
    #expect(up.output.contains("worker-1"), "it knows the map: \(up.output)\(up.errors)")
    let isController = "this dispatcher is the controller"
    #expect(cluster.said("dispatcher-1").contains(isController))
    #expect(!cluster.said("dispatcher-2").contains(isController))
    cluster.kill("dispatcher-1")
    try cluster.wait("another one is the controller, once the lease has run out", seconds: 40) {
      cluster.said("dispatcher-2").contains(isController)
    }
    #expect(cluster.stop("dispatcher-2") == 0)
    // Who stops in good order gives it up at once.
    try cluster.startDispatcher("dispatcher-3")
    try cluster.becomeHealthy()
    try cluster.wait("dispatcher-3 is the controller", seconds: 4) {
      cluster.said("dispatcher-3").contains(isController)
    }
  }

  @Test func `commands for etcd say what is wrong with what they were given`() throws {
    let folder = try TestFolder()
    let away = "http://127.0.0.1:\(try freePort())"
    let cases: [([String], Int32, String)] = [
      (["cluster", "init", "--data", folder.path, "--etcd", away], 64, "name one"),
      (["cluster", "init"], 64, "name one"),
      (["cluster", "init", "--etcd", "http://10.1.2.3:2379"], 64, "plain text"),
      (["cluster", "init", "--etcd", "nonsense"], 64, "no address"),
      (["cluster", "init", "--etcd", away, "--etcd-user", "root"], 64, "LARIS_ETCD_PASSWORD"),
      (["cluster", "init", "--etcd", away, "--etcd-ca", folder.path + "/ca.pem"], 64, "can't be read"),
      (["dispatcher", "--data", folder.path, "--etcd-user", "root"], 64, "without --etcd"),
      (["cluster", "init", "--etcd", away], 3, "unknown"),
    ]
    for (arguments, exit, says) in cases {
      let run = try Run.program("laris", arguments)
      #expect(run.exit == exit, "\(arguments): \(run.errors)")
      #expect(run.errors.contains(says), "\(arguments): \(run.errors)")
    }
    let etcd = try EtcdServers()
    defer { etcd.end() }
    let at = ["--etcd", etcd.endpoints[0]]
    let none = try Run.program("laris", ["dispatcher", "--data", folder.path + "/d"] + at)
    #expect(none.exit == 78 && none.errors.contains("laris cluster init"), "\(none.errors)")
    #expect(try Run.program("laris", ["cluster", "init"] + at).exit == 0)
    let again = try Run.program("laris", ["cluster", "init"] + at)
    #expect(again.exit == 1 && again.errors.contains("already"), "\(again.errors)")
    // A folder of another cluster.
    #expect(try Run.program("laris", ["cluster", "init", "--data", folder.path + "/other"]).exit == 0)
    let other = try Run.program("laris", ["dispatcher", "--data", folder.path + "/other"] + at)
    #expect(other.exit == 78 && other.errors.contains("is of cluster"), "\(other.errors)")
  }
}
