import Bytes
import Cluster
import Wire

/// What a client decides: when a request is sent, to which dispatcher, when again, and what is known
/// of it in the end.
///
/// No socket, no clock: the shell reports what came and what time it is (milliseconds of a clock that
/// never runs back), sends what ``prepareMessage()`` makes ready, and takes ``takeFinished()``.
///
/// A request is *queued* until a connection takes it, *sent* until a reply comes or the attempt has
/// been silent too long, or *resting* before the next attempt. One dispatcher has the connection at a
/// time, because only what goes over one connection has an order; what is sent again goes by age.
///
/// Honesty: every attempt has at most one reply, over the connection that it went by. So a request
/// had no effect for certain exactly if as many replies said *not executed* as it had attempts.
package struct ClientCore: ~Copyable {
  package struct Options: Sendable {
    /// How long to wait for a reply before the request is sent again.
    package var silenceMilliseconds: Int64 = 2_000
    /// How long to try in all; then the request comes back as given up.
    package var budgetMilliseconds: Int64 = 30_000
    /// How long a request may wait for a first connection that takes it; nil: its budget.
    package var connectMilliseconds: Int64?
    /// What the first pause before another attempt is drawn from, beside what the reply asks for; it
    /// doubles with every attempt up to the most.
    package var backoffMilliseconds: Int64 = 50
    package var backoffMillisecondsMax: Int64 = 2_000
    /// 1: every request is a message of its own.
    package var requestsPerMessageMax = 1
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
    /// No final answer came within the budget, or no connection within its deadline.
    package let isGivenUp: Bool
    /// How often it was handed to a connection.
    package let attempts: Int
    /// From its submission to now.
    package let milliseconds: Int64
  }

  private enum State { case queued, sent, resting }

  private struct Slot {
    var id: RequestID
    var bytes: [UInt8]
    /// Counts submissions; 0: the slot is free.
    var age: UInt64
    var silenceMilliseconds: Int64
    var beganAt: Int64
    var connectUntil: Int64
    var giveUpAt: Int64
    var state = State.queued
    var sentAt: Int64 = 0
    /// When it has to be looked at; `.max`: the timeline has no entry of it.
    var dueAt = Int64.max
    var attempts = 0
    var replies = 0
    /// Replies that said *not executed*.
    var denials = 0
    var rests = 0
    var last: [UInt8]?

    static let free = Slot(
      id: RequestID(high: 0, low: 0), bytes: [], age: 0, silenceMilliseconds: 0, beganAt: 0, connectUntil: 0,
      giveUpAt: 0)
  }

  private let options: Options
  private let dispatchers: Int
  /// How long a dispatcher may lack a connection before the next one has its turn.
  private let turnMilliseconds: Int64
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
  private var slotOf: [RequestID: Int] = [:]
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

  /// - Parameters:
  ///   - dispatchers: how many there are to choose from, 1 or more.
  ///   - random: what pauses are drawn from.
  package init(dispatchers: Int, options: Options, random: any RandomNumberGenerator) {
    precondition(dispatchers >= 1)
    self.options = options
    self.dispatchers = dispatchers
    self.random = random
    turnMilliseconds = max(50, min(1_000, (options.connectMilliseconds ?? .max) / Int64(dispatchers)))
  }

  /// Requests that have no final answer yet.
  package var count: Int { slotOf.count }
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
    _ id: RequestID, _ bytes: [UInt8], silenceMilliseconds: Int64? = nil, now: Int64
  ) {
    precondition(slotOf[id] == nil, "request \(id) is pending already")
    if bytes.count > WireLimits.requestBytesMax {
      var writer = ByteWriter(capacity: 256)
      ReplyEncoder.write(id: id, .tooLarge, into: &writer)
      finished.append(
        Finished(
          id: id, fate: .notExecuted, reply: Array(writer.bytes), isGivenUp: false, attempts: 0,
          milliseconds: 0))
      return
    }
    if count == 0, mayHearOldReplies { reconnect() }
    let budget = options.budgetMilliseconds
    let entry = Slot(
      id: id, bytes: bytes, age: nextAge,
      silenceMilliseconds: silenceMilliseconds ?? options.silenceMilliseconds, beganAt: now,
      connectUntil: now + min(budget, options.connectMilliseconds ?? budget), giveUpAt: now + budget)
    nextAge += 1
    let slot: Int
    if let free = freeSlots.popLast() {
      slots[free] = entry
      slot = free
    } else {
      slots.append(entry)
      slot = slots.count - 1
    }
    slotOf[id] = slot
    enqueue(slot)
  }

  /// Requests that are over since it was last asked.
  package mutating func takeFinished() -> [Finished] {
    guard !finished.isEmpty else { return [] }
    defer { finished.removeAll(keepingCapacity: true) }
    return finished
  }

  // MARK: What is sent

  private mutating func enqueue(_ slot: Int) {
    slots[slot].state = .queued
    slots[slot].dueAt = .max
    if let last = outbox.last, last.age > slots[slot].age { outboxIsSorted = false }
    outbox.append((slot, slots[slot].age))
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
      slots[slot].attempts += 1
      slots[slot].sentAt = now
      slots[slot].state = .sent
      schedule(slot, at: now + slots[slot].silenceMilliseconds)
    }
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
  /// What is no reply, or to nothing that is pending, is as if it had not come.
  package mutating func take(_ reply: UnsafeRawBufferPointer, now: Int64) {
    guard let peek = try? ReplyPeek(reply) else { return }
    heardAt = now
    guard let id = peek.id, let slot = slotOf[id], slots[slot].attempts > slots[slot].replies else { return }
    slots[slot].replies += 1
    slots[slot].last = Array(reply)
    switch Outcome(rawValue: peek.outcome) {
    case .done: finish(slot, .done, now: now)
    case .no: finish(slot, .no, now: now)
    case .notExecuted:
      slots[slot].denials += 1
      if peek.retryAfterMilliseconds == 0 { return finish(slot, fateWithoutAnswer(slot), now: now) }
      sendAgain(slot, after: peek.retryAfterMilliseconds)
    case .unknown, nil:
      // Of an id that old nobody can tell any more.
      if peek.code == UInt32(DeliveryCode.requestIDTooOld.rawValue) {
        return finish(slot, .unknown, now: now)
      }
      sendAgain(slot, after: peek.retryAfterMilliseconds)
    }
  }

  private mutating func sendAgain(_ slot: Int, after milliseconds: UInt32) {
    askedMilliseconds = max(askedMilliseconds, Int64(milliseconds))
    again.append((slot, slots[slot].age))
  }

  /// The message is complete. What has to be sent again of it rests for the longest time that one of
  /// its replies asked for, and goes together: so requests of one message keep their order.
  package mutating func endMessage(now: Int64) {
    guard !again.isEmpty else { return }
    let rests = again.reduce(0) { slots[$1.slot].age == $1.age ? max($0, slots[$1.slot].rests) : $0 }
    let pause = askedMilliseconds + backoff(after: rests)
    for (slot, age) in again where slots[slot].age == age && slots[slot].state != .queued {
      slots[slot].rests += 1
      slots[slot].state = .resting
      if now + pause >= slots[slot].giveUpAt, slots[slot].denials == slots[slot].attempts {
        finish(slot, .notExecuted, isGivenUp: true, now: now)
      } else {
        schedule(slot, at: now + pause)
      }
    }
    again.removeAll(keepingCapacity: true)
    askedMilliseconds = 0
  }

  /// Half of it fixed, half drawn; doubled with every rest before, up to the most.
  private mutating func backoff(after rests: Int) -> Int64 {
    let whole = min(
      options.backoffMillisecondsMax, options.backoffMilliseconds << Int64(min(rests, 20)))
    return whole - whole / 2 + Int64.random(in: 0...whole / 2, using: &random)
  }

  // MARK: Time

  private mutating func schedule(_ slot: Int, at time: Int64) {
    let due = min(time, slots[slot].giveUpAt)
    slots[slot].dueAt = due
    timeline.insert(Timeline.Entry(at: due, slot: slot, age: slots[slot].age))
  }

  /// Queues what has rested or was silent too long, gives up what has no time left, and moves on to
  /// the next dispatcher where this one can't be reached or says nothing. Some times a second.
  package mutating func tick(now: Int64) {
    var isSilent = false
    while let entry = timeline.takeDue(at: now) {
      let slot = entry.slot
      guard slots[slot].age == entry.age, slots[slot].dueAt == entry.at else { continue }
      if now >= slots[slot].giveUpAt {
        finish(slot, fateWithoutAnswer(slot), isGivenUp: true, now: now)
        continue
      }
      switch slots[slot].state {
      case .queued:
        // A budget ends at `giveUpAt`: this was the wait for a first connection.
        finish(slot, fateWithoutAnswer(slot), isGivenUp: true, now: now)
      case .sent:
        if heardAt < slots[slot].sentAt { isSilent = true }
        enqueue(slot)
      case .resting: enqueue(slot)
      }
    }
    guard dispatchers > 1, count > 0 else { return }
    if isSilent || downSince.map({ now - $0 >= turnMilliseconds }) ?? false {
      dispatcher = (dispatcher + 1) % dispatchers
      reconnect()
    }
  }

  /// Of a request that nobody answered *done* or *no*.
  private func fateWithoutAnswer(_ slot: Int) -> Fate {
    slots[slot].denials == slots[slot].attempts ? .notExecuted : .unknown
  }

  private mutating func finish(_ slot: Int, _ fate: Fate, isGivenUp: Bool = false, now: Int64) {
    let entry = slots[slot]
    slots[slot] = .free
    freeSlots.append(slot)
    slotOf[entry.id] = nil
    if entry.attempts > entry.replies { mayHearOldReplies = true }
    finished.append(
      Finished(
        id: entry.id, fate: fate, reply: entry.last, isGivenUp: isGivenUp, attempts: entry.attempts,
        milliseconds: now - entry.beganAt))
  }
}
