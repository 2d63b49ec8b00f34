import Bytes
import Cluster
import DurablePartition
import Foundation
import LarisProtocol
import Logging
import PartitionStore
import Replication
import SwiftProtobuf
import Wire
import WorkerCore

/// The audits of one partition: those that this replica was asked for as the primary, and its part in those of
/// another. Its thread's only.
///
/// A primary checks its tables row against row, and compares them with all members' at one entry (rule 15). Each
/// writes a checkpoint of exactly that entry, goes on serving, and reads it by a thread of its own.
struct Audits {
  typealias Send = (_ message: AuditMessage, _ node: String) -> Void

  /// Where one of them was at a later entry already, or the group has changed, it is done anew.
  private static let roundsMax = 4

  private let setup: DurablePartition.Setup
  private let logger: Logger
  /// Not begun yet.
  private var waiting: [PartitionCore.AuditTicket] = []
  private var current: Current?
  private var stand: AuditStand

  private struct Current {
    var round: AuditRound
    let tickets: [PartitionCore.AuditTicket]
    /// How many rounds there were, with this one.
    let rounds: Int
    var reading: BackgroundReading<PartitionAudit>?
  }

  init(_ setup: DurablePartition.Setup, logger: Logger) {
    self.setup = setup
    self.logger = logger
    stand = AuditStand(setup, logger: logger)
  }

  /// Something is to be done soon.
  var isBusy: Bool { !waiting.isEmpty || current != nil || stand.isBusy }

  /// No checkpoint may be begun but by an audit.
  var holdsCheckpoints: Bool {
    if let current, current.reading.map({ !$0.isBegun }) ?? true { return true }
    return stand.holdsCheckpoints
  }

  mutating func add(_ ticket: PartitionCore.AuditTicket) { waiting.append(ticket) }

  /// This is not the primary any more: who asked asks the next one.
  mutating func forget() {
    waiting = []
    current = nil
  }

  /// A message of another replica.
  mutating func hear(
    _ decoded: AuditMessage.Decoded, _ durable: inout DurablePartition, now: Int64, _ send: Send
  ) {
    let node = decoded.head.node
    switch decoded.message {
    case .holds, .told: current?.round.hear(decoded.message, from: node, now: now)
    case .hold, .compare:
      guard durable.replica.role == .secondary, node == durable.replica.configuration?.primary else { return }
      if let answer = stand.hear(decoded.message, from: node, &durable, now: now) { send(answer, node) }
    }
  }

  /// Goes on with what is under way.
  ///
  /// - Returns: frames of answers, and to which dispatchers.
  mutating func turn(
    _ durable: inout DurablePartition, now: Int64, _ send: Send
  ) -> [(dispatcher: Int, frame: [UInt8])] {
    if let said = stand.turn(&durable, now: now) { send(said.message, said.node) }
    guard current != nil || !waiting.isEmpty, durable.replica.role == .primary,
      let group = durable.replica.configuration
    else { return [] }
    if current == nil {
      current = begin(waiting, among: group.secondaries, round: 1, now: now)
      waiting = []
    }
    if current!.round.members.map(\.node) != group.secondaries, current!.rounds < Self.roundsMax {
      current = begin(current!.tickets, among: group.secondaries, round: current!.rounds + 1, now: now)
    }
    if current!.round.isGathered, !durable.isCheckpointing, !durable.needsRebuild {
      // What is applied was sent, and nobody knows it to be committed yet who has not got this message.
      if durable.isDirty { durable.freeze() }
      current!.round.stop(at: durable.core.applied, now: now)
    } else if current!.reading == nil, let sn = current!.round.at, durable.checkpointed >= sn,
      !durable.isCheckpointing
    {
      current!.reading = read()
    }
    for ask in current!.round.asks(now: now) { send(ask.message, ask.node) }
    guard current!.round.isOver, let result = current!.reading?.result else { return [] }
    if current!.round.isMissed, current!.rounds < Self.roundsMax {
      current = begin(current!.tickets, among: group.secondaries, round: current!.rounds + 1, now: now)
      return []
    }
    defer { current = nil }
    let reply = reply(result, current!.round, durable.replica.epoch)
    return current!.tickets.map { ($0.dispatcher, Self.frame($0, reply)) }
  }

