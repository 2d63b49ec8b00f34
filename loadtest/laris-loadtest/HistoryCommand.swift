import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import RunHistory

struct HistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history",
    abstract: "Prints what run --history recorded, as JSON lines.",
    discussion: """
      The first line is of the run, then one for each request: planned_at in microseconds since the Unix
      epoch, sent_after_us and ended_after_us from then, the command, its outcome and code, the order or
      shop that it went to, how often it was sent, a hash of the reply. "told_by": "resolve" stands for
      what Resolve told of a request afterwards.

        laris-loadtest history sale.history.lz4 | jq 'select(.outcome == "unknown")'

      Exit code 1: the history is damaged or was cut off; what was sound before is printed.
      """)

  @Argument(help: "A history.") var path: String

  func run() throws {
    let reader = try HistoryReader(path: path)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    Output.line(String(decoding: try encoder.encode(reader.header), as: UTF8.self))
    while let record = try reader.next() {
      Output.line(String(decoding: try encoder.encode(Line(record, reader.position)), as: UTF8.self))
    }
    if let end = reader.end { return Output.line(String(decoding: try encoder.encode(end), as: UTF8.self)) }
    Output.error("laris-loadtest: \(path): \(reader.cut ?? "it has no end")")
    throw ExitCode(1)
  }

  private struct Line: Encodable {
    var record: UInt64
    var plannedAt: UInt64
    var sentAfterUs: UInt32?
    var endedAfterUs: UInt32
    var command, outcome: String
    var code: String?
    var order, shop: String?
    var request: String
    var attempts: UInt16
    var connection: UInt8
    var reply: String?
    var toldBy: String?

    enum CodingKeys: String, CodingKey {
      case record, command, outcome, code, order, shop, request, attempts, connection, reply
      case plannedAt = "planned_at"
      case sentAfterUs = "sent_after_us"
      case endedAfterUs = "ended_after_us"
      case toldBy = "told_by"
    }

    init(_ record: HistoryRecord, _ position: UInt64) {
      self.record = position
      plannedAt = record.plannedAt
      sentAfterUs = record.sentAfter == HistoryRecord.never ? nil : record.sentAfter
      endedAfterUs = record.endedAfter
      command = record.command.name
      outcome = record.outcome.name
      if record.code != 0 {
        code = Laris_Code(rawValue: Int(record.code))?.contractName ?? "\(record.code)"
      }
      switch record.key {
      case .order(let id): order = id.description
      case .shop(let id): shop = "\(id)"
      }
      request = record.request.description
      attempts = record.attempts
      connection = record.connection
      if record.replyHash != 0 { reply = String(record.replyHash, radix: 16) }
      if record.isResolution { toldBy = "resolve" } else if record.isRepeated { toldBy = "another reply" }
    }
  }
}
