import Bytes
import Foundation
import LarisProtocol
import RunHistory
import TestSupport
import Testing

extension EndToEndTests {
  private static let mix =
    "place=60,settle=18,ship=6,deliver=4,complete=4,cancel=3,adjust=2,get-order=2,get-sku=1"

  private struct Sale: Decodable {
    struct Row: Decodable { let command: String, outcome: String, count: Int, p50: Double, max: Double }
    struct Resolved: Decodable { let executed: Int, sealed: Int, unresolved: Int }
    let orders: Int, done: Int, notExecuted: Int, unknown: Int, unresolved: Int, silent: Int
    let neverSent: Int
    let resolved: Resolved
    let commands: [Row]
    let ordersPerSecond: Double

    init(_ run: Run) throws {
      guard let line = run.output.split(separator: "\n").last else {
        throw Problem("no summary: \(run.errors)")
      }
      self = try JSONDecoder().decode(Sale.self, from: Data(line.utf8))
    }
  }

  /// A history with other records, as if somebody had changed it: sound in form, wrong in content.
  private func doctored(
    _ path: String, into folder: TestFolder, _ change: (inout [HistoryRecord]) throws -> Void
  ) throws -> String {
    let reader = try HistoryReader(path: path)
    var records: [HistoryRecord] = []
    while let record = try reader.next() { records.append(record) }
    try change(&records)
    let other = folder.path + "/doctored-\(UUID())"
    let writer = try HistoryWriter(path: other, header: reader.header)
    var bytes = ByteWriter()
    for record in records { record.write(into: &bytes) }
    writer.append(bytes.bytes)
    try writer.finish(endedAt: reader.end?.endedAt ?? 0)
    return other
  }

  private func first(_ records: [HistoryRecord], _ command: HistoryRecord.Command) throws -> Int {
    guard let index = records.firstIndex(where: { $0.command == command && $0.outcome == .done }) else {
      throw Problem("no \(command)")
    }
    return index
  }

  @Test func `a sale's history is true, and every way of changing it is found`() throws {
    let folder = try TestFolder()
    let cluster = try TestCluster(workers: 2, partitions: 4)
    let history = folder.path + "/sale.history.lz4"
    let run = try cluster.loadtest([
      "run", "--rate", "3000", "--seconds", "4", "--shops", "50", "--mix", Self.mix, "--connections", "3",
      "--zipf", "1", "--hot", "10", "--history", history, "--per-second", folder.path + "/sale.csv", "--json",
    ])
    #expect(run.exit == 0, "\(run.errors)")
    let sale = try Sale(run)
    #expect(sale.orders == 12_000)
    #expect(sale.done == 12_000, "\(run.output)")
    #expect(Set(sale.commands.map(\.command)).count == 9)
    #expect(sale.commands.allSatisfy { $0.p50 > 0 && $0.max >= $0.p50 })

    // The rows of the seconds are the whole.
    let rows = try String(contentsOfFile: folder.path + "/sale.csv", encoding: .utf8)
      .split(separator: "\n").dropFirst().map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    #expect(rows.count >= 4)
    #expect(rows.compactMap { Int($0[1]) }.reduce(0, +) == 12_000)
    #expect(rows.compactMap { Int($0[2]) }.reduce(0, +) == 12_000)

    let lines = try Run.program("laris-loadtest", ["history", history])
    #expect(lines.exit == 0, "\(lines.errors)")
    #expect(lines.output.split(separator: "\n").count == 12_002)
    let inspected = try Run.program("laris", ["inspect", history])
    #expect(inspected.output.contains("history of a load test"), "\(inspected.output)")

    let clean = try cluster.laris(["audit", "--history", history])
    #expect(clean.exit == 0, "\(clean.output)\(clean.errors)")
    #expect(clean.output.contains("clean: the books balance, and every answer is kept"))

    func check(_ what: String, _ change: (inout [HistoryRecord]) throws -> Void, _ more: [String] = []) throws
    {
      let other = try doctored(history, into: folder, change)
      let audit = try cluster.laris(["audit", "--history", other] + more)
      #expect(audit.exit == 1, "\(what): \(audit.output)")
      #expect(audit.output.contains(what), "\(audit.output)")
      #expect(audit.output.contains("NOT CLEAN"))
      #expect(
        audit.output.contains(other) || what.contains("orders that"), "it names no place: \(audit.output)")
    }
    try check("the cluster has otherwise", { $0[try first($0, .settle)].replyHash ^= 1 }, ["--shared"])
    try check(
      "that the cluster does not have",
      { records in
        let index = try first(records, .ship)
        let id = records[index].request
        records[index].request = .init(high: id.high, low: id.low ^ 1)
      })
    try check("has orders that no history tells of") { $0.remove(at: try first($0, .place)) }
    try check("an order was recorded twice") { $0.append($0[try first($0, .place)]) }
    try check("recorded as not executed that the cluster executed") {
      $0[try first($0, .deliver)].outcome = .notExecuted
    }
    try check("whose fate nobody settled") { $0[try first($0, .complete)].outcome = .unknown }

