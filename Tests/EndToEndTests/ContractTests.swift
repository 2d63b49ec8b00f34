import Foundation
import LarisClient
import LarisProtocol
import SQLite
import TestSupport
import Testing
import ZeroMQ

extension EndToEndTests {
  @Test func `a Python program with nothing of ours sells, settles and reads back`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    let program = ["bash", Programs.root + "/docs/examples/python/run.sh"]
    let nobody = "tcp://127.0.0.1:\(try freePort())"
    // It hears everything and never answers.
    let deaf = try Socket(.router, in: ZeroMQContext())
    try deaf.bind("tcp://127.0.0.1:*")
    for (first, sentence) in [
      (nil, nil), (nobody, "no dispatcher at"), (deaf.lastEndpoint, "no reply from"),
    ] as [(String?, String?)] {
      let dispatchers = [first, cluster.services].compactMap { $0 }.flatMap { ["--dispatcher", $0] }
      let run = try Run.program("/usr/bin/env", program + dispatchers + ["--deadline", "1000"])
      #expect(run.exit == 0, "\(run.output)\(run.errors)")
      for word in ["settled", "resolved", "sealed"] { #expect(run.output.contains("\n\(word) ")) }
      if let first, let sentence { #expect(run.output.contains("\(sentence) \(first)"), "\(run.output)") }
    }
    let began = ContinuousClock.now
    let alone = try Run.program(
      "/usr/bin/env", program + ["--dispatcher", nobody, "--connect-deadline", "0.3"])
    #expect(alone.exit == 69, "\(alone.output)\(alone.errors)")
    #expect(ContinuousClock.now - began < .seconds(25), "its patience is 30 s")
    #expect(cluster.stop() == 0)
  }

  /// The same ladder as `ClientCoreTests` climb.
  @Test func `the Python client never says more than it knows`() throws {
    let folder = try TestFolder()
    let program = """
      from laris.v1 import laris_pb2 as laris
      from laris_client import Attempts, Client, Fate, uuid7
      DONE, NO, BUSY, MALFORMED = (1, 0, 0), (2, 6, 0), (3, 100, 50), (3, 104, 0)
      NO_ANSWER, TOO_OLD, LATER, SILENCE = (4, 150, 100), (4, 151, 0), (9, 222, 0), None
      def play(*words):
          attempts = Attempts(laris.Request(request_id=uuid7()).SerializeToString())
          for word in words:
              assert not attempts.outcome, words
              attempts.sent += 1
              if word:
                  attempts.hear(laris.Reply(outcome=word[0], code=word[1], retry_after_milliseconds=word[2]))
          if not attempts.outcome:
              attempts.give_up()
          return attempts.outcome.fate
      for words, fate in [
          ([DONE], Fate.DONE), ([NO], Fate.NO), ([BUSY, DONE], Fate.DONE), ([SILENCE, NO], Fate.NO),
          ([], Fate.NOT_EXECUTED), ([BUSY], Fate.NOT_EXECUTED), ([BUSY, MALFORMED], Fate.NOT_EXECUTED),
          ([NO_ANSWER, MALFORMED], Fate.UNKNOWN), ([SILENCE, MALFORMED], Fate.UNKNOWN),
          ([BUSY, SILENCE, BUSY], Fate.UNKNOWN), ([SILENCE], Fate.UNKNOWN), ([LATER], Fate.UNKNOWN),
          ([BUSY, TOO_OLD], Fate.UNKNOWN)]:
          assert play(*words) == fate, (words, play(*words))
      large = Attempts(laris.Request(request_id=uuid7(), channel="x" * (1 << 20)).SerializeToString())
      assert large.outcome.fate == Fate.NOT_EXECUTED and large.reply.code == laris.TOO_LARGE
      client = Client(["tcp://127.0.0.1:9"])
      for asked_ms in [0, 50, 200, 60_000]:
          for rests in range(40):
              whole_ms = min(2_000, max(50, asked_ms) << min(rests, 20))
              wait_ms = 1_000 * client.wait_s(asked_ms, rests)
              assert asked_ms + whole_ms / 2 <= wait_ms + 1e-6, (asked_ms, rests, wait_ms)
              assert wait_ms <= asked_ms + whole_ms + 1e-6, (asked_ms, rests, wait_ms)
      print("sound")
      """
    try program.write(toFile: folder.path + "/ladder.py", atomically: true, encoding: .utf8)
    let made = try Run.program(
      "/usr/bin/env",
      [
        "protoc", "--proto_path=" + Programs.root + "/protos", "--python_out=" + folder.path,
        "laris/v1/laris.proto",
      ])
    #expect(made.exit == 0, "\(made.errors)")
    let run = try Run.program(
      "/usr/bin/python3", [folder.path + "/ladder.py"],
      environment: [
        "PYTHONPATH": folder.path + ":" + Programs.root + "/docs/examples/python",
        "PYTHONDONTWRITEBYTECODE": "1",
      ])
    #expect(run.output == "sound\n", "\(run.errors)")
  }

  @Test func `the Swift example sells, sends again and resolves`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    let nobody = "tcp://127.0.0.1:\(try freePort())"
    for dispatchers in [[cluster.services], [nobody, cluster.services]] {
      let run = try Run.program("place-order", dispatchers)
      #expect(run.exit == 0, "\(run.output)\(run.errors)")
      #expect(run.output.split(separator: "\n").count == 8, "\(run.output)")
    }
    #expect(try Run.program("place-order", [nobody]).exit == 69)
    #expect(cluster.stop() == 0)
  }

