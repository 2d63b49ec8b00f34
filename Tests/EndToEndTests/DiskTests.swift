import Foundation
import LarisClient
import LarisProtocol
import TestSupport
import Testing
import ZeroMQ

extension EndToEndTests {
  /// A small file system of its own at `path`; nil where this process may not make one.
  private final class SmallDisk {
    let path: String

    init?(at path: String, mebibytes: Int) throws {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      let run = try Run.program(
        "/usr/bin/env", ["mount", "-t", "tmpfs", "-o", "size=\(mebibytes)m", "laris-test", path])
      guard run.exit == 0 else {
        print("SKIPPED: no file system can be mounted here, so no full disk is tried: \(run.errors)")
        return nil
      }
      self.path = path
    }

    var free: Int {
      var status = statvfs()
      return statvfs(path, &status) == 0 ? Int(status.f_bavail) * Int(status.f_frsize) : 0
    }

    /// Takes all but `free` bytes.
    func fill(leaving free: Int) throws {
      let file = open(path + "/filler", O_WRONLY | O_CREAT, 0o644)
      defer { Foundation.close(file) }
      let bytes = off_t(max(0, self.free - free))
      guard file >= 0, posix_fallocate(file, 0, bytes) == 0 else {
        throw Problem("no filler of \(bytes) bytes")
      }
    }

    func empty() throws { try FileManager.default.removeItem(atPath: path + "/filler") }

    deinit { _ = try? Run.program("/usr/bin/env", ["umount", "-l", path]) }
  }

  private static func order() -> Laris_Request {
    var request = Laris_Request()
    request.requestID = LarisClient.newRequestID()
    request.placeOrder.shopID = 1
    request.placeOrder.buyerID = 7
    var line = Laris_Line()
    line.skuID = 1
    line.quantity = 1
    request.placeOrder.lines = [line]
    return request
  }

  private static func sku() -> Laris_Request {
    var request = Laris_Request()
    request.getSku.shopID = 1
    request.getSku.skuID = 1
    return request
  }

  private static func openShop(_ cluster: TestCluster) throws {
    var shop = Laris_Request()
    shop.registerShop.shopID = 1
    shop.registerShop.name = "Toko"
    _ = try cluster.done(shop)
    var sku = Laris_Request()
    sku.putSku.shopID = 1
    sku.putSku.skuID = 1
    sku.putSku.price = 1_000
    sku.putSku.onHand = 1_000_000
    sku.putSku.name = "Kopi"
    _ = try cluster.done(sku)
  }

  @Test func `a full disk refuses writes definitely, answers reads, and goes on when there is room`() throws {
    let folder = try TestFolder()
    guard let disk = try SmallDisk(at: folder.path + "/data", mebibytes: 256) else { return }
    let reserve = 64 << 20
    let cluster = try TestCluster(
      folder: folder, workers: 1, partitions: 2, options: ["--disk-reserve", "\(reserve >> 20)"])
    try Self.openShop(cluster)
    // A bare socket: every reply is one attempt's.
    let socket = try Socket(.dealer, in: ZeroMQContext())
    try socket.connect(cluster.services)
    var message = Message()
    var done: [(Laris_Request, Laris_Reply)] = []
    var refused: [Laris_Request] = []
    func place(_ request: Laris_Request) throws {
      try socket.send(try request.serializedBytes() as [UInt8])
      while try !socket.receive(into: &message) {
        guard socket.wait(milliseconds: 20_000) else { throw Problem("no reply within 20 s") }
      }
      let reply = try Laris_Reply(serializedBytes: Data(message.bytes))
      if reply.outcome == .done { return done.append((request, reply)) }
      #expect(reply.outcome == .notExecuted)
      #expect(reply.code == .diskFull, "\(reply)")
      #expect(reply.retryAfterMilliseconds == 1_000)
      refused.append(request)
    }
    for _ in 0..<200 { try place(Self.order()) }
    #expect(refused.isEmpty)

    // The load itself takes what is left above the reserve.
    try disk.fill(leaving: reserve + (128 << 10))
    let until = Date() + 90
    while refused.count < 20, Date() < until { try place(Self.order()) }
    #expect(refused.count >= 20)
    #expect(disk.free > reserve / 2, "room is left to run")
    let placed = done.count
    #expect(placed > 200)

    #expect(try cluster.done(Self.sku()).sku.reserved == Int64(placed))
    let again = try #require(done.randomElement())
    #expect(try cluster.done(again.0) == again.1, "what was answered is answered again")
    // The worker's next beacon tells it.
    let told = Date() + 10
    var status = ""
    while !status.contains("refuses writes until 72 MiB are free at "), Date() < told {
      status = try cluster.laris(["status"]).output
    }
    #expect(status.contains("refuses writes until 72 MiB are free at "), "\(status)")
    #expect(try cluster.status().partitions.allSatisfy(\.active))

    try disk.empty()
    let late = refused
    refused = []
    for request in late { done.append((request, try cluster.done(request))) }
    for _ in 0..<50 { try place(Self.order()) }
    #expect(refused.isEmpty)
    #expect(try cluster.done(Self.sku()).sku.reserved == Int64(done.count), "each once, and no other")
    let audit = try cluster.laris(["audit"])
    #expect(audit.exit == 0, "\(audit.output)\(audit.errors)")
    #expect(cluster.stop() == 0)
  }

