import Bytes
import Cluster
import Marketplace
import Wire

/// What a dispatcher decides: where a request goes, when a batch leaves, who gets which answer.
///
/// No socket, no clock: the shell reports what came and what time it is (milliseconds of a clock
/// that never runs back), and then carries out ``outgoing`` and ``departures``.
///
/// A request has one fate of these: it is answered by its partition; its deadline passes while it
/// waits (not executed) or after it was sent (unknown); or it is refused at once (not executed).
package struct DispatcherCore: ~Copyable {
  package struct Limits: Sendable {
    /// Requests, and their bytes, that wait for one partition.
    package var waitingMax = 16_384
    package var waitingBytesMax = 32 << 20
    /// Bytes that wait for all partitions together.
    package var waitingBytesTotalMax = 256 << 20
    /// Of a partition's queue, new orders and reads get so much: the rest is for what must go on.
    package var deferrablePercent = 75
    /// Requests a second that are let in; 0: as many as come.
    package var admittedPerSecond = 0
    /// Of one batch.
    package var batchItemsMax = 2_048
    package var batchBytesMax = 1 << 20
    /// A partition that says nothing for so long is taken for gone.
    package var silenceMilliseconds: Int64 = 2_000
    /// A batch without an answer for so long is sent again when its partition says hello.
    package var resendMilliseconds: Int64 = 1_000
    /// Operators' requests that wait for the cluster's configuration.
    package var operatorRequestsMax = 64
    package init() {}

    var deferrableMax: Int { waitingMax * deferrablePercent / 100 }
  }

  package struct Counters: Equatable, Sendable {
    package var requests: UInt64 = 0
    package var done: UInt64 = 0
    package var no: UInt64 = 0
    package var notExecuted: UInt64 = 0
    package var unknown: UInt64 = 0
    /// Answers that came for nobody.
    package var dropped: UInt64 = 0
    package var malformed: UInt64 = 0
  }

  /// A reply to send: `ranges[frames]` of ``replyBytes``.
  package struct Outgoing {
    package let envelope: Envelope
    package let frames: Range<Int>
  }

  /// A batch to send to the primary of a partition.
  package struct Departure {
    package let partition: PartitionID
    package let connection: [UInt8]
    let batch: Batch
    package var frame: UnsafeRawBufferPointer { batch.frame.bytes }
  }

  package let incarnation: Incarnation
  private let limits: Limits
  private var sentences: LimitSentences
  package private(set) var counters = Counters()

  package private(set) var outgoing: [Outgoing] = []
  package private(set) var ranges: [Range<Int>] = []
  package private(set) var replyBytes = ByteWriter(capacity: 1 << 16)
  package private(set) var departures: [Departure] = []
  /// Messages that ask for the cluster's status, which the shell answers with ``answerStatus(_:_:)``.
  package private(set) var statusRequests: [StatusRequest] = []

  package struct StatusRequest {
    package let id: RequestID
    let message: Int
    let index: Int
  }

  /// What operators ask, which the shell answers with ``answer(_:_:_:)``, each in its time.
  package private(set) var operatorRequests: [OperatorRequest] = []
  private var operatorRequestsUnderWay = 0

  package struct OperatorRequest: Sendable {
    package let id: RequestID
    /// All of the request.
    package let bytes: [UInt8]
    let message: Int
    let index: Int
  }

  private var messages: [MessageSlot] = []
  private var freeMessages: [Int] = []
  private var partitions: [Partition]
  private var nextBatchNumber: UInt64 = 1
  private var isStopping = false
  private var admission: Admission
  private var waitingBytes = 0

  private struct MessageSlot {
    var envelope: Envelope
    var remaining: Int
    /// Kept until all are there; empty for a message of one request.
    var replies: [[UInt8]]
  }

  private struct Partition {
    var epoch = Epoch(0)
    /// Whether the cluster map has a primary for it at all.
    var isAssigned = false
    var connection: [UInt8]?
    var incarnation = Incarnation(0)
    /// Of its last hello.
    var helloEpoch = Epoch(0)
    var credit = 0
    var heardAt: Int64 = 0
    var waiting: [Batch] = []
    var waitingCount = 0
    var waitingBytes = 0
    /// Of ``waitingCount``, by channel.
    var waitingBySlot = [Int32](repeating: 0, count: Admission.channelsMax)
    var inFlight: [Batch] = []
    var audits: [Batch] = []
  }

  package init(partitions: Int, incarnation: Incarnation, limits: Limits = Limits()) {
    precondition(partitions >= 1 && partitions <= Routing.partitionsMax)
    self.incarnation = incarnation
    self.limits = limits
    sentences = LimitSentences(limits)
    admission = Admission(ratePerSecond: limits.admittedPerSecond)
    self.partitions = Array(repeating: Partition(), count: partitions)
  }

  // MARK: What clients send

  /// A message came. Its requests follow with ``add(_:index:to:now:)``, `count` of them.
  package mutating func begin(_ envelope: Envelope, count: Int) -> Int {
    let slot = MessageSlot(
      envelope: envelope, remaining: count, replies: count > 1 ? Array(repeating: [], count: count) : [])
    if let free = freeMessages.popLast() {
      messages[free] = slot
      return free
    }
    messages.append(slot)
    return messages.count - 1
  }

  /// A request of a message. It is in a waiting batch afterwards, or answered.
  package mutating func add(_ bytes: UnsafeRawBufferPointer, index: Int, to message: Int, now: Int64) {
    counters.requests += 1
    var id: RequestID?
    guard bytes.count <= WireLimits.requestBytesMax else {
      // Who it is, so that the answer finds its caller.
      _ = try? RequestPeek(bytes, id: &id)
      return refuse(.tooLarge, id, message, index)
    }
    let peek: RequestPeek
    do {
      peek = try RequestPeek(bytes, id: &id)
    } catch {
      counters.malformed += 1
      return refuse(.malformed, id, message, index, detail: error.description)
    }
    guard !isStopping else { return refuse(.stopping, id, message, index) }
    let number: Int
    switch peek.target {
    case .status:
      statusRequests.append(StatusRequest(id: peek.id, message: message, index: index))
      return
    case .configuration:
      guard operatorRequestsUnderWay < limits.operatorRequestsMax else {
        return refuse(.busy, id, message, index)
      }
      operatorRequestsUnderWay += 1
      operatorRequests.append(
        OperatorRequest(id: peek.id, bytes: Array(bytes), message: message, index: index))
      return
    case .shop(let key):
      number = Int(Routing.partition(ofKey: key, count: partitions.count).rawValue)
    case .order(let order):
      guard order.isWellFormed, Int(order.partition) < partitions.count else {
        // No order of this cluster has such an id; any partition can say so.
        number = 0
        break
      }
      number = Int(order.partition)
    case .partition(let partition):
      guard partition < UInt32(partitions.count) else {
        return refuse(.unknownPartition, id, message, index)
      }
      number = Int(partition)
    case .audit(let partition):
      guard partition < UInt32(partitions.count) else {
        return refuse(.unknownPartition, id, message, index)
      }
      return enqueueAudit(bytes, peek, Int(partition), message, index, now: now)
    }
    enqueue(bytes, peek, number, message, index, now: now)
  }

  /// A message that is refused as a whole.
  package mutating func refuse(_ envelope: Envelope, _ code: DeliveryCode) {
    counters.requests += 1
    refuse(code, nil, begin(envelope, count: 1), 0)
  }

  private mutating func enqueue(
    _ bytes: UnsafeRawBufferPointer, _ peek: RequestPeek, _ number: Int, _ message: Int, _ index: Int,
    now: Int64
  ) {
    guard partitions[number].isAssigned else { return refuse(.noPrimary, peek.id, message, index) }
    let slot = Admission.slot(ofChannel: peek.channel)
    if let limit = limitReached(number, slot, peek, bytes.count, now: now) {
      return refuse(.busy, peek.id, message, index, detail: limit)
    }
    var batch = partitions[number].waiting.last
    if let open = batch,
      open.items.count >= limits.batchItemsMax || open.frame.count + bytes.count > limits.batchBytesMax
    {
      batch = nil
    }
    if batch == nil {
      let new = makeBatch(number)
      partitions[number].waiting.append(new)
      batch = new
    }
    batch!.add(
      bytes, message: message, index: index, id: peek.id, slot: slot,
      deadline: now + Int64(peek.deadlineMilliseconds))
    partitions[number].waitingCount += 1
    partitions[number].waitingBytes += bytes.count
    partitions[number].waitingBySlot[slot] += 1
    waitingBytes += bytes.count
  }

  /// The limit that keeps a request out, in words; nil: it comes in.
  private mutating func limitReached(
    _ number: Int, _ slot: Int, _ peek: RequestPeek, _ bytes: Int, now: Int64
  ) -> String? {
    let isAdmitted = admission.admits(slot: slot, peek.isDeferrable ? .deferrable : .urgent, now: now)
    guard isAdmitted else { return sentences.rate }
    let room = peek.isDeferrable ? limits.deferrableMax : limits.waitingMax
    let waiting = partitions[number].waitingCount
    if waiting >= room { return peek.isDeferrable ? sentences.deferrable : sentences.waiting }
    // While there is plenty of room, nobody needs a share.
    if waiting >= room / 2,
      Int(partitions[number].waitingBySlot[slot]) >= max(1, room / admission.activeChannels)
    {
      return sentences.share(room / admission.activeChannels)
    }
    guard partitions[number].waitingBytes + bytes <= limits.waitingBytesMax else { return sentences.bytes }
    guard waitingBytes + bytes <= limits.waitingBytesTotalMax else { return sentences.bytesTotal }
    return nil
  }

  private mutating func makeBatch(_ partition: Int, isAudit: Bool = false) -> Batch {
    defer { nextBatchNumber += 1 }
    return Batch(
      BatchHeader(
        partition: PartitionID(UInt16(partition)), epoch: partitions[partition].epoch,
        dispatcher: incarnation, number: nextBatchNumber | (isAudit ? BatchHeader.unordered : 0)))
  }

  /// An audit takes long, so it goes apart and uses no credit.
  private mutating func enqueueAudit(
    _ bytes: UnsafeRawBufferPointer, _ peek: RequestPeek, _ number: Int, _ message: Int, _ index: Int,
    now: Int64
  ) {
    guard partitions[number].connection != nil else {
      return refuse(.noPrimary, peek.id, message, index)
    }
    guard partitions[number].audits.count < 16 else { return refuse(.busy, peek.id, message, index) }
    let batch = makeBatch(number, isAudit: true)
    batch.add(
      bytes, message: message, index: index, id: peek.id, slot: 0,
      deadline: now + Int64(peek.deadlineMilliseconds))
    partitions[number].audits.append(batch)
    depart(batch, number, after: 0, now: now)
  }

  // MARK: What partitions send

  /// The cluster map gives a partition a primary.
  package mutating func assigned(_ partition: PartitionID, epoch: Epoch) {
    let number = Int(partition.rawValue)
    partitions[number].isAssigned = true
    partitions[number].epoch = max(partitions[number].epoch, epoch)
  }

  /// A partition said hello: it serves, and has answered all that it received before.
  package mutating func hello(_ hello: HelloFrame, connection: [UInt8], now: Int64) {
    let number = Int(hello.partition.rawValue)
    guard number < partitions.count else {
      counters.malformed += 1
      return
    }
    // Rule 1: of a lower epoch nothing is heard.
    guard hello.epoch >= partitions[number].epoch else { return }
    let isNew =
      partitions[number].connection != connection || partitions[number].incarnation != hello.incarnation
    // What named an epoch that it had not yet, or had no more, was not taken.
    let isOfNewEpoch = hello.epoch > partitions[number].helloEpoch
    partitions[number].epoch = hello.epoch
    partitions[number].helloEpoch = hello.epoch
    partitions[number].isAssigned = true
    partitions[number].connection = connection
    partitions[number].incarnation = hello.incarnation
    partitions[number].heardAt = now
    partitions[number].credit = Int(min(hello.credit, 64))
    // What was being audited is gone with the process that did it; whoever asked may ask again.
    if isNew {
      for batch in partitions[number].audits { expire(batch, .noPrimary, now: .max) }
      partitions[number].audits = []
    }
    // In their first order, before anything newer.
    let first = partitions[number].inFlight.first
    if isNew || isOfNewEpoch || (first.map { now - $0.sentAt >= limits.resendMilliseconds } ?? false) {
      var after: UInt64 = 0
      for batch in partitions[number].inFlight {
        depart(batch, number, after: after, now: now)
        after = batch.number
      }
    }
  }

  /// Answers of a partition came.
  ///
  /// - Throws: the frame is none of ours; what it answered before the fault is answered.
  package mutating func answers(_ bytes: UnsafeRawBufferPointer, now: Int64) throws(FrameError) {
    let (header, count, reader) = try BatchHeader.read(bytes)
    var items = reader
    let number = Int(header.partition.rawValue)
    guard header.dispatcher == incarnation, number < partitions.count else {
      // To a dispatcher that was here before: its clients ask again.
      counters.dropped += UInt64(count)
      return
    }
    partitions[number].heardAt = now
    let isAudit: Bool
    let batch: Batch
    if let found = partitions[number].inFlight.first(where: { $0.number == header.number }) {
      (batch, isAudit) = (found, false)
    } else if let found = partitions[number].audits.first(where: { $0.number == header.number }) {
      (batch, isAudit) = (found, true)
    } else {
      counters.dropped += UInt64(count)
      return
    }
    for _ in 0..<count {
      let answer = try AnswerItem(&items)
      let index = Int(answer.index)
      // What an earlier primary did not execute, the one that has it now may: that one's word counts.
      let isFinal = Outcome(rawValue: answer.outcome)?.isFinal ?? false
      guard index < batch.items.count, !batch.items[index].isSettled, isFinal || header.epoch >= batch.epoch
      else {
        counters.dropped += 1
        continue
      }
      batch.items[index].isSettled = true
      batch.settled += 1
      let item = batch.items[index]
      guard !item.isAnswered else {
        counters.dropped += 1
        continue
      }
      batch.items[index].isAnswered = true
      if !isFinal, batch.copies > 1 {
        // One of the copies was not executed; of the others nobody knows.
        refuse(.noAnswerInTime, item.id, item.message, item.index)
      } else {
        self.count(answer.outcome)
        reply(answer.reply, to: item.message, index: item.index)
      }
    }
    guard batch.settled == batch.items.count else { return }
    if isAudit {
      partitions[number].audits.removeAll { $0 === batch }
    } else {
      partitions[number].inFlight.removeAll { $0 === batch }
    }
  }

  /// A partition has a higher epoch than a batch named: what is in flight goes again once it says
  /// hello in it. Only the partition itself is believed, and only the cluster map knows epochs.
  package mutating func stale(_ frame: StaleFrame, connection: [UInt8]) {
    let number = Int(frame.partition.rawValue)
    guard number < partitions.count, partitions[number].connection == connection else {
      counters.malformed += 1
      return
    }
    partitions[number].connection = nil
  }

  /// A batch could not be handed to its connection.
  package mutating func unreachable(_ partition: PartitionID) {
    partitions[Int(partition.rawValue)].connection = nil
  }

  // MARK: Time

  /// Sends what may go: each batch that waits, while its partition has credit.
  package mutating func dispatch(now: Int64) {
    for number in partitions.indices {
      while partitions[number].connection != nil, !partitions[number].waiting.isEmpty,
        partitions[number].inFlight.count < partitions[number].credit
      {
        let batch = partitions[number].waiting.removeFirst()
        noLongerWaits(batch, number)
        let after = partitions[number].inFlight.last?.number ?? 0
        partitions[number].inFlight.append(batch)
        depart(batch, number, after: after, now: now)
      }
    }
  }

  private mutating func depart(_ batch: Batch, _ number: Int, after: UInt64, now: Int64) {
    guard let connection = partitions[number].connection else { return }
    batch.seal(epoch: partitions[number].epoch, after: after, now: now)
    departures.append(
      Departure(partition: PartitionID(UInt16(number)), connection: connection, batch: batch))
  }

  /// Ends waits whose deadline has passed, and forgets partitions that fell silent. Some times a second.
  package mutating func tick(now: Int64) {
    for number in partitions.indices {
      if partitions[number].connection != nil, now - partitions[number].heardAt > limits.silenceMilliseconds {
        partitions[number].connection = nil
      }
      let isUp = partitions[number].connection != nil
      for batch in partitions[number].waiting where batch.deadline <= now {
        expire(batch, isUp ? .deadlinePassed : .noPrimary, now: now)
      }
      dropAnswered(number)
      for batch in partitions[number].inFlight where batch.deadline <= now {
        expire(batch, .noAnswerInTime, now: now)
      }
      for batch in partitions[number].audits where batch.deadline <= now {
        expire(batch, .noAnswerInTime, now: now)
      }
      partitions[number].audits.removeAll { $0.deadline == .max }
    }
  }

  /// Batches that nobody waits for any more make room for new ones.
  private mutating func dropAnswered(_ number: Int) {
    for batch in partitions[number].waiting where batch.deadline == .max { noLongerWaits(batch, number) }
    partitions[number].waiting.removeAll { $0.deadline == .max }
  }

  private mutating func noLongerWaits(_ batch: Batch, _ number: Int) {
    partitions[number].waitingCount -= batch.items.count
    partitions[number].waitingBytes -= batch.requestBytes
    waitingBytes -= batch.requestBytes
    for item in batch.items { partitions[number].waitingBySlot[Int(item.slot)] -= 1 }
  }

  private mutating func expire(_ batch: Batch, _ code: DeliveryCode, now: Int64) {
    batch.deadline = .max
    for index in batch.items.indices where !batch.items[index].isAnswered {
      let item = batch.items[index]
      if item.deadline <= now {
        batch.items[index].isAnswered = true
        refuse(code, item.id, item.message, item.index)
      } else {
        batch.deadline = min(batch.deadline, item.deadline)
      }
    }
  }

  /// From now on new requests are refused; what is under way is still answered.
  package mutating func stop() { isStopping = true }

  /// Whether nobody waits for an answer any more.
  package var isIdle: Bool { messages.count == freeMessages.count }

  // MARK: Replies

  package mutating func answerStatus(_ request: StatusRequest, _ reply: UnsafeRawBufferPointer) {
    count(Outcome.done.rawValue)
    self.reply(reply, to: request.message, index: request.index)
  }

  /// Once for each.
  package mutating func answer(_ request: OperatorRequest, _ outcome: Outcome, _ reply: [UInt8]) {
    operatorRequestsUnderWay -= 1
    count(outcome.rawValue)
    reply.withUnsafeBytes { self.reply($0, to: request.message, index: request.index) }
  }

  private mutating func refuse(
    _ code: DeliveryCode, _ id: RequestID?, _ message: Int, _ index: Int, detail: String? = nil
  ) {
    count(code.outcome.rawValue)
    var writer = ByteWriter(capacity: 256)
    ReplyEncoder.write(id: id, code, detail: detail, into: &writer)
    reply(writer.bytes, to: message, index: index)
  }

  private mutating func count(_ outcome: UInt8) {
    switch Outcome(rawValue: outcome) {
    case .done: counters.done += 1
    case .no: counters.no += 1
    case .notExecuted: counters.notExecuted += 1
    case .unknown, nil: counters.unknown += 1
    }
  }

  private mutating func reply(_ bytes: UnsafeRawBufferPointer, to message: Int, index: Int) {
    if messages[message].replies.isEmpty {
      let start = ranges.count
      append(bytes)
      finish(message, frames: start..<start + 1)
      return
    }
    messages[message].replies[index] = Array(bytes)
    messages[message].remaining -= 1
    guard messages[message].remaining == 0 else { return }
    let start = ranges.count
    for frame in messages[message].replies { frame.withUnsafeBytes { append($0) } }
    finish(message, frames: start..<ranges.count)
  }

  private mutating func append(_ bytes: UnsafeRawBufferPointer) {
    let start = replyBytes.count
    replyBytes.append(bytes)
    ranges.append(start..<replyBytes.count)
  }

  private mutating func finish(_ message: Int, frames: Range<Int>) {
    outgoing.append(Outgoing(envelope: messages[message].envelope, frames: frames))
    messages[message] = MessageSlot(
      envelope: Envelope(connection: [], prefix: []), remaining: 0, replies: [])
    freeMessages.append(message)
  }

  /// The shell has sent what there was.
  package mutating func clearOutgoing() {
    outgoing.removeAll(keepingCapacity: true)
    ranges.removeAll(keepingCapacity: true)
    replyBytes.removeAll()
  }
  package mutating func clearDepartures() { departures.removeAll(keepingCapacity: true) }
  package mutating func clearStatusRequests() { statusRequests.removeAll() }
  package mutating func clearOperatorRequests() { operatorRequests.removeAll() }

  // MARK: Status

  package struct PartitionView: Sendable {
    package let epoch: Epoch
    package let isActive: Bool
    package let waiting: Int
    package let inFlight: Int
  }

  package func view(of partition: PartitionID) -> PartitionView {
    let state = partitions[Int(partition.rawValue)]
    return PartitionView(
      epoch: state.epoch, isActive: state.connection != nil, waiting: state.waitingCount,
      inFlight: state.inFlight.reduce(0) { $0 + $1.items.count - $1.settled })
  }
}
