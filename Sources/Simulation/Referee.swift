import Cluster
import Marketplace
import Replication

/// Judges a run from outside: what was committed, what was answered, who acted. It shares no code with the
/// cores: it reads the log's bytes and the replies by itself, and plays the market by a model of its own.
struct Referee {
  /// The first thing that is wrong.
  private(set) var failure: String?
  private(set) var commands: UInt64 = 0
  private(set) var kinds = [UInt64](repeating: 0, count: CommandKind.allCases.count)

  /// Entries that were committed anywhere: one sequence, by I3.
  private(set) var committed: UInt64 = 0
  /// Ends of its blocks.
  private var ends: [UInt64] = []
  private var hashes: [UInt64] = []
  private var time: Int64 = 0
  /// Rule 17: what holds behind an entry.
  private var switches: [(sn: UInt64, version: UInt16)] = []
  /// What each request that was logged must be answered; and where it stands.
  private var answers: [RequestID: (sn: UInt64, facts: ReplyFacts)] = [:]
  private var asked: [RequestID: Command] = [:]
  /// Requests that never take effect: by which entry.
  private var sealed: [RequestID: UInt64] = [:]
  /// Of which a client knows for certain that they had no effect.
  private var denied: Set<RequestID> = []
  private(set) var model: MarketModel
  private var goodsHistory: [MarketModel.GoodsKey: [(sn: UInt64, version: MarketModel.Goods)]] = [:]
  private var salesHistory: [UInt64: [(sn: UInt64, version: MarketModel.Sale)]] = [:]
  /// The last entry whose effect somebody was told of.
  private(set) var answered: UInt64 = 0
  private(set) var orders: [OrderID] = []

  init(_ terms: Terms, partition: UInt16) {
    model = MarketModel(
      partition: partition, reserve: Int64(terms.reserveMilliseconds),
      feeBasisPoints: Int64(terms.feeBasisPoints))
  }

  private mutating func count(_ kind: CommandKind, _ times: Int = 1) {
    kinds[kind.rawValue] += UInt64(times)
  }

  mutating func fail(_ what: String) { if failure == nil { failure = what } }

  mutating func isAsked(_ request: Client.Request) {
    if case .command(let command) = request.asked { asked[request.id] = command }
  }

  // MARK: What is committed

  private func end(at sn: UInt64) -> Int? {
    var (low, high) = (0, ends.count)
    while low < high {
      let middle = (low + high) / 2
      if ends[middle] < sn { low = middle + 1 } else { high = middle }
    }
    return low < ends.count && ends[low] == sn ? low : nil
  }

  /// A replica says that its log is committed through `mark`: I2 and I3.
  mutating func commits(_ who: String, _ mark: LogMark, _ disk: Disk) {
    guard mark.sn.rawValue > committed else {
      guard mark.sn.rawValue > 0 else { return }
      guard let place = end(at: mark.sn.rawValue), hashes[place] == mark.hash else {
        return fail("I3: \(who) holds \(mark) for committed, which is not what was")
      }
      return
    }
    var place = disk.place(after: SequenceNumber(committed))
    // Chained hashes: if the block before is the same, so is everything before it.
    if place < disk.log.count, disk.log[place].head.previousHash != (hashes.last ?? 0) {
      return fail("I3: \(who) commits \(mark), but its log parts from what is committed at \(committed)")
    }
    while place < disk.log.count, disk.log[place].head.last <= mark.sn {
      take(disk.log[place], who)
      place += 1
    }
    if committed != mark.sn.rawValue || hashes.last != mark.hash {
      fail("\(who) commits \(mark), but its log has \(committed)")
    }
  }

