import Bytes
import Cluster
import Foundation
import LarisProtocol
import NodeSupport
import PartitionStore
import SwiftProtobuf
import Synchronization
import Wire
import WorkerCore

/// Audits under way, each on a thread of its own with a connection that only reads.
final class Audits: Sendable {
  private struct State {
    var running = 0
    var answers: [(dispatcher: Int, frame: [UInt8])] = []
  }
  private let state = Mutex(State())

  var isRunning: Bool { state.withLock { $0.running > 0 || !$0.answers.isEmpty } }

  /// Checks the file at `database`, which holds all that the asker has seen.
  func run(_ ticket: PartitionCore.AuditTicket, database: String, epoch: Epoch) {
    state.withLock { $0.running += 1 }
    _ = NodeThread("audit") { [self] in
      var reply = Laris_Reply()
      reply.requestID = bytes(of: ticket.request)
      do {
        reply.audit = Self.report(try PartitionAudit(path: database), ticket, epoch)
        reply.outcome = .done
      } catch {
        reply.outcome = .notExecuted
        reply.code = .noPrimary
        reply.message = "the audit failed: \(error)"
      }
      let frame = Self.frame(ticket, reply)
      state.withLock {
        $0.running -= 1
        $0.answers.append((ticket.dispatcher, frame))
      }
    }
  }

  /// Frames to send, and to whom.
  func takeAnswers() -> [(dispatcher: Int, frame: [UInt8])] {
    state.withLock { state in
      defer { state.answers = [] }
      return state.answers
    }
  }

  private func bytes(of id: RequestID) -> Data { Data(id.bytes) }

  private static func frame(_ ticket: PartitionCore.AuditTicket, _ reply: Laris_Reply) -> [UInt8] {
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

  private static func report(_ audit: PartitionAudit, _ ticket: PartitionCore.AuditTicket, _ epoch: Epoch)
    -> Laris_AuditReport
  {
    var report = Laris_AuditReport()
    report.partition = UInt32(ticket.header.partition.rawValue)
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
    return report
  }
}