  @Test func `copies that a killed worker left are gone soon after its next start, where room is scarce`()
    throws
  {
    let folder = try TestFolder()
    var status = statvfs()
    try #require(statvfs(folder.path, &status) == 0)
    let free = Int(status.f_bavail) * Int(status.f_frsize)
    let cluster = try TestCluster(
      folder: folder, workers: 1, partitions: 1, options: ["--disk-reserve", "\((free >> 20) * 3 / 4)"])
    try Self.openShop(cluster)
    let partition = cluster.data + "/worker-1/partitions/0000"
    // 32 MB a second would take two minutes. They have holes only.
    for name in ["snapshot.sqlite", "removed-3"] {
      let file = open(partition + "/" + name, O_WRONLY | O_CREAT, 0o644)
      defer { Foundation.close(file) }
      try #require(file >= 0 && ftruncate(file, 2 << 30) == 0)
    }
    cluster.kill(try #require(try cluster.status().workers.first).pid)
    func left() throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: partition).filter {
        $0.hasPrefix("removed-") || $0.hasPrefix("snapshot")
      }
    }
    try waitUntil("they are gone", seconds: 30, state: try left()) { try left().isEmpty }
    #expect(try cluster.done(Self.sku()).sku.price == 1_000)
    #expect(cluster.stop() == 0)
  }

  /// Where it happens to all members at once, each has to be believed: none is left to join.
  @Test(arguments: [1, 3])
  func `a write that fails ends the worker with a clear last word, and its next start lacks nothing`(
    replicas: Int
  ) throws {
    let cluster = try TestCluster(workers: replicas, partitions: 1, options: ["--replicas", "\(replicas)"])
    try Self.openShop(cluster)
    let first = Set(try cluster.status().workers.map(\.pid))
    for pid in first {
      let limited = try Run.program(
        "/usr/bin/env", ["prlimit", "--pid", "\(pid)", "--fsize=65536:65536"])
      try #require(limited.exit == 0, "\(limited.errors)")
    }
    var done: [(Laris_Request, Laris_Reply)] = []
    let until = Date() + 90
    var alive = first
    while !alive.isDisjoint(with: first), Date() < until {
      for _ in 0..<50 {
        let request = Self.order()
        done.append((request, try cluster.done(request)))
      }
      alive = Set(try cluster.status().workers.filter(\.alive).map(\.pid))
    }
    #expect(alive.isDisjoint(with: first), "each ended, and another one came")
    for worker in 1...replicas {
      let log = try String(contentsOfFile: cluster.data + "/worker-\(worker).log", encoding: .utf8)
      #expect(log.contains("the node ends, because its disk failed"), "\(log)")
      #expect(log.contains("File too large") || log.contains("disk I/O error"), "\(log)")
    }
    for (request, reply) in done { #expect(try cluster.done(request) == reply) }
    #expect(try cluster.done(Self.sku()).sku.reserved == Int64(done.count), "each once, and no other")
    let healthy = try cluster.laris(["status", "--exit-when-healthy", "--timeout", "60"])
    #expect(healthy.exit == 0, "\(healthy.output)")
    let audit = try cluster.laris(["audit"])
    #expect(audit.exit == 0, "\(audit.output)\(audit.errors)")
    #expect(cluster.stop() == 0)
  }

  /// The partition of an order's id; docs/FORMATS.md has the bits.
  private static func partition(of order: Data) -> UInt32 {
    UInt32(
      order[order.startIndex + 8..<order.startIndex + 12].reduce(0 as UInt32) { $0 << 8 | UInt32($1) } >> 14)
      & 0xFFFF
  }

  @Test func `a dispatcher whose disk is full serves what is served, and the rest when there is room`() throws
  {
    let folder = try TestFolder()
    guard let disk = try SmallDisk(at: folder.path + "/data/dispatcher", mebibytes: 16) else { return }
    let cluster = try TestCluster(folder: folder, workers: 2, partitions: 4)
    var done: [(Laris_Request, Laris_Reply)] = []
    func place(_ shop: UInt64) throws -> Laris_Reply {
      var request = Self.order()
      request.placeOrder.shopID = shop
      let reply = try cluster.done(request)
      done.append((request, reply))
      return reply
    }
    var partitions: [UInt64: UInt32] = [:]
    for shop in 1...12 as ClosedRange<UInt64> {
      var register = Laris_Request()
      register.registerShop.shopID = shop
      register.registerShop.name = "Toko"
      _ = try cluster.done(register)
      var sku = Laris_Request()
      sku.putSku.shopID = shop
      sku.putSku.skuID = 1
      sku.putSku.price = 1_000
      sku.putSku.onHand = 1_000
      sku.putSku.name = "Kopi"
      _ = try cluster.done(sku)
      partitions[shop] = Self.partition(of: try place(shop).orderPlaced.orderID)
    }
    #expect(Set(partitions.values).count > 1)

    try disk.fill(leaving: 0)
    let before = try cluster.status()
    let killed = try #require(before.workers.first)
    cluster.kill(killed.pid)
    // It comes back as another process, whose epoch can't be written down.
    let logPath = cluster.data + "/dispatcher.log"
    let until = Date() + 60
    var log = ""
    while Date() < until, !log.contains("the cluster's configuration is out of reach") {
      log = try String(contentsOfFile: logPath, encoding: .utf8)
      usleep(20_000)
    }
    #expect(log.contains("the cluster's configuration is out of reach"), "\(log)")
    #expect(log.contains("is full"), "it says why: \(log)")

    let others = before.partitions.filter { $0.primary != killed.node }.map(\.partition)
    let served = partitions.filter { others.contains($0.value) }.keys
    #expect(!served.isEmpty)
    for shop in served { for _ in 0..<5 { _ = try place(shop) } }
    let meanwhile = try cluster.status()
    #expect(meanwhile.dispatcher.incarnation == before.dispatcher.incarnation, "it lives")
    for partition in meanwhile.partitions {
      #expect(partition.active == others.contains(partition.partition), "partition \(partition.partition)")
    }

    try disk.empty()
    let healthy = try cluster.laris(["status", "--exit-when-healthy", "--timeout", "60"])
    #expect(healthy.exit == 0, "\(healthy.output)\(healthy.errors)")
    for shop in partitions.keys { _ = try place(shop) }
    for (request, reply) in done { #expect(try cluster.done(request) == reply) }
    let audit = try cluster.laris(["audit"])
    #expect(audit.exit == 0, "\(audit.output)\(audit.errors)")
    var reserved = 0
    for shop in partitions.keys {
      var sku = Self.sku()
      sku.getSku.shopID = shop
      reserved += Int(try cluster.done(sku).sku.reserved)
    }
    #expect(reserved == done.count, "each once, and no other")
    #expect(cluster.stop() == 0)
  }
}
