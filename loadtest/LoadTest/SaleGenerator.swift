import Bytes
import Cluster
import Foundation
import RunHistory
import Synchronization
import Wire
import ZeroMQ

/// One connection of a sale: plans, sends, waits, counts. One thread's, which sleeps when there is
/// nothing to do. A struct, so that nothing is checked for exclusive access at every step.
///
/// A request that may have been executed, because its answer is *unknown* or did not come, goes again
/// with its id until its answer is final or its budget is over.
struct SaleGenerator: ~Copyable {
  struct Plan: Sendable {
    var dispatcher: String
    var model: SaleModel.Options
    /// nil: closed loop.
    var profile: RateProfile?
    var seconds: Double
    /// Requests that can be in flight.
    var slots: Int
    /// Whether *not executed* is tried again.
    var retries: Bool
    var silenceMicroseconds: Int64
    var budgetMicroseconds: Int64
    /// Which connection this is, from 0, and how many there are: at most 64.
    var connection: Int
    var connections: Int
    /// Of the run, in the ids of its requests: 34 random bits.
    var runBits: UInt64
    /// The start: on the steady clock and since the Unix epoch, in microseconds.
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
    var id = RequestID(high: 0, low: 0)
    var generation: UInt64 = 0
    /// Microseconds of the steady clock: when it was due, taken up, and first sent.
    var plannedAt: Int64 = 0
    var begunAt: Int64 = 0
    var firstSentAt: Int64 = 0
    var attempts = 0
    /// An attempt may have taken effect.
    var isInDoubt = false
    /// Its last attempt was answered, and it waits for the next.
    var isAnswered = false
    var isUsed = false
    var lastCode: UInt16 = 0
    var lastHash: UInt64 = 0
  }

  private let plan: Plan
  private let board: Board
  private let socket: Socket
  private let history: HistoryWriter?
  private var model: SaleModel
  private var slots: [Slot]
  /// Of each slot: when it needs attention if nothing comes; `max`: never.
  private var dueAt: [Int64]
  private var free: [Int]
  private var nextNumber: UInt64
  private var writer = ByteWriter(capacity: 512)
  private var records = ByteWriter(capacity: 80 << 10)
  private var tally = Tally()
  private var second = SecondTally(second: 0)
  private var unknown: [HistoryRecord] = []
  /// The ends of requests that went out more than once, so that another answer is held against the first.
  private var repeatedEnds: [RequestID: HistoryRecord] = [:]
  private var repeatedIDs = Ring<RequestID>()
  private var random = SystemRandomNumberGenerator()

  init(
    _ plan: Plan, _ board: Board, history: HistoryWriter?, context: ZeroMQContext
  ) throws(ZeroMQError) {
    let socket = try Self.connect(plan.dispatcher, context)
    self.plan = plan
    self.board = board
    self.history = history
    self.socket = socket
    model = SaleModel(plan.model)
    slots = Array(repeating: Slot(), count: plan.slots)
    dueAt = Array(repeating: .max, count: plan.slots)
    free = Array((0..<plan.slots).reversed())
    nextNumber = UInt64(plan.connection)
  }

  static func connect(_ dispatcher: String, _ context: ZeroMQContext) throws(ZeroMQError) -> Socket {
    let socket = try Socket(.dealer, in: context)
    socket.setHighWaterMarks(send: 0, receive: 0)
    socket.setImmediate()
    socket.setReconnect(milliseconds: 20, max: 200)
    try socket.connect(dispatcher)
    return socket
  }

