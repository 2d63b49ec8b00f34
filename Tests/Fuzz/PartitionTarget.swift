import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import SwiftProtobuf
import TestMarketplace
import TestSupport
import Wire
import WorkerCore

/// Batches through a partition's core, and its log through another one.
///
/// Whatever comes: each item is answered once, books balance, and a replay makes the same rows.
struct PartitionTarget: FuzzTarget {
  let name = "partition"
  let about = "batches through PartitionCore: take, seal, apply; then its log again: the same rows"

  var words: [[UInt8]] { Wires.words }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var seeds: [[UInt8]] = []
    for _ in 0..<16 {
      var commands = RandomCommands(random)
      var script = ByteWriter()
      var requests: [[UInt8]] = []
      for group in 0..<8 {
        // First what the others are about.
        if group == 0 {
          requests = Partitions.basics.map { commands.request(of: $0) }
        } else {
          requests = (0..<commands.random.pick(1...4)).map { _ in commands.request() }
        }
        script.append(UInt8(commands.random.pick([0, 0, 3, 250])))
        script.append(1 as UInt8)
        script.append(counted: Frames.batch(requests, number: UInt64(group + 1)))
      }
      seeds.append(Array(script.bytes))
      random = commands.random
    }
    return seeds
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let partition = Partitions.Live()
    var reader = ByteReader(bytes)
    var now = RandomCommands.start
    do {
      while !reader.isAtEnd {
        let gap = Int64(try reader.number(UInt8.self))
        now += gap * gap
        var frames: [UnsafeRawBufferPointer] = []
        for _ in 0..<(1 + Int(try reader.number(UInt8.self)) % 3) {
          frames.append(try reader.slice(Int(try reader.number(UInt16.self))))
        }
        try partition.group(frames, now: now)
      }
    } catch is ByteReader.Truncated {
      // The script ends inside a step.
    }
    return try partition.finish()
  }
}

enum Partitions {
  static let terms = Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250)
  static let window: Milliseconds = 600_000
  static let rulesKnown: UInt16 = 2

  /// Shops and SKUs.
  static var basics: [Command] {
    (1...2).flatMap { shop in
      [.register(shop, name: "Toko")]
        + (1...3).map { sku in .put(shop, sku, price: 1_000, onHand: 50) } as [Command]
    }
  }

  static func core(
    applied: SequenceNumber = .zero, time: Milliseconds = 0, ordersPlaced: UInt64 = 0, digest: UInt64 = 0,
    horizon: Int64 = 0
  ) -> PartitionCore {
    var core = PartitionCore(
      partition: PartitionID(RandomCommands.partition), terms: terms, windowMilliseconds: window,
      applied: applied, time: time, ordersPlaced: ordersPlaced, digest: digest, rulesKnown: rulesKnown,
      horizon: horizon, rowsExpected: 16)
    core.requests = AnsweredRequests(entriesPerGeneration: 128, generationsMax: 1_000, horizon: horizon)
    return core
  }

  /// What is always true of rows.
  static func check(_ rows: Checkpoint) throws {
    var sum: Money = 0
    for account in rows.accounts { sum &+= account.balance }
    try require(sum == 0, "the accounts sum to \(sum)")
    for sku in rows.skus {
      try require(
        sku.onHand >= 0 && sku.reserved >= 0 && sku.consumed >= 0 && sku.writtenOff >= 0
          && sku.onHand + sku.reserved + sku.consumed + sku.writtenOff == sku.given,
        "stock does not add up: \(sku)")
    }
    for order in rows.orders {
      try require(
        order.received == order.held + order.refunded + order.released + order.fee && order.held >= 0
          && order.received <= order.total, "an order's money does not add up: \(order)")
    }
  }

  static func same(_ a: Checkpoint, _ b: Checkpoint) -> String? {
    if a.applied != b.applied { return "applied \(a.applied), \(b.applied)" }
    if a.digest != b.digest { return "the digest of what entries changed" }
    if a.shops != b.shops { return "shops" }
    if a.skus != b.skus { return "skus" }
    if a.orders != b.orders { return "orders" }
    if a.payments != b.payments { return "payments" }
    if a.accounts != b.accounts { return "accounts" }
    if a.transfers != b.transfers { return "transfers" }
    if a.ordersPlaced != b.ordersPlaced { return "number of orders" }
    if a.requests.bodies != b.requests.bodies { return "answers" }
    if a.requests.rows.map(\.id) != b.requests.rows.map(\.id) { return "requests" }
    return nil
  }

  /// A partition whose rows are all in memory.
  final class Live {
    private var live = Partitions.core()
    private(set) var log: [LoggedBlock] = []
    private var outcomes: [UInt8: Int] = [:]

    func group(_ batches: [UnsafeRawBufferPointer], now: Milliseconds) throws {
      var expected = 0
      var headers: [BatchHeader] = []
      for batch in batches {
        do { try live.take(batch, dispatcher: headers.count, receivedAt: now) } catch { continue }
        let (header, count, _) = try BatchHeader.read(batch)
        headers.append(header)
        expected += count
      }
      _ = live.collectNeeds(now: now)
      _ = live.collectNeedsOfOrders()
      live.seal(now: now, steady: now)
      if let block = LoggedBlock(sealedBy: live) { log.append(block) }
      live.apply()
      var answered = live.audits.count
      for frame in live.frames {
        let bytes = UnsafeRawBufferPointer(rebasing: live.answers.bytes[frame.bytes])
        let (header, count, reader) = try BatchHeader.read(bytes)
        try require(header == headers[frame.dispatcher], "an answer to another batch")
        var items = reader
        var seen: Set<UInt32> = []
        for _ in 0..<count {
          let item = try AnswerItem(&items)
          try require(seen.insert(item.index).inserted, "an item was answered twice")
          let reply = try? Laris_Reply(serializedBytes: Data(item.reply))
          try require(
            reply?.outcome.rawValue == Int(item.outcome), "a reply can't be read, or says otherwise")
          try require((reply?.message.utf8.count ?? 0) < 256, "a reply's message is long")
          outcomes[UInt8(truncatingIfNeeded: reply?.code.rawValue ?? 0), default: 0] += 1
        }
        try require(items.isAtEnd, "bytes are left over in an answer")
        answered += count
      }
      try require(answered == expected, "\(expected) items got \(answered) answers")
      live.clearAnswers()
    }

    /// Replays the log, and compares.
    func finish() throws -> String {
      var replica = Partitions.core()
      for block in log {
        do { try block.replay(on: &replica) } catch {
          throw Finding("what was logged can't be replayed: \(error)")
        }
      }
      let (rows, again) = (live.makeCheckpoint(), replica.makeCheckpoint())
      try Partitions.check(rows)
      if let what = Partitions.same(rows, again) { throw Finding("a replay makes other rows: \(what)") }
      return "\(outcomes.keys.sorted()) \(size(log.count)) \(size(rows.transfers.count))"
    }
  }
}
