import Bytes
import Cluster
import Wire

/// What a client decides: when a request is sent, to which dispatcher, when again, and what is known
/// of it in the end.
///
/// No socket, no clock: the shell reports what came and what time it is (microseconds of a clock that
/// never runs back), sends what ``prepareMessage()`` makes ready, and takes ``takeFinished(into:)``.
///
/// A request is *queued* until a connection takes it, *sent* until a reply comes or the attempt has
/// been silent too long, or *resting* before the next attempt. One dispatcher has the connection at a
/// time, because only what goes over one connection has an order; what is sent again goes by age.
///
/// Honesty: every attempt has at most one reply, over the connection that it went by. So a request
/// had no effect for certain exactly if as many replies said *not executed* as it had attempts.
///
/// Once there have been as many requests at a time as there will be, nothing is allocated any more.
package struct ClientCore: ~Copyable {
  package struct Options: Sendable {
    /// How long to wait for a reply before the request is sent again.
    package var silenceMilliseconds: Int64 = 2_000
    /// How long to try in all; then the request comes back as given up.
    package var budgetMilliseconds: Int64 = 30_000
    /// How long a request may wait for a first connection that takes it; nil: its budget.
    package var connectMilliseconds: Int64?
    /// What the first pause before another attempt is drawn from, beside what the reply asks for, where that
    /// is not longer; it doubles with every rest up to the most.
    package var backoffMilliseconds: Int64 = 50
    package var backoffMillisecondsMax: Int64 = 2_000
    /// 1: every request is a message of its own.
    package var requestsPerMessageMax = 1
    /// Whether a request whose every attempt was refused goes again where the reply says that this helps.
    /// One in doubt always does.
    package var retriesRefusals = true
    /// Whether ``takeLate()`` has what came for nothing that is pending.
    package var keepsLateReplies = false
    package init() {}
  }

  /// What is known of a request in the end.
  package enum Fate: Sendable {
    case done, no
    /// No attempt had an effect.
    case notExecuted
    /// An attempt may have had one.
    case unknown
  }

  package struct Finished: Sendable {
    package let id: RequestID
    package let fate: Fate
    /// The final reply, or the last one that there was; nil: none ever came.
    package let reply: [UInt8]?
    /// What `reply` says.
    package let peek: ReplyPeek?
    /// No final answer came within the budget, or no connection within its deadline.
    package let isGivenUp: Bool
    /// How often it was handed to a connection.
    package let attempts: Int
    /// Of the attempts: how many nobody answered.
    package let unanswered: Int
    /// When it was first handed to a connection; nil: never.
    package let sentAt: Int64?
    /// When it was over.
    package let endedAt: Int64
  }

  private enum State { case queued, sent, resting }

  /// The arrays keep their room for whoever has the slot next.
  private struct Slot {
    var id = RequestID(high: 0, low: 0)
    var bytes: [UInt8] = []
    /// Counts submissions; 0: the slot is free.
    var age: UInt64 = 0
    var silence: Int64 = 0
    var connectUntil: Int64 = 0
    var giveUpAt: Int64 = 0
    var state = State.queued
    var firstSentAt: Int64 = 0
    var sentAt: Int64 = 0
    /// When it has to be looked at; `.max`: never.
    var dueAt = Int64.max
    /// The earliest entry that the timeline has of this slot, whoever it was made for; `.max`: none. One at
    /// or before `dueAt` is enough, so a slot whose requests are answered soon needs one now and then.
    var timedAt = Int64.max
    var attempts: Int32 = 0
    var replies: Int32 = 0
    /// Replies that said *not executed*.
    var denials: Int32 = 0
    var rests: Int32 = 0
    /// The latest reply, where there was one.
    var last: [UInt8] = []

    mutating func begin(
      _ id: RequestID, _ bytes: UnsafeRawBufferPointer, age: UInt64, silence: Int64, connectUntil: Int64,
      giveUpAt: Int64
    ) {
      self.id = id
      self.bytes.replaceAll(with: bytes)
      self.age = age
      self.silence = silence
      self.connectUntil = connectUntil
      self.giveUpAt = giveUpAt
      state = .queued
      dueAt = .max
      (attempts, replies, denials, rests) = (0, 0, 0, 0)
    }

    mutating func send(now: Int64) {
      attempts += 1
      if attempts == 1 { firstSentAt = now }
      sentAt = now
      state = .sent
    }

    /// - Returns: whether the timeline needs an entry.
    mutating func isDue(at time: Int64) -> Bool {
      dueAt = min(time, giveUpAt)
      guard dueAt < timedAt else { return false }
      timedAt = dueAt
      return true
    }

    mutating func hear(_ reply: UnsafeRawBufferPointer, isDenial: Bool) {
      replies += 1
      if isDenial { denials += 1 }
      last.replaceAll(with: reply)
    }

    /// What is known of a request that nobody answered *done* or *no*.
    var fateWithoutAnswer: Fate { denials == attempts ? .notExecuted : .unknown }

    mutating func end(_ fate: Fate, _ peek: ReplyPeek?, isGivenUp: Bool, now: Int64) -> Finished {
      let over = Finished(
        id: id, fate: fate, reply: replies > 0 ? last : nil, peek: peek, isGivenUp: isGivenUp,
        attempts: Int(attempts), unanswered: Int(attempts - replies),
        sentAt: attempts > 0 ? firstSentAt : nil,
        endedAt: now)
      age = 0
      dueAt = .max
      // What was large is given back.
      if bytes.capacity > Slot.bytesKept { bytes = [] }
      if last.capacity > Slot.bytesKept { last = [] }
      return over
    }

    private static let bytesKept = 4_096
  }

  private let options: Options
  private let dispatchers: Int
  /// How long a dispatcher may lack a connection before the next one has its turn.
  private let turn: Int64
  private var random: any RandomNumberGenerator

  /// Which one of the list has the connection.
  package private(set) var dispatcher = 0
  /// Counts connections: with a new number the shell closes the old one, and connects to ``dispatcher``.
  package private(set) var connection: UInt64 = 1
  private var downSince: Int64?
  private var heardAt = Int64.min
  /// Replies may still come to requests that are over, so the next user of an id needs a new connection.
  private var mayHearOldReplies = false

  private var slots: [Slot] = []
  private var freeSlots: [Int] = []
  private var index = SlotIndex()
  private var nextAge: UInt64 = 1
  private var timeline = Timeline()

  /// What is queued, in the order of age once sorted. A slot stands here once while it is queued.
  private var outbox: [(slot: Int, age: UInt64)] = []
  private var outboxHead = 0
  private var outboxIsSorted = true
  /// Up to where what waits for a connection has an entry in the timeline.
  private var outboxTimed = 0
  private var prepared: [Int] = []
  private var preparedEnd = 0

  /// Of the message that is being taken: what has to be sent again.
  private var again: [(slot: Int, age: UInt64)] = []
  private var askedMilliseconds: Int64 = 0
  private var finished: [Finished] = []
  private var late: [[UInt8]] = []

  /// Requests that were handed to a connection, and how often that was done; both only grow.
  package private(set) var requestsSent = 0
  package private(set) var attemptsSent = 0

  /// - Parameters:
  ///   - dispatchers: how many there are to choose from, 1 or more.
  ///   - random: what pauses are drawn from.
  package init(dispatchers: Int, options: Options, random: any RandomNumberGenerator) {
    precondition(dispatchers >= 1)
    self.options = options
    self.dispatchers = dispatchers
    self.random = random
    turn = 1_000 * max(50, min(1_000, (options.connectMilliseconds ?? .max) / Int64(dispatchers)))
  }

  /// Requests that have no final answer yet.
  package var count: Int { index.count }
  package var hasFinished: Bool { !finished.isEmpty }
  /// Requests that wait to be sent, at most.
  package var queued: Int { outbox.count - outboxHead }
  /// When ``tick(now:)`` may have something to do.
  package var nextDueAt: Int64? { timeline.first }

  // MARK: What the caller wants

  /// Takes a request. `bytes` are a `Request` with this id, which no other pending request has.
  ///
  /// - Parameter silenceMilliseconds: how long to wait for its reply, where it is not as usual.
  package mutating func submit(
    _ id: RequestID, _ bytes: UnsafeRawBufferPointer, silenceMilliseconds: Int64? = nil, now: Int64
  ) {
    if bytes.count > WireLimits.requestBytesMax { return refuse(id, now: now) }
    if count == 0, mayHearOldReplies { reconnect() }
    let slot: Int
    if let free = freeSlots.popLast() {
      slot = free
    } else {
      slot = slots.count
      slots.append(Slot())
    }
    guard index.insert(id, slot: slot) else { preconditionFailure("request \(id) is pending already") }
    let budget = options.budgetMilliseconds
    slots[slot].begin(
      id, bytes, age: nextAge, silence: 1_000 * (silenceMilliseconds ?? options.silenceMilliseconds),
      connectUntil: now + 1_000 * min(budget, options.connectMilliseconds ?? budget),
      giveUpAt: now + 1_000 * budget)
    putOut(slot, age: nextAge)
    nextAge += 1
  }

  /// No dispatcher would take it.
  private mutating func refuse(_ id: RequestID, now: Int64) {
    var writer = ByteWriter(capacity: 256)
    ReplyEncoder.write(id: id, .tooLarge, into: &writer)
    finished.append(
      Finished(
        id: id, fate: .notExecuted, reply: Array(writer.bytes), peek: try? ReplyPeek(writer.bytes),
        isGivenUp: false, attempts: 0, unanswered: 0, sentAt: nil, endedAt: now))
  }

  /// Requests that are over since it was last asked, instead of what was in `taken`, whose room is used on.
  package mutating func takeFinished(into taken: inout [Finished]) {
    taken.removeAll(keepingCapacity: true)
    swap(&taken, &finished)
  }

  /// What came since it was last asked and is no reply to anything that is pending: mostly another reply
  /// to a request that was sent twice. Only with ``Options/keepsLateReplies``.
  package mutating func takeLate() -> [[UInt8]] {
    guard !late.isEmpty else { return [] }
    defer { late = [] }
    return late
  }

  // MARK: What is sent

  private mutating func enqueue(_ slot: Int) {
    slots[slot].state = .queued
    slots[slot].dueAt = .max
    putOut(slot, age: slots[slot].age)
  }

  private mutating func putOut(_ slot: Int, age: UInt64) {
    if let last = outbox.last, last.age > age { outboxIsSorted = false }
    outbox.append((slot, age))
  }

  /// Makes the next message ready: as many requests as fit, the oldest first.
  ///
  /// - Returns: whether there is one. ``frame(_:)`` and ``frames`` are it until ``sent(now:)``.
  package mutating func prepareMessage() -> Bool {
    if !outboxIsSorted { sortOutbox() }
    prepared.removeAll(keepingCapacity: true)
    var room = MessageRoom(requestsMax: options.requestsPerMessageMax)
    preparedEnd = outboxHead
    while preparedEnd < outbox.count {
      let (slot, age) = outbox[preparedEnd]
      if slots[slot].age == age {
        guard room.take(slots[slot].bytes.count) else { break }
        prepared.append(slot)
      }
      preparedEnd += 1
    }
    if prepared.isEmpty { dropSent() }
    return !prepared.isEmpty
  }

  /// What is over meanwhile leaves it, too.
  private mutating func sortOutbox() {
    outbox.removeFirst(outboxHead)
    outbox.removeAll { slots[$0.slot].age != $0.age }
    outbox.sort { $0.age < $1.age }
    (outboxHead, outboxTimed, outboxIsSorted) = (0, 0, true)
  }

  package var frames: Int { prepared.count }
  package func frame(_ index: Int) -> [UInt8] { slots[prepared[index]].bytes }

  /// The message that was prepared is with a connection: from here on it may take effect.
  package mutating func sent(now: Int64) {
    downSince = nil
    for slot in prepared {
      slots[slot].send(now: now)
      if slots[slot].attempts == 1 { requestsSent += 1 }
      schedule(slot, at: now + slots[slot].silence)
    }
    attemptsSent += prepared.count
    prepared.removeAll(keepingCapacity: true)
    dropSent()
  }

  private mutating func dropSent() {
    outboxHead = preparedEnd
    if outboxHead == outbox.count {
      outbox.removeAll(keepingCapacity: true)
      (outboxHead, outboxTimed, preparedEnd) = (0, 0, 0)
    }
  }

  /// Whether there is a connection; some times a second, and when a message could not be sent.
  ///
  /// Replies to what was sent over a connection that broke never come: it is queued again.
  package mutating func connection(isUp: Bool, now: Int64) {
    guard !isUp else {
      downSince = nil
      return
    }
    if downSince == nil {
      downSince = now
      requeueSent()
    }
    if queued > 2 * count + 1_024 { sortOutbox() }
    // What waits for a connection waits for a time.
    for place in max(outboxHead, outboxTimed)..<outbox.count {
      let (slot, age) = outbox[place]
      guard slots[slot].age == age, slots[slot].dueAt == .max else { continue }
      schedule(slot, at: slots[slot].attempts == 0 ? slots[slot].connectUntil : slots[slot].giveUpAt)
    }
    outboxTimed = outbox.count
  }

  private mutating func requeueSent() {
    for slot in slots.indices where slots[slot].age > 0 && slots[slot].state == .sent { enqueue(slot) }
  }

  private mutating func reconnect() {
    connection += 1
    downSince = nil
    mayHearOldReplies = false
    requeueSent()
  }

  // MARK: What comes

  /// Takes one frame of a message from the dispatcher. ``endMessage(now:)`` follows its last.
  ///
  /// What is no reply, or to nothing that is pending, is as if it had not come; see ``takeLate()``.
  package mutating func take(_ reply: UnsafeRawBufferPointer, now: Int64) {
    guard let peek = try? ReplyPeek(reply) else { return keepLate(reply) }
    heardAt = now
    guard let id = peek.id, let slot = index.find(id), slots[slot].attempts > slots[slot].replies else {
      return keepLate(reply)
    }
    slots[slot].hear(reply, isDenial: peek.outcome == .notExecuted)
    switch peek.outcome {
    case .done: finish(slot, .done, peek, now: now)
    case .no: finish(slot, .no, peek, now: now)
    case .notExecuted:
      let fate = slots[slot].fateWithoutAnswer
      if peek.retryAfterMilliseconds == 0 || (fate == .notExecuted && !options.retriesRefusals) {
        return finish(slot, fate, peek, now: now)
      }
      sendAgain(slot, after: peek.retryAfterMilliseconds)
    case .unknown:
      // Of an id that old nobody can tell any more.
      if peek.code == UInt32(DeliveryCode.requestIDTooOld.rawValue) {
        return finish(slot, .unknown, peek, now: now)
      }
      sendAgain(slot, after: peek.retryAfterMilliseconds)
    }
  }

  private mutating func keepLate(_ reply: UnsafeRawBufferPointer) {
    if options.keepsLateReplies { late.append(Array(reply)) }
  }

  private mutating func sendAgain(_ slot: Int, after milliseconds: UInt32) {
    askedMilliseconds = max(askedMilliseconds, Int64(milliseconds))
    again.append((slot, slots[slot].age))
  }

  /// The message is complete. What has to be sent again of it rests for the longest time that one of
  /// its replies asked for, and goes together: so requests of one message keep their order.
  package mutating func endMessage(now: Int64) {
    guard !again.isEmpty else { return }
    let rests: Int32 = again.reduce(0) { slots[$1.slot].age == $1.age ? max($0, slots[$1.slot].rests) : $0 }
    let pause = 1_000 * (askedMilliseconds + backoff(after: rests, asked: askedMilliseconds))
    for (slot, age) in again where slots[slot].age == age && slots[slot].state != .queued {
      slots[slot].rests += 1
      slots[slot].state = .resting
      if now + pause >= slots[slot].giveUpAt, slots[slot].denials == slots[slot].attempts {
        giveUp(slot, now: now)
      } else {
        schedule(slot, at: now + pause)
      }
    }
    again.removeAll(keepingCapacity: true)
    askedMilliseconds = 0
  }

  /// Half of it fixed, half drawn. It begins as long as what was asked for, and doubles with every rest
  /// before, up to the most: so a partition that is away is asked less and less, and what it costs is no
  /// longer a matter of how many wait for it.
  private mutating func backoff(after rests: Int32, asked: Int64) -> Int64 {
    let first = max(options.backoffMilliseconds, asked)
    let whole = min(options.backoffMillisecondsMax, first << Int64(min(rests, 20)))
    return whole - whole / 2 + Int64.random(in: 0...whole / 2, using: &random)
  }

  // MARK: Time

  private mutating func schedule(_ slot: Int, at time: Int64) {
    if slots[slot].isDue(at: time) { timeline.insert(.init(at: slots[slot].dueAt, slot: slot)) }
  }

  /// Queues what has rested or was silent too long, gives up what has no time left, and moves on to
  /// the next dispatcher where this one can't be reached or says nothing. Some times a second.
  package mutating func tick(now: Int64) {
    var isSilent = false
    while let entry = timeline.takeDue(at: now) {
      let slot = entry.slot
      guard slots[slot].timedAt == entry.at else { continue }
      slots[slot].timedAt = .max
      guard slots[slot].dueAt <= now else {
        if slots[slot].dueAt < .max { schedule(slot, at: slots[slot].dueAt) }
        continue
      }
      if now >= slots[slot].giveUpAt {
        giveUp(slot, now: now)
        continue
      }
      switch slots[slot].state {
      case .queued:
        // A budget ends at `giveUpAt`: this was the wait for a first connection.
        giveUp(slot, now: now)
      case .sent:
        if heardAt < slots[slot].sentAt { isSilent = true }
        enqueue(slot)
      case .resting: enqueue(slot)
      }
    }
    guard dispatchers > 1, count > 0 else { return }
    if isSilent || downSince.map({ now - $0 >= turn }) ?? false {
      dispatcher = (dispatcher + 1) % dispatchers
      reconnect()
    }
  }

  private mutating func giveUp(_ slot: Int, now: Int64) {
    let last = slots[slot].replies > 0 ? slots[slot].last.withUnsafeBytes { try? ReplyPeek($0) } : nil
    finish(slot, slots[slot].fateWithoutAnswer, last, isGivenUp: true, now: now)
  }

  private mutating func finish(
    _ slot: Int, _ fate: Fate, _ peek: ReplyPeek?, isGivenUp: Bool = false, now: Int64
  ) {
    let over = slots[slot].end(fate, peek, isGivenUp: isGivenUp, now: now)
    if over.unanswered > 0 { mayHearOldReplies = true }
    index.remove(over.id)
    finished.append(over)
    freeSlots.append(slot)
  }
}

extension [UInt8] {
  /// In the room that it has, where nobody else has it.
  fileprivate mutating func replaceAll(with bytes: UnsafeRawBufferPointer) {
    removeAll(keepingCapacity: true)
    bytes.withMemoryRebound(to: UInt8.self) { append(contentsOf: $0) }
  }
}
