import Bytes
import Cluster
import Judge
import Marketplace
import Referee
import RunHistory
import TestMarketplace
import Wire

/// A run of one partition and one shop with a SKU, made up by hand: its log, and what its clients recorded.
struct MadeUpRun {
  struct Line {
    var record: HistoryRecord
    var reply: [UInt8]?

    /// As the reply, with all that the record says of it.
    mutating func isAnswered(_ outcome: HistoryRecord.Outcome, _ reply: [UInt8]?, code: UInt16 = 0) {
      record.outcome = outcome
      record.code = code
      record.replyHash = reply?.withUnsafeBytes { XXH64.hash($0) } ?? 0
      self.reply = reply
    }
  }

  static let began: Int64 = 1_763_323_200_000
  static let terms = Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250)

  private(set) var blocks: [Referee.Block] = []
  var lines: [Line] = []
  private var requests: UInt64 = 0
  /// Microseconds since the run began.
  private(set) var now: UInt64 = 0

  var last: UInt64 { UInt64(blocks.count) }
  private var time: Int64 { Self.began + Int64(last) }

  mutating func nextID() -> RequestID {
    requests += 1
    return RequestID(high: UInt64(Self.began) << 16 | 0x7000, low: 2 << 62 | requests)
  }

  // MARK: The log

  mutating func log(_ kind: UInt8, _ payload: [UInt8]) {
    var writer = ByteWriter()
    writer.append(littleEndian: UInt32(payload.count))
    writer.append(kind)
    writer.append(payload)
    blocks.append(
      .init(
        first: last + 1, count: 1, time: time + 1, hash: last + 101, previousHash: last == 0 ? 0 : last + 100,
        entries: Array(writer.bytes)))
  }

  mutating func log(_ command: Command, _ id: RequestID) {
    var writer = ByteWriter()
    RequestEncoder.write(id: id, channel: "test", deadlineMilliseconds: 0, command, into: &writer)
    log(1, Array(writer.bytes))
  }

  // MARK: Clients

  /// A request that is sent now and ends 5 µs later; the next one is sent 10 µs later.
  @discardableResult
  mutating func record(
    _ command: HistoryRecord.Command, _ id: RequestID, _ key: HistoryRecord.Key, _ answer: Answer?
  ) -> Int {
    var line = Line(record: HistoryRecord(command, .unknown, request: id, key: key))
    line.record.plannedAt = UInt64(Self.began) * 1_000 + now
    line.record.endedAfter = 5
    now += 10
    switch answer {
    case nil: break
    case .no(let refusal):
      line.isAnswered(.no, replyBytes(id, answer!), code: UInt16(refusal.reason.rawValue))
    default: line.isAnswered(.done, replyBytes(id, answer!))
    }
    lines.append(line)
    return lines.count - 1
  }

  static func sku(onHand: Int64, reserved: Int64, given: Int64) -> Answer {
    .sku(
      SKU(
        shop: 1, sku: 1, name: "Kopi", price: 100, onHand: onHand, reserved: reserved, consumed: 0,
        writtenOff: 0, given: given))
  }

  @discardableResult
  mutating func adjust(_ delta: Int64, onHand: Int64, reserved: Int64) -> Int {
    var adjust = Command.AdjustStock()
    (adjust.shop, adjust.sku, adjust.delta) = (1, 1, delta)
    let id = nextID()
    log(.adjustStock(adjust), id)
    return record(
      .adjust, id, .shop(1), .stockChanged(shop: 1, sku: 1, price: 100, onHand: onHand, reserved: reserved))
  }

  /// - Returns: the line, and the order.
  @discardableResult
  mutating func place(_ quantity: UInt32) -> (line: Int, order: OrderID) {
    var place = Command.PlaceOrder()
    (place.shop, place.buyer) = (1, 7)
    place.lines = [.init(sku: 1, quantity: quantity)]
    let id = nextID()
    log(.placeOrder(place), id)
    let order = OrderID(at: time, partition: 0, sequenceNumber: last)
    let line = record(
      .place, id, .order(order),
      .orderPlaced(order: order, total: Int64(quantity) * 100, expiresAt: time + 60_000))
    return (line, order)
  }

  @discardableResult
  mutating func readSKU(onHand: Int64, reserved: Int64, given: Int64) -> Int {
    let id = nextID()
    return record(.getSKU, id, .shop(1), Self.sku(onHand: onHand, reserved: reserved, given: given))
  }

  /// A shop with a SKU of ten pieces, as a load test makes them before its history begins.
  init() {
    var shop = Command.RegisterShop()
    (shop.shop, shop.name) = (1, "Toko")
    log(.registerShop(shop), nextID())
    var sku = Command.PutSKU()
    (sku.shop, sku.sku, sku.price, sku.onHand, sku.name) = (1, 1, 100, 10, "Kopi")
    log(.putSKU(sku), nextID())
  }

  func judged(isComplete: Bool = false) -> HistoryJudge {
    var judge = HistoryJudge(Self.terms, partitions: 1, isComplete: isComplete)
    for block in blocks { judge.take(block, of: 0) }
    for (index, line) in lines.enumerated() {
      judge.take(line.record, reply: line.reply?[...], file: "h", position: UInt64(index + 1))
    }
    judge.judge()
    return judge
  }
}
