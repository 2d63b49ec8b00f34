import Foundation
import LarisProtocol
import LoadTest
import TestSupport
import Testing

/// Real processes, real sockets, real files; one cluster at a time, because the machine is small.
@Suite(.serialized) struct EndToEndTests {}

extension EndToEndTests {
  /// The public data set where it is at hand, a made-up one with the same oddities elsewhere.
  struct Source {
    let trace: String
    let paymentCents: Int64
    let isReal: Bool

    init(in folder: TestFolder) throws {
      var directory = folder.path + "/generated"
      if let real = ProcessInfo.processInfo.environment["LARIS_REAL_DATA"] {
        directory = real + "/olist"
        isReal = true
      } else {
        print("SKIPPED: LARIS_REAL_DATA is not set: a made-up data set is replayed instead of the real one")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try OddMarketplace(seed: 20_261_212, orders: 3_000).write(directory: directory)
        isReal = false
      }
      let imported = try OlistImport.run(directory: directory)
      trace = folder.path + "/trace.jsonl"
      try imported.write(path: trace)
      paymentCents = imported.report.paymentCents
    }
  }

  struct Summary: Decodable {
    struct File: Decodable {
      struct Count: Decodable { let name: String, count: Int }
      let file: String, rows: Int, done: Int, refused: [Count], unaccounted: Int
    }
    let run: String
    let unresolved: Int
    let files: [File]
    let money: [String: Int64]
    let moneySum: Int64

    init(_ run: Run) throws {
      guard let line = run.output.split(separator: "\n").last else {
        throw Problem("no summary: \(run.errors)")
      }
      self = try JSONDecoder().decode(Summary.self, from: Data(line.utf8))
    }
  }

  @Test func `every row of a replay is accounted for, and the same run again changes nothing`() throws {
    let folder = try TestFolder()
    let source = try Source(in: folder)
    let cluster = try TestCluster()
    let run = try cluster.loadtest(["replay", source.trace, "--json"])
    #expect(run.exit == 0, "\(run.errors)")
    let summary = try Summary(run)
    #expect(summary.unresolved == 0)
    for file in summary.files {
      #expect(file.unaccounted == 0, "\(file.file)")
      #expect(file.done + file.refused.reduce(0) { $0 + $1.count } == file.rows, "\(file.file)")
    }
    #expect(summary.moneySum == source.paymentCents)
    if source.isReal { #expect(summary.moneySum == 175_673_139) }

    let books = try audit(cluster)
    #expect(books["escrow"] == summary.money["held in escrow"])
    #expect(books["balance"] == summary.money["released to shops"])
    #expect(books["fees"] == summary.money["fees"])
    let wallets = ["refunded: order cancelled", "refunded: surplus", "refunded: late"]
    #expect(books["wallet"] ?? 0 == wallets.reduce(0) { $0 + (summary.money[$1] ?? 0) })

    let before = try lastEntries(cluster)
    let again = try cluster.loadtest(["replay", source.trace, "--json", "--run-id", summary.run])
    #expect(again.exit == 0, "\(again.errors)")
    #expect(try Summary(again).money == summary.money)
    #expect(try lastEntries(cluster) == before)
    #expect(try audit(cluster) == books)
    #expect(cluster.stop() == 0)
  }

  /// The last entry of each partition. The status may be a beacon old; an audit says what is.
  private func lastEntries(_ cluster: TestCluster) throws -> [UInt64] {
    try cluster.status().partitions.map { partition in
      try cluster.done(.with { $0.auditPartition.partition = partition.partition }).audit.sequenceNumber
    }
  }

  /// The audit's sums of accounts by kind; it must be clean.
  func audit(_ cluster: TestCluster) throws -> [String: Int64] {
    struct Report: Decodable {
      let clean: Bool
      let accounts: [String: String]
    }
    let run = try cluster.laris(["audit", "--json"])
    #expect(run.exit == 0, "\(run.errors)\(run.output.prefix(2_000))")
    let report = try JSONDecoder().decode(Report.self, from: Data(run.output.utf8))
    #expect(report.clean)
    return report.accounts.compactMapValues { Int64($0) }
  }

  /// `LARIS_CHAOS_ROUNDS` kills, 5 where it is not set; two seconds of replay for each.
  @Test func `nothing is lost or done twice while workers and the dispatcher are killed`() throws {
    let rounds = ProcessInfo.processInfo.environment["LARIS_CHAOS_ROUNDS"].flatMap { Int($0) } ?? 5
    let seed =
      ProcessInfo.processInfo.environment["LARIS_CHAOS_SEED"].flatMap { UInt64($0) }
      ?? UInt64.random(in: 0...UInt64.max)
    print("chaos: \(rounds) rounds, LARIS_CHAOS_SEED=\(seed)")
    var random = OddMarketplace.Random(seed: seed)
    let folder = try TestFolder()
    let source = try Source(in: folder)
    let quiet = try TestCluster()
    let expected = try Summary(try quiet.loadtest(["replay", source.trace, "--json"]))
    #expect(quiet.stop() == 0)

    let cluster = try TestCluster()
    let replay = Process()
    replay.executableURL = URL(fileURLWithPath: try Programs.path("laris-loadtest"))
    let output = folder.path + "/replay.json"
    _ = FileManager.default.createFile(atPath: output, contents: nil)
    replay.arguments = [
      "replay", source.trace, "--json", "--seconds", "\(rounds * 2 + 2)", "--dispatcher", cluster.services,
    ]
    replay.standardOutput = FileHandle(forWritingAtPath: output)
    replay.standardError = FileHandle.nullDevice
    try replay.run()
    defer { if replay.isRunning { replay.terminate() } }
    let began = Date()
    for round in 0..<rounds {
      // The moment is the point: somewhere in this round's two seconds.
      let at = began + Double(round) * 2 + Double(random.next() % 2_000) / 1_000
      while Date() < at { usleep(1_000) }
      let processes = try nodes(of: cluster)
      let victim = processes[Int(random.next() % UInt64(processes.count))]
      cluster.kill(victim)
      while try nodes(of: cluster).contains(victim) { usleep(2_000) }
    }
    replay.waitUntilExit()
    let text = try String(contentsOfFile: output, encoding: .utf8)
    #expect(replay.terminationStatus == 0)
    let summary = try Summary(Run(output: text, errors: "", exit: 0))
    #expect(summary.unresolved == 0)
    // What was acknowledged through all this is what is acknowledged in peace.
    #expect(summary.money == expected.money)
    #expect(summary.files.map(\.done) == expected.files.map(\.done))
    let books = try audit(cluster)
    #expect(books["escrow"] == summary.money["held in escrow"])
    #expect(books["balance"] == summary.money["released to shops"])
    #expect(cluster.stop() == 0)
  }

  /// Processes of the cluster's nodes, whether or not they answer.
  private func nodes(of cluster: TestCluster) throws -> [UInt32] {
    var found: [UInt32] = []
    for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
      guard let pid = UInt32(name), let line = FileManager.default.contents(atPath: "/proc/\(name)/cmdline")
      else { continue }
      let arguments = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      guard arguments.count > 3, ["worker", "dispatcher"].contains(arguments[1]),
        arguments.contains(where: { $0.hasPrefix(cluster.data + "/") })
      else { continue }
      found.append(pid)
    }
    guard !found.isEmpty else { throw Problem("no node runs") }
    return found.sorted()
  }
}
