import Bytes
import ClientCore
import Cluster
import LarisClient
import RunHistory
import Synchronization
import Wire
import ZeroMQ

/// One connection of a sale: plans, submits, counts. One thread's, which sleeps when there is nothing to
/// do. A struct, so that nothing is checked for exclusive access at every step.
///
/// Its ``Pipeline`` sends, sends again, and knows how each request ended.
struct SaleGenerator: ~Copyable {
  struct Plan: Sendable {
    var dispatchers: [String]
    var client: Pipeline.Options
    var model: SaleModel.Options
    /// nil: closed loop.
    var profile: RateProfile?
    var seconds: Double
    /// Requests that can be in flight.
    var slots: Int
    /// Which connection this is, from 0, and how many there are: at most 64.
    var connection: Int
    var connections: Int
    /// Of the run, in the ids of its requests: 34 random bits.
    var runBits: UInt64
    /// The history has replies too.
    var keepsReplies: Bool
    /// The start: on the pipeline's clock and since the Unix epoch, in microseconds.
    var beganAt: Int64
    var beganAtEpoch: Int64
  }

  /// What a generator tells those who look on.
  struct Report: Sendable {
    /// Seconds that are over, until somebody takes them.
    var seconds: [SecondTally] = []
    var secondsOver = 0
    /// All of it, once it is over.
    var tally: Tally?
    /// Requests whose fate nobody told.
    var unknown: [HistoryRecord] = []
    var failure: String?
  }

  final class Board: Sendable {
    let report = Mutex(Report())
  }

  static let slotsMax = 1 << 20
  static let connectionsMax = 64

  private struct Slot {
    var draft = SaleModel.Draft(command: .place, number: 0)
    var generation: UInt64 = 0
    /// When it was due.
    var plannedAt: Int64 = 0
  }

  private let plan: Plan
  private let board: Board
  private var pipeline: Pipeline
  private let history: HistoryWriter?
  private var model: SaleModel
  private var slots: [Slot]
  private var free: [Int]
  /// Slots of a closed loop whose client was told to wait before it asks for something else.
  private var resting = Timeline()
  private var nextNumber: UInt64
  private var writer = ByteWriter(capacity: 512)
  private var records = ByteWriter(capacity: 80 << 10)
  /// What belongs to them; empty where replies are not kept.
  private var replies = ByteWriter()
  private var tally = Tally()
  private var second = SecondTally(second: 0)
  private var unknown: [HistoryRecord] = []
  /// The ends of requests that went out more than once, so that another answer is held against the first.
  private var repeatedEnds: [RequestID: HistoryRecord] = [:]
  private var repeatedIDs = Ring<RequestID>()
  /// What the pipeline had sent when the present second began.
  private var sentBefore = 0

  init(
    _ plan: Plan, _ board: Board, history: HistoryWriter?, context: ZeroMQContext
  ) throws(Pipeline.Failure) {
    pipeline = try Pipeline(dispatchers: plan.dispatchers, context: context, options: plan.client)
    self.plan = plan
    self.board = board
    self.history = history
    model = SaleModel(plan.model)
    slots = Array(repeating: Slot(), count: plan.slots)
    free = Array((0..<plan.slots).reversed())
    nextNumber = UInt64(plan.connection)
  }

  // MARK: The loop

