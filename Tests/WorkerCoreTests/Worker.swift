import Bytes
import Cluster
import Marketplace
import TestMarketplace
import Wire
import WorkerCore

/// A request on its way: its bytes and how long its caller still waits.
struct Sent {
  var bytes: [UInt8]
  var deadlineMilliseconds: UInt32 = 1_000
}

/// What came back for one item.
struct Got: Equatable {
  var outcome: UInt8
  var bytes: [UInt8]

  var peek: ReplyPeek {
    bytes.withUnsafeBytes { bytes in
      guard let peek = try? ReplyPeek(bytes) else { fatalError("a reply can't be read") }
      return peek
    }
  }
  var code: UInt32 { peek.code }
}

/// Rows as SQLite would keep them: what a checkpoint wrote, to be loaded again.
struct FakeStore {
  var shops: [UInt64: Shop] = [:]
  var skus: [[UInt64]: SKU] = [:]
  var orders: [UInt64: Order] = [:]
  var payments: [[String]: Payment] = [:]
  var accounts: [AccountKey: Account] = [:]
  var transfers: [[UInt64]: Transfer] = [:]
  var requests: [RequestID: Request] = [:]
  var applied = SequenceNumber.zero
  var time: Milliseconds = 0
  var ordersPlaced: UInt64 = 0
  var digest: UInt64 = 0
  var rules: UInt16 = 1

  struct Request: Equatable {
    var sequenceNumber: UInt64
    var fingerprint: UInt64
    var code: UInt8
    var body: [UInt8]
  }

  mutating func write(_ checkpoint: Checkpoint) {
    for shop in checkpoint.shops { shops[shop.id] = shop }
    for sku in checkpoint.skus { skus[[sku.shop, sku.sku]] = sku }
    for order in checkpoint.orders { orders[order.id.sequenceNumber] = order }
    for payment in checkpoint.payments { payments[[payment.provider, payment.reference]] = payment }
    for account in checkpoint.accounts { accounts[account.key] = account }
    for transfer in checkpoint.transfers {
      transfers[[transfer.sequenceNumber, UInt64(transfer.number)]] = transfer
    }
    for row in checkpoint.requests.rows {
      requests[row.id] = Request(
        sequenceNumber: row.sequenceNumber, fingerprint: row.fingerprint, code: row.code,
        body: Array(checkpoint.requests.bodies[row.bodyStart..<row.bodyEnd]))
    }
    requests = requests.filter { $0.key >= checkpoint.forgetRequestsBefore }
    applied = checkpoint.applied
    time = checkpoint.time
    ordersPlaced = checkpoint.ordersPlaced
    digest = checkpoint.digest
    rules = checkpoint.rules
  }

  func find(_ missing: Reservations.Missing) -> [Reservations.Item] {
    let unpaid = orders.values.filter {
      $0.state == .placed && $0.id.sequenceNumber <= missing.writtenThrough
    }
    let items = unpaid.map { Reservations.Item(at: $0.expiresAt, sequenceNumber: $0.id.sequenceNumber) }
    return Array(items.filter { missing.item < $0 }.sorted().prefix(missing.limit))
  }

  func load(_ needs: Needs, into books: inout Books) {
    for key in needs.shops where books.shops.find(key) == nil {
      if let row = shops[key.rawValue] { books.shops.insert(key, row, isNew: false) }
    }
    for key in needs.skus where books.skus.find(key) == nil {
      if let row = skus[[key.shop, key.sku]] { books.skus.insert(key, row, isNew: false) }
    }
    for key in needs.orders where books.orders.find(key) == nil {
      if let row = orders[key.sequenceNumber] { books.orders.insert(key, row, isNew: false) }
    }
    for key in needs.payments where books.payments.find(key) == nil {
      if let row = payments[[key.provider, key.reference]] { books.payments.insert(key, row, isNew: false) }
    }
    for key in needs.accounts where books.accounts.find(key) == nil {
      if let row = accounts[key] { books.accounts.insert(key, row, isNew: false) }
    }
  }
}

