import Bytes
import Cluster
import Marketplace
import Referee
import RunHistory

/// Judges what clients were answered by the partitions' logs: the referee of the simulation, told of a run
/// that is over.
///
/// Decides only. Give it all blocks of all partitions, then all records, then ``judge()``. Memory: all
/// records and replies, and what the model makes of the logs.
package struct HistoryJudge {
  package private(set) var records: UInt64 = 0
  package private(set) var reads: UInt64 = 0
  /// Answers to commands, each of an entry.
  package private(set) var answers: UInt64 = 0
  package private(set) var withoutEffect: UInt64 = 0
  package private(set) var unknown: UInt64 = 0
  package private(set) var resolved: UInt64 = 0
  /// Reads that found no SKU: histories don't say which one was asked for.
  package private(set) var unjudged: UInt64 = 0
  /// Entries that no history tells of.
  package private(set) var untold: UInt64 = 0
  package private(set) var findings: UInt64 = 0
  /// The first of them.
  package private(set) var firstFindings: [String] = []
  package var entries: UInt64 { partitions.reduce(0) { $0 + $1.committed } }
  package var commands: UInt64 { partitions.reduce(0) { $0 + $1.commands } }
  package var partitionCount: Int { partitions.count }

  package static let findingsShown = 10

  private var partitions: [Referee]
  private let isComplete: Bool
  private var files: [String] = []
  private var kept: [Kept] = []
  /// All replies that were kept, one behind the other.
  private var replies: [UInt8] = []
  /// The partition that has a shop.
  private var shops: [UInt64: Int] = [:]
  /// The partition that has a request in its log.
  private var homes: [RequestID: UInt16] = [:]
  /// By partition and entry: when its request was first sent; 0: no history tells.
  private var sentAt: [[UInt64]] = []

  private struct Kept {
    var record: HistoryRecord
    var file: Int
    var position: UInt64
    var replyStart = 0
    var replyBytes = 0

    var sentAt: UInt64 {
      record.plannedAt &+ (record.sentAfter == HistoryRecord.never ? 0 : UInt64(record.sentAfter))
    }
    var endedAt: UInt64 { record.plannedAt &+ UInt64(record.endedAfter) }
    /// The end of a request, in its place in time.
    var isEnd: Bool { !record.isResolution && !record.isRepeated }
  }

  /// - Parameter isComplete: what no history tells of must not be in the logs, but for shops and SKUs.
  package init(_ terms: Terms, partitions count: Int, isComplete: Bool) {
    partitions = (0..<count).map { Referee(terms, partition: UInt16($0), goesByLog: true) }
    self.isComplete = isComplete
  }

  package mutating func find(_ what: String) {
    findings += 1
    if firstFindings.count < Self.findingsShown { firstFindings.append(what) }
  }

  // MARK: What it is told

  /// The next block of a partition's log.
  package mutating func take(_ block: Referee.Block, of partition: Int) {
    partitions[partition].take(block, "the log")
    if let failure = partitions[partition].takeFailure() { find("partition \(partition): \(failure)") }
  }

  /// The next record of a history.
  ///
  /// - Parameter reply: that belongs to it; nil: it has none, or it was lost with the end of the file.
  package mutating func take(
    _ record: HistoryRecord, reply: ArraySlice<UInt8>?, file: String, position: UInt64
  ) {
    records += 1
    if files.last != file { files.append(file) }
    var it = Kept(record: record, file: files.count - 1, position: position)
    if let reply {
      guard reply.withUnsafeBytes({ XXH64.hash($0) }) == record.replyHash else {
        return find("\(place(of: it)): the reply that was kept is not the one that was recorded")
      }
      (it.replyStart, it.replyBytes) = (replies.count, reply.count)
      replies += reply
    } else if record.outcome.isFinal {
      return find("\(place(of: it)): its reply was not kept")
    }
    kept.append(it)
  }

  // MARK: What it makes of it

  package mutating func judge() {
    for (place, partition) in partitions.enumerated() {
      for shop in partition.model.shops {
        if let other = shops.updateValue(place, forKey: shop) {
          find("shop \(shop) is on partitions \(other) and \(place)")
        }
      }
      for id in partition.answers.keys { note(id, of: place) }
      for id in partition.sealed.keys { note(id, of: place) }
    }
    let homes = kept.map { home(of: $0.record) }
    noteSendings(homes)
    judgeInTime(homes)
    for (index, it) in kept.enumerated() { judgeOutOfTime(it, homes[index]) }
    countUntold()
  }

  private mutating func note(_ id: RequestID, of partition: Int) {
    if let other = homes.updateValue(UInt16(partition), forKey: id) {
      find("request \(id) is in the logs of partitions \(other) and \(partition)")
    }
  }

  /// The partition that a record is about; nil: nothing tells.
  private func home(of record: HistoryRecord) -> Int? {
    guard record.command.isRead else { return homes[record.request].map(Int.init) }
    switch record.key {
    case .order(let order): return Int(order.partition) < partitions.count ? Int(order.partition) : nil
    case .shop(let shop): return shops[shop]
    }
  }

  private mutating func noteSendings(_ homes: [Int?]) {
    sentAt = partitions.map { Array(repeating: 0, count: Int($0.committed) + 1) }
    var ended: Set<RequestID> = []
    for (it, home) in zip(kept, homes) where it.isEnd {
      if !ended.insert(it.record.request).inserted { find("\(place(of: it)): it has its end already") }
      if let home, let sn = partitions[home].answers[it.record.request]?.sn {
        sentAt[home][Int(sn)] = it.sentAt
      }
    }
  }

  /// All final answers in the order of time, each with what had been answered when it was asked for.
  private mutating func judgeInTime(_ homes: [Int?]) {
    struct Moment {
      var at: UInt64
      /// Of two at one time the sending is first: nothing is known of their order.
      var isEnd: Bool
      var index: Int
    }
    var moments: [Moment] = []
    for (index, it) in kept.enumerated() where it.isEnd && it.record.outcome.isFinal {
      moments.append(Moment(at: it.sentAt, isEnd: false, index: index))
      moments.append(Moment(at: it.endedAt, isEnd: true, index: index))
    }
    moments.sort { ($0.at, $0.isEnd ? 1 : 0, $0.index) < ($1.at, $1.isEnd ? 1 : 0, $1.index) }
    var answeredBefore = [UInt64](repeating: 0, count: kept.count)
    for moment in moments {
      let it = kept[moment.index]
      guard let home = homes[moment.index] else {
        if moment.isEnd { judgeHomeless(it) }
        continue
      }
      if moment.isEnd {
        judge(it, home, answeredBefore: answeredBefore[moment.index])
      } else {
        answeredBefore[moment.index] = partitions[home].answered
      }
    }
  }

  private mutating func judgeHomeless(_ it: Kept) {
    if it.record.command.isRead {
      reads += 1
      if it.record.outcome == .done { find("\(place(of: it)): it is of no shop or order that there is") }
    } else {
      find("\(place(of: it)): it is in no log")
    }
  }

  private mutating func judge(_ it: Kept, _ home: Int, answeredBefore: UInt64) {
    guard let facts = facts(of: it) else { return }
    let asked: Referee.Asked
    switch (it.record.command, it.record.key) {
    case (.getSKU, .shop(let shop)):
      guard facts.outcome == 1 else {
        reads += 1
        unjudged += 1
        return
      }
      asked = .sku(shop: shop, sku: facts[2])
    case (.getOrder, .order(let order)): asked = .order(order)
    case (.getSKU, _), (.getOrder, _): return find("\(place(of: it)): it asks for nothing")
    default: asked = .command
    }
    if it.record.command.isRead { reads += 1 } else { answers += 1 }
    guard !Self.isSeal(facts) else {
      partitions[home].isTold(of: it.record.request, facts, by: place(of: it))
      return takeFailure(of: home)
    }
    let request = Referee.Request(id: it.record.request, asked: asked, answeredBefore: answeredBefore)
    let seen = partitions[home].isAnswered(request, facts, [], by: place(of: it))
    takeFailure(of: home)
    if it.record.command.isRead, let seen, sentAt[home][Int(seen)] > it.endedAt {
      find("\(place(of: it)): it tells of entry \(seen), which nobody had asked for yet")
    }
    if it.record.command == .place, facts.outcome == 1,
      it.record.key != .order(OrderID(high: facts.high, low: facts.low))
    {
      find("\(place(of: it)): the record names another order than its reply")
    }
  }

  /// What needs no place in time: what had no effect, what `Resolve` told, replies that came once more.
  private mutating func judgeOutOfTime(_ it: Kept, _ home: Int?) {
    let request = it.record.request
    switch it.record.outcome {
    case .unknown: if it.isEnd { unknown += 1 }
    case .notExecuted:
      guard it.isEnd, !it.record.command.isRead else { return }
      withoutEffect += 1
      guard let home else { return }
      partitions[home].isDenied(.init(id: request, asked: .command, answeredBefore: 0), by: place(of: it))
      takeFailure(of: home)
    case .done, .no:
      guard !it.isEnd, !it.record.command.isRead, let facts = facts(of: it) else { return }
      guard let home else { return judgeHomeless(it) }
      if it.record.isResolution { resolved += 1 }
      partitions[home].isTold(of: request, facts, by: place(of: it))
      takeFailure(of: home)
    }
  }

  private mutating func countUntold() {
    var told: Set<RequestID> = []
    for it in kept where !it.record.command.isRead { told.insert(it.record.request) }
    for partition in partitions.indices {
      for (id, answer) in partitions[partition].answers where !told.contains(id) {
        untold += 1
        guard isComplete, !Self.isOfSetUp(answer.kind) else { continue }
        find("partition \(partition): entry \(answer.sn) is of request \(id), of which no history tells")
      }
    }
  }

  /// No history tells of these: a load test makes its shops before it begins.
  private static func isOfSetUp(_ kind: CommandKind) -> Bool {
    switch kind {
    case .registerShopDone, .registerShopNo, .putSKUDone, .putSKUNo: true
    default: false
    }
  }

  /// A copy that came after `Resolve` had given the request up.
  private static func isSeal(_ facts: ReplyFacts) -> Bool { facts.outcome == 2 && facts.code == 20 }

  private mutating func takeFailure(of partition: Int) {
    if let failure = partitions[partition].takeFailure() { find(failure) }
  }

  /// The reply's; nil: it can't be the record's, which is noted.
  private mutating func facts(of it: Kept) -> ReplyFacts? {
    let (facts, id) = replies[it.replyStart..<it.replyStart + it.replyBytes].withUnsafeBytes {
      (ReplyFacts($0), ReplyFacts.request(in: $0))
    }
    guard let facts, let id, RequestID(high: id.high, low: id.low) == it.record.request,
      facts.outcome == UInt64(it.record.outcome.rawValue), facts.code == UInt64(it.record.code)
    else {
      find("\(place(of: it)): its reply says something else")
      return nil
    }
    return facts
  }

  private func place(of it: Kept) -> String {
    "\(files[it.file]), record \(it.position): \(it.record.command.name) \(it.record.request), "
      + it.record.outcome.name
  }
}