  /// I3: a log that is to be the group's must have all that was committed.
  mutating func leads(_ who: String, _ disk: Disk) {
    guard let last = ends.last else { return }
    if disk.base.sn.rawValue > last { return fail("I3: \(who) leads with a log from \(disk.base)") }
    if disk.base.sn.rawValue == last {
      if disk.base.hash != hashes.last { fail("I3: \(who) leads with another base") }
      return
    }
    let place = disk.place(after: SequenceNumber(last)) - 1
    guard place >= 0, disk.log[place].head.last.rawValue == last, disk.log[place].head.hash == hashes.last
    else { return fail("I3: \(who) leads without entry \(last), which was committed") }
  }

  /// Reads a block as docs/FORMATS.md has it.
  private mutating func take(_ block: StoredBlock, _ who: String) {
    let head = block.head
    guard head.first.rawValue == committed + 1 else {
      return fail("\(who) commits \(head) after \(committed)")
    }
    guard head.time >= time else { return fail("time runs back at \(head)") }
    time = head.time
    model.beginBlock(first: head.first.rawValue)
    block.entries.withUnsafeBytes { bytes in
      var at = 0
      for offset in 0..<UInt64(head.count) {
        let sn = head.first.rawValue + offset
        guard bytes.count - at >= 5 else { return fail("entry \(sn) is cut off") }
        let length = (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << ($1 * 8) }
        let kind = bytes[at + 4]
        let payload = UnsafeRawBufferPointer(rebasing: bytes[at + 5..<at + 5 + length])
        at += 5 + length
        switch kind {
        case 1:
          guard length > 18, payload[0] == 0x0A, payload[1] == 16 else {
            return fail("entry \(sn) has no request id")
          }
          let id = RequestID(high: ReplyFacts.bigEndian(payload, 2), low: ReplyFacts.bigEndian(payload, 10))
          apply(id, sn)
        case 2:
          var keys: [UInt64] = []
          for place in stride(from: 0, to: length, by: 8) {
            keys.append((0..<8).reduce(0) { $0 | UInt64(payload[place + $1]) << UInt64($1 * 8) })
          }
          count(.reservationExpired, keys.count)
          if let wrong = model.expire(keys, at: time) { fail("entry \(sn): \(wrong)") }
          remember(sn)
        case 3:
          guard length == 16 else { return fail("entry \(sn) seals nothing") }
          seal(RequestID(high: ReplyFacts.bigEndian(payload, 0), low: ReplyFacts.bigEndian(payload, 8)), sn)
        case 4:
          guard length == 2, at == bytes.count else {
            return fail("entry \(sn) switches rules, and is not the last")
          }
          switchRules(to: UInt16(payload[0]) | UInt16(payload[1]) << 8, sn)
        default: fail("entry \(sn) is of kind \(kind)")
        }
      }
      if at != bytes.count { fail("block \(head) has bytes left over") }
    }
    model.beginBlock(first: .max)
    committed = head.last.rawValue
    ends.append(committed)
    hashes.append(head.hash)
  }

  private mutating func apply(_ id: RequestID, _ sn: UInt64) {
    guard let command = asked[id] else { return fail("entry \(sn): nobody asked for \(id)") }
    if let before = answers[id] {
      return fail("request \(id) took effect twice, by entries \(before.sn) and \(sn)")
    }
    if let seal = sealed[id] { return fail("entry \(sn): request \(id) was sealed by entry \(seal)") }
    if denied.contains(id) {
      return fail("entry \(sn): request \(id) takes effect, and its caller was told that it had none")
    }
    commands += 1
    let facts = model.apply(command, at: time, sn: sn)
    count(CommandKind(command, isDone: facts.outcome == 1))
    answers[id] = (sn, facts)
    remember(sn)
  }

  private mutating func seal(_ id: RequestID, _ sn: UInt64) {
    guard answers[id] == nil, sealed[id] == nil else {
      return fail("entry \(sn) seals request \(id), which is known")
    }
    commands += 1
    count(.sealed)
    sealed[id] = sn
  }

  private mutating func switchRules(to version: UInt16, _ sn: UInt64) {
    guard version > rules else { return fail("entry \(sn) switches from rules \(rules) to \(version)") }
    count(.rulesSwitched)
    switches.append((sn, version))
  }

