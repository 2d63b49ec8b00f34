import Cluster
import Foundation
import LarisClient
import LarisProtocol
import SQLite
import Synchronization
import Testing

/// Sells on one partition, one request after the other, and notes when each was answered.
private final class Seller: Sendable {
  struct State {
    var isStopping = false
    var done: Int64 = 0
    var failures: [String] = []
    /// When each was sent and answered, in seconds.
    var answers: [(sent: Double, answered: Double)] = []
  }
  let state = Mutex(State())
  let shop: UInt64
  private let finished = DispatchSemaphore(value: 0)

  static var now: Double { ProcessInfo.processInfo.systemUptime }

  init(_ cluster: TestCluster, shop: UInt64) throws {
    self.shop = shop
    var request = Laris_Request()
    request.registerShop.shopID = shop
    request.registerShop.name = "Toko \(shop)"
    try Self.done(cluster, request)
    request = Laris_Request()
    request.putSku = .with {
      $0.shopID = shop
      $0.skuID = 1
      $0.price = 1_000
      $0.onHand = 0
    }
    try Self.done(cluster, request)
    let services = cluster.services
    Thread.detachNewThread { [self] in
      guard let client = try? LarisClient(dispatchers: [services]) else {
        state.withLock { $0.failures.append("no client") }
        _ = finished.signal()
        return
      }
      while !state.withLock({ $0.isStopping }) {
        var request = Laris_Request()
        request.requestID = LarisClient.newRequestID()
        request.adjustStock.shopID = shop
        request.adjustStock.skuID = 1
        request.adjustStock.delta = 1
        let sent = Self.now
        let outcome = Result { try client.call(request) }
        let answered = Self.now
        state.withLock { state in
          switch outcome {
          case .success(.done):
            state.done += 1
            state.answers.append((sent, answered))
          case .success(let other): state.failures.append("\(other)")
          case .failure(let error): state.failures.append("\(error)")
          }
        }
      }
      finished.signal()
    }
  }

  private static func done(_ cluster: TestCluster, _ request: Laris_Request) throws {
    var request = request
    request.requestID = LarisClient.newRequestID()
    _ = try cluster.done(request)
  }

  /// Seconds from `moment` to the first answer to what was sent after it.
  func firstAnswer(after moment: Double) throws -> Double {
    let until = Date() + 30
    while Date() < until {
      if let first = state.withLock({ $0.answers.first { $0.sent >= moment } }) {
        return first.answered - moment
      }
      usleep(1_000)
    }
    throw Problem("shop \(shop) had no answer for 30 s: \(state.withLock { $0.failures })")
  }

  /// The longest time without an answer after `moment`, in seconds.
  func longestPause(after moment: Double) -> Double {
    state.withLock { state in
      let times = state.answers.map(\.answered).filter { $0 >= moment }
      return zip(times, times.dropFirst()).map { $1 - $0 }.max() ?? 0
    }
  }

  /// - Returns: how many were done.
  func stop() -> Int64 {
    state.withLock { $0.isStopping = true }
    finished.wait()
    finished.signal()
    return state.withLock { $0.done }
  }
}

/// Replicas of real processes.
extension EndToEndTests {
  private struct Sale {
    let cluster: TestCluster
    let sellers: [Seller]
    /// Sells besides, at a rate, and records every answer.
    private let load: Process?
    private var history: String { cluster.folder.path + "/history" }

    /// - Parameters:
    ///   - seconds: how long the load lasts; 0: there is none.
    ///   - options: further ones of the load.
    init(
      workers: Int = 3, replicas: Int = 2, partitions: Int = 3, seconds: Int = 0, options: [String] = []
    ) throws {
      let cluster = try TestCluster(
        workers: workers, partitions: partitions, options: ["--replicas", "\(replicas)"])
      self.cluster = cluster
      sellers = try (0..<partitions).map { partition in
        let shop = (1_000_000...).first {
          Int(Routing.partition(ofKey: $0, count: partitions).rawValue) == partition
        }!
        return try Seller(cluster, shop: shop)
      }
      load = seconds > 0 ? try Self.sell(cluster, seconds, options) : nil
    }

    private static func sell(
      _ cluster: TestCluster, _ seconds: Int, _ options: [String]
    ) throws -> Process {
      let rate = ProcessInfo.processInfo.environment["LARIS_FAILOVER_RATE"] ?? "500"
      let load = Process()
      load.executableURL = URL(fileURLWithPath: try Programs.path("laris-loadtest"))
      load.arguments =
        [
          "run", "--dispatcher", cluster.services, "--seconds", "\(seconds)", "--rate", rate,
          "--shops", "200", "--history", cluster.folder.path + "/history",
        ] + options
      load.standardOutput = FileHandle.nullDevice
      load.standardError = FileHandle.nullDevice
      try load.run()
      return load
    }

