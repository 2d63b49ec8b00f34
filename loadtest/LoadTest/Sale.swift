import Bytes
import Cluster
import Foundation
import LarisClient
import LarisProtocol
import Marketplace
import RunHistory
import Synchronization
import Wire
import ZeroMQ

/// A sale: shops and SKUs are set up, then commands are sent in a mix, one request a message.
///
/// Closed loop (a number in flight) or open loop (a rate; latency counts from the planned time), over
/// several connections, each with a thread of its own.
package final class Sale {
  package struct Options: Sendable {
    /// One has the connection at a time; where it can't be reached or says nothing, the next one.
    package var dispatchers = ["tcp://127.0.0.1:12120"]
    package var seconds: Double = 60
    /// nil: 2,000 in a closed loop; in an open one what five seconds of its highest rate need.
    package var inFlight: Int?
    /// nil: closed loop.
    package var profile: RateProfile?
    package var connections = 1
    package var model = SaleModel.Options()
    package var stock: Int64 = 1_000_000_000
    /// Whether *not executed* is tried again where the answer says that it helps.
    package var retries = false
    /// After so long without an answer a request goes again.
    package var silenceSeconds: Double = 2
    /// How long one request is tried in all.
    package var budgetSeconds: Double = 30
    /// Whether `Resolve` settles at the end what is unknown then.
    package var resolves = true
    package var history: String?
    /// Keep the replies beside the history.
    package var keepsReplies = false
    package init() {}
  }

  package enum Failure: Error, CustomStringConvertible {
    case client(Pipeline.Failure)
    case setup(String)
    case history(String)
    package var description: String {
      switch self {
      case .client(let failure): "\(failure)"
      case .setup(let text): "the marketplace could not be set up: \(text)"
      case .history(let text): text
      }
    }
  }

  private let options: Options
  private let context: ZeroMQContext
  private let run = RunID.fresh()
  private var history: HistoryWriter?

  package init(_ options: Options) throws(Failure) {
    self.options = options
    context = ZeroMQContext(ioThreads: Int32(min(4, options.connections)))
    _ = try connect()
  }

  private func connect() throws(Failure) -> Pipeline {
    do { return try Pipeline(dispatchers: options.dispatchers, context: context) } catch {
      throw .client(error)
    }
  }

  /// Requests that can be in flight on one connection.
  private var slots: Int {
    let all = options.inFlight ?? options.profile.map { max(20_000, Int($0.peak * 5)) } ?? 2_000
    return min(SaleGenerator.slotsMax, max(1, (all + options.connections - 1) / options.connections))
  }

  package var description: String {
    options.profile.map { "open loop \($0)" }
      ?? "\(slots * options.connections) in flight for \(Int(options.seconds)) s"
  }

  // MARK: Setting up

  /// Registers the shops and puts their SKUs. A shop that is there already is fine.
  package func setUp(progress: (_ done: Int, _ of: Int) -> Void) throws(Failure) {
    var pipeline = try connect()
    let run = RunID.fresh()
    let total = options.model.shops * (1 + options.model.skusPerShop)
    var number = 0
    var over = 0
    var reportedAt = Date()
    func turn(_ pipeline: inout Pipeline, below limit: Int) throws(Failure) {
      while pipeline.count > limit {
        for finished in pipeline.poll(milliseconds: 20) {
          over += 1
          guard let peek = finished.peek, !finished.isGivenUp else {
            throw .setup(
              "no answer within 30 s; is a cluster at \(options.dispatchers.joined(separator: ", "))?")
          }
          let isKnown = peek.code == UInt32(Reason.shopExists.rawValue)
          guard peek.outcome == .done || isKnown else {
            throw .setup("a command was refused with code \(peek.code)")
          }
        }
        if Date().timeIntervalSince(reportedAt) > 0.5 {
          reportedAt = Date()
          progress(over, total)
        }
      }
    }
    func submit(_ command: Command, _ pipeline: inout Pipeline) throws(Failure) {
      let id = run.request(number)
      number += 1
      var writer = ByteWriter(capacity: 128)
      RequestEncoder.write(
        id: id, channel: "loadtest", deadlineMilliseconds: 0, command, into: &writer)
      pipeline.submit(id, writer.bytes)
      try turn(&pipeline, below: 2_000)
    }
    for shop in 1...options.model.shops {
      var command = Command.RegisterShop()
      command.shop = UInt64(shop)
      command.name = "Toko \(shop)"
      try submit(.registerShop(command), &pipeline)
    }
    try turn(&pipeline, below: 0)
    for shop in 1...options.model.shops {
      for sku in 1...options.model.skusPerShop {
        var command = Command.PutSKU()
        command.shop = UInt64(shop)
        command.sku = UInt64(sku)
        command.price = Int64(1_000 + sku * 10)
        command.onHand = options.stock
        try submit(.putSKU(command), &pipeline)
      }
    }
    try turn(&pipeline, below: 0)
    progress(total, total)
  }

  /// Begins the history file, with what the cluster is and has before the run.
  private func beginHistory(seed: UInt64) throws(Failure) {
    guard let path = options.history else { return }
    let status = try standing()
    let header = HistoryHeader(
      run: run.description, seed: seed, startedAt: Int64(Date().timeIntervalSince1970 * 1_000),
      cluster: status.clusterID, partitions: status.partitions.count,
      ordersBefore: status.partitions.reduce(0) { $0 + $1.orders },
      load: "\(description); mix \(options.model.mix)")
    do throws(HistoryError) {
      history = try HistoryWriter(path: path, header: header, keepsReplies: options.keepsReplies)
    } catch {
      throw .history("\(error)")
    }
  }

  /// The cluster's status, once its count of orders rests: workers report it twice a second.
  private func standing() throws(Failure) -> Laris_ClusterStatus {
    let client: LarisClient
    do { client = try LarisClient(dispatchers: options.dispatchers) } catch { throw .history("\(error)") }
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    var before: UInt64?
    for _ in 0..<20 {
      guard case .done(let reply)? = try? client.call(request) else { break }
      let orders = reply.status.partitions.reduce(0) { $0 + $1.orders }
      if orders == before { return reply.status }
      before = orders
      usleep(1_100_000)
    }
    throw .history("the cluster's orders can't be counted: it does not answer, or others place orders too")
  }

  // MARK: Selling

  /// Sells for the time that was asked for, waits until every request has an end, and settles what is
  /// unknown then.
  ///
  /// - Parameters:
  ///   - progress: called once for each second, when it is over on every connection.
  ///   - settling: called before and while unknown requests are resolved.
  package func sell(
    progress: (SecondTally) -> Void, settling: (_ done: Int, _ of: Int) -> Void = { _, _ in }
  ) throws(Failure) -> SaleSummary {
    try beginHistory(seed: options.model.seed)
    var summary = SaleSummary()
    summary.run = run.description
    let lag = LagSampler(dispatchers: options.dispatchers)
    defer { lag.stop() }
    let boards = (0..<options.connections).map { _ in SaleGenerator.Board() }
    let beganAt = Pipeline.now()
    let epoch = Int64(Date().timeIntervalSince1970 * 1_000_000)
    for (connection, board) in boards.enumerated() {
      start(plan(connection, beganAt: beganAt, epoch), board)
    }
    summary.threads = watch(boards, beganAt: beganAt, progress)
    for board in boards {
      board.report.withLock { report in
        if let tally = report.tally { summary.tally.add(tally) }
        if let failure = report.failure { summary.failures.append(failure) }
      }
    }
    let unknown = boards.flatMap { $0.report.withLock { $0.unknown } }
    summary.sellingSeconds = options.seconds
    summary.lagAt10Seconds = lag.peak(from: 5, to: 10)
    summary.lagAtEnd = lag.peak(from: options.seconds - 5, to: options.seconds)
    summary.resolutions = settle(unknown, settling)
    if let history {
      do throws(HistoryError) {
        try history.finish(endedAt: Int64(Date().timeIntervalSince1970 * 1_000))
      } catch {
        summary.failures.append("the history is not complete: \(error)")
      }
    }
    return summary
  }

  private func plan(_ connection: Int, beganAt: Int64, _ epoch: Int64) -> SaleGenerator.Plan {
    var model = options.model
    model.run = run.id.low ^ run.id.high
    var client = Pipeline.Options()
    client.silenceMilliseconds = Int64(options.silenceSeconds * 1_000)
    client.budgetMilliseconds = Int64(options.budgetSeconds * 1_000)
    client.retriesRefusals = options.retries
    client.keepsLateReplies = true
    return SaleGenerator.Plan(
      dispatchers: options.dispatchers, client: client, model: model, profile: options.profile,
      seconds: options.seconds, slots: slots, connection: connection, connections: options.connections,
      runBits: (run.id.low ^ run.id.high << 30) & (1 << 34 - 1), keepsReplies: options.keepsReplies,
      beganAt: beganAt, beganAtEpoch: epoch)
  }

  private func start(_ plan: SaleGenerator.Plan, _ board: SaleGenerator.Board) {
    let thread = Thread { [context, history] in
      do {
        var generator = try SaleGenerator(plan, board, history: history, context: context)
        generator.run()
      } catch {
        board.report.withLock {
          $0.failure = "connection \(plan.connection): \(error)"
          $0.tally = Tally()
        }
      }
    }
    thread.name = "sale-\(plan.connection)"
    thread.start()
  }

  /// Puts the connections' seconds together until all are over.
  private func watch(
    _ boards: [SaleGenerator.Board], beganAt: Int64, _ progress: (SecondTally) -> Void
  ) -> [ThreadLoads.Load] {
    var first: ThreadLoads?
    var loads: [ThreadLoads.Load] = []
    var waiting: [Int: SecondTally] = [:]
    var next = 0
    while true {
      usleep(50_000)
      let elapsed = Double(Pipeline.now() - beganAt) / 1_000_000
      if first == nil { first = ThreadLoads() }
      if loads.isEmpty, elapsed >= options.seconds, let first { loads = ThreadLoads().since(first) }
      var isOver = true
      var secondsOver = Int.max
      for board in boards {
        let report = board.report.withLock { report in
          defer { report.seconds = [] }
          return (seconds: report.seconds, over: report.secondsOver, isOver: report.tally != nil)
        }
        for second in report.seconds {
          if waiting[second.second] == nil {
            waiting[second.second] = second
          } else {
            waiting[second.second]?.add(second)
          }
        }
        isOver = isOver && report.isOver
        if !report.isOver { secondsOver = min(secondsOver, report.over) }
      }
      while next < secondsOver, let second = waiting.removeValue(forKey: next) {
        progress(second)
        next += 1
      }
      if isOver { return loads }
    }
  }

  // MARK: Settling

  /// Asks the cluster to settle the fate of each.
  private func settle(
    _ unknown: [HistoryRecord], _ progress: (Int, Int) -> Void
  ) -> SaleSummary.Resolutions {
    var resolutions = SaleSummary.Resolutions()
    guard options.resolves, !unknown.isEmpty, var pipeline = try? connect() else {
      resolutions.unresolved = unknown.count
      return resolutions
    }
    let ids = RunID.fresh()
    var asked: [RequestID: HistoryRecord] = [:]
    var place = 0
    var over = 0
    var records = ByteWriter()
    var replies = ByteWriter()
    progress(0, unknown.count)
    while over < unknown.count {
      while place < unknown.count, asked.count < 1_000 {
        let id = ids.request(place)
        asked[id] = unknown[place]
        pipeline.submit(
          id,
          FateRequest.bytes(
            id: id, channel: "loadtest", of: unknown[place].request, at: unknown[place].key, sealing: true))
        place += 1
      }
      for finished in pipeline.poll(milliseconds: 20) {
        guard var record = asked.removeValue(forKey: finished.id) else { continue }
        over += 1
        if let (told, reply) = Self.told(finished, of: record) {
          record = told
          if record.code == UInt16(Reason.requestSealed.rawValue) {
            resolutions.sealed += 1
          } else {
            resolutions.executed += 1
          }
          record.write(into: &records)
          if options.keepsReplies { HistoryRecord.write(reply: reply, into: &replies) }
        } else {
          resolutions.unresolved += 1
        }
      }
      progress(over, unknown.count)
    }
    history?.append(records.bytes, replies: replies.bytes)
    return resolutions
  }

  /// What the answer to a `Resolve` says of a request, and the reply in it; nil: nothing.
  private static func told(
    _ asked: Pipeline.Finished, of record: HistoryRecord
  ) -> (HistoryRecord, reply: [UInt8])? {
    guard asked.fate == .done, let told = asked.peek?.told, let reply = asked.reply else { return nil }
    return reply.withUnsafeBytes { bytes in
      let told = UnsafeRawBufferPointer(rebasing: bytes[told])
      guard let inner = try? ReplyPeek(told), inner.id == record.request, inner.outcome.isFinal else {
        return nil
      }
      var resolution = record
      resolution.isResolution = true
      resolution.outcome = inner.outcome
      resolution.code = UInt16(clamping: inner.code)
      resolution.replyHash = XXH64.hash(told)
      if record.command == .place, inner.outcome == .done, let order = inner.order {
        resolution.key = .order(order)
      }
      return (resolution, Array(told))
    }
  }
}
