import Bytes
import Cluster
import Foundation
import LarisClient
import LarisProtocol
import Marketplace
import Wire
import ZeroMQ

/// Sends a trace to a cluster, in the trace's order, and accounts for every row of its source.
///
/// An event about an order waits for the answer to the one before it about that order, and holds back
/// nobody else. Every request is tried again with its id until its answer is final.
package final class Replay {
  package struct Options: Sendable {
    package var dispatchers = ["tcp://127.0.0.1:12120"]
    package var run: RunID
    package var channel = "replay"
    package var inFlight = 512
    /// How many times faster than the trace's own time; nil: as fast as it goes.
    package var speed: Double?
    /// How long one request is tried.
    package var budgetMilliseconds: Int64 = 60_000
    package init(run: RunID) { self.run = run }
  }

  package enum Failure: Error, CustomStringConvertible {
    case client(Pipeline.Failure)
    case runTooOld(RunID)
    case badReply(String)
    package var description: String {
      switch self {
      case .client(let failure): "\(failure)"
      case .runTooOld(let run):
        "run \(run) is more than 24 hours old, so a cluster can't tell its requests any more; leave out --run-id"
      case .badReply(let text): "a reply can't be read: \(text)"
      }
    }
  }

  private let options: Options
  private let events: [TraceEvent]
  private var refusals: [String?]
  /// The next event about the same order.
  private var next: [Int32]
  private var orders: [String: OrderID] = [:]
  private var unplaced: [String: String] = [:]
  private var numbers: [RequestID: Int] = [:]
  private var pipeline: Pipeline
  private var summary: ReplaySummary

  package init(_ header: TraceHeader, _ events: [TraceEvent], _ options: Options) throws(Failure) {
    let age = Int64(Date().timeIntervalSince1970 * 1_000) - options.run.id.milliseconds
    guard age < 24 * 3_600_000 - 600_000 else { throw .runTooOld(options.run) }
    self.options = options
    self.events = events
    refusals = Array(repeating: nil, count: events.count)
    var next = [Int32](repeating: -1, count: events.count)
    var last: [String: Int] = [:]
    for (index, event) in events.enumerated() {
      guard let key = event.action.orderKey else { continue }
      if let before = last[key] { next[before] = Int32(index) }
      last[key] = index
    }
    self.next = next
    summary = ReplaySummary(header: header, run: options.run)
    var pipelineOptions = Pipeline.Options()
    pipelineOptions.budgetMilliseconds = options.budgetMilliseconds
    pipelineOptions.silenceMilliseconds = 1_000
    pipeline = try Self.connect(options.dispatchers, pipelineOptions)
  }

  private static func connect(
    _ dispatchers: [String], _ options: Pipeline.Options
  ) throws(Failure) -> Pipeline {
    do { return try Pipeline(dispatchers: dispatchers, context: ZeroMQContext(), options: options) } catch {
      throw .client(error)
    }
  }

  /// Runs to the end.
  ///
  /// - Parameter progress: called about once a second with what is done so far.
  package func run(progress: (_ done: Int, _ of: Int, _ seconds: Double) -> Void) throws(Failure)
    -> ReplaySummary
  {
    let began = Date()
    // Shops before their SKUs, SKUs before what is sold of them.
    var place = 0
    for kinds in [[TraceAction.Kind.refused, .registerShop], [.putSku]] {
      for index in events.indices where kinds.contains(events[index].action.kind) {
        try wait(until: { $0.pipeline.count < $0.options.inFlight }, began, progress)
        start(index)
      }
      try wait(until: { $0.pipeline.count == 0 }, began, progress)
    }
    let tradeBegan = Date()
    let firstAt = events.first { !$0.action.isSetup }?.at ?? 0
    while place < events.count {
      defer { place += 1 }
      guard !events[place].action.isSetup else { continue }
      try wait(until: { $0.pipeline.count < $0.options.inFlight }, began, progress)
      if let speed = options.speed {
        let due = tradeBegan + Double(events[place].at - firstAt) / 1_000 / speed
        while Date() < due {
          try turn(min(50, max(1, Int(due.timeIntervalSinceNow * 1_000))), began, progress)
        }
      }
      // It goes out now, or right after the one that it waits for.
      if isFree[place] { start(place) } else { isFree[place] = true }
    }
    try wait(until: { $0.pipeline.count == 0 }, began, progress)
    for index in events.indices { summary.account.record(events[index], refusal: refusals[index]) }
    summary.seconds = Date().timeIntervalSince(began)
    return summary
  }

  /// Of an event: it is the first about its order, or the one before is over and its turn came.
  private lazy var isFree: [Bool] = {
    var free = [Bool](repeating: true, count: events.count)
    for follower in next where follower >= 0 { free[Int(follower)] = false }
    return free
  }()

  private var reportedAt = Date.distantPast

  private func wait(
    until condition: (Replay) -> Bool, _ began: Date,
    _ progress: (Int, Int, Double) -> Void
  ) throws(Failure) {
    while !condition(self) { try turn(20, began, progress) }
  }

  private func turn(
    _ milliseconds: Int, _ began: Date, _ progress: (Int, Int, Double) -> Void
  ) throws(Failure) {
    for finished in pipeline.poll(milliseconds: milliseconds) { try finish(finished) }
    let now = Date()
    if now.timeIntervalSince(reportedAt) >= 1 {
      reportedAt = now
      progress(summary.over, events.count, now.timeIntervalSince(began))
    }
  }

  // MARK: One event

  private func start(_ index: Int) {
    let action = events[index].action
    if case .refused(let refused) = action {
      summary.money.refusedAtImport[refused.reason, default: 0] += refused.cents
      return end(index, refusal: nil)
    }
    guard let command = command(action) else {
      let reason = action.orderKey.flatMap { unplaced[$0] } ?? "order_not_placed"
      summary.count(action.kind, "skipped: its order was refused (\(reason))")
      if case .settlePayment(let payment) = action {
        summary.money.refused["order refused: \(reason)", default: 0] += payment.amount
      }
      return end(index, refusal: reason)
    }
    let id = options.run.request(index)
    var writer = ByteWriter(capacity: 512)
    RequestEncoder.write(
      id: id, channel: options.channel, deadlineMilliseconds: 0, command, into: &writer)
    numbers[id] = index
    pipeline.submit(id, writer.bytes)
  }

  private func command(_ action: TraceAction) -> Command? {
    switch action {
    case .refused: return nil
    case .registerShop(let shop):
      var command = Command.RegisterShop()
      command.shop = shop.shop
      command.name = shop.name
      command.city = shop.city
      command.province = shop.province
      return .registerShop(command)
    case .putSku(let sku):
      var command = Command.PutSKU()
      command.shop = sku.shop
      command.sku = sku.sku
      command.price = sku.price
      command.onHand = sku.onHand
      command.name = sku.name
      return .putSKU(command)
    case .placeOrder(let order):
      var command = Command.PlaceOrder()
      command.shop = order.shop
      command.buyer = order.buyer
      command.shippingFee = order.shippingFee
      command.reference = order.reference
      command.lines = order.lines.map { .init(sku: $0.sku, quantity: $0.quantity, unitPrice: $0.unitPrice) }
      return .placeOrder(command)
    case .settlePayment(let payment):
      guard let order = orders[payment.key] else { return nil }
      var command = Command.SettlePayment()
      command.order = order
      command.provider = payment.provider
      // Every run is a day of its own for the provider.
      command.reference = "\(payment.reference)#\(options.run.suffix)"
      command.amount = payment.amount
      command.method = Self.method(payment.method)
      command.instalments = payment.instalments
      return .settlePayment(command)
    case .shipOrder(let key): return orders[key].map { .shipOrder($0) }
    case .deliverOrder(let key): return orders[key].map { .deliverOrder($0) }
    case .completeOrder(let key): return orders[key].map { .completeOrder($0) }
    case .cancelOrder(let cancellation):
      guard let order = orders[cancellation.key] else { return nil }
      var command = Command.CancelOrder()
      command.order = order
      command.reason = cancellation.reason
      switch cancellation.by {
      case .buyer: command.by = .buyer
      case .shop: command.by = .shop
      case .platform: command.by = .platform
      }
      return .cancelOrder(command)
    }
  }

  private static func method(_ method: TraceAction.Method) -> PaymentMethod {
    switch method {
    case .unspecified: .unspecified
    case .bankTransfer: .bankTransfer
    case .eWallet: .eWallet
    case .card: .card
    case .payLater: .payLater
    case .cashOnDelivery: .cashOnDelivery
    case .voucherBalance: .voucherBalance
    }
  }

  private func finish(_ finished: Pipeline.Finished) throws(Failure) {
    guard let index = numbers.removeValue(forKey: finished.id) else { return }
    let action = events[index].action
    summary.retries += max(0, finished.attempts - 1)
    guard let bytes = finished.reply, !finished.isGivenUp else {
      summary.unresolved += 1
      summary.count(action.kind, "unresolved")
      if case .settlePayment(let payment) = action {
        summary.money.refused["unresolved", default: 0] += payment.amount
      }
      return end(index, refusal: "unresolved")
    }
    let reply: Laris_Reply
    do { reply = try Laris_Reply(serializedBytes: bytes) } catch { throw .badReply("\(error)") }
    guard reply.outcome == .done else {
      let code = reply.code.contractName
      summary.count(action.kind, code)
      if case .settlePayment(let payment) = action {
        summary.money.refused[code, default: 0] += payment.amount
      }
      return end(index, refusal: code)
    }
    summary.count(action.kind, "done")
    switch (reply.result, action) {
    case (.orderPlaced(let placed)?, .placeOrder(let order)):
      guard placed.orderID.count == 16 else { throw .badReply("an order_id has not 16 bytes") }
      orders[order.key] = placed.orderID.withUnsafeBytes { OrderID(bigEndian: $0) }
    case (.paymentSettled(let settled)?, _):
      summary.money.held += settled.held
      if settled.settlement == .late {
        summary.money.late += settled.refunded
      } else {
        summary.money.surplus += settled.refunded
      }
    case (.orderChanged(let changed)?, _):
      summary.money.held -= changed.refunded + changed.released + changed.fee
      summary.money.refunded += changed.refunded
      summary.money.released += changed.released
      summary.money.fee += changed.fee
    default: break
    }
    end(index, refusal: nil)
  }

  private func end(_ index: Int, refusal: String?) {
    refusals[index] = refusal
    summary.over += 1
    if let refusal, case .placeOrder(let order) = events[index].action { unplaced[order.key] = refusal }
    guard next[index] >= 0 else { return }
    let follower = Int(next[index])
    if isFree[follower] { start(follower) } else { isFree[follower] = true }
  }
}