    // Cut off, as after a kill: nothing can be said of the count.
    let bytes = try Data(contentsOf: URL(fileURLWithPath: history))
    let cut = folder.path + "/cut"
    try bytes.prefix(bytes.count * 2 / 3).write(to: URL(fileURLWithPath: cut))
    let audit = try cluster.laris(["audit", "--history", cut])
    #expect(audit.exit == 1)
    #expect(audit.output.contains("the history has no end"), "\(audit.output)")
    #expect(try cluster.laris(["audit", "--history", cut, "--shared"]).exit == 0)
    // Damaged: nothing of it counts. One bit alone may change what LZ4 refers to, to the same bytes elsewhere.
    var damaged = bytes
    for place in 0..<32 { damaged[bytes.count / 2 + place] ^= 0xFF }
    try damaged.write(to: URL(fileURLWithPath: folder.path + "/damaged"))
    let refused = try cluster.laris(["audit", "--history", folder.path + "/damaged"])
    #expect(refused.exit == 1)
    #expect(refused.errors.contains("damaged at byte"), "\(refused.errors)")
    #expect(cluster.stop() == 0)

    let stranger = try TestCluster(workers: 1, partitions: 1)
    let other = try stranger.laris(["audit", "--history", history])
    #expect(other.exit == 64)
    #expect(other.errors.contains("it is of cluster"), "\(other.errors)")
    #expect(stranger.stop() == 0)
  }

  @Test func `what workers and the dispatcher answered before they were killed is in the cluster`() throws {
    let folder = try TestFolder()
    let cluster = try TestCluster()
    let history = folder.path + "/sale.history.lz4"
    let output = folder.path + "/sale.json"
    _ = FileManager.default.createFile(atPath: output, contents: nil)
    let sale = Process()
    sale.executableURL = URL(fileURLWithPath: try Programs.path("laris-loadtest"))
    sale.arguments = [
      "run", "--rate", "4000", "--seconds", "8", "--shops", "100", "--mix", Self.mix, "--connections", "2",
      "--budget", "2", "--silence", "0.5", "--history", history, "--json", "--dispatcher", cluster.services,
    ]
    sale.standardOutput = FileHandle(forWritingAtPath: output)
    sale.standardError = FileHandle.nullDevice
    try sale.run()
    defer { if sale.isRunning { sale.terminate() } }
    // Its orders arrive; then a worker goes, then the dispatcher.
    while try cluster.status().partitions.reduce(0, { $0 + $1.orders }) < 2_000, sale.isRunning {
      usleep(20_000)
    }
    let status = try cluster.status()
    guard let worker = status.workers.first else { throw Problem("no worker") }
    cluster.kill(worker.pid)
    while try cluster.status().partitions.reduce(0, { $0 + $1.orders }) < 8_000, sale.isRunning {
      usleep(20_000)
    }
    cluster.kill(status.dispatcher.pid)
    sale.waitUntilExit()
    let text = try String(contentsOfFile: output, encoding: .utf8)
    #expect(sale.terminationStatus == 0, "\(text)")
    let summary = try Sale(Run(output: text, errors: "", exit: 0))
    #expect(summary.orders + summary.neverSent == 32_000)
    #expect(summary.unresolved == 0)
    #expect(summary.resolved.executed + summary.resolved.sealed == summary.unknown)
    let audit = try cluster.laris(["audit", "--history", history])
    #expect(audit.exit == 0, "\(audit.output)\(audit.errors)\(text)")
    #expect(cluster.stop() == 0)
  }

  @Test func `a worker's log bears out every answer of a sale in which the worker was killed`() throws {
    let folder = try TestFolder()
    let cluster = try TestCluster(
      workers: 2, partitions: 3, options: ["--log-keep-seconds", "1000000", "--log-keep-mib", "1000000"])
    let history = folder.path + "/sale.history.lz4"
    let sale = try Programs.start(
      "laris-loadtest",
      [
        "run", "--rate", "2000", "--seconds", "6", "--shops", "40", "--connections", "2", "--silence", "0.5",
        "--mix", "place=50,settle=15,ship=5,deliver=3,complete=3,cancel=2,adjust=7,get-order=7,get-sku=8",
        "--hot", "10", "--history", history, "--replies", "--dispatcher", cluster.services,
      ], appendingTo: folder.path + "/sale.log")
    defer { if sale.isRunning { sale.terminate() } }
    while try cluster.status().partitions.reduce(0, { $0 + $1.orders }) < 2_000, sale.isRunning {
      usleep(20_000)
    }
    guard let worker = try cluster.status().workers.first else { throw Problem("no worker") }
    cluster.kill(worker.pid)
    sale.waitUntilExit()
    let said = try String(contentsOfFile: folder.path + "/sale.log", encoding: .utf8)
    #expect(sale.terminationStatus == 0, "\(said)")
    #expect(cluster.stop() == 0)

    func judge(_ history: String, _ more: [String] = []) throws -> Run {
      try Run.program(
        "laris-loadtest",
        [
          "judge", "--history", history, "--log", cluster.data + "/worker-1", "--log",
          cluster.data + "/worker-2", "--complete",
        ] + more)
    }
    let clean = try judge(history)
    #expect(clean.exit == 0, "\(clean.output)\(clean.errors)")
    #expect(clean.output.contains("clean: every answer is of the logs, and right"))
    #expect(try judge(history, ["--json"]).output.contains("\"clean\":true"))
    let inspected = try Run.program("laris", ["inspect", history + ".replies"])
    #expect(inspected.output.contains("replies of a load test"), "\(inspected.output)")

    func check(_ words: String, _ change: (inout [HistoryRecord]) throws -> Void) throws {
      let other = try doctored(history, into: folder, change)
      try FileManager.default.copyItem(atPath: history + ".replies", toPath: other + ".replies")
      let run = try judge(other)
      #expect(run.exit == 1, "\(words): \(run.output)\(run.errors)")
      #expect(run.output.contains(words), "\(run.output)")
      #expect(run.output.contains("NOT CLEAN"))
    }
    try check("and it had") { $0[try first($0, .adjust)].outcome = .notExecuted }
    try check("of which no history tells") { records in
      let index = try first(records, .place)
      let id = records[index].request
      records[index].request = .init(high: id.high, low: id.low ^ 1)
    }
    let alone = try Run.program(
      "laris-loadtest", ["judge", "--history", history, "--log", cluster.data + "/worker-1"])
    #expect(alone.exit == 1)
    #expect(alone.output.contains("no folder has its log"), "\(alone.output)")
    #expect(alone.output.contains("no history was read"), "\(alone.output)")
    let nobody = try Run.program(
      "laris-loadtest", ["judge", "--history", history, "--log", cluster.data + "/dispatcher"])
    #expect(nobody.exit == 64)
    #expect(nobody.errors.contains("no worker's data folder"), "\(nobody.errors)")
  }

  @Test func `a sale goes over the dispatcher that is there, of several`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    let nobody = "tcp://127.0.0.1:\(try freePort())"
    for dispatchers in [
      ["--dispatcher", nobody, "--dispatcher", cluster.services],
      ["--dispatcher", "\(nobody),\(cluster.services)"],
    ] {
      let run = try cluster.loadtest(
        ["run", "--seconds", "1", "--in-flight", "50", "--shops", "5", "--connections", "2", "--json"]
          + dispatchers)
      #expect(run.exit == 0, "\(run.errors)")
      let sale = try Sale(run)
      #expect(sale.done > 0)
      #expect(sale.done == sale.orders)
    }
    let wrong = try Run.program("laris-loadtest", ["run", "--dispatcher", "tcp://127.0.0.1:9,nonsense"])
    #expect(wrong.exit == 64)
    #expect(wrong.errors.contains("nonsense is no address"), "\(wrong.errors)")
    #expect(cluster.stop() == 0)
  }

  @Test func `a threshold that does not hold is said so, with exit code 99`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    for (arguments, sentence) in [
      (["--max-p99", "0.001"], "more than --max-p99 0.001"),
      (["--min-rate", "500000"], "fewer than --min-rate"),
      (["--stock", "100", "--max-errors", "0"], "were not done, more than --max-errors 0"),
    ] {
      let run = try cluster.loadtest(
        ["run", "--seconds", "1", "--in-flight", "20", "--shops", "5", "--skus-per-shop", "2"] + arguments)
      #expect(run.exit == 99, "\(run.output)")
      #expect(run.errors.contains(sentence), "\(run.errors)")
    }
    #expect(cluster.stop() == 0)
  }

  @Test(
    arguments: [
      (["run", "--mix", "buy=1"], "there is no command 'buy'"),
      (["run", "--stages", "fast"], "'fast' should look like 20000/s:10s"),
      (["run", "--stages", "10/s:1s", "--rate", "5"], "give --rate or --stages, not both"),
      (["run", "--connections", "65"], "--connections must be 1 to 64"),
      (["history", "/dev/null"], "this is no history"),
    ] as [([String], String)])
  func `a load that makes no sense is refused`(_ arguments: [String], _ sentence: String) throws {
    let run = try Run.program("laris-loadtest", arguments)
    #expect(run.exit == 64)
    #expect(run.errors.contains(sentence), "\(run.errors)")
  }
}
