import Bytes
import Cluster
import Marketplace
import Wire

/// A partition without its sockets, files and clock: what it answers, what it logs, what it
/// remembers.
///
/// Its shell works in groups, one turn of its loop each:
///
/// 1. ``take(_:dispatcher:)`` every batch that waits;
/// 2. load ``missingReservations(now:)``; ``collectNeeds(now:)``, load what is named,
///    ``collectNeedsOfOrders()``, load again;
/// 3. ``seal(now:steady:)``: what is new gets sequence numbers and one time;
/// 4. append ``entries`` to the log as one block;
/// 5. ``apply()``: the rules run, the answers are made;
/// 6. sync the log, then send ``answers``.
///
/// A block of the log is one group, so a restart runs the same steps over it.
package struct PartitionCore: ~Copyable {
  package let partition: PartitionID
  /// How long a request id is remembered, by its own time.
  package let windowMilliseconds: Int64

  package var books: Books
  package var requests: AnsweredRequests
  /// Last entry that was applied.
  package private(set) var applied: SequenceNumber
  /// Its time.
  package private(set) var time: Milliseconds
  package private(set) var ordersPlaced: UInt64
  /// Rule 15: a chain over the blocks of what each of them made of the rows, whoever applied them when, and
  /// whatever was in memory; 0: nothing was applied yet.
  package private(set) var digest: UInt64
  /// Rule 17: the version of the rules that the next block goes by.
  package private(set) var rules: UInt16
  /// The highest that this program knows.
  private let rulesKnown: UInt16
  private var rulesWanted: UInt16
  private var wantsOtherRules: Bool { acceptsWrites && rulesWanted > rules }
  /// Why nothing new is taken; nil: it is. Where it is not, commands that are not known are not executed,
  /// and reservations run out later.
  private var refusesWrites: DeliveryCode?
  package var acceptsWrites: Bool { refusesWrites == nil }

  // The group in hand.
  var items: [Item] = []
  var batches: [Batch] = []
  var dueOrders: [UInt64] = []
  private var bytesTaken = 0
  /// What the group's last entry makes hold, sealed or logged; nil: no entry does.
  private var rulesSealed: UInt16?
  /// What is to be logged: `entryCount` entries from `applied + 1` on.
  package var entries = ByteWriter(capacity: 1 << 16)
  package private(set) var entryCount: UInt32 = 0
  package private(set) var groupTime: Milliseconds = 0
  /// Frames to send once the group is durable.
  package var answers = ByteWriter(capacity: 1 << 16)
  package private(set) var frames: [Frame] = []
  /// Something was read that is not an answer of before: rule 6.
  package private(set) var hasReads = false
  /// Audits that were asked for; they are answered later, apart.
  package private(set) var audits: [AuditTicket] = []
  private var body = ByteWriter(capacity: 1024)

  package struct Frame: Equatable {
    /// Which socket it goes to: the one that its batch came from.
    package let dispatcher: Int
    package let bytes: Range<Int>
  }

  /// Where an audit's answer goes.
  package struct AuditTicket: Equatable, Sendable {
    package let dispatcher: Int
    package let header: BatchHeader
    package let index: UInt32
    package let request: RequestID
  }

  struct Batch {
    let header: BatchHeader
    let dispatcher: Int
    let receivedAt: Int64
  }

  struct Item {
    enum Fate {
      /// Not yet decided: a command or a query.
      case open
      case answered(DeliveryCode, detail: String?)
      /// Known by its id; the answer is looked up when its turn comes.
      case repeated
      case no(Reason)
      case logged(AnsweredRequests.Reference, SequenceNumber)
      case read
      /// The answer is that of another request, which is known.
      case told(RequestID)
      case audit
    }
    let batch: Int
    let index: UInt32
    let id: RequestID?
    let deadlineMilliseconds: UInt32
    let bytes: UnsafeRawBufferPointer
    let request: DecodedRequest?
    var fate: Fate
  }

  /// - Parameters:
  ///   - applied: what the loaded tables hold.
  ///   - time: of that entry.
  ///   - digest: of that entry.
  ///   - rules: in force behind it.
  ///   - rulesKnown: the highest version that this program knows; not less than `rules`.
  ///   - horizon: later than the time of every request id in SQLite.
  package init(
    partition: PartitionID, terms: Terms, windowMilliseconds: Int64, applied: SequenceNumber,
    time: Milliseconds, ordersPlaced: UInt64, digest: UInt64 = 0, rules: UInt16 = 1, rulesKnown: UInt16 = 1,
    horizon: Int64, rowsExpected: Int = 65_536
  ) {
    self.partition = partition
    self.windowMilliseconds = windowMilliseconds
    books = Books(partition: partition.rawValue, terms: terms, rowsExpected: rowsExpected)
    books.reservations = Reservations(written: applied.rawValue)
    requests = AnsweredRequests(horizon: horizon)
    self.applied = applied
    self.time = time
    self.ordersPlaced = ordersPlaced
    self.digest = digest
    self.rules = rules
    self.rulesKnown = rulesKnown
    rulesWanted = rules
  }

  /// Between groups only.
  package mutating func refuseWrites(_ why: DeliveryCode?) { refusesWrites = why }

  /// Rule 17: every member knows this version. If it is a later one than holds, the next group that is sealed
  /// switches to it. Before ``seal(now:steady:)``.
  package mutating func switchRules(to version: UInt16) { rulesWanted = min(version, rulesKnown) }

  // MARK: 1. Take

  /// Adds a batch to the group.
  ///
  /// - Parameters:
  ///   - bytes: a batch frame; must stay where it is until ``apply()`` is done.
  ///   - dispatcher: comes back in ``frames``.
  ///   - receivedAt: by the clock of ``seal(now:steady:)``.
  /// - Throws: the frame is not a batch; nothing of it was taken.
  package mutating func take(
    _ bytes: UnsafeRawBufferPointer, dispatcher: Int, receivedAt: Int64
  ) throws(FrameError) {
    let (header, count, reader) = try BatchHeader.read(bytes)
    var check = reader
    for _ in 0..<count { _ = try BatchItem(&check) }
    var items = reader
    bytesTaken += bytes.count
    let batch = batches.count
    batches.append(Batch(header: header, dispatcher: dispatcher, receivedAt: receivedAt))
    for index in 0..<count {
      let item = try BatchItem(&items)
      self.items.append(Self.decode(item, batch: batch, index: UInt32(index)))
    }
  }

  private static func decode(_ item: BatchItem, batch: Int, index: UInt32) -> Item {
    do {
      let request = try DecodedRequest(item.request)
      return Item(
        batch: batch, index: index, id: request.id, deadlineMilliseconds: item.deadlineMilliseconds,
        bytes: item.request, request: request, fate: request.body == .audit ? .audit : .open)
    } catch {
      var id: RequestID?
      _ = try? RequestPeek(item.request, id: &id)
      return Item(
        batch: batch, index: index, id: id, deadlineMilliseconds: item.deadlineMilliseconds,
        bytes: item.request, request: nil, fate: .answered(.malformed, detail: error.description))
    }
  }

  /// Drops what was taken and not sealed.
  package mutating func forgetTaken() {
    bytesTaken = 0
    items.removeAll(keepingCapacity: true)
    batches.removeAll(keepingCapacity: true)
  }

  /// Whether there is anything to do: requests, reservations that run out, other rules.
  package func hasWork(now: Milliseconds) -> Bool {
    if !batches.isEmpty || wantsOtherRules { return true }
    guard acceptsWrites, let due = books.reservations.first else { return false }
    return due <= now
  }

  /// No more than so many bytes of ``entries`` come of what was taken, of what runs out, and of other rules.
  package var entriesBytesMax: Int {
    // An item of a batch has more overhead than an entry of the log.
    bytesTaken + LogEntry.overhead + Limits.expiriesMax * MemoryLayout<UInt64>.size + LogEntry.overhead
      + MemoryLayout<UInt16>.size
  }

  // MARK: 2. Prefetch

  /// Reservations that must be loaded into ``books`` before ``collectNeeds(now:)``; nil: none.
  package func missingReservations(now: Milliseconds) -> Reservations.Missing? {
    acceptsWrites ? books.reservations.missing(at: now, limit: Limits.expiriesMax) : nil
  }

  /// What must be loaded before ``collectNeedsOfOrders()``.
  package mutating func collectNeeds(now: Milliseconds) -> (rows: Needs, requests: [RequestID]) {
    var needs = Needs()
    var old: [RequestID] = []
    dueOrders = acceptsWrites ? books.reservations.takeDue(at: now, limit: Limits.expiriesMax) : []
    for order in dueOrders where books.orders.find(OrderKey(order)) == nil {
      needs.orders.append(OrderKey(order))
    }
    let oldest = max(time, now) - windowMilliseconds
    for item in items {
      guard case .open = item.fate, let request = item.request else { continue }
      switch request.body {
      case .command(let command):
        books.addNeeds(of: command, to: &needs)
        if isInStoreOnly(request.id, oldest: oldest) { old.append(request.id) }
      case .fate(let target, _):
        if isInStoreOnly(target, oldest: oldest) { old.append(target) }
      case .query(let query): books.addNeeds(of: query, to: &needs)
      case .audit: break
      }
    }
    return (needs, old)
  }

  /// Whether SQLite must be asked for a request. Ids before `oldest` are outside the window.
  private func isInStoreOnly(_ id: RequestID, oldest: Int64) -> Bool {
    id.milliseconds < requests.horizon && id.milliseconds >= oldest && requests.find(id) == nil
  }

  /// What the orders that are here now make necessary besides.
  package func collectNeedsOfOrders() -> Needs {
    var needs = Needs()
    for order in dueOrders { books.addNeeds(ofOrder: OrderKey(order), to: &needs) }
    for item in items {
      if case .open = item.fate, case .command(let command)? = item.request?.body,
        let order = Books.order(of: command)
      {
        books.addNeeds(ofOrder: order, to: &needs)
      }
    }
    return needs
  }

  // MARK: 3. Seal

  /// Decides what is executed and fixes its order, its sequence numbers and its time.
  ///
  /// Order of the checks: an id that is known gets its answer again (or is refused as
  /// reused); then the window, then the deadline, then the room.
  ///
  /// - Parameters:
  ///   - now: wall-clock time; what the entries' time is made of.
  ///   - steady: milliseconds of a clock that never jumps, for deadlines (rule 2).
  package mutating func seal(now: Milliseconds, steady: Int64) {
    entries.removeAll()
    entryCount = 0
    groupTime = max(now, time)

    dueOrders.removeAll { order in
      guard let slot = books.orders.find(OrderKey(order)) else { return true }
      let row = books.orders[slot]
      return row.state != .placed || row.expiresAt > groupTime
    }
    if !dueOrders.isEmpty {
      LogEntry.write(expire: dueOrders, into: &entries)
      entryCount += 1
    }
    for index in items.indices {
      guard case .open = items[index].fate, let request = items[index].request else { continue }
      items[index].fate = fate(of: request, items[index], steady: steady)
    }
    rulesSealed = wantsOtherRules ? rulesWanted : nil
    if let rulesSealed {
      LogEntry.write(rules: rulesSealed, into: &entries)
      entryCount += 1
    }
  }

  private mutating func fate(of request: DecodedRequest, _ item: Item, steady: Int64) -> Item.Fate {
    // A deadline of 0: the caller has given it up.
    let isLate =
      item.deadlineMilliseconds == 0
      || steady - batches[item.batch].receivedAt > Int64(item.deadlineMilliseconds)
    switch request.body {
    case .query, .audit: return isLate ? .answered(.deadlinePassed, detail: nil) : .read
    case .fate(let target, let sealing):
      return isLate ? .answered(.deadlinePassed, detail: nil) : fate(told: target, sealing: sealing)
    case .command: break
    }
    if let known = requests.find(request.id) {
      // Sealed by its id alone: nobody knows what it was.
      return known.fingerprint == request.fingerprint || known.answer?.code == Self.sealed
        ? .repeated : .answered(.requestIDReused, detail: nil)
    }
    if let refusal = refusal(of: request.id) { return .answered(refusal, detail: nil) }
    if isLate { return .answered(.deadlinePassed, detail: nil) }
    if let refusesWrites { return .answered(refusesWrites, detail: nil) }

    let sequenceNumber = applied.advanced(by: UInt64(entryCount) + 1)
    LogEntry.write(request: item.bytes, into: &entries)
    entryCount += 1
    return .logged(
      requests.insert(
        request.id, fingerprint: request.fingerprint, sequenceNumber: sequenceNumber.rawValue),
      sequenceNumber)
  }

  /// An id of another time than the window's says nothing.
  private func refusal(of id: RequestID) -> DeliveryCode? {
    if !id.isVersion7 || id.milliseconds > groupTime + WireLimits.skewMilliseconds {
      return .requestIDInvalid
    }
    return id.milliseconds < groupTime - windowMilliseconds ? .requestIDTooOld : nil
  }

  private mutating func fate(told target: RequestID, sealing: Bool) -> Item.Fate {
    if requests.find(target) != nil { return .told(target) }
    if let refusal = refusal(of: target) { return .answered(refusal, detail: nil) }
    guard sealing else { return .no(.unknownRequest) }
    if let refusesWrites { return .answered(refusesWrites, detail: nil) }
    LogEntry.write(seal: target, into: &entries)
    entryCount += 1
    seal(target, applied.advanced(by: UInt64(entryCount)))
    return .told(target)
  }

  private static let sealed = Reason.requestSealed.rawValue

  private mutating func seal(_ id: RequestID, _ sequenceNumber: SequenceNumber) {
    body.removeAll()
    let code = ReplyEncoder.writeBody(.no(Refusal(.requestSealed)), into: &body)
    let reference = requests.insert(id, fingerprint: 0, sequenceNumber: sequenceNumber.rawValue)
    requests.setAnswer(reference, code: code, body: body.bytes)
  }

  // MARK: 5. Apply

  /// Runs the rules over the group and makes its answers. They may leave when the group
  /// is durable. The batches' bytes are not looked at any more afterwards.
  package mutating func apply() {
    clearAnswers()
    books.beginBlock(firstSequenceNumber: applied.next.rawValue)
    if entryCount > 0 {
      time = groupTime
      if !dueOrders.isEmpty {
        books.expire(dueOrders, at: time, sequenceNumber: applied.next.rawValue)
      }
    }
    var next = 0
    for batch in batches.indices {
      // Large answers go in several frames, each of a bounded size.
      repeat {
        let start = answers.count
        batches[batch].header.write(.answers, into: &answers)
        var count = 0
        while next < items.count, items[next].batch == batch,
          answers.count - start < WireLimits.answersBytesMax
        {
          if answer(items[next], batches[batch]) { count += 1 }
          next += 1
        }
        if count > 0 {
          answers.patch(UInt32(count), at: start + 4)
          frames.append(Frame(dispatcher: batches[batch].dispatcher, bytes: start..<answers.count))
        } else {
          answers.truncate(to: start)
        }
      } while next < items.count && items[next].batch == batch
    }
    books.endBlock()
    requests.forgetLoaded()
    books.evictSome(atMost: Self.evictionsPerGroup)
    applied = applied.advanced(by: UInt64(entryCount))
    makeRulesHold()
    if entryCount > 0 { chainDigest() }
    entryCount = 0
    bytesTaken = 0
    items.removeAll(keepingCapacity: true)
    batches.removeAll(keepingCapacity: true)
    dueOrders.removeAll()
  }

  private mutating func makeRulesHold() {
    if let rulesSealed { rules = rulesSealed }
    rulesSealed = nil
  }

  /// A block was applied. Not an entry at a time: every replica has the same blocks, and is frozen between them.
  private mutating func chainDigest() {
    var image = RowImage()
    image.add(digest)
    image.add(applied.rawValue)
    image.add(time)
    image.add(ordersPlaced)
    // As before there were others.
    if rules > 1 { image.add(UInt64(rules)) }
    books.addChanges(to: &image)
    image.add(requests.takeImages())
    digest = image.bits
  }

  /// The answers were sent.
  package mutating func clearAnswers() {
    answers.removeAll()
    frames.removeAll(keepingCapacity: true)
    audits.removeAll()
    hasReads = false
  }

  /// - Returns: false where the answer comes later.
  private mutating func answer(_ item: Item, _ batch: Batch) -> Bool {
    switch item.fate {
    case .open: preconditionFailure("an item was applied before it was sealed")
    case .audit:
      audits.append(
        AuditTicket(
          dispatcher: batch.dispatcher, header: batch.header, index: item.index, request: item.id!))
      return false
    case .answered(let code, let detail):
      let at = AnswerItem.beginWrite(index: item.index, outcome: code.outcome, into: &answers)
      ReplyEncoder.write(id: item.id, code, detail: detail, into: &answers)
      AnswerItem.endWrite(at: at, into: &answers)
    case .read:
      guard case .query(let query)? = item.request?.body else { preconditionFailure("a read is a query") }
      body.removeAll()
      hasReads = true
      let code = ReplyEncoder.writeBody(books.answer(query), into: &body)
      write(item, code: code, body: body.bytes)
    case .logged(let reference, let sequenceNumber):
      guard let request = item.request, case .command(let command) = request.body else {
        preconditionFailure("what is logged is a command")
      }
      execute(command, request, sequenceNumber)
      requests.setAnswer(reference, code: lastCode, body: body.bytes)
      write(item, code: lastCode, body: body.bytes)
    case .repeated:
      guard let id = item.id else { preconditionFailure("a repeated request has an id") }
      let answer = answer(of: id)
      write(item, code: answer.code, body: answer.body)
    case .told(let target):
      let answer = answer(of: target)
      body.removeAll()
      ReplyEncoder.writeFate(of: target, code: answer.code, body: answer.body, into: &body)
      write(item, code: 0, body: body.bytes)
    case .no(let reason):
      hasReads = true
      body.removeAll()
      let code = ReplyEncoder.writeBody(.no(Refusal(reason)), into: &body)
      write(item, code: code, body: body.bytes)
    }
    return true
  }

  private func answer(of id: RequestID) -> (code: UInt8, body: UnsafeRawBufferPointer) {
    guard let answer = requests.find(id)?.answer else {
      preconditionFailure("a known request has an answer when the turn of who asks for it comes")
    }
    return answer
  }

  private var lastCode: UInt8 = 0

  /// Leaves the answer in `body` and `lastCode`.
  private mutating func execute(
    _ command: Command, _ request: DecodedRequest, _ sequenceNumber: SequenceNumber
  ) {
    let answer = books.apply(
      command, channel: request.channel, at: time, sequenceNumber: sequenceNumber.rawValue)
    if case .orderPlaced = answer { ordersPlaced += 1 }
    body.removeAll()
    lastCode = ReplyEncoder.writeBody(answer, into: &body)
  }

  private mutating func write(_ item: Item, code: UInt8, body: UnsafeRawBufferPointer) {
    guard let id = item.id else { preconditionFailure("a decoded request has an id") }
    let at = AnswerItem.beginWrite(index: item.index, outcome: code == 0 ? .done : .no, into: &answers)
    ReplyEncoder.write(id: id, code: code, body: body, into: &answers)
    AnswerItem.endWrite(at: at, into: &answers)
  }

  // MARK: Replay

  /// Takes the entries of a block that was logged before, for ``collectNeeds(now:)``,
  /// ``collectNeedsOfOrders()`` and then ``replay()``.
  ///
  /// - Parameters:
  ///   - entries: the block's; must stay where they are until ``replay()`` is done.
  ///   - first: the first entry's sequence number, which must be `applied + 1`.
  /// - Throws: an entry can't be read, or its request can't: the log is of a newer program,
  ///   or damaged in a way that its checksums don't show.
  package mutating func takeLogged(
    _ entries: UnsafeRawBufferPointer, first: SequenceNumber, count: UInt32, time: Milliseconds
  ) throws(ReplayError) {
    guard first == applied.next else { throw .gap(expected: applied.next, found: first) }
    // An order's id has 48 bits for it.
    guard (0..<1 << 47).contains(time) else { throw .entry(first, "the block's time is \(time)") }
    groupTime = time
    dueOrders.removeAll()
    logged.removeAll()
    rulesSealed = nil
    var reader = ByteReader(entries)
    for offset in 0..<UInt64(count) {
      let sequenceNumber = first.advanced(by: offset)
      let entry: LogEntry
      do { entry = try LogEntry(&reader) } catch { throw .entry(sequenceNumber, "\(error)") }
      switch entry {
      case .expire(let orders):
        dueOrders.append(contentsOf: orders)
        logged.append(.expire(orders))
      case .seal(let id): logged.append(.seal(id))
      case .rules(let version):
        guard version <= rulesKnown else {
          throw .rulesUnknown(sequenceNumber, asked: version, known: rulesKnown)
        }
        guard version > rulesSealed ?? rules else {
          throw .entry(
            sequenceNumber, "it asks for version \(version) of the rules, and \(rulesSealed ?? rules) holds")
        }
        rulesSealed = version
        logged.append(.rules)
      case .request(let bytes):
        do {
          logged.append(.request(try DecodedRequest(bytes)))
        } catch { throw .entry(sequenceNumber, error.description) }
      }
    }
    guard reader.isAtEnd else { throw .entry(first.advanced(by: UInt64(count)), "bytes are left over") }
  }

  package enum ReplayError: Error, Equatable, CustomStringConvertible {
    case gap(expected: SequenceNumber, found: SequenceNumber)
    case entry(SequenceNumber, String)
    /// Rule 17.
    case rulesUnknown(SequenceNumber, asked: UInt16, known: UInt16)

    package var description: String {
      switch self {
      case .gap(let expected, let found): "entry \(expected) is missing: the next one is \(found)"
      case .entry(let sn, let what): "entry \(sn) can't be replayed: \(what)"
      case .rulesUnknown(let sn, let asked, let known):
        "entry \(sn) of the log asks for version \(asked) of the rules, and this program knows \(known). "
          + "Start a newer laris; nothing is lost."
      }
    }
  }

  private enum Logged {
    case request(DecodedRequest)
    case expire([UInt64])
    case seal(RequestID)
    case rules
  }
  private var logged: [Logged] = []

  /// What ``replay()`` needs in memory, in two rounds as for a group.
  package func needsOfLogged() -> Needs {
    var needs = Needs()
    for order in dueOrders where books.orders.find(OrderKey(order)) == nil {
      needs.orders.append(OrderKey(order))
    }
    for entry in logged {
      if case .request(let request) = entry, case .command(let command) = request.body {
        books.addNeeds(of: command, to: &needs)
      }
    }
    return needs
  }

  package func needsOfLoggedOrders() -> Needs {
    var needs = Needs()
    for order in dueOrders { books.addNeeds(ofOrder: OrderKey(order), to: &needs) }
    for entry in logged {
      if case .request(let request) = entry, case .command(let command) = request.body,
        let order = Books.order(of: command)
      {
        books.addNeeds(ofOrder: order, to: &needs)
      }
    }
    return needs
  }

  /// Applies the block that was taken; nobody is answered.
  package mutating func replay() {
    books.beginBlock(firstSequenceNumber: applied.next.rawValue)
    time = max(time, groupTime)
    for entry in logged {
      let sequenceNumber = applied.next
      switch entry {
      case .expire(let orders):
        books.expire(orders, at: time, sequenceNumber: sequenceNumber.rawValue)
      case .seal(let id): seal(id, sequenceNumber)
      case .rules: break
      case .request(let request):
        guard case .command(let command) = request.body else { break }
        let reference = requests.insert(
          request.id, fingerprint: request.fingerprint, sequenceNumber: sequenceNumber.rawValue)
        execute(command, request, sequenceNumber)
        requests.setAnswer(reference, code: lastCode, body: body.bytes)
      }
      applied = sequenceNumber
    }
    books.endBlock()
    makeRulesHold()
    if !logged.isEmpty { chainDigest() }
    books.evictSome(atMost: Self.evictionsPerGroup)
    logged.removeAll()
    dueOrders.removeAll()
  }

  // MARK: Checkpoint

  /// Freezes every row that changed since the last checkpoint, as of ``applied``. They are copied
  /// by ``copyFrozen(atMost:)``, while groups go on.
  package mutating func freeze() {
    books.freeze()
    requests.freeze()
    freezing = Freezing(
      applied: applied, time: time, ordersPlaced: ordersPlaced, digest: digest, rules: rules,
      transfers: books.transfers, reservationsFrom: books.reservations.first ?? .max)
    books.transfers = []
    books.transfers.reserveCapacity(freezing?.transfers.count ?? 0)
  }

  /// What the freeze that is under way is of.
  private struct Freezing {
    let applied: SequenceNumber
    let time: Milliseconds
    let ordersPlaced: UInt64
    let digest: UInt64
    let rules: UInt16
    let transfers: [Transfer]
    /// When the next one runs out, at the earliest.
    let reservationsFrom: Milliseconds
  }
  private var freezing: Freezing?

  /// Copies some of what was frozen.
  ///
  /// - Parameter limit: rows, more or less.
  /// - Returns: the checkpoint, when that was the last of it.
  package mutating func copyFrozen(atMost limit: Int) -> Checkpoint? {
    guard let freezing else { return nil }
    var left = limit
    left -= books.copyFrozen(atMost: left)
    left -= requests.copyFrozen(atMost: left)
    guard left > 0 else { return nil }
    self.freezing = nil
    let frozen = books.takeFrozen()
    return Checkpoint(
      applied: freezing.applied, time: freezing.time, ordersPlaced: freezing.ordersPlaced,
      digest: freezing.digest, rules: freezing.rules, shops: frozen.shops.rows, skus: frozen.skus.rows,
      orders: frozen.orders.rows, payments: frozen.payments.rows, accounts: frozen.accounts.rows,
      transfers: freezing.transfers, requests: requests.takeFrozen(),
      forgetRequestsBefore: RequestID(firstAt: freezing.time - windowMilliseconds),
      forgetReservationsBefore: freezing.reservationsFrom,
      intervals: .init(
        shops: frozen.shops.interval, skus: frozen.skus.interval, orders: frozen.orders.interval,
        payments: frozen.payments.interval, accounts: frozen.accounts.interval))
  }

  /// ``freeze()`` and all of ``copyFrozen(atMost:)``.
  package mutating func makeCheckpoint() -> Checkpoint {
    freeze()
    guard let checkpoint = copyFrozen(atMost: .max) else { preconditionFailure("all of it was copied") }
    return checkpoint
  }

  /// Rows that wait for the next checkpoint.
  package var dirtyRows: Int {
    books.skus.dirtyCount + books.orders.dirtyCount + books.payments.dirtyCount + books.accounts.dirtyCount
  }

  /// Whether anything changed since the last checkpoint.
  package func isDirty(since checkpointed: SequenceNumber) -> Bool { applied > checkpointed }

  /// Rows that are looked at for leaving memory, when a checkpoint is written and with each group that
  /// follows: at most some tenths of a millisecond.
  private static let evictionsAtOnce = 2_048
  private static let evictionsPerGroup = 512

  /// A checkpoint is in SQLite: what it held may leave memory, bit by bit.
  ///
  /// - Parameter rowsMax: rows of a table that may stay.
  package mutating func written(_ checkpoint: Checkpoint.Receipt, keeping rowsMax: Int) {
    requests.written(through: checkpoint.applied.rawValue)
    books.reservations.written(through: checkpoint.applied.rawValue)
    let intervals = checkpoint.intervals
    books.beginEviction(
      keeping: rowsMax, shops: intervals.shops, skus: intervals.skus, orders: intervals.orders,
      payments: intervals.payments, accounts: intervals.accounts)
    books.evictSome(atMost: Self.evictionsAtOnce)
  }
}