  /// Rule 17: the version that what is committed makes hold.
  var rules: UInt16 { switches.last?.version ?? 1 }

  /// A replica has applied what is committed through `sn`.
  mutating func goesBy(_ version: UInt16, _ who: String, at sn: SequenceNumber) {
    let mine = switches.last { $0.sn <= sn.rawValue }?.version ?? 1
    if version != mine { fail("\(who) goes by rules \(version) at entry \(sn), and \(mine) hold there") }
  }

  private mutating func remember(_ sn: UInt64) {
    for key in model.touchedGoods { goodsHistory[key, default: []].append((sn, model.goods[key]!)) }
    for key in model.touchedSales { salesHistory[key, default: []].append((sn, model.sales[key]!.sale)) }
  }

  // MARK: What is answered

  /// A caller knows that its request had no effect, and never will have one: nothing of it is under way.
  mutating func isDenied(_ request: Client.Request, by who: String) {
    guard case .command = request.asked else { return }
    if let answer = answers[request.id] {
      return fail("\(who) says that \(request.id) had no effect, and it had: entry \(answer.sn)")
    }
    denied.insert(request.id)
  }

  private mutating func isTold(
    _ target: RequestID, _ request: Client.Request, _ facts: ReplyFacts, _ reply: [UInt8], by who: String
  ) {
    guard facts.outcome == 1 else {
      count(.fateUnknown)
      // It is not known: nobody may have been told that it is.
      if let answer = answers[target], answer.sn <= request.answeredBefore {
        fail("\(who) does not know request \(target), of entry \(answer.sn)")
      }
      return
    }
    count(.fateTold)
    guard let told = reply.withUnsafeBytes({ ReplyFacts.told(in: $0) }),
      RequestID(high: told.high, low: told.low) == target
    else { return fail("\(who) told of another request than \(target)") }
    if told.facts.outcome == 2, told.facts.code == 20 {
      guard let sn = sealed[target] else { return fail("\(who) says that \(target) is sealed: it is not") }
      answered = max(answered, sn)
    } else {
      guard let answer = answers[target], answer.facts == told.facts else {
        return fail("\(who) says that \(target) was answered \(told.facts): it was not")
      }
      answered = max(answered, answer.sn)
    }
  }

  /// A caller has a final answer.
  mutating func isAnswered(
    _ request: Client.Request, _ facts: ReplyFacts, _ reply: [UInt8], by who: String
  ) {
    switch request.asked {
    case .fate(let target, _): isTold(target, request, facts, reply, by: who)
    case .command:
      guard let expected = answers[request.id] else {
        return fail("\(who) answered \(request.id), which is not committed: lost if it crashes now")
      }
      guard expected.facts == facts else {
        return fail(
          "\(who) answered \(request.id) (entry \(expected.sn)) with \(facts), not \(expected.facts)")
      }
      guard expected.sn > request.answeredBefore else {
        return fail("\(request.id) took effect before entry \(request.answeredBefore), answered before it")
      }
      answered = max(answered, expected.sn)
      if facts.result == 9 { orders.append(OrderID(high: facts.high, low: facts.low)) }
    case .sku(let shop, let sku):
      let key = MarketModel.GoodsKey(shop: shop, sku: sku)
      count(facts.outcome == 1 ? .readSKUDone : .readSKUNo)
      guard facts.outcome == 1 else {
        // There is none: nobody may have been told of one.
        if let first = goodsHistory[key]?.first, first.sn <= request.answeredBefore {
          fail("\(who) does not know SKU \(shop)/\(sku), of entry \(first.sn)")
        }
        return
      }
      let row = MarketModel.Goods(
        price: Int64(bitPattern: facts.values[4]), onHand: Int64(bitPattern: facts.values[5]),
        reserved: Int64(bitPattern: facts.values[6]), consumed: Int64(bitPattern: facts.values[7]),
        given: Int64(bitPattern: facts.values[9]))
      guard let seen = version(goodsHistory[key] ?? [], request.answeredBefore, { $0 == row }) else {
        return fail(
          "\(who) answered a read of SKU \(shop)/\(sku) with \(row): it was never so since entry \(request.answeredBefore)"
        )
      }
      answered = max(answered, seen)
    case .order(let id):
      let key = id.low & (1 << 46 - 1)
      count(facts.outcome == 1 ? .readOrderDone : .readOrderNo)
      guard facts.outcome == 1 else {
        if let first = salesHistory[key]?.first, first.sn <= request.answeredBefore,
          model.sales[key]?.id == id
        {
          fail("\(who) does not know order \(id), of entry \(first.sn)")
        }
        return
      }
      let found = version(salesHistory[key] ?? [], request.answeredBefore) {
        $0.state == facts.values[6] && UInt64(bitPattern: $0.held) == facts.values[11]
          && UInt64(bitPattern: $0.refunded) == facts.values[12]
          && UInt64(bitPattern: $0.received) == facts.values[10]
      }
      guard let seen = found else {
        return fail(
          "\(who) answered a read of order \(id) with \(facts): it was never so since entry \(request.answeredBefore)"
        )
      }
      answered = max(answered, seen)
    }
  }

