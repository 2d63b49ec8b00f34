import Bytes
import Cluster
import Marketplace
import WorkerCore

/// A block as a log has it.
final class StoredBlock {
  let head: BlockHead
  let entries: [UInt8]
  /// What was committed when it was written, as it says itself.
  let committed: SequenceNumber
  init(_ head: BlockHead, _ entries: [UInt8], committed: SequenceNumber) {
    self.head = head
    self.entries = entries
    self.committed = committed
  }
}

/// A replica's disk: what survives a crash, and what may not. A model: a log of blocks, tables, an epoch.
struct Disk {
  var epoch = Epoch(0)
  /// The end of the block before the log's first.
  var base = LogMark.empty
  var baseTime: Int64 = 0
  var log: [StoredBlock] = []
  /// Blocks of `log` that a sync has made durable.
  private(set) var durableCount = 0
  /// Durable blocks that were cut off since: a crash before the next sync may bring them back.
  private(set) var ghost: [StoredBlock] = []
  private var generation = 0
  var tables = Tables()
  var isDamaged = false
  var fullUntil: Int64 = 0

  struct Sync {
    let count: Int
    let trimmed: Int
    let generation: Int
    let mark: LogMark
  }
  /// Blocks that were trimmed off the front, ever.
  private var trimmed = 0

  var last: LogMark { log.last?.head.mark ?? base }

  mutating func append(_ block: StoredBlock) { log.append(block) }

  mutating func cut(to mark: LogMark) {
    let keep = place(after: mark.sn)
    if keep < durableCount {
      if ghost.isEmpty { ghost = Array(log[keep..<durableCount]) }
      durableCount = keep
    }
    log.removeSubrange(keep...)
    generation += 1
  }

  func beginSync() -> Sync { Sync(count: log.count, trimmed: trimmed, generation: generation, mark: last) }

  /// - Returns: whether what it was of is still there.
  mutating func endSync(_ sync: Sync) -> Bool {
    guard sync.generation == generation else { return false }
    durableCount = max(durableCount, sync.count - (trimmed - sync.trimmed))
    ghost = []
    return true
  }

  mutating func trim(through sn: SequenceNumber) {
    let count = min(place(after: sn), durableCount)
    guard count > 0 else { return }
    base = log[count - 1].head.mark
    baseTime = log[count - 1].head.time
    log.removeFirst(count)
    durableCount -= count
    trimmed += count
  }

  mutating func replace(with tables: Tables, base: LogMark) {
    self.tables = tables
    self.base = base
    baseTime = tables.time
    log = []
    durableCount = 0
    ghost = []
    generation += 1
    isDamaged = false
  }

  /// The last block becomes another one, which was committed.
  mutating func strayFromGroup() {
    let block = log.removeLast()
    let head = BlockHead(
      tag: block.head.tag, first: block.head.first, count: block.head.count, time: block.head.time,
      entriesHash: ~block.head.entriesHash, previousHash: block.head.previousHash)
    log.append(StoredBlock(head, block.entries, committed: head.last))
  }

  mutating func forgetGhost() {
    ghost = []
    durableCount = log.count
  }

  /// The power went: what was not synced is there in part, or not at all.
  ///
  /// - Returns: what of it was bad luck.
  mutating func crash(_ chance: inout Chance, forgets: Bool) -> Fault? {
    var luck: Fault?
    if !ghost.isEmpty, chance.permille(700) {
      // The cut never reached the disk.
      log.removeSubrange(durableCount...)
      log.append(contentsOf: ghost)
      luck = .cutComesBack
    } else if forgets, log.count > durableCount {
      let lost = chance.below(log.count - durableCount + 1)
      if lost > 0 { luck = lost < log.count - durableCount ? .tornTail : .unsyncedForgotten }
      log.removeLast(lost)
    }
    ghost = []
    durableCount = log.count
    generation += 1
    return luck
  }

