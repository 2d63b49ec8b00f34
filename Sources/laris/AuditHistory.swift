import Cluster
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport
import RunHistory
import ZeroMQ

/// Asks the cluster for every answer that histories have recorded.
struct AuditHistory {
  private var audit: HistoryAudit
  private let files: Int
  private let isShared: Bool
  private let allowsUnknown: Bool

  /// Requests asked for at once.
  private static let inFlight = 2_000

  /// - Throws: a history can't be read, is damaged, or is of another cluster.
  init(
    paths: [String], cluster: ClusterOptions, status: Laris_ClusterStatus, reports: [Laris_AuditReport],
    isShared: Bool, allowsUnknown: Bool, showsProgress: Bool
  ) throws {
    files = paths.count
    self.isShared = isShared
    self.allowsUnknown = allowsUnknown
    let byPartition = Dictionary(reports.map { ($0.partition, $0) }, uniquingKeysWith: { $1 })
    audit = HistoryAudit(
      .init(
        lastEntries: status.partitions.indices.map { byPartition[UInt32($0)]?.sequenceNumber ?? 0 },
        now: Clock.wallMilliseconds(), windowMilliseconds: status.requestWindowMilliseconds))
    var options = Pipeline.Options()
    options.budgetMilliseconds = Int64(max(30, cluster.timeout) * 1_000)
    var asker = Asker(
      pipeline: try Pipeline(dispatchers: cluster.dispatchers, context: ZeroMQContext(), options: options))
    for path in paths {
      do throws(HistoryError) {
        try Self.stream(path, status.clusterID, &audit, &asker, isShared: isShared, showsProgress)
      } catch {
        throw NodeError(error.kind == .damaged ? .no : .usage, "\(error)")
      }
    }
    for question in audit.takeOpen() { asker.ask(question, &audit) }
    asker.finish(&audit)
    if showsProgress { Terminal.print("\r\u{1B}[K", terminator: "") }
    audit.finish(ordersNow: isShared ? nil : reports.reduce(0) { $0 + $1.orders })
  }

  private static func stream(
    _ path: String, _ clusterID: String, _ audit: inout HistoryAudit, _ asker: inout Asker, isShared: Bool,
    _ showsProgress: Bool
  ) throws(HistoryError) {
    let reader = try HistoryReader(path: path)
    guard reader.header.cluster == clusterID else {
      throw HistoryError(
        .noHistory, path, "it is of cluster \(reader.header.cluster), and this one is \(clusterID)")
    }
    audit.begin(reader.header)
    while let record = try reader.next() {
      if let question = audit.take(record, file: path, position: reader.position) {
        asker.ask(question, &audit)
      }
      if showsProgress, reader.position % 50_000 == 0 {
        Terminal.print(
          "\r\u{1B}[Kasked for \(Terminal.grouped(reader.position)) answers of \(path)", terminator: "")
      }
    }
    if reader.end == nil { audit.cutOff(file: path, reader.cut ?? "it has no end", isShared: isShared) }
  }

  /// Questions under way.
  private struct Asker: ~Copyable {
    private var pipeline: Pipeline
    private var asked: [RequestID: HistoryAudit.Question] = [:]
    private var ids = IDs()

    init(pipeline: consuming Pipeline) { self.pipeline = pipeline }

    mutating func ask(_ question: HistoryAudit.Question, _ audit: inout HistoryAudit) {
      let id = ids.next()
      asked[id] = question
      pipeline.submit(
        id,
        FateRequest.bytes(
          id: id, channel: "audit", of: question.record.request, at: question.record.key, sealing: false))
      if asked.count >= AuditHistory.inFlight { turn(below: AuditHistory.inFlight / 2, &audit) }
    }

    mutating func finish(_ audit: inout HistoryAudit) { turn(below: 0, &audit) }

    private mutating func turn(below limit: Int, _ audit: inout HistoryAudit) {
      while asked.count > limit {
        for finished in pipeline.poll(milliseconds: 20) {
          guard let question = asked.removeValue(forKey: finished.id) else { continue }
          guard let reply = finished.reply else {
            audit.told(question, nil)
            continue
          }
          reply.withUnsafeBytes { audit.told(question, $0) }
        }
      }
    }
  }

  /// Request ids of one run of this command.
  private struct IDs {
    private let first = RequestID.fresh()
    private var number: UInt64 = 0

    mutating func next() -> RequestID {
      number += 1
      return RequestID(high: first.high, low: 2 << 62 | (first.low &+ number) & (1 << 62 - 1))
    }
  }

  // MARK: What came out

  private var findings: [HistoryAudit.Finding] {
    audit.results.filter { !(allowsUnknown && $0.kind == .unresolved) }
  }

  var isClean: Bool { findings.isEmpty }

  var text: String {
    var lines = [
      "\(files) \(files == 1 ? "history" : "histories"), \(Terminal.grouped(audit.records)) records: "
        + "\(Terminal.grouped(audit.same)) answers are the same, "
        + "\(Terminal.grouped(audit.withoutEffect)) requests had no effect, "
        + "\(Terminal.grouped(audit.orders)) orders placed, "
        + "\(Terminal.grouped(audit.resolved)) resolved, \(Terminal.grouped(audit.reads)) reads"
    ]
    if audit.tooOld > 0 {
      lines.append(
        "SKIPPED \(Terminal.grouped(audit.tooOld)) records: their request ids are older than what a cluster keeps"
      )
    }
    if isShared { lines.append("SKIPPED the count of orders: --shared") }
    for finding in audit.results {
      let isAllowed = allowsUnknown && finding.kind == .unresolved
      lines.append(
        "\(isAllowed ? "allowed" : "BROKEN") \(Terminal.grouped(finding.count)) × \(finding.kind.rawValue); "
          + "first: \(finding.first)")
    }
    return lines.joined(separator: "\n")
  }

  private struct Object: Encodable {
    struct Finding: Encodable {
      var kind: String
      var count: UInt64
      var first: String
    }
    var clean: Bool
    var records, same, withoutEffect, orders, resolved, reads, tooOld: UInt64
    var findings: [Finding]
  }

  var json: String {
    get throws {
      let object = Object(
        clean: isClean, records: audit.records, same: audit.same, withoutEffect: audit.withoutEffect,
        orders: audit.orders, resolved: audit.resolved, reads: audit.reads, tooOld: audit.tooOld,
        findings: findings.map { .init(kind: "\($0.kind)", count: $0.count, first: $0.first) })
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return String(decoding: try encoder.encode(object), as: UTF8.self)
    }
  }
}
