// A sale in Swift: registers a shop, puts two SKUs in one message, places an order and sends it again,
// reads it back, and asks what became of requests. See README.md.
//
// Exit codes: 0 done, 1 the answer was no, 3 unknown what happened, 64 usage, 69 no dispatcher there,
// 75 not executed, try again.

import Foundation
import LarisClient
import LarisProtocol

struct Stop: Error {
  let exit: Int32
  let sentence: String
}

/// The reply of a request that must be done, or the reason why it is not.
func done(_ outcome: LarisClient.Outcome) throws -> Laris_Reply {
  switch outcome {
  case .done(let reply): return reply
  case .no(let reply):
    throw Stop(exit: 1, sentence: "the answer is \(reply.code.contractName): \(reply.message)")
  case .notExecuted(nil):
    throw Stop(exit: 69, sentence: "no dispatcher could be reached; start one with: laris up")
  case .notExecuted(let reply?): throw Stop(exit: 75, sentence: "not executed: \(reply.message)")
  case .unknown(let id, _): throw Stop(exit: 3, sentence: "nobody can tell yet what request \(text(id)) did")
  }
}

func check(_ condition: Bool, _ what: String) throws {
  guard condition else { throw Stop(exit: 1, sentence: "this should be so, and is not: \(what)") }
}

func text(_ id: Data) -> String { id.map { String(format: "%02x", $0) }.joined() }

func sell(_ client: LarisClient) throws {
  // Callers choose the ids of shops, SKUs and buyers: anything but 0.
  let shop = UInt64.random(in: 1...UInt64.max)

  var register = Laris_Request()
  register.registerShop = .with {
    $0.shopID = shop
    $0.name = "Warung Kopi Ibu Sari"
    $0.city = "Bandung"
  }
  _ = try done(client.call(register))
  print("registered    shop \(shop)")

  // Several requests in one message. Each has an id and an outcome of its own.
  let goods = [(sku: 1, price: 45_000, name: "Kopi Gayo 250 g"), (sku: 2, price: 120_000, name: "Batik cap")]
  let puts = goods.map { item in
    Laris_Request.with { request in
      request.putSku = .with {
        $0.shopID = shop
        $0.skuID = UInt64(item.sku)
        $0.price = Int64(item.price)
        $0.onHand = 100
        $0.name = item.name
      }
    }
  }
  for outcome in try client.call(puts) {
    let stock = try done(outcome).stockChanged
    print("put           SKU \(stock.skuID) at Rp \(stock.price), \(stock.onHand) on hand")
  }

  // A service stores this id with what it is for, before it sends.
  var order = Laris_Request()
  order.requestID = LarisClient.newRequestID()
  order.placeOrder = .with {
    $0.shopID = shop
    $0.buyerID = 7
    $0.lines = [
      .with {
        $0.skuID = 1; $0.quantity = 2
      },
      .with {
        $0.skuID = 2; $0.quantity = 1
      },
    ]
    $0.shippingFee = 18_000
    $0.reference = "swift-example"
  }
  let first = try done(client.call(order))
  print("placed        order \(text(first.orderPlaced.orderID)), Rp \(first.orderPlaced.total) to pay")

  let second = try done(client.call(order))
  try check(second.orderPlaced == first.orderPlaced, "the same id gets the same answer")
  print("sent again    the same id: the same order, nothing done twice")

  var read = Laris_Request()
  read.getOrder.orderID = first.orderPlaced.orderID
  let stored = try done(client.call(read)).order
  try check(stored.total == 228_000 && stored.state == .placed, "the order is as it was placed")
  print("read back     \(stored.lines.count) lines, Rp \(stored.total)")

  // What to do where an outcome was `unknown` and the answer is needed now.
  guard case .answered(let answer) = try client.resolve(order.requestID, at: .shop(shop)) else {
    throw Stop(exit: 1, sentence: "the order's request is not known")
  }
  try check(answer.orderPlaced == first.orderPlaced, "resolving tells what was answered")
  print("resolved      its request placed order \(text(answer.orderPlaced.orderID))")

  // A request that never arrived is sealed: a copy that comes late does nothing.
  order.requestID = LarisClient.newRequestID()
  guard case .sealed = try client.resolve(order.requestID, at: .shop(shop)) else {
    throw Stop(exit: 1, sentence: "a request that was never sent is known")
  }
  guard case .no(let late) = try client.call(order), late.code == .requestSealed else {
    throw Stop(exit: 1, sentence: "a sealed request was executed")
  }
  print("sealed        a request that was never sent; sent now, the answer is \(late.code.contractName)")
}

let arguments = CommandLine.arguments.dropFirst()
guard !arguments.contains(where: { $0.hasPrefix("-") }) else {
  print("usage: place-order [DISPATCHER ...]   (default: tcp://127.0.0.1:12120)")
  exit(64)
}
do {
  var options = LarisClient.Options()
  options.channel = "swift-example"
  options.budgetMilliseconds = 30_000
  let client = try LarisClient(
    dispatchers: arguments.isEmpty ? ["tcp://127.0.0.1:12120"] : Array(arguments), options: options)
  try sell(client)
} catch let stop as Stop {
  FileHandle.standardError.write(Data("place-order: \(stop.sentence)\n".utf8))
  exit(stop.exit)
} catch {
  FileHandle.standardError.write(Data("place-order: \(error)\n".utf8))
  exit(64)
}
