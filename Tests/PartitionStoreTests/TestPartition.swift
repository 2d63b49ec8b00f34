import Bytes
import Cluster
import Foundation
import Marketplace
import PartitionStore
import SQLite
import TestSupport
import Testing
import Wire
import WorkerCore

/// A partition on disk, without log and sockets: real commands through the real core, checkpoints
/// into a real file.
final class TestPartition {
  static let cluster = "0190a6c2-0000-7000-8000-00000000c1a5"
  static let partition = PartitionID(3)
  static let terms = Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250)
  static let window: Int64 = 86_400_000
  static let start: Int64 = 1_763_323_200_000

  let folder: TestFolder
  var path: String { folder.path + "/partition.sqlite" }
  private var box: Box
  private(set) var now = start
  private var requests: UInt64 = 0

  private final class Box {
    var core: PartitionCore
    init(_ core: consuming PartitionCore) { self.core = core }
  }

  init() throws {
    folder = try TestFolder()
    _ = try PartitionWriter(
      path: folder.path + "/partition.sqlite", cluster: Self.cluster, partition: Self.partition)
    box = Box(try Self.load(folder.path + "/partition.sqlite"))
  }

  /// A core that begins at what the file holds.
  private static func load(_ path: String) throws -> PartitionCore {
    let reader = try PartitionReader(path: path)
    let state = try reader.state()
    return PartitionCore(
      partition: partition, terms: terms, windowMilliseconds: window, applied: state.applied,
      time: state.time, ordersPlaced: state.ordersPlaced, digest: state.digest,
      rules: state.rules, rulesKnown: 2, horizon: try reader.requestHorizon(), rowsExpected: 256)
  }

  /// Forgets what is in memory, as a process that starts again.
  func restart() throws { box = Box(try Self.load(path)) }

  func withCore<Result>(_ body: (inout PartitionCore) throws -> Result) rethrows -> Result {
    try body(&box.core)
  }

  func wait(_ milliseconds: Int64) { now += milliseconds }

  func requestID() -> RequestID {
    requests += 1
    return RequestID(high: UInt64(now) << 16 | 0x7000 | requests >> 32, low: 2 << 62 | requests)
  }

  /// Sends commands as one group.
  @discardableResult
  func send(_ commands: [Command], ids: [RequestID]? = nil) throws -> [ReplyPeek] {
    var frame = ByteWriter()
    BatchHeader(partition: Self.partition, epoch: Epoch(1), dispatcher: Incarnation(1), number: 1)
      .write(.batch, into: &frame)
    for (index, command) in commands.enumerated() {
      var request = ByteWriter()
      RequestEncoder.write(
        id: ids?[index] ?? requestID(), channel: "app", deadlineMilliseconds: 1_000, command,
        into: &request)
      BatchItem.write(request.bytes, deadlineMilliseconds: 1_000, into: &frame)
    }
    BatchHeader.setCount(commands.count, in: &frame)
    return try run(frame.bytes)
  }

  @discardableResult
  func send(_ command: Command) throws -> ReplyPeek { try send([command])[0] }

  /// A group without requests: reservations run out.
  func expire() throws { _ = try run(nil) }

  private func run(_ frame: UnsafeRawBufferPointer?) throws -> [ReplyPeek] {
    let reader = try PartitionReader(path: path)
    return try withCore { core in
      if let frame { try core.take(frame, dispatcher: 0, receivedAt: now) }
      try reader.loadReservations(into: &core, now: now)
      let needs = core.collectNeeds(now: now)
      try reader.load(needs.rows, into: &core)
      try reader.load(needs.requests, into: &core)
      try reader.load(core.collectNeedsOfOrders(), isOfOrders: true, into: &core)
      core.seal(now: now, steady: now)
      core.apply()
      var replies: [ReplyPeek] = []
      for frame in core.frames {
        let bytes = UnsafeRawBufferPointer(rebasing: core.answers.bytes[frame.bytes])
        var (_, count, items) = try BatchHeader.read(bytes)
        for _ in 0..<count { replies.append(try ReplyPeek(try AnswerItem(&items).reply)) }
      }
      core.clearAnswers()
      return replies
    }
  }

  /// Writes a checkpoint, and drops from memory what may go.
  @discardableResult
  func checkpoint() throws -> Checkpoint {
    var writer = try PartitionWriter(path: path, cluster: Self.cluster, partition: Self.partition)
    return try withCore { core in
      let checkpoint = core.makeCheckpoint()
      try writer.write(checkpoint)
      core.written(checkpoint.receipt, keeping: 0)
      return checkpoint
    }
  }

  // MARK: Commands

  static func shop(_ id: UInt64) -> Command {
    var command = Command.RegisterShop()
    command.shop = id
    command.name = "Toko \(id)"
    command.city = "Bandung"
    return .registerShop(command)
  }

  static func sku(_ shop: UInt64, _ sku: UInt64, price: Money, onHand: Int64) -> Command {
    var command = Command.PutSKU()
    command.shop = shop
    command.sku = sku
    command.price = price
    command.onHand = onHand
    command.name = "SKU \(sku)"
    return .putSKU(command)
  }

  static func order(
    _ shop: UInt64, buyer: UInt64, _ lines: [(sku: UInt64, quantity: UInt32)], shipping: Money = 0,
    price: Money? = nil
  ) -> Command {
    var command = Command.PlaceOrder()
    command.shop = shop
    command.buyer = buyer
    command.lines = lines.map { .init(sku: $0.sku, quantity: $0.quantity, unitPrice: price) }
    command.shippingFee = shipping
    return .placeOrder(command)
  }

  static func pay(
    _ order: OrderID, _ amount: Money, _ reference: String, rejected: String = ""
  ) -> Command {
    var command = Command.SettlePayment()
    command.order = order
    command.provider = "bank"
    command.reference = reference
    command.amount = amount
    command.rejectedReason = rejected
    return .settlePayment(command)
  }

  static func cancel(_ order: OrderID, by actor: Actor) -> Command {
    var command = Command.CancelOrder()
    command.order = order
    command.by = actor
    command.reason = "berubah pikiran"
    return .cancelOrder(command)
  }

  /// Places an order and gives its id.
  func place(
    _ shop: UInt64, buyer: UInt64, _ lines: [(sku: UInt64, quantity: UInt32)], shipping: Money = 0
  ) throws -> OrderID {
    try #require(try send(Self.order(shop, buyer: buyer, lines, shipping: shipping)).order)
  }

  /// An order of every state, a payment of every kind, and a checkpoint of it all.
  ///
  /// Sequence numbers: 1, 2 shops 42 and 2⁶⁴ − 1; 3 to 5 SKUs; then the orders.
  static func busy() throws -> (TestPartition, orders: [String: OrderID]) {
    let test = try TestPartition()
    try test.send([
      shop(42), shop(.max), sku(42, 1, price: 45_000, onHand: 100), sku(42, 2, price: 1_000, onHand: 50),
      sku(.max, .max, price: 999, onHand: 10),
    ])
    var orders: [String: OrderID] = [:]
    orders["placed"] = try test.place(42, buyer: 7, [(1, 2), (2, 1), (1, 1)], shipping: 18_000)
    orders["partly paid"] = try test.place(42, buyer: 8, [(2, 10)])
    orders["ready"] = try test.place(42, buyer: 7, [(1, 1)], shipping: 5_000)
    orders["shipped"] = try test.place(42, buyer: .max, [(1, 3)])
    orders["delivered"] = try test.place(.max, buyer: 9, [(.max, 2)])
    orders["completed"] = try test.place(.max, buyer: 9, [(.max, 1)], shipping: 7)
    orders["cancelled"] = try test.place(42, buyer: 10, [(1, 4)])
    orders["cancelled paid"] = try test.place(42, buyer: 10, [(1, 1)])
    orders["expired"] = try test.place(42, buyer: 11, [(2, 5)])
    orders["free"] = try test.send(order(42, buyer: 12, [(2, 1)], price: 0)).order
    let id = orders.mapValues { $0 }
    try test.send([
      pay(id["partly paid"]!, 4_000, "r1"), pay(id["ready"]!, 50_000, "r2"),
      pay(id["shipped"]!, 135_000, "r3"), pay(id["delivered"]!, 2_500, "r4"),
      pay(id["completed"]!, 1_006, "r5"), pay(id["cancelled paid"]!, 45_000, "r6"),
      pay(id["placed"]!, 1_000, "r7", rejected: "insufficient funds"), pay(id["expired"]!, 1_234, "r8"),
    ])
    try test.send([
      .shipOrder(id["shipped"]!), .shipOrder(id["delivered"]!), .shipOrder(id["completed"]!),
      .deliverOrder(id["delivered"]!), .deliverOrder(id["completed"]!), .completeOrder(id["completed"]!),
      cancel(id["cancelled"]!, by: .buyer), cancel(id["cancelled paid"]!, by: .shop),
    ])
    test.wait(TestPartition.start + 60_000 - test.now)
    // What is placed later must not run out with the rest.
    orders["placed"] = try test.place(42, buyer: 7, [(1, 2), (2, 1), (1, 1)], shipping: 18_000)
    orders["partly paid"] = try test.place(42, buyer: 8, [(2, 10)])
    try test.send([
      pay(orders["partly paid"]!, 4_000, "r9"), pay(id["cancelled"]!, 777, "r10"),
    ])
    try test.checkpoint()
    return (test, orders)
  }
}
