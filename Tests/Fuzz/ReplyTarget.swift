import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import SwiftProtobuf
import TestSupport
import Wire

/// A reply, as a load generator peeks at it, against SwiftProtobuf.
struct ReplyTarget: FuzzTarget {
  let name = "reply"
  let about = "a reply: ReplyPeek against SwiftProtobuf"

  var words: [[UInt8]] { Wires.words }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var seeds: [[UInt8]] = []
    let id = RequestID(high: 0x019A_8E3C_5E00_7A1B, low: 2 << 62 | 7)
    for code in DeliveryCode.allCases {
      var writer = ByteWriter()
      ReplyEncoder.write(id: id, code, into: &writer)
      seeds.append(Array(writer.bytes))
    }
    let answers: [Answer] = [
      .orderPlaced(order: OrderID(at: 1, partition: 3, sequenceNumber: 9), total: 5, expiresAt: 7),
      .stockChanged(shop: 1, sku: 2, price: 3, onHand: 4, reserved: 5),
      .no(Refusal(.outOfStock, lines: [.init(index: 1, sku: 2, wanted: 3, available: 0)])),
    ]
    for answer in answers {
      var body = ByteWriter()
      var writer = ByteWriter()
      let code = ReplyEncoder.writeBody(answer, into: &body)
      ReplyEncoder.write(id: id, code: code, body: body.bytes, into: &writer)
      seeds.append(Array(writer.bytes))
    }
    return seeds
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let message = try? Laris_Reply(serializedBytes: Data(bytes))
    let peek: ReplyPeek
    do { peek = try ReplyPeek(bytes) } catch {
      try require(message == nil || error == .malformed, "refused (\(error.description)) what can be read")
      return try outcome(of: Described(error.description))
    }
    guard let message else { return "peeked only" }
    let id = peek.id.map { Data($0.bytes) }
    try require(id == (message.requestID.count == 16 ? message.requestID : nil), "another id")
    try require(peek.code == UInt32(truncatingIfNeeded: message.code.rawValue), "another code")
    try require(peek.retryAfterMilliseconds == message.retryAfterMilliseconds, "another time to wait")
    if (0...255).contains(message.outcome.rawValue), peek.outcome != 255 {
      try require(Int(peek.outcome) == message.outcome.rawValue, "another outcome")
    }
    // The last order that was whole; SwiftProtobuf looks at the last alone.
    if case .orderPlaced(let placed)? = message.result, placed.orderID.count == 16 {
      try require(peek.order.map { Data($0.bytes) } == placed.orderID, "another order")
    }
    return "ok \(peek.outcome) \(size(peek.code)) \(peek.order != nil) \(id != nil)"
  }
}
