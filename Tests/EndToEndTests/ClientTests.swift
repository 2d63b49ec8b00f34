import Foundation
import LarisClient
import LarisProtocol
import Synchronization
import TestSupport
import Testing
import ZeroMQ

extension EndToEndTests {
  private func client(_ dispatchers: [String], _ change: (inout LarisClient.Options) -> Void) throws
    -> LarisClient
  {
    var options = LarisClient.Options()
    change(&options)
    return try LarisClient(dispatchers: dispatchers, options: options)
  }

  private func shop(_ id: UInt64) -> Laris_Request {
    .with { request in
      request.requestID = LarisClient.newRequestID()
      request.registerShop = .with {
        $0.shopID = id
        $0.name = "Toko \(id)"
      }
    }
  }

  private func order(of shop: UInt64) -> Laris_Request {
    .with { request in
      request.requestID = LarisClient.newRequestID()
      request.placeOrder = .with {
        $0.shopID = shop
        $0.buyerID = 1
        $0.lines = [
          .with {
            $0.skuID = 1
            $0.quantity = 1
          }
        ]
      }
    }
  }

  private func stock(_ cluster: TestCluster, of shop: UInt64) throws -> Laris_Sku {
    try cluster.done(
      .with { request in
        request.getSku = .with {
          $0.shopID = shop
          $0.skuID = 1
        }
      }
    ).sku
  }

  private func isDone(_ outcome: LarisClient.Outcome) -> Bool {
    if case .done = outcome { true } else { false }
  }

  @Test func `a client learns in time that nobody is there, and is served once somebody is`() throws {
    let services = "tcp://127.0.0.1:\(try freePort())"
    let client = try client([services]) {
      $0.connectDeadlineMilliseconds = 400
      $0.budgetMilliseconds = 30_000
    }
    let request = shop(1)
    let began = ContinuousClock.now
    guard case .notExecuted(nil) = try client.call(request) else { throw Problem("somebody was there") }
    let took = ContinuousClock.now - began
    #expect(took >= .milliseconds(390))
    #expect(took < .seconds(10))
    let cluster = try TestCluster(services: services, workers: 1, partitions: 1)
    #expect(isDone(try client.call(request)))
    #expect(cluster.stop() == 0)
  }

