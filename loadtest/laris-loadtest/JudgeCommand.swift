import ArgumentParser
import Cluster
import Foundation
import Judge
import Marketplace
import NodeSupport
import RunHistory

struct JudgeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "judge",
    abstract: "Judges recorded answers by the workers' logs, with the referee of laris-sim.",
    discussion: """
      Asks no cluster: it reads what run --history --replies recorded and the workers' data folders, plays all
      logs by a model of the marketplace that shares no code with the cores, and holds every answer, reads too,
      against it: that it is of a command in the log, once, equal in every number, and in an order that the
      times of sending and answering allow.

      Logs must go back to a partition's first entry: run the workers with --log-keep-seconds and --log-keep-mib
      so high that nothing goes. Without that no history is read. Give all workers' folders: a log may begin late,
      where another one has what is before it. It reads partitions/NNNN, and partitions/NNNN.* of one that was set
      aside, as far as it is sound. Stop the workers first, or let them rest.

        laris-loadtest judge --history sale.history.lz4 --log laris-data/worker-1 --log laris-data/worker-2

      Exit code 0: clean; 1: not, and the first findings are printed.
      """)

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  @Option(help: "What run --history --replies recorded. May be given again.") var history: [String]
  @Option(help: "A worker's data folder. May be given again.") var log: [String]
  @Flag(help: "The histories are everything: another command in a log, but for shops and SKUs, is a finding.")
  var complete = false
  @Option(help: "How long a reservation waits for payment, where no data folder tells, in milliseconds.")
  var reserveMilliseconds: UInt64?
  @Option(help: "The platform's share of goods in 1/10,000, where no data folder tells.")
  var feeBasisPoints: UInt32?
  @Flag(help: "Print JSON.") var json = false

  func validate() throws {
    guard !history.isEmpty else { throw ValidationError("name a history with --history") }
    guard !log.isEmpty else { throw ValidationError("name a worker's data folder with --log") }
    if let feeBasisPoints, feeBasisPoints > 10_000 {
      throw ValidationError("--fee-basis-points must be 0 to 10000")
    }
  }

  func run() throws {
    let identities = try log.map(identity)
    let readers = try history.map { (path: $0, reader: try HistoryReader(path: $0)) }
    let header = readers[0].reader.header
    for (path, reader) in readers where reader.header.cluster != header.cluster {
      throw Failure(
        description:
          "\(path): it is of cluster \(reader.header.cluster), and \(history[0]) of \(header.cluster)")
    }
    for (path, identity) in zip(log, identities) where identity.cluster != header.cluster {
      throw Failure(
        description: "\(path): it is of cluster \(identity.cluster), and \(history[0]) of \(header.cluster)")
    }
    guard (1...Routing.partitionsMax).contains(header.partitions) else {
      throw Failure(description: "\(history[0]): it is of \(header.partitions) partitions")
    }
    var judge = HistoryJudge(
      try terms(identities), partitions: header.partitions, isComplete: complete)
    var notes: [String] = []
    var logs = 0
    var areWhole = true
    for partition in 0..<header.partitions {
      if try !read(partition, header.cluster, &judge, &logs, &notes) { areWhole = false }
    }
    if areWhole {
      for (path, reader) in readers { try stream(path, reader, &judge, &notes) }
      judge.judge()
    } else {
      // Every answer would be a finding.
      notes.append("no history was read: the logs don't go back to the first entry of every partition")
    }
    Output.line(json ? try jsonText(judge, notes, logs) : text(judge, notes, logs))
    if judge.findings > 0 { throw ExitCode(1) }
  }

  // MARK: Logs

  private func identity(_ folder: String) throws -> DataFolder.Identity {
    let why: String
    do {
      let identity = try DataFolder.identity(in: folder)
      if let identity, identity.kind == "worker" { return identity }
      why = identity.map { "it is a \($0.kind)'s" } ?? "it has no laris.json"
    } catch {
      why = "\(error)"
    }
    throw Failure(description: "\(folder) is no worker's data folder: \(why)")
  }

  private func terms(_ identities: [DataFolder.Identity]) throws -> Terms {
    let known = identities.lazy.compactMap(\.terms).first
    guard let reserve = reserveMilliseconds ?? known?.reserveMilliseconds,
      let fee = feeBasisPoints ?? known?.feeBasisPoints
    else {
      throw Failure(
        description: "no data folder tells what the cluster was made with; give --reserve-milliseconds and "
          + "--fee-basis-points")
    }
    return Terms(reserveMilliseconds: reserve, feeBasisPoints: fee)
  }

  /// - Returns: false: its beginning is missing, and the judge has none of it.
  private func read(
    _ number: Int, _ cluster: String, _ judge: inout HistoryJudge, _ count: inout Int, _ notes: inout [String]
  ) throws -> Bool {
    let partition = PartitionID(UInt16(number))
    let name = partition.folderName
    var logs: [ReplicaLog] = []
    for folder in log {
      // One that was set aside is there as `NNNN.damaged-TIME` or the like.
      let places = try Self.names(in: folder + "/partitions").filter {
        $0 == name || $0.hasPrefix(name + ".")
      }
      for place in places {
        let path = "\(folder)/partitions/\(place)"
        if ["unclean", "diverged"].contains(where: { FileManager.default.fileExists(atPath: "\(path)/\($0)") }
        ) {
          notes.append("left out \(path): what is in it may not be relied on")
          continue
        }
        do {
          let log = try ReplicaLog(
            directory: path + "/log", partition: partition, cluster: cluster, isSetAside: place != name)
          if let log { logs.append(log) }
        } catch { judge.find("\(error)") }
      }
    }
    count += logs.count
    let joined = JoinedLog(logs)
    if logs.isEmpty { judge.find("partition \(number): no folder has its log") }
    for problem in joined.problems { judge.find("partition \(number): \(problem)") }
    if joined.leftOut > 0 {
      notes.append("partition \(number): \(joined.leftOut) entries of single replicas were never committed")
    }
    guard joined.isWhole else { return false }
    for piece in joined.pieces {
      do {
        try logs[piece.log].read(
          after: piece.after, through: piece.through, partition: partition, cluster: cluster
        ) { judge.take($0, of: number) }
      } catch { judge.find("\(error)") }
    }
    return true
  }

  private static func names(in folder: String) throws -> [String] {
    guard FileManager.default.fileExists(atPath: folder) else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
  }

  // MARK: Histories

  private func stream(
    _ path: String, _ reader: HistoryReader, _ judge: inout HistoryJudge, _ notes: inout [String]
  ) throws {
    let repliesPath = HistoryFormat.repliesPath(of: path)
    guard FileManager.default.fileExists(atPath: repliesPath) else {
      throw Failure(description: "there is no \(repliesPath): record with run --history --replies")
    }
    let replies = try RepliesReader(path: repliesPath)
    guard replies.header == reader.header else {
      throw Failure(description: "\(repliesPath): it is of another run than \(path)")
    }
    while let record = try reader.next() {
      let reply = record.replyHash == 0 ? nil : try replies.next()
      judge.take(record, reply: reply, file: path, position: reader.position)
    }
    if reader.end == nil {
      notes.append("\(path): \(reader.cut ?? "it has no end")")
      if complete { judge.find("\(path): it has no end, so it is not everything") }
    } else if try replies.next() != nil {
      judge.find("\(repliesPath): it has more replies than \(path) has records with one")
    }
  }

  // MARK: What came out

  private func text(_ judge: HistoryJudge, _ notes: [String], _ logs: Int) -> String {
    func number(_ count: UInt64, _ one: String, _ many: String) -> String {
      "\(Output.grouped(Int(clamping: count))) \(count == 1 ? one : many)"
    }
    var lines = [
      "\(number(UInt64(history.count), "history", "histories")), "
        + "\(number(judge.records, "record", "records")): \(number(judge.answers, "answer", "answers")), "
        + "\(number(judge.reads, "read", "reads")), "
        + "\(Output.grouped(Int(clamping: judge.withoutEffect))) not executed, "
        + "\(Output.grouped(Int(clamping: judge.unknown))) unknown, "
        + "\(Output.grouped(Int(clamping: judge.resolved))) resolved",
      "\(number(UInt64(judge.partitionCount), "partition", "partitions")) in "
        + "\(number(UInt64(logs), "log", "logs")): \(number(judge.entries, "entry", "entries")), "
        + "\(number(judge.commands, "command", "commands")), "
        + "\(Output.grouped(Int(clamping: judge.untold))) of which no history tells",
    ]
    if judge.unjudged > 0 {
      lines.append(
        "SKIPPED \(number(judge.unjudged, "read", "reads")) that found no SKU: histories don't name it")
    }
    lines += notes.map { "note: \($0)" }
    lines += judge.firstFindings.map { "BROKEN \($0)" }
    let more = judge.findings - UInt64(judge.firstFindings.count)
    if more > 0 { lines.append("BROKEN in \(Output.grouped(Int(clamping: more))) places more") }
    lines.append(
      judge.findings == 0
        ? "clean: every answer is of the logs, and right"
        : "NOT CLEAN: \(number(judge.findings, "finding", "findings"))")
    return lines.joined(separator: "\n")
  }

  private struct Object: Encodable {
    var clean: Bool
    var records, answers, reads, withoutEffect, unknown, resolved, unjudged: UInt64
    var partitions, logs: Int
    var entries, commands, untold, findings: UInt64
    var firstFindings, notes: [String]
  }

  private func jsonText(_ judge: HistoryJudge, _ notes: [String], _ logs: Int) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(
      decoding: try encoder.encode(
        Object(
          clean: judge.findings == 0, records: judge.records, answers: judge.answers, reads: judge.reads,
          withoutEffect: judge.withoutEffect, unknown: judge.unknown, resolved: judge.resolved,
          unjudged: judge.unjudged, partitions: judge.partitionCount, logs: logs, entries: judge.entries,
          commands: judge.commands, untold: judge.untold, findings: judge.findings,
          firstFindings: judge.firstFindings, notes: notes)), as: UTF8.self)
  }
}
