import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Audit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks every partition's books, row against row, and that its replicas are equal.",
    discussion: """
      Each partition writes a checkpoint and then checks its tables while it goes on serving: accounts
      against transfers, escrow against orders, payments against orders, stock against orders.

      All replicas write theirs after the same entry, and say what their tables hold: for each partition one
      line says which members are equal, which differ and in which tables, and which were not reached.

      With --history also what clients were answered: every final answer that laris-loadtest run --history
      recorded is asked for by its request id and compared byte for byte; requests that were recorded as
      not executed must have had no effect; and the cluster's count of orders must be what the histories
      tell, unless --shared says that others placed orders too.

      Exit code 0: all is as it must be; 1: not, and the first row that shows it is printed. A replica that
      differs or was not reached is such a finding; one that a group lacks is not: laris status shows it.

        laris audit
        laris audit --history sale.history.lz4
        laris audit --json | jq '.partitions[].checks[] | select(.violations != "0")'
      """)

  @OptionGroup var cluster: ClusterOptions

  @Flag(help: "Print JSON: {clean, equal, accounts, partitions: [AuditReport], history}.")
  var json = false

  @Option(help: "How long one partition's audit may take, in seconds.")
  var auditTimeout: Double = 600

  @Option(help: "What a load test recorded, to be compared with the cluster. May be given again.")
  var history: [String] = []

  @Flag(help: "With --history: others placed orders too, so don't count them.")
  var shared = false

  @Flag(help: "With --history: a request whose fate nobody settled is no finding.")
  var allowUnknown = false

  func validate() throws {
    guard auditTimeout >= 1, auditTimeout <= 600 else {
      throw ValidationError("--audit-timeout must be 1 to 600 seconds")
    }
  }

  func run() throws {
    let client = try cluster.client()
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    let status = try cluster.reply(to: request, by: client).status
    let auditor = try cluster.client(deadlineSeconds: auditTimeout)
    if !json, Terminal.isInteractive {
      Terminal.print("\r\u{1B}[Kauditing \(status.partitions.count) partitions", terminator: "")
    }
    // All at once: each is read by a thread of its own, beside the one that serves.
    let requests = status.partitions.map { partition in
      var request = Laris_Request()
      request.deadlineMilliseconds = UInt32(auditTimeout * 1_000)
      request.auditPartition.partition = partition.partition
      return request
    }
    let reports = try auditor.call(requests).map { try cluster.reply(of: $0).audit }
    if !json, Terminal.isInteractive { Terminal.print("\r\u{1B}[K", terminator: "") }
    var accounts: [String: Int128] = [:]
    for report in reports {
      for row in report.accounts { accounts[row.kind, default: 0] += Int128(row.balance) }
    }
    var answers: AuditHistory?
    if !history.isEmpty {
      answers = try AuditHistory(
        paths: history, cluster: cluster, status: status, reports: reports, isShared: shared,
        allowsUnknown: allowUnknown, showsProgress: !json && Terminal.isInteractive)
    }
    let booksBalance = reports.allSatisfy { report in
      !report.checks.isEmpty && report.checks.allSatisfy { $0.violations == 0 }
    }
    let replicas = ReplicaComparison(reports, wanted: Int(status.replicas))
    let isClean = booksBalance && replicas.isEqual && answers?.isClean ?? true
    Terminal.print(
      try json
        ? jsonText(reports, accounts, replicas, answers, isClean)
        : text(reports, accounts, status, replicas, answers, isClean))
    if !booksBalance { throw NodeError(.no, "the audit found a broken rule") }
    if !replicas.isEqual { throw NodeError(.no, "the audit found replicas that are not equal, or not there") }
    if !isClean { throw NodeError(.no, "the audit found answers that were not kept") }
  }

  private func text(
    _ reports: [Laris_AuditReport], _ accounts: [String: Int128], _ status: Laris_ClusterStatus,
    _ replicas: ReplicaComparison, _ answers: AuditHistory?, _ isClean: Bool
  ) -> String {
    var names: [String] = []
    for check in reports.flatMap(\.checks) where !names.contains(check.name) { names.append(check.name) }
    let rows = names.map { name in
      let checks = reports.flatMap(\.checks).filter { $0.name == name }
      let broken = checks.reduce(0) { $0 + $1.violations }
      return [
        broken == 0 ? "ok" : "BROKEN", name, Terminal.grouped(checks.reduce(0) { $0 + $1.rows }),
        Terminal.grouped(broken),
      ]
    }
    var text = Terminal.table(["", "RULE", "ROWS", "BROKEN BY"], rows, right: [2, 3]) + "\n\n"
    func sum(_ path: KeyPath<Laris_AuditReport, UInt64>) -> String {
      Terminal.grouped(reports.reduce(0) { $0 + $1[keyPath: path] })
    }
    text +=
      "\(sum(\.shops)) shops, \(sum(\.skus)) SKUs, \(sum(\.orders)) orders, \(sum(\.payments)) payments, "
    text += "\(sum(\.transfers)) transfers over \(reports.count) partitions\n"
    text += "accounts (\(status.currency), minor units): "
    text += accounts.sorted { $0.key < $1.key }.map { "\($0.key) \(Terminal.grouped($0.value))" }
      .joined(separator: ", ")
    text += "\n"
    for report in reports {
      for check in report.checks where check.violations > 0 {
        text += "partition \(report.partition) at entry \(report.sequenceNumber): \(check.name): "
        text += "\(check.firstViolation)\n"
      }
    }
    text += replicas.lines.joined(separator: "\n") + "\n"
    if let answers { text += answers.text + "\n" }
    var findings = ["the books balance"]
    if status.replicas > 1 { findings.append("replicas are equal") }
    if answers != nil { findings.append("every answer is kept") }
    let last = findings.removeLast()
    let balanced = findings.isEmpty ? last : "\(findings.joined(separator: ", ")), and \(last)"
    text += isClean ? "clean: \(balanced)" : "NOT CLEAN"
    return text
  }

  private func jsonText(
    _ reports: [Laris_AuditReport], _ accounts: [String: Int128], _ replicas: ReplicaComparison,
    _ answers: AuditHistory?, _ isClean: Bool
  ) throws -> String {
    let partitions = try reports.map { try $0.jsonString() }.joined(separator: ",")
    let sums = accounts.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }.joined(
      separator: ",")
    let history = try answers.map { ",\"history\":\(try $0.json)" } ?? ""
    return
      "{\"clean\":\(isClean),\"equal\":\(replicas.isEqual),\"accounts\":{\(sums)},\"partitions\":[\(partitions)]\(history)}"
  }
}