  @Test func `where the first dispatcher is gone, mute or deaf, the second one serves`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    // Nobody; a socket that accepts and never speaks; one that hears everything and never answers.
    let gone = "tcp://127.0.0.1:\(try freePort())"
    let mute = try Listener()
    let deaf = try Socket(.router, in: ZeroMQContext())
    try deaf.bind("tcp://127.0.0.1:*")
    for (number, first) in [gone, mute.endpoint, deaf.lastEndpoint].enumerated() {
      let client = try client([first, cluster.services]) {
        $0.connectDeadlineMilliseconds = 2_000
        $0.attemptMilliseconds = 1_000
        $0.budgetMilliseconds = 30_000
      }
      let shops = (1...50).map { shop(UInt64(number * 1_000 + $0)) }
      let began = ContinuousClock.now
      #expect(try client.call(shops).allSatisfy(isDone), "\(first)")
      #expect(ContinuousClock.now - began < .seconds(20), "\(first)")
      #expect(isDone(try client.call(shops[0])), "\(first)")
    }
    #expect(cluster.stop() == 0)
  }

  @Test func `a batch under a dispatcher that is killed is answered whole, and nothing is done twice`() throws
  {
    let cluster = try TestCluster(workers: 2, partitions: 4)
    _ = try cluster.done(shop(7))
    _ = try cluster.done(
      .with { request in
        request.putSku = .with {
          $0.shopID = 7
          $0.skuID = 1
          $0.price = 100
          $0.onHand = 1_000_000
        }
      })
    let orders = (0..<20_000).map { _ in order(of: 7) }
    let answers = Answers()
    let services = cluster.services
    @Sendable func place() throws -> [Data] {
      let client = try client([services]) { $0.budgetMilliseconds = 60_000 }
      return try client.call(orders).map { outcome in
        guard case .done(let reply) = outcome else { throw Problem("\(outcome)") }
        return reply.orderPlaced.orderID
      }
    }
    var killed: Set<UInt32> = []
    try withThread({
      let placed = try? place()
      answers.orders.withLock { $0 = placed }
    }) {
      for kill in 1...3 {
        let until = Date() + 60
        while try stock(cluster, of: 7).reserved < kill * 4_000 {
          guard Date() < until else { throw Problem("the batch does not go on") }
        }
        let dispatcher = try cluster.status().dispatcher.pid
        cluster.kill(dispatcher)
        killed.insert(dispatcher)
        if kill == 1 {
          #expect(answers.orders.withLock { $0 } == nil, "the batch was over before the first kill")
        }
      }
    }
    #expect(killed.count == 3)
    let placed = try #require(answers.orders.withLock { $0 }, "not every order was placed")
    #expect(placed.count == 20_000)
    #expect(Set(placed).count == 20_000)
    let sku = try stock(cluster, of: 7)
    #expect(sku.reserved == 20_000)
    #expect(sku.onHand == 980_000)
    // The same ids once more: the same answers, and nothing else.
    #expect(try place() == placed)
    #expect(try stock(cluster, of: 7).reserved == 20_000)
    _ = try audit(cluster)
    #expect(cluster.stop() == 0)
  }

  private final class Answers: Sendable {
    let orders = Mutex<[Data]?>(nil)
  }

  /// `body` while a thread does `work`; returns when both are over.
  private func withThread(_ work: @escaping @Sendable () -> Void, _ body: () throws -> Void) throws {
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
      work()
      done.signal()
    }
    thread.start()
    defer { done.wait() }
    try body()
  }

  @Test func `what came of a request is settled for good`() throws {
    let cluster = try TestCluster(workers: 2, partitions: 4)
    let client = try client([cluster.services]) { $0.budgetMilliseconds = 30_000 }
    let known = shop(1)
    #expect(isDone(try client.call(known)))
    let refused = order(of: 1)
    guard case .no(let no) = try client.call(refused) else {
      throw Problem("a SKU that is not there was sold")
    }
    for place: LarisClient.Place? in [.shop(1), nil] {
      guard case .answered(let reply) = try client.resolve(known.requestID, at: place) else {
        throw Problem("what was answered is not known")
      }
      #expect(reply.outcome == .done)
      #expect(reply.shopRegistered.shopID == 1)
      guard case .answered(let again) = try client.resolve(refused.requestID, at: place) else {
        throw Problem("what was refused is not known")
      }
      #expect(again.code == no.code)
      #expect(again.code == .unknownSku)
    }
    for place: LarisClient.Place? in [.shop(2), nil] {
      let never = shop(2)
      guard case .sealed(let reply) = try client.resolve(never.requestID, at: place) else {
        throw Problem("what was never sent is known")
      }
      #expect(reply.code == .requestSealed)
      guard case .no(let late) = try client.call(never) else { throw Problem("what is sealed was executed") }
      #expect(late.code == .requestSealed)
    }
    guard case .unsettled(.notExecuted(let reply?)) = try client.resolve(known.requestID, at: .partition(99))
    else { throw Problem("there is no partition 99") }
    #expect(reply.code == .unknownPartition)
    #expect(cluster.stop() == 0)
  }

  @Test func `submit answers in order over many messages, and resolve tells what it did`() throws {
    let cluster = try TestCluster(workers: 2, partitions: 4)
    var lines = ""
    for number in 1...2_500 {
      lines += "{\"registerShop\": {\"shopId\": \"\(number)\", \"name\": \"Toko\"}}\n"
      if number % 100 == 0 { lines += "\n" }
    }
    let run = try cluster.laris(["submit", "--dispatcher", "tcp://127.0.0.1:9"], input: lines)
    #expect(run.exit == 0, "\(run.errors)")
    let replies = try run.output.split(separator: "\n").map { try Laris_Reply(jsonString: String($0)) }
    #expect(replies.map(\.shopRegistered.shopID) == (1...2_500).map(UInt64.init))

    let id = replies[41].requestID
    let text = id.map { String(format: "%02x", $0) }.joined()
    for hint in [["--shop", "42"], []] {
      let resolved = try cluster.laris(["resolve", text, "--json"] + hint)
      #expect(resolved.exit == 0, "\(resolved.errors)")
      #expect(try Laris_Reply(jsonString: resolved.output).shopRegistered.shopID == 42)
    }
    let never = LarisClient.newRequestID().map { String(format: "%02x", $0) }.joined()
    let sealed = try cluster.laris(["resolve", never, "--shop", "42"])
    #expect(sealed.exit == 1)
    #expect(sealed.output.contains("sealed: it was not executed, and never will be"))

    // The same id twice in one input: asked twice, done once.
    let twice = "{\"requestId\": \"\(id.base64EncodedString())\", "
    let same = twice + "\"registerShop\": {\"shopId\": \"42\", \"name\": \"Toko\"}}\n"
    let again = try cluster.laris(["submit"], input: same + same + "nonsense\n" + same)
    #expect(again.exit == 64)
    #expect(again.errors.contains("line 3"))
    #expect(again.output.split(separator: "\n").count == 2)
    #expect(cluster.stop() == 0)

    let nobody = try cluster.laris(["submit", "--timeout", "0.3"], input: same)
    #expect(nobody.exit == 69)
    #expect(nobody.output.contains("\"outcome\":\"NOT_EXECUTED\""))
    #expect(nobody.errors.contains("nobody listens at"))
  }

  /// A port where connections wait for ever.
  private final class Listener {
    let endpoint: String
    private let descriptor: Int32

    init() throws {
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      var size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let descriptor = self.descriptor
      let isBound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
          bind(descriptor, address, size) == 0 && listen(descriptor, 8) == 0
            && getsockname(descriptor, address, &size) == 0
        }
      }
      endpoint = "tcp://127.0.0.1:\(UInt16(bigEndian: address.sin_port))"
      guard isBound else { throw Problem("no free port: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }
  }
}