  /// A socket of a service, and how it puts frames around its requests.
  private func exchange(_ frames: [[UInt8]], _ kind: Socket.Kind, _ cluster: TestCluster) throws -> [[UInt8]]
  {
    let socket = try Socket(kind, in: ZeroMQContext())
    try socket.connect(cluster.services)
    for (index, frame) in frames.enumerated() { try socket.send(frame, more: index + 1 < frames.count) }
    var message = Message()
    guard socket.wait(milliseconds: 10_000), try socket.receive(into: &message) else {
      throw Problem("no reply within 10 s")
    }
    var replies = [Array(message.bytes)]
    while message.hasMore, try socket.receive(into: &message) { replies.append(Array(message.bytes)) }
    return replies
  }

  private func shop(_ id: UInt64, _ name: String) throws -> [UInt8] {
    var request = Laris_Request()
    request.requestID = LarisClient.newRequestID()
    request.registerShop.shopID = id
    request.registerShop.name = name
    return try request.serializedBytes()
  }

  @Test func `REQ and DEALER, delimiters and batches: replies come as the requests went`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 3)
    let one = try exchange([shop(1, "a")], .req, cluster)
    #expect(one.count == 1)
    #expect(try Laris_Reply(serializedBytes: one[0]).outcome == .done)

    let bare = try exchange([shop(2, "b")], .dealer, cluster)
    #expect(try Laris_Reply(serializedBytes: bare[0]).shopRegistered.shopID == 2)

    let delimited = try exchange([[], shop(3, "c")], .dealer, cluster)
    #expect(delimited.count == 2)
    #expect(delimited[0].isEmpty)

    let correlated = try exchange([[7, 7, 7, 7], [], shop(4, "d")], .dealer, cluster)
    #expect(correlated.count == 3)
    #expect(correlated[0] == [7, 7, 7, 7])

    let batch = try exchange([shop(5, "e"), shop(6, "f"), [1, 2, 3], shop(7, "g")], .dealer, cluster)
    #expect(batch.count == 4)
    let replies = try batch.map { try Laris_Reply(serializedBytes: $0) }
    #expect(replies.map(\.outcome) == [.done, .done, .notExecuted, .done])
    #expect(replies[2].code == .malformed)
    #expect(replies[3].shopRegistered.shopID == 7)
    #expect(cluster.stop() == 0)
  }

  @Test func `garbage gets an answer or is dropped, and the cluster goes on`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    for bytes: [UInt8] in [[0], [0xFF, 0xFF, 0xFF], Array(repeating: 0x0A, count: 3_000), [0x22, 0x05, 1]] {
      let reply = try exchange([bytes], .dealer, cluster)
      #expect(try Laris_Reply(serializedBytes: reply[0]).code == .malformed)
    }
    let large = try exchange([Array(repeating: 1, count: 2 << 20)], .dealer, cluster)
    #expect(try Laris_Reply(serializedBytes: large[0]).code == .tooLarge)
    // One that says who it is gets its answer under its id.
    var big = Laris_Request()
    big.requestID = LarisClient.newRequestID()
    big.channel = String(repeating: "x", count: 1 << 20)
    big.getShop.shopID = 1
    let named = try Laris_Reply(serializedBytes: exchange([big.serializedBytes()], .dealer, cluster)[0])
    #expect(named.code == .tooLarge)
    #expect(named.requestID == big.requestID)
    let many = try exchange(Array(repeating: [1], count: 1_500), .dealer, cluster)
    #expect(try Laris_Reply(serializedBytes: many[0]).code == .tooLarge)

    // What workers' sockets get from strangers is dropped.
    let stranger = try Socket(.dealer, in: ZeroMQContext())
    try stranger.connect(cluster.workers)
    for bytes: [UInt8] in [
      [], [1], [2, 1, 0, 0], [3, 1, 9], [16, 1, 0xFF], Array(repeating: 0xEE, count: 999),
    ] {
      try stranger.send(bytes)
    }
    // Neither does a stale frame with the highest epoch stop a partition.
    try stranger.send([4, 1, 0, 0] + [UInt8](repeating: 0xFF, count: 8))
    _ = stranger.wait(milliseconds: 200)
    #expect(try cluster.status().partitions.allSatisfy(\.active))
    #expect(cluster.stop() == 0)
  }

  @Test func `a lock on SQLite's files delays a checkpoint or a change, and stops nobody`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 1)
    let files = [
      cluster.data + "/worker-1/partitions/0000/partition.sqlite",
      cluster.data + "/dispatcher/cluster.sqlite",
    ]
    let tables = try Database(files[0], mode: .readWrite)
    let configuration = try Database(files[1], mode: .readWrite)
    try tables.execute("BEGIN IMMEDIATE")
    try configuration.execute("BEGIN IMMEDIATE")
    var request = Laris_Request()
    request.registerShop.shopID = 1
    request.registerShop.name = "Toko Kunci"
    _ = try cluster.done(request)
    // A checkpoint is due after 2 s, and waits 5 s for the lock; the worker's new epoch waits too.
    let began = Date()
    while Date() < began + 8 {
      request = Laris_Request()
      request.getShop.shopID = 1
      _ = try cluster.done(request)
      usleep(100_000)
    }
    cluster.kill(try cluster.status().workers[0].pid)
    try tables.execute("ROLLBACK")
    try configuration.execute("ROLLBACK")
    request = Laris_Request()
    request.getShop.shopID = 1
    #expect(try cluster.done(request).shop.name == "Toko Kunci")
    _ = try audit(cluster)
    #expect(cluster.stop() == 0)
  }

  @Test func `a reservation that is not paid in time is released`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    var request = Laris_Request()
    request.registerShop.shopID = 9
    request.registerShop.name = "Toko Waktu"
    _ = try cluster.done(request)
    request = Laris_Request()
    request.putSku.shopID = 9
    request.putSku.skuID = 1
    request.putSku.price = 100
    request.putSku.onHand = 5
    _ = try cluster.done(request)
    request = Laris_Request()
    request.placeOrder.shopID = 9
    request.placeOrder.buyerID = 1
    request.placeOrder.reserveMilliseconds = 300
    request.placeOrder.lines = [
      .with {
        $0.skuID = 1; $0.quantity = 5
      }
    ]
    let order = try cluster.done(request).orderPlaced.orderID
    var read = Laris_Request()
    read.getOrder.orderID = order
    let until = Date() + 20
    while try cluster.done(read).order.state != .expired {
      guard Date() < until else { throw Problem("the order did not expire within 20 s") }
      usleep(20_000)
    }
    read = Laris_Request()
    read.getSku.shopID = 9
    read.getSku.skuID = 1
    #expect(try cluster.done(read).sku.onHand == 5)
    #expect(try cluster.done(read).sku.reserved == 0)
    _ = try audit(cluster)
    #expect(cluster.stop() == 0)
  }

  @Test func `the state survives a stop, and every process with it goes`() throws {
    let folder = try TestFolder()
    let first = try TestCluster(folder: folder, workers: 2, partitions: 4)
    // One by one, so that each is a block of the log.
    let submitted = try first.laris(
      ["submit", "--batch", "1"],
      input: """
        {"registerShop": {"shopId": "42", "name": "Toko Sari"}}
        {"putSku": {"shopId": "42", "skuId": "1", "price": "5000", "onHand": "10"}}
        {"placeOrder": {"shopId": "42", "buyerId": "7", "lines": [{"skuId": "1", "quantity": 11}]}}

        """)
    #expect(submitted.exit == 1)
    #expect(submitted.output.contains("OUT_OF_STOCK"))
    #expect(first.stop() == 0)
    let second = try TestCluster(folder: folder, workers: 2, partitions: 4)
    let shop = try second.laris(["get", "shop", "42"])
    #expect(shop.exit == 0)
    #expect(shop.output.contains("Toko Sari"))
    let unknown = try second.laris(["get", "sku", "42", "2"])
    #expect(unknown.exit == 1)
    #expect(unknown.errors.contains("UNKNOWN_SKU"))
    let inspected = try Run.program("laris", ["inspect", second.data])
    #expect(inspected.exit == 0, "\(inspected.output)")
    for kind in [
      "log segment", "mark of what was synced", "accepted epoch", "identity of a data folder",
      "cluster configuration",
    ] {
      #expect(inspected.output.contains(kind), "nothing is a \(kind)")
    }
    let names = FileManager.default.enumerator(atPath: second.data)?.compactMap { $0 as? String } ?? []
    for name in names where !name.hasSuffix(".log") && !name.hasSuffix("-shm") {
      let one = try Run.program("laris", ["inspect", second.data + "/" + name])
      #expect(one.exit == 0, "\(name): \(one.output) \(one.errors)")
    }
    #expect(second.stop() == 0)

    let verified = try Run.program("laris", ["log", "verify", second.data])
    #expect(verified.exit == 0, "\(verified.errors)")
    #expect(verified.output.split(separator: "\n").allSatisfy { $0.hasSuffix("sound") }, "\(verified.output)")
    let dumped = try Run.program("laris", ["log", "dump", second.data])
    #expect(dumped.exit == 0, "\(dumped.errors)")
    #expect(dumped.output.contains("\"registerShop\":{\"shopId\":\"42\",\"name\":\"Toko Sari\"}"))
    #expect(dumped.output.contains("\"placeOrder\""))

    // What was synced and is gone or changed is never taken for nothing.
    let lines = verified.output.split(separator: "\n").first { $0.contains("entries 1 to 5") }
    let log = try #require(lines).split(separator: ":")[0]
    let segment = String(log) + "/00000000000000000001.lz4"
    let whole = try #require(FileManager.default.contents(atPath: segment))
    var damaged = whole
    damaged[300] ^= 1
    try damaged.write(to: URL(fileURLWithPath: segment))
    let refused = try Run.program("laris", ["log", "verify", second.data])
    #expect(refused.exit == 1)
    #expect(refused.errors.contains("is damaged at byte"), "\(refused.errors)")
    try FileManager.default.removeItem(atPath: segment)
    do {
      _ = try TestCluster(folder: folder, workers: 2, partitions: 4, timeout: 4)
      Issue.record("the cluster came up without a log")
    } catch let problem as Problem {
      #expect(problem.description.contains("has no log segment"), "\(problem)")
    }
  }
}