  /// Sends for the time that was planned, and waits until every request has an end.
  mutating func run() {
    let end = plan.beganAt + Int64(plan.seconds * 1_000_000)
    // What was planned for the last moment, or could not go out in time, has a second more.
    let lastSendAt = plan.profile == nil ? end : end + 1_000_000
    var finished: [Pipeline.Finished] = []
    while true {
      let now = Pipeline.now()
      while let rested = resting.takeDue(at: now) { free.append(rested.slot) }
      while now >= plan.beganAt + Int64(second.second + 1) * 1_000_000 { endSecond() }
      if now < lastSendAt { send(now: now) }
      if now >= end, free.count + resting.count == slots.count, now >= lastSendAt || isAllSent { break }
      pipeline.poll(milliseconds: pause(now: now, end: end), into: &finished)
      for index in finished.indices { take(finished[index]) }
      for reply in pipeline.takeLate() { takeLate(reply) }
    }
    if let profile = plan.profile {
      let due = profile.due(at: Int64(plan.seconds * 1_000_000))
      let stride = UInt64(plan.connections)
      if due > nextNumber { tally.neverSent = Int((due - nextNumber + stride - 1) / stride) }
    }
    endSecond()
    tally.repeated = pipeline.attemptsSent - pipeline.requestsSent
    let (tally, unknown) = (tally, unknown)
    board.report.withLock {
      $0.tally = tally
      $0.unknown = unknown
    }
  }

  private var isAllSent: Bool { plan.profile?.time(of: nextNumber) == nil }

  private mutating func endSecond() {
    handOver()
    second.sent = pipeline.requestsSent - sentBefore
    sentBefore = pipeline.requestsSent
    let over = second
    second = SecondTally(second: over.second + 1)
    board.report.withLock {
      $0.seconds.append(over)
      $0.secondsOver = over.second + 1
    }
  }

  /// How long there is nothing to do but wait for answers, in milliseconds.
  private func pause(now: Int64, end: Int64) -> Int {
    guard let profile = plan.profile, now < end, !free.isEmpty else { return 10 }
    guard let due = profile.time(of: nextNumber) else { return 10 }
    return max(1, min(10, Int((plan.beganAt + due - now) / 1_000)))
  }

  private mutating func send(now: Int64) {
    guard let profile = plan.profile else {
      while let slot = free.popLast() { begin(slot, plannedAt: now, now: now) }
      return
    }
    let due = profile.due(at: now - plan.beganAt)
    while nextNumber < due {
      guard let time = profile.time(of: nextNumber) else { return }
      guard let slot = free.popLast() else {
        tally.wasFull = true
        return
      }
      begin(slot, plannedAt: plan.beganAt + time, now: now)
    }
  }

  // MARK: One request

  private mutating func begin(_ slot: Int, plannedAt: Int64, now: Int64) {
    let generation = slots[slot].generation &+ 1
    let milliseconds = UInt64(max(0, (plan.beganAtEpoch + now - plan.beganAt) / 1_000))
    // The slot is in the id, so that an answer finds it; its generation, so that no two ids are the same.
    let id = RequestID(
      high: milliseconds << 16 | 0x7000 | plan.runBits >> 22,
      low: 2 << 62 | UInt64(plan.connection) << 56 | UInt64(slot) << 36 | (generation & 0x3FFF) << 22
        | plan.runBits & 0x3F_FFFF)
    let draft = model.next(nextNumber)
    nextNumber += UInt64(plan.connections)
    slots[slot] = Slot(draft: draft, generation: generation, plannedAt: plannedAt)
    writer.removeAll()
    model.write(draft, id: id, into: &writer)
    pipeline.submit(id, writer.bytes)
  }

  private mutating func take(_ over: Pipeline.Finished) {
    let slot = Int(over.id.low >> 36 & 0xF_FFFF)
    let (draft, plannedAt) = (slots[slot].draft, slots[slot].plannedAt)
    let outcome: SaleOutcome =
      switch over.fate {
      case .done: .done
      case .no: .no
      case .notExecuted: .notExecuted
      case .unknown: .unknown
      }
    let code = UInt16(clamping: over.peek?.code ?? 0)
    let microseconds = UInt64(min(max(1, over.endedAt - plannedAt), Int64(Latencies.longest)))
    tally.record(draft.command, outcome, code: code, microseconds: microseconds)
    tally.silent += over.unanswered
    second.record(outcome, microseconds: microseconds)
    if let sentAt = over.sentAt { count(lateness: sentAt - plannedAt) }
    model.ended(
      draft, outcome, order: over.peek?.order, owed: over.peek?.owed ?? 0, settlement: over.peek?.settlement)
    if history != nil || outcome == .unknown || over.attempts > 1 {
      keep(
        record(over, draft, plannedAt: plannedAt, outcome, code: code), over.reply, attempts: over.attempts)
    }
    // A closed loop's client waits as it was told before it asks for something else.
    if plan.profile == nil, outcome == .notExecuted, let wait = over.peek?.retryAfterMilliseconds, wait > 0 {
      resting.insert(.init(at: over.endedAt + Int64(wait) * 1_000, slot: slot))
    } else {
      free.append(slot)
    }
  }