  private func begin(
    _ tickets: [PartitionCore.AuditTicket], among members: [String], round: Int, now: Int64
  ) -> Current {
    Current(
      round: AuditRound(number: .random(in: 1...UInt64.max), members: members, now: now), tickets: tickets,
      rounds: round)
  }

  private func read() -> BackgroundReading<PartitionAudit> {
    let (path, window, files) = (setup.databasePath, setup.windowMilliseconds, setup.files)
    return BackgroundReading("audit") {
      try PartitionAudit(path: path, windowMilliseconds: window, files: files, began: $0, mayGoOn: $1)
    }
  }

  // MARK: What came out

  /// But for the request's id.
  private func reply(
    _ result: Result<PartitionAudit, any Error>, _ round: AuditRound, _ epoch: Epoch
  ) -> Laris_Reply {
    var reply = Laris_Reply()
    switch result {
    case .success(let audit):
      reply.audit = report(audit, round, epoch)
      reply.outcome = .done
    case .failure(let error):
      reply.outcome = .notExecuted
      reply.code = .noPrimary
      reply.message = "the audit failed: \(error)"
    }
    return reply
  }

  private static func frame(_ ticket: PartitionCore.AuditTicket, _ reply: Laris_Reply) -> [UInt8] {
    var reply = reply
    reply.requestID = Data(ticket.request.bytes)
    var writer = ByteWriter(capacity: 4096)
    ticket.header.write(.answers, into: &writer)
    let outcome = Outcome(rawValue: UInt8(truncatingIfNeeded: reply.outcome.rawValue)) ?? .unknown
    let at = AnswerItem.beginWrite(index: ticket.index, outcome: outcome, into: &writer)
    // A message of ours, with no required fields, always serializes.
    let bytes: [UInt8] = (try? reply.serializedBytes()) ?? []
    writer.append(bytes)
    AnswerItem.endWrite(at: at, into: &writer)
    BatchHeader.setCount(1, in: &writer)
    return Array(writer.bytes)
  }

  private func report(_ audit: PartitionAudit, _ round: AuditRound, _ epoch: Epoch) -> Laris_AuditReport {
    var report = Laris_AuditReport()
    report.partition = UInt32(setup.partition.rawValue)
    report.epoch = epoch.rawValue
    report.sequenceNumber = audit.state.applied.rawValue
    report.shops = audit.shops
    report.skus = audit.skus
    report.orders = audit.orders
    report.payments = audit.payments
    report.transfers = audit.transfers
    report.checks = audit.checks.map { check in
      var row = Laris_AuditCheck()
      row.name = check.name
      row.rows = check.rows
      row.violations = check.violations
      row.firstViolation = check.firstViolation
      return row
    }
    report.accounts = audit.accounts.map { account in
      var row = Laris_AccountTotal()
      row.kind = account.kind
      row.balance = account.balance
      return row
    }
    report.replicas = [Self.replica(setup.node, .found(audit.digest), "", audit.digest)]
    report.replicas += round.members.map { Self.replica($0.node, $0.told, $0.failure, audit.digest) }
    return report
  }

  private static func replica(
    _ node: String, _ told: AuditMessage.Told?, _ failure: String, _ primary: TablesDigest
  ) -> Laris_ReplicaReport {
    var row = Laris_ReplicaReport()
    row.node = node
    switch told {
    case .found(let digest):
      row.sequenceNumber = digest.applied.rawValue
      row.appliedDigest = digest.appliedDigest
      row.tables = zip(TablesDigest.names, digest.tables).map { name, table in
        var row = Laris_TableDigest()
        row.name = name
        row.rows = table.rows
        row.digest = table.digest
        return row
      }
      row.differences = digest.differences(from: primary)
    case .failed: row.failure = "its tables could not be read; its log says why"
    case .missed: row.failure = "it was at a later entry each time"
    case .working, nil: row.failure = failure.isEmpty ? "it has not said anything" : failure
    }
    return row
  }
}
