import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import LoadTest
import RunHistory

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A sale: orders, payments and shipments, as fast as they are answered or at a rate.",
    discussion: """
      Registers its shops and puts their SKUs, then sends one request a message. Without --rate or
      --stages it keeps --in-flight requests under way (closed loop). With one of them it sends at the
      planned times, whatever is answered (open loop), and latency counts from the planned time.

        laris-loadtest run --seconds 20
        laris-loadtest run --rate 50000 --mix place=70,settle=15,ship=5,deliver=3,complete=3,cancel=2,adjust=1,get-order=1
        laris-loadtest run --stages 20000/s:10s,60000/s:60s,20000/s:10s --connections 4 --per-second sale.csv
        laris-loadtest run --seconds 600 --rate 20000 --history sale.history.lz4 && laris audit --history sale.history.lz4

      The table has a row for each command and outcome. COUNT: requests. P50, P99, P99.9, MAX:
      milliseconds from the planned time (closed loop: from sending) to the end. Outcomes: done; no (the
      rules refused); not executed (refused by the cluster, without effect; counted at once unless
      --retry); unknown (no final answer within --budget; Resolve then settles it, unless --no-resolve).

      --per-second writes CSV, a row a second: second, sent, done, no, not_executed, unknown, then
      p50_ms, p99_ms, max_ms of what was answered done or no in it, and not_executed_p99_ms.

      docs/LOADTEST.md tells more. Exit codes: 0 done; 1 something stays unresolved or could not be
      recorded; 64 wrong usage; 69 nobody answers; 99 a threshold does not hold, or two answers to one
      request differ.
      """)

  @OptionGroup var cluster: DispatcherOptions
  @Option(help: "How long to sell, in seconds. Not with --stages.") var seconds: Double?
  @Option(help: "Requests in flight. With a rate: at most; by default what 5 s of it need.")
  var inFlight: Int?
  @Option(help: "Requests a second (open loop).") var rate: Double?
  @Option(help: "Open loop in steps: RATE/s:SECONDSs,… or minutes, 20000/s:10s,60000/s:1m.")
  var stages: String?
  @Option(help: "ZeroMQ connections, each with a thread; the load is split evenly.")
  var connections: Int = 1
  @Option(
    help: """
      Commands and their weights. There are place, settle, ship, deliver, complete, cancel, adjust, \
      get-order, get-sku. Where no order waits for a command, one is placed instead.
      """)
  var mix: String = "place=1"
  @Option(help: "Shops.") var shops: Int = 1_000
  @Option(help: "SKUs of each shop.") var skusPerShop: Int = 10
  @Option(help: "Pieces of each SKU at the start.") var stock: Int64 = 1_000_000_000
  @Option(help: "Lines of an order.") var lines: Int = 3
  @Option(
    help: "Zipf exponent of shops and SKUs: 0 all alike, 1 the k-th is drawn 1/k as often as the first.")
  var zipf: Double = 0
  @Option(help: "Per cent of the orders that want SKU 1 of shop 1.") var hot: Double = 0
  @Option(help: "Seed of what is ordered.") var seed: UInt64 = 1
  @Flag(inversion: .prefixedNo, help: "Send again what was not executed, as the answer says.")
  var retry = false
  @Option(help: "Send a request again after so many seconds without an answer.") var silence: Double = 2
  @Option(help: "How long one request is tried, in seconds.") var budget: Double = 30
  @Flag(inversion: .prefixedNo, help: "At the end, settle by Resolve what is unknown.") var resolve = true
  @Option(help: "Record every request and its answer; for laris audit --history.") var history: String?
  @Flag(help: "With --history FILE: keep all replies in FILE.replies; for laris-loadtest judge.")
  var replies = false
  @Option(help: "Write a row of CSV for each second.") var perSecond: String?
  @Option(
    name: .customLong("max-p99"),
    help: "Fail (99) if the 99th percentile of done and no is above, in milliseconds.")
  var maxP99: Double?
  @Option(
    name: .customLong("max-refused-p99"),
    help: "Fail (99) if the 99th percentile of not executed is above, in milliseconds.")
  var maxRefusedP99: Double?
  @Option(help: "Fail (99) if fewer requests a second were answered done or no.") var minRate: Double?
  @Option(help: "Fail (99) if more requests than that were not done.") var maxErrors: Int?
  @Flag(help: "Print the summary as JSON.") var json = false
  @Flag(help: "The shops and SKUs are there already.") var skipSetup = false

  func validate() throws {
    func check(_ isRight: Bool, _ text: String) throws { if !isRight { throw ValidationError(text) } }
    if let seconds { try check((1...86_400).contains(seconds), "--seconds must be 1 to 86400") }
    if let inFlight { try check((1...1_000_000).contains(inFlight), "--in-flight must be 1 to 1000000") }
    if let rate { try check((1...10_000_000).contains(rate), "--rate must be 1 to 10000000") }
    try check(rate == nil || stages == nil, "give --rate or --stages, not both")
    try check(seconds == nil || stages == nil, "--stages says how long; leave out --seconds")
    try check((1...64).contains(connections), "--connections must be 1 to 64")
    try check((1...10_000_000).contains(shops), "--shops must be 1 to 10000000")
    try check((1...100_000).contains(skusPerShop), "--skus-per-shop must be 1 to 100000")
    try check((0...1_000_000_000_000).contains(stock), "--stock must be 0 to 1000000000000")
    try check((1...2_000).contains(lines), "--lines must be 1 to 2000")
    try check((0...100).contains(hot), "--hot must be 0 to 100 per cent")
    try check((0...10).contains(zipf), "--zipf must be 0 to 10")
    try check(!replies || history != nil, "--replies goes with --history")
    try check((0.1...300).contains(silence), "--silence must be 0.1 to 300 seconds")
    try check((1...300).contains(budget), "--budget must be 1 to 300 seconds")
    _ = try parsed()
  }

  private func parsed() throws -> (mix: Mix, profile: RateProfile?) {
    do {
      let profile: RateProfile? =
        if let stages {
          try RateProfile(stages)
        } else {
          rate.map { RateProfile([.init(rate: $0, seconds: seconds ?? 20)]) }
        }
      return (try Mix(mix), profile)
    } catch let error as Mix.Invalid {
      throw ValidationError("--mix: \(error)")
    } catch let error as RateProfile.Invalid {
      throw ValidationError("--stages: \(error)")
    }
  }

  func run() throws {
    let (mix, profile) = try parsed()
    var options = Sale.Options()
    options.dispatchers = cluster.dispatchers
    options.seconds = profile?.seconds ?? seconds ?? 20
    options.inFlight = inFlight
    options.profile = profile
    options.connections = connections
    options.model.seed = seed
    options.model.shops = shops
    options.model.skusPerShop = skusPerShop
    options.model.linesPerOrder = lines
    options.model.hotPerMille = Int(hot * 10)
    options.model.zipf = zipf
    options.model.mix = mix
    options.stock = stock
    options.retries = retry
    options.silenceSeconds = silence
    options.budgetSeconds = budget
    options.resolves = resolve
    options.history = history
    options.keepsReplies = replies
    let sale = try Sale(options)
    let rows = try perSecond.map { try PerSecondFile(path: $0) }
    if !skipSetup {
      try sale.setUp { done, total in
        Output.live("setting up: \(Output.grouped(done)) of \(Output.grouped(total)) shops and SKUs")
      }
      Output.endLive()
    }
    if !json {
      Output.line(
        "selling from \(Output.grouped(shops)) shops with \(Output.grouped(shops * skusPerShop)) SKUs, "
          + "\(lines) lines an order, mix \(mix), \(sale.description), \(connections) "
          + (connections == 1 ? "connection" : "connections"))
    }
    let summary = try sale.sell { second in
      rows?.write(second)
      let answered = second.done + second.no
      Output.live(
        "\(second.second + 1) s: \(Output.grouped(answered))/s answered, p50 "
          + String(
            format: "%.1f, p99 %.1f ms", second.answered.milliseconds(50), second.answered.milliseconds(99))
          + (second.notExecuted > 0 ? ", \(Output.grouped(second.notExecuted)) not executed" : "")
          + (second.unknown > 0 ? ", \(Output.grouped(second.unknown)) unknown" : ""))
    } settling: { done, total in
      Output.live("settling what is unknown: \(Output.grouped(done)) of \(Output.grouped(total))")
    }
    Output.endLive()
    let report = SaleReport(summary: summary)
    Output.line(json ? report.json : report.text)
    let broken =
      thresholds(summary) + summary.tally.contradictions.map { "two answers to one request: \($0)" }
    for threshold in broken { Output.error("laris-loadtest: \(threshold)") }
    for failure in summary.failures { Output.error("laris-loadtest: \(failure)") }
    if !broken.isEmpty { throw ExitCode(99) }
    if summary.resolutions.unresolved > 0 || !summary.failures.isEmpty { throw ExitCode(1) }
  }

  /// Those that do not hold.
  private func thresholds(_ summary: SaleSummary) -> [String] {
    var broken: [String] = []
    let answered = summary.tally.latencies([.done, .no])
    let p99 = answered.milliseconds(99)
    if let maxP99 {
      if answered.totalCount == 0 {
        broken.append("nothing was answered, so --max-p99 \(maxP99) does not hold")
      }
      if p99 > maxP99 { broken.append("p99 is \(p99) ms, more than --max-p99 \(maxP99)") }
    }
    let refused = summary.tally.latencies([.notExecuted]).milliseconds(99)
    if let maxRefusedP99, refused > maxRefusedP99 {
      broken.append("p99 of not executed is \(refused) ms, more than --max-refused-p99 \(maxRefusedP99)")
    }
    if let minRate, summary.answeredPerSecond < minRate {
      broken.append("\(Int(summary.answeredPerSecond)) answers/s are fewer than --min-rate \(minRate)")
    }
    let errors = summary.finished - summary.done
    if let maxErrors, errors > maxErrors {
      broken.append("\(errors) requests were not done, more than --max-errors \(maxErrors)")
    }
    return broken
  }
}

/// The rows of --per-second, each written as soon as its second is over.
private final class PerSecondFile {
  private let descriptor: Int32

  init(path: String) throws {
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw ValidationError("--per-second \(path) can't be made: \(String(cString: strerror(errno)))")
    }
    line(SecondTally.csvHeader)
  }

  deinit { close(descriptor) }

  func write(_ second: SecondTally) { line(second.csv) }

  private func line(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = Foundation.write(descriptor, bytes, bytes.count)
  }
}
