import Bytes
import Cluster
import Marketplace
import Wire

/// Whether every answer that clients recorded is in the cluster, once, and the same.
///
/// Decides only. Feed it all records, ask the cluster what it wants asked, tell it the answers, then
/// ``finish(ordersNow:)``. Memory: one bit for each entry of a partition's log around placed orders, and
/// the requests whose fate is open.
package struct HistoryAudit {
  /// What can be wrong.
  package enum Kind: String, CaseIterable, Sendable {
    case missing = "an answer was recorded that the cluster does not have"
    case different = "an answer was recorded that the cluster has otherwise"
    case executed = "a request was recorded as not executed that the cluster executed"
    case orderTwice = "an order was recorded twice"
    case impossible = "an order was recorded that can't be in this cluster"
    case unresolved = "a request whose fate nobody settled"
    case unasked = "the cluster could not be asked"
    case cutOff = "the history has no end"
    case unexplained = "the cluster has orders that no history tells of"
    case lost = "the cluster lacks orders that histories tell of"
  }

  package struct Finding: Equatable, Sendable {
    package let kind: Kind
    package var count: UInt64
    /// Where it was seen first: file, position, ids.
    package let first: String
  }

  /// A question to the cluster, and the record that it is about.
  package struct Question: Sendable {
    package let record: HistoryRecord
    package let place: String
  }

  package struct Limits: Sendable {
    /// Of each partition, its log's last entry.
    package var lastEntries: [UInt64]
    /// Ids from before are not asked for: the cluster has forgotten them. Milliseconds.
    package var oldestID: Int64
    package init(lastEntries: [UInt64], oldestID: Int64) {
      self.lastEntries = lastEntries
      self.oldestID = oldestID
    }

    /// - Parameters:
    ///   - windowMilliseconds: how long the cluster remembers request ids; 0: it is of a version that does
    ///     not tell, and remembers them for 24 hours.
    package init(lastEntries: [UInt64], now: Int64, windowMilliseconds: UInt64) {
      let window = windowMilliseconds == 0 ? 24 * 3_600_000 : Int64(clamping: windowMilliseconds)
      // What is close to it may go while the audit runs.
      self.init(lastEntries: lastEntries, oldestID: now - (window - min(300_000, window / 10)))
    }
  }

  package private(set) var records: UInt64 = 0
  package private(set) var reads: UInt64 = 0
  /// Answers that the cluster has, byte for byte.
  package private(set) var same: UInt64 = 0
  /// Requests that were not executed, and that the cluster does not know or has sealed.
  package private(set) var withoutEffect: UInt64 = 0
  /// Not asked for, because their ids are older than what clusters keep.
  package private(set) var tooOld: UInt64 = 0
  /// Unknown at first; a resolution followed.
  package private(set) var resolved: UInt64 = 0
  /// Placed orders that histories tell of.
  package private(set) var orders: UInt64 = 0
  private var findings: [Kind: Finding] = [:]
  private var placed = OrderSet()
  private var open: [RequestID: Question] = [:]
  private let limits: Limits
  private var ordersBefore: UInt64?

  package init(_ limits: Limits) { self.limits = limits }

  /// Worst first.
  package var results: [Finding] { Kind.allCases.compactMap { findings[$0] } }

  package mutating func begin(_ header: HistoryHeader) {
    ordersBefore = min(ordersBefore ?? .max, header.ordersBefore)
  }

  /// Takes the next record.
  ///
  /// - Returns: what to ask the cluster about it, if anything.
  package mutating func take(_ record: HistoryRecord, file: String, position: UInt64) -> Question? {
    records += 1
    guard !record.command.isRead else {
      reads += 1
      return nil
    }
    let place =
      "\(file), record \(position): \(record.command.name) \(record.request), \(record.outcome.name)"
    let question = Question(record: record, place: place)
    if let order = record.placed, !record.isRepeated { count(order, place) }
    if record.isResolution, record.outcome.isFinal, open.removeValue(forKey: record.request) != nil {
      resolved += 1
    }
    if record.outcome == .unknown {
      // The end asks for it, unless a resolution follows.
      if !record.isResolution { open[record.request] = question }
      return nil
    }
    guard record.request.milliseconds >= limits.oldestID else {
      tooOld += 1
      return nil
    }
    return question
  }

  /// Of a history without an end; `isShared`: others wrote too, so orders are not counted anyway.
  package mutating func cutOff(file: String, _ what: String, isShared: Bool) {
    guard !isShared else { return }
    find(.cutOff, "\(file): \(what); without --shared its orders can't be counted")
  }

  /// What nobody settled: ask for each after the last record.
  package mutating func takeOpen() -> [Question] {
    let questions = open.values.sorted { $0.record.request < $1.record.request }
    open = [:]
    return questions.filter { question in
      find(.unresolved, question.place)
      return question.record.request.milliseconds >= limits.oldestID
    }
  }

  /// - Parameter reply: the cluster's to `GetRequest`; nil: there was none.
  package mutating func told(_ question: Question, _ reply: UnsafeRawBufferPointer?) {
    guard let reply, let peek = try? ReplyPeek(reply) else {
      return find(.unasked, "\(question.place): no answer that can be read")
    }
    switch (peek.outcome, peek.code) {
    case (.no, Self.unknownRequest): toldNothing(question)
    case (.done, _):
      guard let told = peek.told.map({ UnsafeRawBufferPointer(rebasing: reply[$0]) }),
        let inner = try? ReplyPeek(told)
      else { return find(.unasked, "\(question.place): the answer tells no reply") }
      toldReply(question, inner, hash: XXH64.hash(told))
    case (_, Self.requestIDTooOld): tooOld += 1
    default:
      find(.unasked, "\(question.place): the answer is \(peek.outcome.name), code \(peek.code)")
    }
  }

  private mutating func toldNothing(_ question: Question) {
    switch question.record.outcome {
    case .done, .no: find(.missing, question.place)
    case .notExecuted: withoutEffect += 1
    // It is counted as unresolved already.
    case .unknown: break
    }
  }

  private mutating func toldReply(_ question: Question, _ inner: ReplyPeek, hash: UInt64) {
    let record = question.record
    switch record.outcome {
    case .done, .no:
      guard inner.id == record.request, hash == record.replyHash else {
        return find(
          .different,
          "\(question.place), code \(record.code), reply hash \(hexadecimal(record.replyHash)); the cluster has "
            + "\(inner.outcome.name), code \(inner.code), \(hexadecimal(hash))")
      }
      same += 1
    case .notExecuted:
      if inner.code == Self.requestSealed {
        withoutEffect += 1
      } else {
        find(.executed, "\(question.place); the cluster has \(inner.outcome.name), code \(inner.code)")
      }
    case .unknown:
      // Executed after all: then its order is explained.
      if record.command == .place, inner.outcome == .done, let order = inner.order {
        count(order, question.place)
      }
    }
  }

  /// - Parameter ordersNow: that the cluster has placed, over all partitions; nil: others wrote too.
  package mutating func finish(ordersNow: UInt64?) {
    guard let ordersNow, let ordersBefore, findings[.cutOff] == nil else { return }
    let told = ordersBefore + orders
    let sum =
      "\(ordersBefore) before the run + \(orders) recorded as placed, and the cluster has \(ordersNow)"
    if ordersNow > told { find(.unexplained, count: ordersNow - told, sum) }
    if ordersNow < told { find(.lost, count: told - ordersNow, sum) }
  }

  private mutating func count(_ order: OrderID, _ place: String) {
    let partition = Int(order.partition)
    guard order.isWellFormed, partition < limits.lastEntries.count, order.sequenceNumber > 0,
      order.sequenceNumber <= limits.lastEntries[partition]
    else { return find(.impossible, "\(place): order \(order)") }
    if placed.insert(order) {
      orders += 1
    } else {
      find(.orderTwice, "\(place): order \(order)")
    }
  }

  private mutating func find(_ kind: Kind, count: UInt64 = 1, _ place: String) {
    findings[kind, default: Finding(kind: kind, count: 0, first: place)].count += count
  }

  private static let requestSealed = UInt32(Reason.requestSealed.rawValue)
  private static let unknownRequest = UInt32(Reason.unknownRequest.rawValue)
  private static let requestIDTooOld = UInt32(DeliveryCode.requestIDTooOld.rawValue)
}

/// Orders by partition and sequence number: a bit each, in pages of 8 KiB.
private struct OrderSet {
  private var pages: [UInt64: [UInt64]] = [:]

  /// - Returns: false where it was there.
  mutating func insert(_ order: OrderID) -> Bool {
    let page = UInt64(order.partition) << 32 | order.sequenceNumber >> 16
    let word = Int(order.sequenceNumber >> 6 & 0x3FF)
    let bit = UInt64(1) << (order.sequenceNumber & 63)
    let before = pages[page, default: Array(repeating: 0, count: 1_024)][word]
    pages[page, default: Array(repeating: 0, count: 1_024)][word] |= bit
    return before & bit == 0
  }
}
