import Bytes
import Cluster
import DispatcherCore
import Foundation
import LarisProtocol
import Wire

/// What operators want of the configuration store.
enum OperatorOrder: Sendable {
  /// A page of it; nil: the latest.
  case history(PartitionID, before: Epoch?)
  case ask(GroupProposal, PartitionID, ifEpoch: Epoch)
  /// What is to become of a worker from now on.
  case plan(Plans.Worker?, for: String)
  case restart(GroupRestart)
  case move(Move, insteadOf: Move?)
  /// Done too where it is not planned any more.
  case takeBack(Move)
}

/// Rule 12's override: a group of which no member is left goes on with what `node` has.
struct GroupRestart: Sendable {
  /// As it was seen last.
  var present: GroupRecord
  var node: String
  var incarnation: Incarnation
  /// The last entry that `node` has, as far as it is known.
  var last: SequenceNumber
  /// What the members that are gone had said of the commit point.
  var committed: SequenceNumber
  /// The operator has read what may be lost.
  var isAccepted: Bool
  /// Who carries it out: ``NodeRecord/life``.
  var by: String

  func change(committed: SequenceNumber, at now: Int64) -> GroupChange {
    var record = present
    record.epoch = present.epoch.next
    record.primary = node
    record.incarnation = incarnation
    record.secondaries = []
    record.proposal = nil
    return GroupChange(
      record, why: "an operator restarts it from \(node), which has entry \(last): \(loss(committed))",
      by: by,
      commitPoint: committed, at: now)
  }

  /// A phrase.
  func loss(_ committed: SequenceNumber) -> String {
    committed > last
      ? "entries \(last.next) to \(committed) and maybe later ones are lost"
      : "entries after it may be lost"
  }
}

enum OperatorOutcome: Sendable {
  case done
  /// Done, and this is what it costs: a sentence.
  case doneAt(String)
  /// A sentence.
  case no(String)
  case history([GroupChange])
  /// Somebody else was there first; nothing was done.
  case overtaken
  /// The store was not asked.
  case notAsked
  case unknown
}

/// Operators' requests that wait for the configuration store, and their replies.
struct Operators {
  private var waiting: [Int: DispatcherCore.OperatorRequest] = [:]
  private var next = 0

  mutating func wait(_ request: DispatcherCore.OperatorRequest) -> Int {
    next += 1
    waiting[next] = request
    return next
  }

  mutating func take(_ ticket: Int) -> DispatcherCore.OperatorRequest? {
    waiting.removeValue(forKey: ticket)
  }

  static func reply(_ outcome: OperatorOutcome, to id: RequestID) -> (Outcome, [UInt8]) {
    switch outcome {
    case .done: return done(id)
    case .doneAt(let cost): return done(id, saying: cost)
    case .history(let changes):
      var reply = Laris_Reply()
      reply.outcome = .done
      reply.groupHistory.changes = changes.map(\.message)
      reply.groupHistory.partition = changes.first.map { UInt32($0.record.partition.rawValue) } ?? 0
      return (.done, encoded(reply, id))
    case .no(let why): return no(why, to: id)
    case .overtaken: return refusal(.busy, id, detail: "The group changed meanwhile; nothing was done.")
    case .notAsked: return refusal(.configurationAway, id)
    case .unknown: return refusal(.noAnswerInTime, id)
    }
  }

  private static func done(_ id: RequestID, saying message: String = "") -> (Outcome, [UInt8]) {
    var reply = Laris_Reply()
    reply.outcome = .done
    reply.noted = .init()
    reply.message = message
    return (.done, encoded(reply, id))
  }

  /// - Parameter why: a sentence.
  static func no(_ why: String, to id: RequestID) -> (Outcome, [UInt8]) {
    var reply = Laris_Reply()
    reply.outcome = .no
    reply.code = .invalidArgument
    reply.message = why
    reply.messageIndonesian = "Perintah ini tidak dapat dijalankan sekarang."
    reply.next = "Look at laris status, then correct the command."
    return (.no, encoded(reply, id))
  }

  private static func refusal(
    _ code: DeliveryCode, _ id: RequestID, detail: String? = nil
  ) -> (Outcome, [UInt8]) {
    var writer = ByteWriter(capacity: 256)
    ReplyEncoder.write(id: id, code, detail: detail, into: &writer)
    return (code.outcome, Array(writer.bytes))
  }

  private static func encoded(_ reply: Laris_Reply, _ id: RequestID) -> [UInt8] {
    var reply = reply
    reply.requestID = Data(id.bytes)
    // Of our own making: it can always be encoded.
    return (try? reply.serializedBytes()) ?? []
  }
}

extension GroupChange {
  fileprivate var message: Laris_GroupChange {
    var row = Laris_GroupChange()
    row.epoch = record.epoch.rawValue
    row.primary = record.primary ?? ""
    row.incarnation = record.incarnation.rawValue
    row.secondaries = record.secondaries
    row.asked = record.proposal.map { "\($0)" } ?? ""
    row.at = at
    row.by = by
    row.why = why
    row.committed = commitPoint.rawValue
    return row
  }
}