  /// Place of the first block that ends above `sn`.
  func place(after sn: SequenceNumber) -> Int {
    var (low, high) = (0, log.count)
    while low < high {
      let middle = (low + high) / 2
      if log[middle].head.last > sn { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// What a start finds.
  var start: Replica.Start {
    var committed = max(base.sn, tables.applied)
    for block in log { committed = max(committed, block.committed) }
    return Replica.Start(
      epoch: epoch, base: base, blocks: log.map(\.head.mark), time: log.last?.head.time ?? baseTime,
      committed: committed, checkpointed: tables.applied, isClean: !isDamaged)
  }
}

/// What SQLite would hold: rows of checkpoints, to be loaded again.
struct Tables {
  struct Request {
    var sequenceNumber: UInt64
    var fingerprint: UInt64
    var code: UInt8
    var body: [UInt8]
  }

  var shops: [ShopID: Shop] = [:]
  var skus: [SKUKey: SKU] = [:]
  var orders: [UInt64: Order] = [:]
  var payments: [PaymentKey: Payment] = [:]
  var accounts: [AccountKey: Account] = [:]
  var requests: [RequestID: Request] = [:]
  /// When orders run out that waited for payment when they were first written.
  private var reservations: [Reservations.Item] = []
  var applied = SequenceNumber.zero
  var time: Milliseconds = 0
  var ordersPlaced: UInt64 = 0
  var horizon: Int64 = 0
  /// Rule 15, of all that was applied.
  var digest: UInt64 = 0
  var rules: UInt16 = 1

  mutating func write(_ checkpoint: Checkpoint) {
    for shop in checkpoint.shops { shops[ShopID(shop.id)] = shop }
    for sku in checkpoint.skus { skus[SKUKey(shop: sku.shop, sku: sku.sku)] = sku }
    let held = applied.rawValue
    reservations.removeAll { $0.at < checkpoint.forgetReservationsBefore }
    for order in checkpoint.orders {
      let sn = order.id.sequenceNumber
      orders[sn] = order
      if sn > held, order.state == .placed {
        reservations.append(.init(at: order.expiresAt, sequenceNumber: sn))
      }
    }
    reservations.sort()
    for payment in checkpoint.payments {
      payments[PaymentKey(provider: payment.provider, reference: payment.reference)] = payment
    }
    for account in checkpoint.accounts { accounts[account.key] = account }
    for row in checkpoint.requests.rows {
      requests[row.id] = Request(
        sequenceNumber: row.sequenceNumber, fingerprint: row.fingerprint, code: row.code,
        body: Array(checkpoint.requests.bodies[row.bodyStart..<row.bodyEnd]))
      horizon = max(horizon, row.id.milliseconds + 1)
    }
    applied = checkpoint.applied
    time = checkpoint.time
    ordersPlaced = checkpoint.ordersPlaced
    digest = checkpoint.digest
    rules = checkpoint.rules
  }

  /// What ``PartitionCore/missingReservations(now:)`` asks for.
  func load(_ missing: Reservations.Missing, into reservations: inout Reservations) {
    let found = self.reservations.lazy
      .filter { missing.item < $0 && $0.sequenceNumber <= missing.writtenThrough }.prefix(missing.limit)
    let items = Array(found)
    reservations.load(
      items.filter { orders[$0.sequenceNumber]?.state == .placed },
      through: items.count < missing.limit ? nil : items.last)
  }

  func load(_ needs: Needs, into books: inout Books) {
    for key in needs.shops where books.shops.find(key) == nil {
      if let row = shops[key] { books.shops.insert(key, row, isNew: false) }
    }
    for key in needs.skus where books.skus.find(key) == nil {
      if let row = skus[key] { books.skus.insert(key, row, isNew: false) }
    }
    for key in needs.orders where books.orders.find(key) == nil {
      if let row = orders[key.sequenceNumber] { books.orders.insert(key, row, isNew: false) }
    }
    for key in needs.payments where books.payments.find(key) == nil {
      if let row = payments[key] { books.payments.insert(key, row, isNew: false) }
    }
    for key in needs.accounts where books.accounts.find(key) == nil {
      if let row = accounts[key] { books.accounts.insert(key, row, isNew: false) }
    }
  }
}