/// A shell without sockets, files and clock: it does with a core what a partition's thread does.
final class Worker {
  static let partition = PartitionID(3)
  static let terms = Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250)
  static let window: Milliseconds = 600_000
  static let start: Milliseconds = 1_800_000_000_000
  /// By a clock that has nothing to do with the time of day.
  static let steady: Int64 = 90_000_000

  var core: PartitionCore
  var store: FakeStore
  private(set) var log: [LoggedBlock] = []
  private var batchNumber: UInt64 = 0
  /// Bytes of the largest frame of answers so far.
  private(set) var largestFrame = 0
  private var generations: (entries: Int, most: Int)?

  /// A new partition, or one that starts again with what `store` has and the `log` from there.
  init(
    store: FakeStore = FakeStore(), log: [LoggedBlock] = [], generations: (entries: Int, most: Int)? = nil,
    reservationsLoadMax: Int? = nil, rulesKnown: UInt16 = 1
  ) {
    self.store = store
    self.generations = generations
    let horizon = (store.requests.keys.map(\.milliseconds).max() ?? -1) + 1
    core = PartitionCore(
      partition: Self.partition, terms: Self.terms, windowMilliseconds: Self.window, applied: store.applied,
      time: store.time, ordersPlaced: store.ordersPlaced, digest: store.digest, rules: store.rules,
      rulesKnown: rulesKnown, horizon: horizon, rowsExpected: 1)
    if let generations {
      core.requests = AnsweredRequests(
        entriesPerGeneration: generations.entries, generationsMax: generations.most, horizon: horizon)
    }
    if let reservationsLoadMax {
      core.books.reservations = Reservations(written: store.applied.rawValue, loadMax: reservationsLoadMax)
    }
    for block in log where block.first > store.applied { replay(block) }
    self.log = log
  }

  private func replay(_ block: LoggedBlock) {
    do {
      try block.replay(on: &core) { needs, core in store.load(needs, into: &core.books) }
    } catch { fatalError("the log can't be replayed: \(error)") }
  }

  /// One group of one batch, all of whose items are answered. It was received `waited` milliseconds ago.
  func tell(_ items: [Sent], at now: Milliseconds, waited: Int64 = 0) -> [Got] {
    let answers = tell(batches: [items], at: now, waited: waited)[0]
    return items.indices.map { index in
      guard let answer = answers[index] else { fatalError("item \(index) got no answer") }
      return answer
    }
  }

  func tell(_ item: [UInt8], at now: Milliseconds) -> Got { tell([Sent(bytes: item)], at: now)[0] }

  /// One group; what came back, by batch and index.
  func tell(
    batches: [[Sent]], at now: Milliseconds, waited: Int64 = 0
  ) -> [[Int: Got]] {
    let first = batchNumber + 1
    var frames: [UnsafeMutableRawBufferPointer] = []
    defer { for frame in frames { frame.deallocate() } }
    for batch in batches {
      batchNumber += 1
      let frame = Self.frame(batch, number: batchNumber)
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: frame.count, alignment: 1)
      bytes.copyBytes(from: frame)
      frames.append(bytes)
      do {
        try core.take(
          UnsafeRawBufferPointer(bytes), dispatcher: Int(batchNumber % 2), receivedAt: Self.steady - waited)
      } catch { fatalError("a batch was not taken: \(error)") }
    }
    if let missing = core.missingReservations(now: now) { core.books.reservations.load(store.find(missing)) }
    let (needs, ids) = core.collectNeeds(now: now)
    store.load(needs, into: &core.books)
    for id in ids {
      guard let known = store.requests[id] else { continue }
      known.body.withUnsafeBytes { body in
        core.requests.insertLoaded(
          id, fingerprint: known.fingerprint, sequenceNumber: known.sequenceNumber, code: known.code,
          body: body)
      }
    }
    store.load(core.collectNeedsOfOrders(), into: &core.books)
    core.seal(now: now, steady: Self.steady)
    if let block = LoggedBlock(sealedBy: core) { log.append(block) }
    core.apply()

    var answers = [[Int: Got]](repeating: [:], count: batches.count)
    for frame in core.frames {
      let bytes = UnsafeRawBufferPointer(rebasing: core.answers.bytes[frame.bytes])
      largestFrame = max(largestFrame, bytes.count)
      do {
        var (header, count, items) = try BatchHeader.read(bytes)
        let batch = Int(header.number - first)
        precondition(frame.dispatcher == Int(header.number % 2), "an answer goes to another dispatcher")
        for _ in 0..<count {
          let item = try AnswerItem(&items)
          let old = answers[batch].updateValue(
            Got(outcome: item.outcome, bytes: Array(item.reply)), forKey: Int(item.index))
          precondition(old == nil, "an item was answered twice")
        }
        precondition(items.isAtEnd)
      } catch { fatalError("an answer frame can't be read: \(error)") }
    }
    return answers
  }

  static func frame(_ items: [Sent], number: UInt64) -> [UInt8] {
    Batches.frame(items.map { ($0.bytes, $0.deadlineMilliseconds) }, partition: partition, number: number)
  }

  /// Freezes, writes and lets go of all but `rowsMax` rows of each table.
  func checkpoint(keeping rowsMax: Int = 1_000_000) {
    let checkpoint = core.makeCheckpoint()
    store.write(checkpoint)
    // A row that was touched lately survives one look.
    for _ in 0..<3 { core.written(checkpoint.receipt, keeping: rowsMax) }
  }

  func hasWork(at now: Milliseconds) -> Bool { core.hasWork(now: now) }

  func look(_ query: Query) -> Answer { core.books.answer(query) }

  func balance(_ kind: AccountKey.Kind, _ owner: UInt64 = 0) -> Money {
    let key = AccountKey(kind, owner: owner)
    if core.books.accounts.find(key) != nil { return core.books.balance(key) }
    return store.accounts[key]?.balance ?? 0
  }
}

/// Writes requests with rising ids.
struct Caller {
  private var counter: UInt64 = 0
  var channel = "app"

  mutating func id(at time: Milliseconds) -> RequestID {
    counter += 1
    return RequestID(high: UInt64(time) << 16 | 0x7000 | (counter & 0xFFF), low: 2 << 62 | counter)
  }

  mutating func request(_ command: Command, at time: Milliseconds) -> [UInt8] {
    encode(command, id: id(at: time))
  }

  mutating func request(_ query: Query, at time: Milliseconds) -> [UInt8] {
    var writer = ByteWriter()
    RequestEncoder.write(id: id(at: time), channel: channel, deadlineMilliseconds: 0, query, into: &writer)
    return Array(writer.bytes)
  }

  mutating func fate(of target: RequestID, sealing: Bool, at time: Milliseconds) -> [UInt8] {
    var writer = ByteWriter()
    RequestEncoder.write(
      id: id(at: time), channel: channel, deadlineMilliseconds: 0, fateOf: target, at: .shop(1),
      sealing: sealing, into: &writer)
    return Array(writer.bytes)
  }

  func encode(_ command: Command, id: RequestID, deadline: UInt32 = 0) -> [UInt8] {
    var writer = ByteWriter()
    RequestEncoder.write(id: id, channel: channel, deadlineMilliseconds: deadline, command, into: &writer)
    return Array(writer.bytes)
  }
}
