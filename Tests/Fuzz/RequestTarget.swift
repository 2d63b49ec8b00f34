import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import SwiftProtobuf
import TestSupport
import Wire

/// One frame of a client: what a dispatcher peeks at and what a partition decodes, against SwiftProtobuf.
struct RequestTarget: FuzzTarget {
  let name = "request"
  let about = "a client's request: RequestPeek, DecodedRequest, RequestEncoder against SwiftProtobuf"

  var words: [[UInt8]] { Wires.words }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var commands = RandomCommands(random)
    defer { random = commands.random }
    return try (0..<40).map { _ in commands.request() } + Self.long()
  }

  /// Texts as long as they may be, and a byte longer.
  private static func long() throws -> [[UInt8]] {
    var requests: [Laris_Request] = []
    for (short, middle, long) in [(32, 64, 128), (33, 65, 129)] {
      let texts = [short, middle, long].map { String(repeating: "a", count: $0) }
      requests.append(.with { $0.channel = texts[0] })
      requests[requests.count - 1].getShop.shopID = 1
      requests.append(.with { $0.placeOrder.reference = texts[1] })
      requests.append(.with { $0.registerShop.name = texts[2] })
      requests.append(.with { $0.registerShop.city = texts[1] })
      requests.append(.with { $0.putSku.name = texts[2] })
      for set in [
        { $0.provider = texts[0] }, { $0.reference = texts[1] }, { $0.rejectedReason = texts[2] },
      ] as [(inout Laris_SettlePayment) -> Void] {
        requests.append(.with { set(&$0.settlePayment) })
        requests[requests.count - 1].settlePayment.orderID = Data(repeating: 3, count: 16)
      }
    }
    return try requests.map { request in
      var request = request
      request.requestID = Data(repeating: 1, count: 16)
      return try request.serializedBytes()
    }
  }

  /// As the contract has them.
  private func checkLimits(_ message: Laris_Request) throws {
    let texts: [(String, Int)] =
      switch message.command {
      case .placeOrder(let it): [(it.reference, WireLimits.reference)]
      case .putSku(let it): [(it.name, WireLimits.name)]
      case .cancelOrder(let it): [(it.reason, WireLimits.reason)]
      case .registerShop(let it):
        [(it.name, WireLimits.name)]
          + [it.city, it.province, it.market, it.category].map { ($0, WireLimits.place) }
      case .settlePayment(let it):
        [
          (it.provider, WireLimits.provider), (it.reference, WireLimits.reference),
          (it.rejectedReason, WireLimits.reason),
        ]
      case .getPayment(let it): [(it.provider, WireLimits.provider), (it.reference, WireLimits.reference)]
      default: []
      }
    for (text, limit) in texts { try require(text.utf8.count <= limit, "a text of \(text.utf8.count) bytes") }
    try require(message.placeOrder.lines.count <= WireLimits.linesMax, "too many lines")
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var id: RequestID?
    let peek = Result { () throws -> RequestPeek in try RequestPeek(bytes, id: &id) }
    let decoded = Result { () throws -> DecodedRequest in try DecodedRequest(bytes) }
    var options = BinaryDecodingOptions()
    options.discardUnknownFields = true
    // Deep nesting of unknown groups is refused by both, at depths of their own.
    let message = try? Laris_Request(serializedBytes: Data(bytes), options: options)

    switch decoded {
    case .success(let request):
      guard let message else { throw Finding("read what SwiftProtobuf refuses") }
      let peek = try present(peek, "the partition reads what the dispatcher refuses")
      try check(request, peek, message)
      return "ok \(kind(request.body)) \(request.channel.isEmpty) \(size(lines(of: request)))"
    case .failure(let error):
      guard let error = error as? WireError else { throw Finding("an error of another kind: \(error)") }
      if message != nil {
        switch error {
        case .truncated, .notUTF8: throw Finding("refused (\(error.description)) what SwiftProtobuf reads")
        case .malformed, .tooLong, .badValue, .noCommand: break
        }
      }
      let peeked = (try? peek.get()).map { "\($0.target)".prefix(6) } ?? "-"
      return try "\(message != nil) \(peeked) " + outcome(of: Described(error.description))
    }
  }

  private func present<Value>(_ result: Result<Value, any Error>, _ what: String) throws -> Value {
    guard case .success(let value) = result else { throw Finding(what) }
    return value
  }

  private func check(_ request: DecodedRequest, _ peek: RequestPeek, _ message: Laris_Request) throws {
    try require(peek.id == request.id, "peek and decoder read different ids")
    try require(Data(request.id.bytes) == message.requestID, "the id is another than SwiftProtobuf's")
    try require(request.channel.utf8.count <= WireLimits.channel, "a channel beyond its limit")
    try require(
      peek.deadlineMilliseconds >= 1 && peek.deadlineMilliseconds <= WireLimits.deadlineMillisecondsMax,
      "a deadline out of range")
    try checkLimits(message)
    // Written again by ours, SwiftProtobuf must read the same message.
    var writer = ByteWriter()
    var isWritten = true
    let deadline = message.deadlineMilliseconds
    switch request.body {
    case .command(let command):
      RequestEncoder.write(
        id: request.id, channel: request.channel, deadlineMilliseconds: deadline, command, into: &writer)
    case .query(let query):
      RequestEncoder.write(
        id: request.id, channel: request.channel, deadlineMilliseconds: deadline, query, into: &writer)
    case .audit:
      guard case .auditPartition(let audit)? = message.command else {
        throw Finding("an audit that is none to SwiftProtobuf")
      }
      try require(peek.target == .audit(audit.partition), "an audit of another partition")
      isWritten = false
    case .fate(let target, let sealing):
      // The encoder wants to know the place too, which the partition does not.
      isWritten = false
      switch message.command {
      case .resolve(let it): try require(sealing && it.requestID == Data(target.bytes), "another fate")
      case .getRequest(let it): try require(!sealing && it.requestID == Data(target.bytes), "another fate")
      default: throw Finding("a fate that is none to SwiftProtobuf")
      }
    }
    if isWritten {
      let again = try? Laris_Request(serializedBytes: Data(writer.bytes))
      try require(again == message, "read otherwise than SwiftProtobuf: \(request.body)")
    }
    // And what SwiftProtobuf writes of it must be read as the same by ours.
    let canonical: [UInt8] = (try? message.serializedBytes()) ?? []
    let second = try? canonical.withUnsafeBytes { bytes in try DecodedRequest(bytes) }
    try require(
      second?.body == request.body && second?.id == request.id && second?.channel == request.channel,
      "the same message in other bytes means something else")
    var id: RequestID?
    let third = try? canonical.withUnsafeBytes { bytes in try RequestPeek(bytes, id: &id) }
    try require(third == peek, "the same message in other bytes is routed otherwise")
  }

  private func lines(of request: DecodedRequest) -> Int {
    if case .command(.placeOrder(let order)) = request.body { order.lines.count } else { 0 }
  }

  private func kind(_ body: DecodedRequest.Body) -> Substring { "\(body)".prefix(24) }
}

/// Words as an error.
struct Described: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Pieces of protobuf.
enum Wires {
  static let words: [[UInt8]] = [
    [0x0A, 0x10], [0x12, 0x03], [0x1A], [0x22], [0x0B], [0x0C], [0x08, 0x01], [0x0D], [0x09],
    [0x82, 0x02, 0x00],
    [0x8A, 0x03, 0x00], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0xC3, 0x28],
    [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x1A, 0x00],
  ]
}