    func waitUntilHealthy() throws {
      let healthy = try cluster.laris(["status", "--exit-when-healthy", "--timeout", "60"])
      guard healthy.exit == 0 else { throw Problem("not healthy: \(healthy.output) \(healthy.errors)") }
    }

    func wait(_ what: String, _ isSo: () throws -> Bool) throws {
      try waitUntil(what, state: cluster.status(), isSo)
    }

    func partition(_ number: Int) throws -> Laris_PartitionStatus { try cluster.status().partitions[number] }

    func worker(_ node: String) throws -> Laris_WorkerStatus {
      guard let worker = try cluster.status().workers.first(where: { $0.node == node }) else {
        throw Problem("there is no \(node)")
      }
      return worker
    }

    func secondary(of partition: Int) throws -> String {
      let row = try self.partition(partition)
      guard let other = row.members.first(where: { $0.node != row.primary && $0.role == "secondary" }) else {
        throw Problem("partition \(partition) has no secondary: \(row)")
      }
      return other.node
    }

    /// Moves a replica, slowly: who joins stands still most of the time, until it was said how far it is.
    ///
    /// - Returns: what `laris partition move` prints.
    func move(_ partition: Int, from source: String, to target: String) throws -> String {
      let log = cluster.folder.path + "/move.log"
      let pid = pid_t(try worker(target).pid)
      let command = try Programs.start(
        "laris",
        [
          "partition", "move", "\(partition)", "--from", source, "--to", target, "--wait", "120",
          "--dispatcher", cluster.services,
        ], appendingTo: log)
      func said() throws -> String { try String(contentsOfFile: log, encoding: .utf8) }
      while command.isRunning, try said().firstMatch(of: /: [1-9]\d* %, join/) == nil {
        Foundation.kill(pid, SIGSTOP)
        usleep(400_000)
        Foundation.kill(pid, SIGCONT)
        usleep(10_000)
      }
      command.waitUntilExit()
      guard command.terminationStatus == 0 else { throw Problem("it did not move: \(try said())") }
      return try said()
    }

