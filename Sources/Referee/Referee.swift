import Cluster
import Marketplace

/// Judges a run from outside: what was committed, what was answered, who acted. It shares no code with the
/// cores: it reads the log's bytes and the replies by itself, and plays the market by a model of its own.
package struct Referee {
  package enum Asked {
    case command
    case sku(shop: UInt64, sku: UInt64)
    case order(OrderID)
    /// What became of another request.
    case fate(RequestID)
  }

  package struct Request {
    package let id: RequestID
    package let asked: Asked
    /// The last entry that had been answered to anybody when it was sent.
    package let answeredBefore: UInt64

    package init(id: RequestID, asked: Asked, answeredBefore: UInt64) {
      self.id = id
      self.asked = asked
      self.answeredBefore = answeredBefore
    }
  }

  /// An entry, and what names the log up to it.
  package struct Mark: CustomStringConvertible {
    package let sn: UInt64
    package let hash: UInt64

    package init(sn: UInt64, hash: UInt64) {
      self.sn = sn
      self.hash = hash
    }

    package var description: String { "\(sn)/\(String(hash, radix: 16))" }
  }

  /// A block of a log.
  package struct Block {
    package let first: UInt64
    package let count: UInt32
    package let time: Int64
    package let hash: UInt64
    package let previousHash: UInt64
    package let entries: [UInt8]

    package init(
      first: UInt64, count: UInt32, time: Int64, hash: UInt64, previousHash: UInt64, entries: [UInt8]
    ) {
      self.first = first
      self.count = count
      self.time = time
      self.hash = hash
      self.previousHash = previousHash
      self.entries = entries
    }

    var last: UInt64 { first + UInt64(count) - 1 }
  }

  /// The first thing that is wrong.
  package private(set) var failure: String?
  package private(set) var commands: UInt64 = 0
  package private(set) var kinds = [UInt64](repeating: 0, count: CommandKind.allCases.count)

  /// Entries that were committed anywhere: one sequence, by I3.
  package private(set) var committed: UInt64 = 0
  /// Ends of its blocks.
  private var ends: [UInt64] = []
  private var hashes: [UInt64] = []
  private var time: Int64 = 0
  /// Rule 17: what holds behind an entry.
  private var switches: [(sn: UInt64, version: UInt16)] = []
  /// What each request that was logged must be answered; and where it stands.
  package private(set) var answers: [RequestID: (sn: UInt64, kind: CommandKind, facts: ReplyFacts)] = [:]
  private var asked: [RequestID: Command] = [:]
  /// Nobody told what was asked: what the log has of a request says it.
  private let goesByLog: Bool
  /// Requests that never take effect: by which entry.
  package private(set) var sealed: [RequestID: UInt64] = [:]
  /// Of which a client knows for certain that they had no effect.
  private var denied: Set<RequestID> = []
  package private(set) var model: MarketModel
  private var goodsHistory: [MarketModel.GoodsKey: [(sn: UInt64, version: MarketModel.Goods)]] = [:]
  private var salesHistory: [UInt64: [(sn: UInt64, version: MarketModel.Sale)]] = [:]
  /// The last entry whose effect somebody was told of.
  package private(set) var answered: UInt64 = 0
  package private(set) var orders: [OrderID] = []

  /// - Parameter goesByLog: nobody will tell what was asked, so commands are read off the log.
  package init(_ terms: Terms, partition: UInt16, goesByLog: Bool = false) {
    self.goesByLog = goesByLog
    model = MarketModel(
      partition: partition, reserve: Int64(terms.reserveMilliseconds),
      feeBasisPoints: Int64(terms.feeBasisPoints))
  }

  private mutating func count(_ kind: CommandKind, _ times: Int = 1) {
    kinds[kind.rawValue] += UInt64(times)
  }

  package mutating func fail(_ what: String) { if failure == nil { failure = what } }

  /// The first thing that is wrong since the last call; it goes on as if nothing were.
  package mutating func takeFailure() -> String? {
    defer { failure = nil }
    return failure
  }

  package mutating func isAsked(_ id: RequestID, _ command: Command) { asked[id] = command }

  // MARK: What is committed

  private func end(at sn: UInt64) -> Int? {
    let place = ends.firstPlace { $0 >= sn }
    return place < ends.count && ends[place] == sn ? place : nil
  }

  /// A replica says that its log is committed through `mark`: I2 and I3.
  ///
  /// - Parameter blocks: of its log, from the first on that ends above ``committed``.
  package mutating func commits(_ who: String, _ mark: Mark, _ blocks: some Sequence<Block>) {
    guard mark.sn > committed else {
      guard mark.sn > 0 else { return }
      guard let place = end(at: mark.sn), hashes[place] == mark.hash else {
        return fail("I3: \(who) holds \(mark) for committed, which is not what was")
      }
      return
    }
    for (place, block) in blocks.enumerated() {
      // Chained hashes: if the block before is the same, so is everything before it.
      if place == 0, block.previousHash != (hashes.last ?? 0) {
        return fail("I3: \(who) commits \(mark), but its log parts from what is committed at \(committed)")
      }
      guard block.last <= mark.sn else { break }
      take(block, who)
    }
    if committed != mark.sn || hashes.last != mark.hash {
      fail("\(who) commits \(mark), but its log has \(committed)")
    }
  }

  /// I3: a log that is to be the group's must have all that was committed.
  ///
  /// - Parameters:
  ///   - base: the end of what is before its first block.
  ///   - hash: of the block that ends with an entry; nil: none does.
  package mutating func leads(_ who: String, base: Mark, hash: (UInt64) -> UInt64?) {
    guard let last = ends.last else { return }
    if base.sn > last { return fail("I3: \(who) leads with a log from \(base)") }
    guard (base.sn == last ? base.hash : hash(last)) == hashes.last else {
      return fail("I3: \(who) leads without entry \(last), which was committed")
    }
  }

  /// Reads a block as docs/FORMATS.md has it.
  package mutating func take(_ block: Block, _ who: String) {
    guard block.first == committed + 1 else {
      return fail("\(who) commits entries \(block.first) to \(block.last) after \(committed)")
    }
    guard block.time >= time else { return fail("time runs back at entry \(block.first)") }
    time = block.time
    model.beginBlock(first: block.first)
    block.entries.withUnsafeBytes { bytes in
      var at = 0
      for offset in 0..<UInt64(block.count) {
        let sn = block.first + offset
        guard bytes.count - at >= 5 else { return fail("entry \(sn) is cut off") }
        let length = (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << ($1 * 8) }
        let kind = bytes[at + 4]
        guard length <= bytes.count - at - 5 else { return fail("entry \(sn) is cut off") }
        let payload = UnsafeRawBufferPointer(rebasing: bytes[at + 5..<at + 5 + length])
        at += 5 + length
        switch kind {
        case 1:
          guard length > 18, payload[0] == 0x0A, payload[1] == 16 else {
            return fail("entry \(sn) has no request id")
          }
          let id = RequestID(high: Fields.bigEndian(payload, 2), low: Fields.bigEndian(payload, 10))
          guard let command = goesByLog ? LoggedRequest.command(payload) : asked[id] else {
            return fail(
              goesByLog ? "entry \(sn): \(id) asks for nothing" : "entry \(sn): nobody asked for \(id)")
          }
          guard command.canBeReckoned else { return fail("entry \(sn): its numbers can't be") }
          apply(command, id, sn)
        case 2:
          guard length % 8 == 0 else { return fail("entry \(sn) expires nothing whole") }
          var keys: [UInt64] = []
          for place in stride(from: 0, to: length, by: 8) {
            keys.append((0..<8).reduce(0) { $0 | UInt64(payload[place + $1]) << UInt64($1 * 8) })
          }
          count(.reservationExpired, keys.count)
          if let wrong = model.expire(keys, at: time) { fail("entry \(sn): \(wrong)") }
          remember(sn)
        case 3:
          guard length == 16 else { return fail("entry \(sn) seals nothing") }
          seal(RequestID(high: Fields.bigEndian(payload, 0), low: Fields.bigEndian(payload, 8)), sn)
        case 4:
          guard length == 2, at == bytes.count else {
            return fail("entry \(sn) switches rules, and is not the last")
          }
          switchRules(to: UInt16(payload[0]) | UInt16(payload[1]) << 8, sn)
        default: fail("entry \(sn) is of kind \(kind)")
        }
      }
      if at != bytes.count { fail("the block of entry \(block.first) has bytes left over") }
    }
    model.beginBlock(first: .max)
    committed = block.last
    ends.append(committed)
    hashes.append(block.hash)
  }

  private mutating func apply(_ command: Command, _ id: RequestID, _ sn: UInt64) {
    if let before = answers[id] {
      return fail("request \(id) took effect twice, by entries \(before.sn) and \(sn)")
    }
    if let seal = sealed[id] { return fail("entry \(sn): request \(id) was sealed by entry \(seal)") }
    if denied.contains(id) {
      return fail("entry \(sn): request \(id) takes effect, and its caller was told that it had none")
    }
    commands += 1
    let facts = model.apply(command, at: time, sn: sn)
    let kind = CommandKind(command, isDone: facts.outcome == 1)
    count(kind)
    answers[id] = (sn, kind, facts)
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
  package var rules: UInt16 { switches.last?.version ?? 1 }

  /// A replica has applied what is committed through `sn`.
  package mutating func goesBy(_ version: UInt16, _ who: String, at sn: UInt64) {
    let mine = switches.last { $0.sn <= sn }?.version ?? 1
    if version != mine { fail("\(who) goes by rules \(version) at entry \(sn), and \(mine) hold there") }
  }

  private mutating func remember(_ sn: UInt64) {
    for key in model.touchedGoods { goodsHistory[key, default: []].append((sn, model.goods[key]!)) }
    for key in model.touchedSales { salesHistory[key, default: []].append((sn, model.sales[key]!.sale)) }
  }

  // MARK: What is answered

  /// A caller knows that its request had no effect, and never will have one: nothing of it is under way.
  package mutating func isDenied(_ request: Request, by who: String) {
    guard case .command = request.asked else { return }
    if let answer = answers[request.id] {
      return fail("\(who) says that \(request.id) had no effect, and it had: entry \(answer.sn)")
    }
    denied.insert(request.id)
  }

  private mutating func isTold(
    _ target: RequestID, _ request: Request, _ facts: ReplyFacts, _ reply: [UInt8], by who: String
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
    isTold(of: target, told.facts, by: who).map { answered = max(answered, $0) }
  }

  /// A caller knows what another request was answered.
  ///
  /// - Returns: by which entry; nil: that is not so.
  @discardableResult
  package mutating func isTold(of target: RequestID, _ facts: ReplyFacts, by who: String) -> UInt64? {
    if facts.outcome == 2, facts.code == 20 {
      if let sn = sealed[target] { return sn }
      fail("\(who) says that \(target) is sealed: it is not")
    } else {
      if let answer = answers[target], answer.facts == facts { return answer.sn }
      fail("\(who) says that \(target) was answered \(facts): it was not")
    }
    return nil
  }

  /// A caller has a final answer.
  ///
  /// - Returns: the entry whose effect it shows; nil: it shows none, or is wrong.
  @discardableResult
  package mutating func isAnswered(
    _ request: Request, _ facts: ReplyFacts, _ reply: [UInt8], by who: String
  ) -> UInt64? {
    switch request.asked {
    case .fate(let target):
      isTold(target, request, facts, reply, by: who)
      return nil
    case .command: return isAnswered(request, facts, by: who)
    case .sku(let shop, let sku):
      let versions = goodsHistory[.init(shop: shop, sku: sku)] ?? []
      count(facts.outcome == 1 ? .readSKUDone : .readSKUNo)
      guard facts.outcome == 1 else {
        // There is none: nobody may have been told of one.
        if let first = versions.first, first.sn <= request.answeredBefore {
          fail("\(who) does not know SKU \(shop)/\(sku), of entry \(first.sn)")
        }
        return nil
      }
      var row = MarketModel.Goods()
      row.price = Int64(bitPattern: facts[4])
      row.onHand = Int64(bitPattern: facts[5])
      row.reserved = Int64(bitPattern: facts[6])
      row.consumed = Int64(bitPattern: facts[7])
      row.given = Int64(bitPattern: facts[9])
      guard facts.result == 33, facts[1] == shop, facts[2] == sku,
        let seen = version(versions, request.answeredBefore, { $0 == row })
      else {
        fail(
          "\(who) answered a read of SKU \(shop)/\(sku) with \(row): it was never so since entry \(request.answeredBefore)"
        )
        return nil
      }
      answered = max(answered, seen)
      return seen
    case .order(let id):
      let key = id.low & (1 << 46 - 1)
      let versions = model.sales[key]?.id == id ? salesHistory[key] ?? [] : []
      count(facts.outcome == 1 ? .readOrderDone : .readOrderNo)
      guard facts.outcome == 1 else {
        if let first = versions.first, first.sn <= request.answeredBefore {
          fail("\(who) does not know order \(id), of entry \(first.sn)")
        }
        return nil
      }
      let found = version(versions, request.answeredBefore) {
        $0.state == facts[6] && UInt64(bitPattern: $0.held) == facts[11]
          && UInt64(bitPattern: $0.refunded) == facts[12] && UInt64(bitPattern: $0.received) == facts[10]
      }
      guard facts.result == 32, OrderID(high: facts.high, low: facts.low) == id, let seen = found else {
        fail(
          "\(who) answered a read of order \(id) with \(facts): it was never so since entry \(request.answeredBefore)"
        )
        return nil
      }
      answered = max(answered, seen)
      return seen
    }
  }

  private mutating func isAnswered(_ request: Request, _ facts: ReplyFacts, by who: String) -> UInt64? {
    guard let expected = answers[request.id] else {
      fail("\(who) answered \(request.id), which is not committed: lost if it crashes now")
      return nil
    }
    guard expected.facts == facts else {
      fail("\(who) answered \(request.id) (entry \(expected.sn)) with \(facts), not \(expected.facts)")
      return nil
    }
    guard expected.sn > request.answeredBefore else {
      fail("\(request.id) took effect before entry \(request.answeredBefore), answered before it")
      return nil
    }
    answered = max(answered, expected.sn)
    if facts.result == 9 { orders.append(OrderID(high: facts.high, low: facts.low)) }
    return expected.sn
  }

  /// The earliest version that fits, of those that held at entry `since` or came later.
  private func version<Version>(
    _ history: [(sn: UInt64, version: Version)], _ since: UInt64, _ fits: (Version) -> Bool
  ) -> UInt64? {
    let later = history.firstPlace { $0.sn > since }
    return history[max(0, later - 1)...].first { fits($0.version) }?.sn
  }
}

extension Array {
  /// Where it begins to be so, in what is sorted by it; ``count``: nowhere.
  fileprivate func firstPlace(where isSo: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isSo(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension Command {
  /// No rules take what is beyond this or below 0, and the model could not count it. Amounts have all of their
  /// 63 bits: what does not fit together is the model's to refuse.
  fileprivate var canBeReckoned: Bool {
    switch self {
    case .putSKU(let it): it.price >= 0 && it.onHand ?? 0 >= 0
    case .placeOrder(let it):
      it.shippingFee >= 0 && it.reserveMilliseconds <= 1 << 40 && it.lines.count <= 2_000
        && it.lines.allSatisfy { $0.unitPrice ?? 0 >= 0 }
    case .settlePayment(let it): it.amount >= 0
    // A difference may be of either sign.
    case .adjustStock, .registerShop, .cancelOrder, .shipOrder, .deliverOrder, .completeOrder: true
    }
  }
}
