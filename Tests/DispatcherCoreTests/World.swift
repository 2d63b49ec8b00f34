import Bytes
import Cluster
import DispatcherCore
import Marketplace
import Testing
import Wire

/// A dispatcher's core with a clock of our own, and what it did, read back from its frames.
final class World {
  static let incarnation = Incarnation(0xD15)

  private var core: DispatcherCore
  var now: Int64 = 1_000
  private var requests: UInt64 = 0
  /// Where a message goes that nobody wants to know of.
  static let envelope = Envelope(connection: [1, 2, 3, 4, 5], prefix: [])

  init(partitions: Int = 6, _ limits: DispatcherCore.Limits = .init()) {
    core = DispatcherCore(partitions: partitions, incarnation: Self.incarnation, limits: limits)
  }

  /// A batch that left.
  struct Sent {
    var header: BatchHeader
    var kind: UInt8
    var connection: [UInt8]
    var ids: [RequestID]
    var deadlines: [UInt32]
    var requests: [[UInt8]]
    var number: UInt64 { header.number }
  }

  /// A message that left.
  struct Answered {
    var envelope: Envelope
    var frames: [[UInt8]]
    var replies: [ReplyPeek]
    var codes: [UInt32] { replies.map(\.code) }
  }

  // MARK: Clients

  func requestID() -> RequestID {
    requests += 1
    return RequestID(high: 0x0190_0000_0000_7000, low: 2 << 62 | requests)
  }

  func bytes(
    _ body: (inout ByteWriter) -> Void
  ) -> [UInt8] {
    var writer = ByteWriter()
    body(&writer)
    return Array(writer.bytes)
  }

  /// A read of a SKU: what is routed by a shop.
  func request(shop: UInt64, id: RequestID? = nil, channel: String = "app", deadline: UInt32 = 5_000)
    -> [UInt8]
  {
    let id = id ?? requestID()
    return bytes {
      RequestEncoder.write(
        id: id, channel: channel, deadlineMilliseconds: deadline, Query.sku(SKUKey(shop: shop, sku: 1)),
        into: &$0)
    }
  }

  func request(order: OrderID, id: RequestID? = nil) -> [UInt8] {
    let id = id ?? requestID()
    return bytes {
      RequestEncoder.write(
        id: id, channel: "app", deadlineMilliseconds: 5_000, Command.shipOrder(order), into: &$0)
    }
  }

  /// `audit_partition` and `get_status`, which the encoder does not write.
  func request(field: CommandField, number: UInt64, deadline: UInt32 = 5_000) -> [UInt8] {
    let id = requestID()
    return bytes { writer in
      writer.field(1, high: id.high, low: id.low)
      writer.field(3, varint: UInt64(deadline))
      writer.field(field.rawValue) { $0.field(1, varint: number) }
    }
  }

  /// A shop of the partition.
  func shop(of partition: UInt16, partitions: Int = 6) -> UInt64 {
    (1...).first { Routing.partition(ofKey: $0, count: partitions).rawValue == partition }!
  }

  static func id(_ request: [UInt8]) throws -> RequestID {
    try request.withUnsafeBytes { bytes in
      var id: RequestID?
      return try RequestPeek(bytes, id: &id).id
    }
  }

  func send(_ requests: [[UInt8]], from envelope: Envelope = envelope) {
    let message = core.begin(envelope, count: requests.count)
    for (index, request) in requests.enumerated() {
      request.withUnsafeBytes { core.add($0, index: index, to: message, now: now) }
    }
  }

  func send(_ request: [UInt8], from envelope: Envelope = envelope) { send([request], from: envelope) }

  /// A read for the partition, sent; its id.
  @discardableResult
  func ask(_ partition: UInt16, deadline: UInt32 = 5_000) throws -> RequestID {
    let request = request(shop: shop(of: partition), deadline: deadline)
    send(request)
    return try Self.id(request)
  }

  func refuse(_ code: DeliveryCode, from envelope: Envelope = envelope) { core.refuse(envelope, code) }

  // MARK: Partitions

  func assign(_ partition: UInt16, epoch: UInt64 = 1) {
    core.assigned(PartitionID(partition), epoch: Epoch(epoch))
  }

  func hello(
    _ partition: UInt16, epoch: UInt64 = 1, incarnation: UInt64 = 1, credit: UInt32 = 4,
    connection: [UInt8] = [0xAA]
  ) {
    core.hello(
      HelloFrame(
        partition: PartitionID(partition), epoch: Epoch(epoch), incarnation: Incarnation(incarnation),
        credit: credit, node: "w"), connection: connection, now: now)
  }

  /// Says hello for all, with this credit.
  func up(_ partitions: Int = 6, credit: UInt32 = 4) {
    for partition in 0..<partitions { hello(UInt16(partition), credit: credit) }
  }