  /// Microseconds of a clock that never runs back.
  static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }

  // MARK: The loop

  /// Sends for the time that was planned, and waits until every request has an end.
  mutating func run() {
    let end = plan.beganAt + Int64(plan.seconds * 1_000_000)
    // What was planned for the last moment, or could not go out in time, has a second more.
    let lastSendAt = plan.profile == nil ? end : end + 1_000_000
    var scanAt = plan.beganAt
    var message = Message()
    while true {
      var now = Self.now()
      if now < lastSendAt { send(now: now) }
      if now >= end, free.count == slots.count, now >= lastSendAt || isAllSent { break }
      if socket.wait(milliseconds: pause(now: now, end: end)) {
        now = Self.now()
        // Not all at once: what is due must go out, too.
        var count = 0
        while count < 512, (try? socket.receive(into: &message)) == true {
          take(message.bytes, now: now)
          count += 1
        }
      }
      if now >= scanAt {
        scanAt = now + 10_000
        attend(now: now)
      }
      while now >= plan.beganAt + Int64(second.second + 1) * 1_000_000 { endSecond() }
    }
    if let profile = plan.profile {
      let due = profile.due(at: Int64(plan.seconds * 1_000_000))
      let stride = UInt64(plan.connections)
      if due > nextNumber { tally.neverSent = Int((due - nextNumber + stride - 1) / stride) }
    }
    endSecond()
    let (tally, unknown) = (tally, unknown)
    board.report.withLock {
      $0.tally = tally
      $0.unknown = unknown
    }
  }

  private var isAllSent: Bool { plan.profile?.time(of: nextNumber) == nil }

  private mutating func endSecond() {
    if let history {
      history.append(records.bytes)
      records.removeAll()
    }
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
    slots[slot] = Slot(
      draft: model.next(nextNumber), id: id, generation: generation, plannedAt: plannedAt, begunAt: now,
      isUsed: true)
    nextNumber += UInt64(plan.connections)
    transmit(slot, now: now)
  }

  private mutating func transmit(_ slot: Int, now: Int64) {
    writer.removeAll()
    model.write(slots[slot].draft, id: slots[slot].id, into: &writer)
    slots[slot].isAnswered = false
    let over = slots[slot].begunAt + plan.budgetMicroseconds
    do {
      try socket.send(writer.bytes)
      dueAt[slot] = min(now + plan.silenceMicroseconds, over)
    } catch {
      // No connection yet, or none any more: soon again. Nothing left, so nothing is in doubt by it.
      slots[slot].isAnswered = true
      dueAt[slot] = min(now + 20_000, over)
      return
    }
    slots[slot].attempts += 1
    if slots[slot].attempts > 1 {
      tally.repeated += 1
      return
    }
    slots[slot].firstSentAt = now
    second.sent += 1
    tally.sent += 1
    let lateness = now - slots[slot].plannedAt
    guard plan.profile != nil else { return }
    if lateness > 5_000 { tally.late += 1 }
    tally.latest = max(tally.latest, lateness)
  }

  /// Looks after what was not answered in time, and what waits for its next attempt.
  private mutating func attend(now: Int64) {
    var due: [Int] = []
    dueAt.withUnsafeBufferPointer { dueAt in
      for slot in 0..<dueAt.count where dueAt[slot] <= now { due.append(slot) }
    }
    // A slot's number means nothing: the oldest first.
    let plannedAt = due.map { slots[$0].plannedAt }
    for slot in zip(due, plannedAt).sorted(by: { $0.1 < $1.1 }).map(\.0) {
      guard slots[slot].isUsed else {
        release(slot)
        continue
      }
      if !slots[slot].isAnswered {
        slots[slot].isInDoubt = true
        tally.silent += 1
      }
      if now - slots[slot].begunAt < plan.budgetMicroseconds {
        transmit(slot, now: now)
      } else {
        end(
          slot, slots[slot].isInDoubt ? .unknown : .notExecuted, code: slots[slot].lastCode,
          hash: slots[slot].lastHash, nil, now: now)
      }
    }
  }

  private mutating func take(_ bytes: UnsafeRawBufferPointer, now: Int64) {
    guard let facts = try? ReplyFacts(bytes), let id = facts.id else {
      tally.stray += 1
      return
    }
    let slot = Int(id.low >> 36 & 0xF_FFFF)
    guard slot < slots.count, slots[slot].isUsed, slots[slot].id == id else {
      return takeLate(facts, id, bytes, now: now)
    }
    let hash = history == nil && slots[slot].attempts < 2 ? 0 : XXH64.hash(bytes)
    let canWait = facts.retryAfterMilliseconds > 0
    switch facts.outcome {
    case .done, .no: return end(slot, facts.outcome, code: facts.code, hash: hash, facts, now: now)
    case .notExecuted:
      // It says nothing of an attempt before it.
      let isOver = slots[slot].isInDoubt ? !canWait : !canWait || !plan.retries
      if isOver {
        let outcome: SaleOutcome = slots[slot].isInDoubt ? .unknown : .notExecuted
        return end(slot, outcome, code: facts.code, hash: hash, facts, now: now)
      }
    case .unknown:
      slots[slot].isInDoubt = true
      if !canWait { return end(slot, .unknown, code: facts.code, hash: hash, facts, now: now) }
    }
    slots[slot].lastCode = facts.code
    slots[slot].lastHash = hash
    slots[slot].isAnswered = true
    // A factor of 1 to 1.5, so that what was refused together does not come back together.
    let wait = Int64(facts.retryAfterMilliseconds) * 1_000
    dueAt[slot] = min(
      now + wait + Int64.random(in: 0...wait / 2, using: &random),
      slots[slot].begunAt + plan.budgetMicroseconds)
  }

  /// A reply to a request that has its end: another answer to one that was sent twice.
  private mutating func takeLate(
    _ facts: ReplyFacts, _ id: RequestID, _ bytes: UnsafeRawBufferPointer, now: Int64
  ) {
    tally.stray += 1
    guard facts.outcome.isFinal, var record = repeatedEnds[id], !record.command.isRead else { return }
    let hash = XXH64.hash(bytes)
    if record.outcome.isFinal, record.replyHash != hash, tally.contradictions.count < 10 {
      tally.contradictions.append(
        "\(record.command.name) \(id): \(record.outcome.name), code \(record.code), then "
          + "\(facts.outcome.name), code \(facts.code)")
    }
    record.isRepeated = true
    record.outcome = facts.outcome
    record.code = facts.code
    record.replyHash = hash
    if record.command == .place, facts.outcome == .done, let order = facts.order {
      record.key = .order(order)
    }
    write(record)
  }

  private mutating func end(
    _ slot: Int, _ outcome: SaleOutcome, code: UInt16, hash: UInt64, _ facts: ReplyFacts?, now: Int64
  ) {
    let command = slots[slot].draft.command
    let microseconds = UInt64(min(max(1, now - slots[slot].plannedAt), Int64(Latencies.longest)))
    tally.record(command, outcome, code: code, microseconds: microseconds)
    second.record(outcome, microseconds: microseconds)
    model.ended(
      slots[slot].draft, outcome, order: facts?.order, owed: facts?.owed ?? 0,
      settlement: facts?.settlement)
    if history != nil || outcome == .unknown || slots[slot].attempts > 1 {
      keep(record(slot, outcome, code: code, hash: hash, facts, now: now), attempts: slots[slot].attempts)
    }
    slots[slot].isUsed = false
    // A closed loop's client waits as it was told before it asks for something else.
    if plan.profile == nil, outcome == .notExecuted, let wait = facts?.retryAfterMilliseconds, wait > 0 {
      dueAt[slot] = now + Int64(wait) * 1_000
    } else {
      release(slot)
    }
  }

  private mutating func release(_ slot: Int) {
    dueAt[slot] = .max
    free.append(slot)
  }

  // MARK: History

  private func record(
    _ slot: Int, _ outcome: SaleOutcome, code: UInt16, hash: UInt64, _ facts: ReplyFacts?, now: Int64
  ) -> HistoryRecord {
    let ended = slots[slot]
    let isPlaced = ended.draft.command == .place && outcome == .done
    let placed: HistoryRecord.Key? = isPlaced ? facts?.order.map { .order($0) } : nil
    var record = HistoryRecord(
      ended.draft.command, outcome, request: ended.id, key: placed ?? model.key(of: ended.draft))
    record.code = code
    record.attempts = UInt16(min(ended.attempts, 0xFFFF))
    record.connection = UInt8(plan.connection)
    record.plannedAt = UInt64(plan.beganAtEpoch + ended.plannedAt - plan.beganAt)
    func after(_ time: Int64) -> UInt32 { UInt32(min(max(0, time - ended.plannedAt), 0xFFFF_FFFE)) }
    record.sentAfter = ended.attempts == 0 ? HistoryRecord.never : after(ended.firstSentAt)
    record.endedAfter = after(now)
    record.replyHash = hash
    return record
  }

  private mutating func keep(_ record: HistoryRecord, attempts: Int) {
    write(record)
    if record.outcome == .unknown { unknown.append(record) }
    guard attempts > 1 else { return }
    if repeatedIDs.count == Ring<RequestID>.capacity, let oldest = repeatedIDs.popFirst() {
      repeatedEnds[oldest] = nil
    }
    repeatedIDs.append(record.request)
    repeatedEnds[record.request] = record
  }

  private mutating func write(_ record: HistoryRecord) {
    guard let history else { return }
    record.write(into: &records)
    if records.count >= 1_024 * HistoryRecord.size {
      history.append(records.bytes)
      records.removeAll()
    }
  }
}