  private mutating func count(lateness: Int64) {
    tally.sent += 1
    guard plan.profile != nil else { return }
    if lateness > 5_000 { tally.late += 1 }
    tally.latest = max(tally.latest, lateness)
  }

  /// A reply to a request that has its end: another answer to one that was sent twice.
  private mutating func takeLate(_ bytes: [UInt8]) {
    tally.stray += 1
    guard let reply = try? bytes.withUnsafeBytes({ try ReplyPeek($0) }), reply.outcome.isFinal,
      let id = reply.id, var record = repeatedEnds[id], !record.command.isRead
    else { return }
    let hash = bytes.withUnsafeBytes { XXH64.hash($0) }
    let code = UInt16(clamping: reply.code)
    if record.outcome.isFinal, record.replyHash != hash, tally.contradictions.count < 10 {
      tally.contradictions.append(
        "\(record.command.name) \(id): \(record.outcome.name), code \(record.code), then "
          + "\(reply.outcome.name), code \(code)")
    }
    record.isRepeated = true
    record.outcome = reply.outcome
    record.code = code
    record.replyHash = hash
    if record.command == .place, reply.outcome == .done, let order = reply.order {
      record.key = .order(order)
    }
    write(record, bytes)
  }

  // MARK: History

  private func record(
    _ over: Pipeline.Finished, _ draft: SaleModel.Draft, plannedAt: Int64, _ outcome: SaleOutcome,
    code: UInt16
  ) -> HistoryRecord {
    let isPlaced = draft.command == .place && outcome == .done
    let placed: HistoryRecord.Key? = isPlaced ? over.peek?.order.map { .order($0) } : nil
    var record = HistoryRecord(
      draft.command, outcome, request: over.id, key: placed ?? model.key(of: draft))
    record.code = code
    record.attempts = UInt16(min(over.attempts, 0xFFFF))
    record.connection = UInt8(plan.connection)
    record.plannedAt = UInt64(plan.beganAtEpoch + plannedAt - plan.beganAt)
    func after(_ time: Int64) -> UInt32 { UInt32(min(max(0, time - plannedAt), 0xFFFF_FFFE)) }
    record.sentAfter = over.sentAt.map(after) ?? HistoryRecord.never
    record.endedAfter = after(over.endedAt)
    record.replyHash = over.reply?.withUnsafeBytes { XXH64.hash($0) } ?? 0
    return record
  }

  private mutating func keep(_ record: HistoryRecord, _ reply: [UInt8]?, attempts: Int) {
    write(record, reply)
    if record.outcome == .unknown { unknown.append(record) }
    guard attempts > 1 else { return }
    if repeatedIDs.count == Ring<RequestID>.capacity, let oldest = repeatedIDs.popFirst() {
      repeatedEnds[oldest] = nil
    }
    repeatedIDs.append(record.request)
    repeatedEnds[record.request] = record
  }

  private mutating func write(_ record: HistoryRecord, _ reply: [UInt8]?) {
    guard history != nil else { return }
    record.write(into: &records)
    if plan.keepsReplies, let reply { HistoryRecord.write(reply: reply, into: &replies) }
    if records.count >= 1_024 * HistoryRecord.size { handOver() }
  }

  private mutating func handOver() {
    history?.append(records.bytes, replies: replies.bytes)
    records.removeAll()
    replies.removeAll()
  }
}