    /// Every adjustment that was done has been done once; the books balance; all replicas have the same rows.
    func check() throws {
      for seller in sellers {
        let done = seller.stop()
        let failures = seller.state.withLock { $0.failures }
        #expect(failures.isEmpty, "\(failures)")
        var request = Laris_Request()
        request.requestID = LarisClient.newRequestID()
        request.getSku.shopID = seller.shop
        request.getSku.skuID = 1
        let stock = try cluster.done(request).sku.onHand
        #expect(stock == done, "shop \(seller.shop)")
      }
      try waitUntilHealthy()
      if let load {
        load.waitUntilExit()
        #expect(load.terminationStatus == 0)
      }
      let audit = try cluster.laris(["audit"] + (load == nil ? [] : ["--history", history]))
      #expect(audit.exit == 0, "\(audit.output) \(audit.errors)")
      #expect(audit.output.contains("replicas are equal"), "\(audit.output)")
      for partition in sellers.indices {
        let line = audit.output.split(separator: "\n").first { $0.hasPrefix("partition \(partition): ") }
        #expect(
          line?.contains(" replicas equal at entry ") == true, "partition \(partition): \(audit.output)")
      }
      #expect(cluster.stop() == 0)
    }
  }

  private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
  private static func milliseconds(_ values: [Double]) -> String {
    values.map { "\(Int($0 * 1_000))" }.joined(separator: " ")
  }

  private static var rounds: Int {
    ProcessInfo.processInfo.environment["LARIS_FAILOVER_ROUNDS"].flatMap { Int($0) } ?? 3
  }

  /// A few rounds, beside other tests, tell nothing of how long something takes.
  private static var areTimesExpected: Bool { rounds >= 20 }

  @Test func `the death of a primary loses nothing, does nothing twice, and is soon over`() throws {
    let sale = try Sale(seconds: 3 + 2 * Self.rounds)
    var gaps: [Double] = []
    for round in 0..<Self.rounds {
      try sale.waitUntilHealthy()
      let seller = sale.sellers[round % 3]
      let before = try sale.partition(round % 3)
      let primary = try sale.worker(before.primary)
      let moment = Seller.now
      sale.cluster.kill(primary.pid)
      gaps.append(try seller.firstAnswer(after: moment))
      try sale.waitUntilHealthy()
      #expect(try sale.partition(round % 3).epoch > before.epoch)
      #expect(try sale.worker(before.primary).pid != primary.pid, "it was started again")
    }
    print(
      "failover after kill -9, ms to the first new answer: \(Self.milliseconds(gaps)); "
        + "median \(Int(Self.median(gaps) * 1_000))")
    if Self.areTimesExpected {
      #expect(Self.median(gaps) <= 0.3)
      #expect(gaps.max()! <= 1)
    }
    try sale.check()
  }

  @Test
  func `a primary that is stopped past its lease is replaced, answers nothing when it wakes, and follows`()
    throws
  {
    let sale = try Sale(seconds: 3 + 2 * Self.rounds)
    var gaps: [Double] = []
    for round in 0..<Self.rounds {
      try sale.waitUntilHealthy()
      let before = try sale.partition(round % 3)
      let primary = try sale.worker(before.primary)
      let moment = Seller.now
      Foundation.kill(pid_t(primary.pid), SIGSTOP)
      gaps.append(try sale.sellers[round % 3].firstAnswer(after: moment))
      Foundation.kill(pid_t(primary.pid), SIGCONT)
      try sale.waitUntilHealthy()
      let after = try sale.partition(round % 3)
      #expect(after.epoch > before.epoch && after.primary != before.primary)
      #expect(try sale.worker(before.primary).pid == primary.pid, "it was not started again")
    }
    print("failover after SIGSTOP, ms to the first new answer: \(Self.milliseconds(gaps))")
    // The grace is 200 ms.
    if Self.areTimesExpected { #expect(gaps.max()! <= 0.2 + 0.5) }
    try sale.check()
  }

  @Test func `a planned switchover fails no request`() throws {
    let sale = try Sale(seconds: 3 + 2 * Self.rounds, options: ["--no-retry", "--max-errors", "0"])
    var pauses: [Double] = []
    for round in 0..<Self.rounds {
      try sale.waitUntilHealthy()
      let target = try sale.secondary(of: round % 3)
      let moment = Seller.now
      let switched = try sale.cluster.laris(["partition", "switchover", "\(round % 3)", "--to", target])
      #expect(switched.exit == 0, "\(switched.output) \(switched.errors)")
      let row = try sale.partition(round % 3)
      #expect(row.primary == target && row.active)
      pauses.append(sale.sellers[round % 3].longestPause(after: moment))
    }
    print(
      "switchover, ms of the longest pause: \(Self.milliseconds(pauses)); "
        + "median \(Int(Self.median(pauses) * 1_000))")
    if Self.areTimesExpected { #expect(Self.median(pauses) < 0.1) }
    try sale.check()
  }

  @Test func `a partition moves to another worker, and a worker is drained, while it sells`() throws {
    let sale = try Sale()
    try sale.waitUntilHealthy()
    // So much that joining takes its time.
    let filled = try sale.cluster.loadtest(["run", "--seconds", "8", "--rate", "1000", "--shops", "200"])
    #expect(filled.exit == 0, "\(filled.errors)")
    var (target, said) = ("", "")
    var isShareSaid = false
    // On a busy machine it may join between two looks: then once more, to who has no replica now.
    for _ in 0..<4 where !isShareSaid {
      try sale.waitUntilHealthy()
      let row = try sale.partition(0)
      let members = Set(row.members.map(\.node))
      target = try #require(try sale.cluster.status().workers.map(\.node).first { !members.contains($0) })
      said = try sale.move(0, from: row.primary, to: target)
      #expect(said.hasSuffix(": done\n"), "\(said)")
      #expect(try sale.partition(0).primary == target)
      isShareSaid = said.matches(of: /: (\d+) %, join/).contains { (1..<80).contains(Int($0.1) ?? 0) }
    }
    #expect(isShareSaid, "\(said)")
    let drained = try sale.cluster.laris(["worker", "drain", target])
    #expect(drained.exit == 0, "\(drained.output) \(drained.errors)")
    #expect(try sale.cluster.status().partitions.allSatisfy { !$0.members.map(\.node).contains(target) })
    let undone = try sale.cluster.laris(["worker", "drain", target, "--undo"])
    #expect(undone.exit == 0, "\(undone.output) \(undone.errors)")
    try sale.check()
  }

  @Test func `a move that is taken back while the source still follows leaves all as it was`() throws {
    let sale = try Sale(seconds: 20)
    let node = "worker-4"
    let fourth = try Programs.start(
      "laris",
      [
        "worker", "--data", sale.cluster.data + "/\(node)", "--node", node, "--dispatcher",
        sale.cluster.workers,
      ], appendingTo: sale.cluster.folder.path + "/\(node).log")
    defer {
      Foundation.kill(fourth.processIdentifier, SIGKILL)
      fourth.waitUntilExit()
    }
    try sale.wait("\(node) is there") {
      try sale.cluster.status().workers.contains { $0.node == node && $0.alive }
    }
    try sale.waitUntilHealthy()
    let before = try sale.partition(0)
    let move = ["partition", "move", "0", "--from", before.primary, "--to", node]
    func undo() throws -> Laris_PartitionStatus {
      let undone = try sale.cluster.laris(move + ["--undo"])
      #expect(undone.exit == 0 && undone.output.hasSuffix(": done\n"), "\(undone)")
      try sale.waitUntilHealthy()
      let after = try sale.partition(0)
      #expect(after.primary == before.primary && !after.hasMove && after.asked.isEmpty)
      #expect(Set(after.members.map(\.node)) == Set(before.members.map(\.node)), "\(after)")
      return after
    }
    func begin() throws {
      let asked = try sale.cluster.laris(move + ["--no-wait"])
      #expect(asked.exit == 0 && asked.output.contains("asked for"), "\(asked)")
    }

    // While the target joins: one that stands still doesn't get far.
    Foundation.kill(fourth.processIdentifier, SIGSTOP)
    try begin()
    try sale.wait("\(node) is asked to join") { try sale.partition(0).asked == "join \(node)" }
    #expect(try undo().epoch == before.epoch, "no member came or went")
    Foundation.kill(fourth.processIdentifier, SIGCONT)

    // Once it is a member. It may be that the source has left before the undo comes: then once more.
    var hasFollowed = false
    for _ in 0..<5 where !hasFollowed {
      try sale.wait("\(node) is alive") {
        try sale.cluster.status().workers.contains { $0.node == node && $0.alive }
      }
      let last = try sale.partition(0).epoch
      try begin()
      try sale.wait("\(node) is a member") {
        try sale.partition(0).members.contains { $0.node == node && $0.role != "learner" }
      }
      _ = try undo()
      let said = try sale.cluster.laris(["status", "--history", "0", "--json"])
      let changes = try Laris_GroupHistory(jsonString: said.output).changes.filter { $0.epoch > last }
      #expect(changes.contains { $0.why == "\(node) has caught up" }, "\(said.output)")
      hasFollowed = changes.allSatisfy { ([$0.primary] + $0.secondaries).contains(before.primary) }
    }
    #expect(hasFollowed)
    try sale.check()
  }

  @Test func `a replica whose data is damaged or gone gets it from the primary, by itself`() throws {
    let sale = try Sale()
    try sale.waitUntilHealthy()
    let folder = try FileManager.default.contentsOfDirectory(
      atPath: sale.cluster.data + "/\(try sale.secondary(of: 0))/partitions/0000/log")
    #expect(!folder.isEmpty)

    // One that is gone.
    let gone = try sale.secondary(of: 0)
    try FileManager.default.removeItem(atPath: sale.cluster.data + "/\(gone)/partitions/0000")
    sale.cluster.kill(try sale.worker(gone).pid)
    try sale.waitUntilHealthy()

    // One byte of what was synced.
    let damaged = try sale.secondary(of: 1)
    let log = sale.cluster.data + "/\(damaged)/partitions/0001/log"
    let segment = try #require(
      try FileManager.default.contentsOfDirectory(atPath: log).filter { $0.hasSuffix(".lz4") }.min())
    let file = try #require(FileHandle(forUpdatingAtPath: log + "/" + segment))
    try file.seek(toOffset: 300)
    let byte = try #require(try file.read(upToCount: 1))
    try file.seek(toOffset: 300)
    try file.write(contentsOf: [byte[0] ^ 0x10])
    try file.close()
    sale.cluster.kill(try sale.worker(damaged).pid)
    // It has to be gone before it can be back.
    let until = Date() + 20
    while Date() < until, try sale.partition(1).inSync > 1 { usleep(5_000) }
    try sale.waitUntilHealthy()
    let kept = try FileManager.default.contentsOfDirectory(
      atPath: sale.cluster.data + "/\(damaged)/partitions")
    #expect(kept.contains { $0.hasPrefix("0001.damaged-") }, "\(kept)")
    try sale.check()
  }

  @Test func `an audit compares all replicas at one entry, under load, and says who was not reached`() throws
  {
    let sale = try Sale(seconds: 12)
    try sale.waitUntilHealthy()
    for _ in 0..<4 {
      let audit = try sale.cluster.laris(["audit", "--json"])
      #expect(audit.exit == 0, "\(audit.output) \(audit.errors)")
      let found = try JSONDecoder().decode(Found.self, from: Data(audit.output.utf8))
      #expect(found.equal && found.partitions.count == 3)
      for group in found.partitions {
        #expect(group.replicas.count == 2 && Set(group.replicas.map(\.appliedDigest)).count == 1)
        #expect(group.replicas.allSatisfy { $0.sequenceNumber == group.sequenceNumber }, "\(audit.output)")
      }
    }
    // One that hangs is a member until it is dropped. Somebody must take its place for the cluster to be well.
    let hung = try sale.worker(try sale.secondary(of: 0))
    Foundation.kill(pid_t(hung.pid), SIGSTOP)
    let audit = try sale.cluster.laris(["audit"])
    Foundation.kill(pid_t(hung.pid), SIGCONT)
    let line = audit.output.split(separator: "\n").first { $0.hasPrefix("partition 0: ") } ?? ""
    #expect(
      audit.exit == 0 ? line.contains("1 of 2 replicas at entry") : line.contains("NOT REACHED"),
      "\(audit.output) \(audit.errors)")
    try sale.waitUntilHealthy()
    try sale.check()
  }

  /// Of `laris audit --json`.
  private struct Found: Decodable {
    struct Group: Decodable { var sequenceNumber: String, replicas: [Replica] }
    struct Replica: Decodable { var node, sequenceNumber, appliedDigest: String }
    var equal: Bool
    var partitions: [Group]
  }

  private static func rowsChanged(by sql: String, in path: String) throws -> Int {
    let database = try Database(path, mode: .readWrite)
    try database.execute(sql)
    return database.changes
  }

  @Test func `a row that changes on a secondary's disk is found; it stops, and the primary goes on`() throws {
    let sale = try Sale()
    try sale.waitUntilHealthy()
    let (shop, broken) = (sale.sellers[0].shop, try sale.secondary(of: 0))
    let primary = try sale.partition(0).primary
    func spoil(_ sql: String) throws {
      let worker = try sale.worker(broken)
      Foundation.kill(pid_t(worker.pid), SIGSTOP)
      // It is dropped, then started anew by what keeps it running.
      let until = Date() + 20
      while Date() < until, try sale.partition(0).inSync > 1 { usleep(5_000) }
      let path = "\(sale.cluster.data)/\(broken)/partitions/0000/partition.sqlite"
      while (try? Self.rowsChanged(by: sql, in: path)) != 1 {
        guard Date() < until else { throw Problem("\(path) can't be changed") }
        // It was stopped in the middle of a checkpoint.
        Foundation.kill(pid_t(worker.pid), SIGCONT)
        usleep(20_000)
        Foundation.kill(pid_t(worker.pid), SIGSTOP)
      }
      sale.cluster.kill(worker.pid)
    }
    // In a row that nobody changes the audit finds it.
    var quiet = Laris_Request()
    quiet.requestID = LarisClient.newRequestID()
    quiet.putSku = .with {
      $0.shopID = shop
      $0.skuID = 2
      $0.price = 77
    }
    _ = try sale.cluster.done(quiet)
    #expect(try sale.cluster.laris(["audit"]).exit == 0)
    try spoil("UPDATE skus SET price = 78 WHERE shop_id = \(shop) AND sku_id = 2")
    try sale.waitUntilHealthy()
    let audit = try sale.cluster.laris(["audit"])
    #expect(audit.exit == 1, "\(audit.output)")
    #expect(audit.output.contains("\(broken) DIFFERS from \(primary): skus"), "\(audit.output)")
    #expect(audit.output.contains("NOT CLEAN") && audit.errors.contains("not equal"), "\(audit.errors)")

    // In one that is sold from, the next comparison does.
    try spoil("UPDATE skus SET price = 999 WHERE shop_id = \(shop) AND sku_id = 1")
    try sale.wait("it is found") {
      try sale.partition(0).note.contains("\(broken): the same entries up to ")
    }
    let sold = sale.sellers[0].state.withLock { $0.done }
    try sale.wait("the others go on selling") { sale.sellers[0].state.withLock { $0.done } > sold + 100 }
    let row = try sale.partition(0)
    #expect(row.active && row.primary == primary && !row.members.contains { $0.node == broken && $0.inSync })

    // Started again, it joins by a copy; what it had is kept.
    sale.cluster.kill(try sale.worker(broken).pid)
    try sale.wait("it is back") {
      let row = try sale.partition(0)
      return row.inSync == 2 && row.note.isEmpty
    }
    let kept = try FileManager.default.contentsOfDirectory(
      atPath: "\(sale.cluster.data)/\(broken)/partitions")
    #expect(kept.contains { $0.hasPrefix("0000.diverged-") }, "\(kept)")
    try sale.check()
  }
}