  /// The earliest version that fits, of those that held at entry `since` or came later.
  private func version<Version>(
    _ history: [(sn: UInt64, version: Version)], _ since: UInt64, _ fits: (Version) -> Bool
  ) -> UInt64? {
    var found: UInt64?
    for entry in history.reversed() {
      if fits(entry.version) { found = entry.sn }
      if entry.sn <= since { break }
    }
    return found
  }

  // MARK: The end

  /// All of a replica's tables, after everything was applied.
  mutating func compare(_ who: String, _ tables: Tables) {
    guard tables.applied.rawValue == committed else {
      return fail("\(who) ends at \(tables.applied), not at \(committed)")
    }
    if tables.skus.count != model.goods.count || tables.orders.count != model.sales.count
      || tables.payments.count != model.payments.count || tables.shops.count != model.shops.count
      || tables.requests.count != answers.count + sealed.count
    {
      return fail("\(who) has not the rows that it must have")
    }
    goesBy(tables.rules, who, at: tables.applied)
    var sum: Int64 = 0
    for (key, row) in tables.skus {
      let mine = MarketModel.Goods(
        price: row.price, onHand: row.onHand, reserved: row.reserved, consumed: row.consumed,
        given: row.given)
      if model.goods[.init(shop: key.shop, sku: key.sku)] != mine {
        return fail("\(who) has another SKU \(key.shop)/\(key.sku)")
      }
      if row.onHand + row.reserved + row.consumed + row.writtenOff != row.given || row.onHand < 0 {
        return fail("\(who): stock of \(key.shop)/\(key.sku) does not add up")
      }
    }
    for (key, row) in tables.orders {
      guard let mine = model.sales[key], mine.id == row.id, mine.sale.state == UInt64(row.state.rawValue),
        mine.sale.held == row.held, mine.sale.received == row.received, mine.sale.refunded == row.refunded
      else { return fail("\(who) has another order \(key)") }
    }
    for (key, row) in tables.accounts {
      sum += row.balance
      if model.money[key, default: 0] != row.balance { return fail("\(who) has another balance of \(key)") }
    }
    if sum != 0 { fail("\(who): the ledger's balances are \(sum) together") }
    for (id, answer) in answers {
      guard let row = tables.requests[id], row.sequenceNumber == answer.sn else {
        return fail("\(who) has forgotten request \(id)")
      }
    }
    for (id, sn) in sealed where tables.requests[id]?.sequenceNumber != sn {
      return fail("\(who) has forgotten that \(id) is sealed")
    }
  }
}
