import Cluster
import Foundation
import LarisClient
import LarisProtocol
import TestSupport
import Testing

/// A dispatcher and workers, each started and ended by the test alone. Nothing of it stays behind.
final class HandRun {
  let dispatcher: LoneDispatcher
  private var processes: [String: Process] = [:]
  let client: LarisClient
  let names: [String]
  /// Adjustments that were done, by shop.
  private(set) var sold: [UInt64: Int64] = [:]
  let partitions: Int

  private let furtherDispatchers: [String]

  /// - Parameters:
  ///   - options: further ones of `laris dispatcher`.
  ///   - further: where workers are told that other dispatchers are.
  init(
    replicas: Int, workers count: Int, partitions: Int, options: [String] = [],
    furtherDispatchers further: [String] = []
  ) throws {
    self.partitions = partitions
    furtherDispatchers = further
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
    let arguments =
      [
        "worker", "--data", data(of: node), "--node", node, "--replication-listen",
        "tcp://127.0.0.1:\(try freePort())",
      ] + ([dispatcher.workers] + furtherDispatchers).flatMap { ["--dispatcher", $0] }
    processes[node] = try Programs.start(
      "laris", arguments, appendingTo: dispatcher.folder.path + "/\(node).log")
  }

  func said(_ node: String) -> String {
    (try? String(contentsOfFile: dispatcher.folder.path + "/\(node).log", encoding: .utf8)) ?? ""
  }

  func pid(of node: String) throws -> pid_t {
    guard let process = processes[node] else { throw Problem("\(node) does not run") }
    return process.processIdentifier
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

  func wait(_ what: String, _ isSo: () throws -> Bool) throws {
    try waitUntil(what, state: dispatcher.laris(["status"]), isSo)
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