  /// A reply that a partition would send.
  static func reply(_ id: RequestID, code: UInt8 = 0) -> [UInt8] {
    var writer = ByteWriter()
    var body = ByteWriter()
    body.field(2, varint: UInt64((code == 0 ? Outcome.done : .no).rawValue))
    body.field(3, varint: UInt64(code))
    ReplyEncoder.write(id: id, code: code, body: body.bytes, into: &writer)
    return Array(writer.bytes)
  }

  /// The frame that answers a batch: all of it, or the items that are named.
  func answers(to sent: Sent, items: [Int]? = nil, code: UInt8 = 0) -> [UInt8] {
    bytes { writer in
      sent.header.write(.answers, into: &writer)
      let items = items ?? Array(sent.ids.indices)
      for item in items {
        let at = AnswerItem.beginWrite(
          index: UInt32(item), outcome: code == 0 ? .done : .no, into: &writer)
        writer.append(Self.reply(sent.ids[item], code: code))
        AnswerItem.endWrite(at: at, into: &writer)
      }
      BatchHeader.setCount(items.count, in: &writer)
    }
  }

  /// The frame that says of a batch's only request that it was not executed.
  func refusal(of sent: Sent, _ code: DeliveryCode) -> [UInt8] {
    bytes { writer in
      sent.header.write(.answers, into: &writer)
      let at = AnswerItem.beginWrite(index: 0, outcome: code.outcome, into: &writer)
      ReplyEncoder.write(id: sent.ids[0], code, into: &writer)
      AnswerItem.endWrite(at: at, into: &writer)
      BatchHeader.setCount(1, in: &writer)
    }
  }

  func receive(_ answers: [UInt8]) throws {
    try answers.withUnsafeBytes { bytes in try core.answers(bytes, now: now) }
  }

  func answer(_ sent: Sent, items: [Int]? = nil, code: UInt8 = 0) throws {
    try receive(answers(to: sent, items: items, code: code))
  }

  func stale(_ partition: UInt16, epoch: UInt64, connection: [UInt8] = [0xAA]) {
    core.stale(
      StaleFrame(partition: PartitionID(partition), epoch: Epoch(epoch)), connection: connection)
  }

  func unreachable(_ partition: UInt16) { core.unreachable(PartitionID(partition)) }
  func stop() { core.stop() }
  var isIdle: Bool { core.isIdle }
  var counters: DispatcherCore.Counters { core.counters }
  var statusRequests: [DispatcherCore.StatusRequest] { core.statusRequests }

  var operatorRequests: [DispatcherCore.OperatorRequest] { core.operatorRequests }

  func answerOperators() {
    for request in core.operatorRequests { core.answer(request, .done, Self.reply(request.id)) }
    core.clearOperatorRequests()
  }

  func answerStatus() {
    for request in core.statusRequests {
      Self.reply(request.id).withUnsafeBytes { core.answerStatus(request, $0) }
    }
    core.clearStatusRequests()
  }

  func view(_ partition: UInt16) -> DispatcherCore.PartitionView { core.view(of: PartitionID(partition)) }

  // MARK: What it did

  func tick() { core.tick(now: now) }

  /// Lets batches leave, and gives those that left since the last look.
  func dispatch() throws -> [Sent] {
    core.dispatch(now: now)
    defer { core.clearDepartures() }
    return try core.departures.map { departure in
      let frame = departure.frame
      let (header, count, reader) = try BatchHeader.read(frame)
      #expect(header.partition == departure.partition)
      #expect(header.dispatcher == Self.incarnation)
      var sent = Sent(
        header: header, kind: frame[0], connection: departure.connection, ids: [], deadlines: [], requests: []
      )
      var items = reader
      for _ in 0..<count {
        let item = try BatchItem(&items)
        sent.deadlines.append(item.deadlineMilliseconds)
        sent.requests.append(Array(item.request))
        sent.ids.append(try Self.id(Array(item.request)))
      }
      #expect(items.isAtEnd)
      return sent
    }
  }

  /// The messages that were answered since the last look.
  func answered() throws -> [Answered] {
    defer { core.clearOutgoing() }
    return try core.outgoing.map { outgoing in
      let frames = core.ranges[outgoing.frames].map { range in Array(core.replyBytes.bytes[range]) }
      return Answered(
        envelope: outgoing.envelope, frames: frames,
        replies: try frames.map { frame in try frame.withUnsafeBytes { bytes in try ReplyPeek(bytes) } })
    }
  }

  /// Codes of all that was answered since the last look, in order.
  func codes() throws -> [UInt32] { try answered().flatMap(\.codes) }
}

extension DeliveryCode {
  var number: UInt32 { UInt32(rawValue) }
}
