import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import SwiftProtobuf
import TestMarketplace
import TestSupport
import Wire

/// A reply, as clients peek at it, against SwiftProtobuf.
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
    return seeds + answers.map { replyBytes(id, $0) }
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
    let outcome = UInt8(exactly: message.outcome.rawValue).flatMap(Outcome.init(rawValue:)) ?? .unknown
    try require(peek.outcome == outcome, "another outcome")
    // Where a result stands twice, the last that was whole; SwiftProtobuf looks at the last alone, or
    // puts the two together.
    switch message.result {
    case .orderPlaced(let placed)?:
      if placed.orderID.count == 16 {
        try require(peek.order.map { Data($0.bytes) } == placed.orderID, "another order")
      }
      if placed.total != 0 { try require(peek.owed == placed.total, "another total") }
    case .paymentSettled(let settled)?:
      if settled.orderID.count == 16 {
        try require(peek.order.map { Data($0.bytes) } == settled.orderID, "another order")
      }
      if let settlement = UInt8(exactly: settled.settlement.rawValue).flatMap(Settlement.init(rawValue:)) {
        try require(peek.settlement == settlement, "another settlement")
      }
    case .resolved(let resolved)?:
      if resolved.hasReply { try require(peek.told != nil, "no reply is told") }
    default: break
    }
    if let told = peek.told {
      try require(told.lowerBound >= 0 && told.upperBound <= bytes.count, "told from beyond the bytes")
      _ = try? ReplyPeek(UnsafeRawBufferPointer(rebasing: bytes[told]))
    }
    return
      "ok \(peek.outcome) \(size(peek.code)) \(peek.order != nil) \(peek.settlement != nil) "
      + "\(peek.told != nil) \(id != nil)"
  }
}
