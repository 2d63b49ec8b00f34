import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import LoadTest

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A sale: orders as fast as they are answered, or at a rate.",
    discussion: """
      Registers its shops and puts their SKUs, then places orders of --lines lines, one request a
      message. Latencies are in milliseconds from the planned time to the answer. An order without a
      final answer is sent again with its id, so every one is accounted for.
      """)

  @Option(help: "Where the dispatcher listens for services.")
  var dispatcher: String = ProcessInfo.processInfo.environment["LARIS_DISPATCHER"] ?? "tcp://127.0.0.1:12120"
  @Option(help: "How long to sell, in seconds.") var seconds: Double = 20
  @Option(help: "Requests in flight.") var inFlight: Int = 2_000
  @Option(help: "Orders a second (open loop). Without it, as many as are answered.") var rate: Double?
  @Option(help: "Shops.") var shops: Int = 1_000
  @Option(help: "SKUs of each shop.") var skusPerShop: Int = 10
  @Option(help: "Lines of an order.") var lines: Int = 3
  @Option(help: "Per cent of the orders that want SKU 1 of shop 1.") var hot: Double = 0
  @Option(help: "Seed of what is ordered.") var seed: UInt64 = 1
  @Option(
    name: .customLong("max-p99"),
    help: "Fail (exit code 99) if the 99th percentile is above, in milliseconds.")
  var maxP99: Double?
  @Option(help: "Fail (exit code 99) if fewer orders a second were answered.") var minRate: Double?
  @Option(help: "Fail (exit code 99) if more orders than that were not done.") var maxErrors: Int?
  @Flag(help: "Print the summary as JSON.") var json = false
  @Flag(help: "The shops and SKUs are there already.") var skipSetup = false

  func validate() throws {
    guard seconds >= 1, seconds <= 86_400 else { throw ValidationError("--seconds must be 1 to 86400") }
    guard inFlight >= 1, inFlight <= 1_000_000 else {
      throw ValidationError("--in-flight must be 1 to 1000000")
    }
    guard shops >= 1, shops <= 10_000_000 else { throw ValidationError("--shops must be 1 to 10000000") }
    guard skusPerShop >= 1, skusPerShop <= 100_000 else {
      throw ValidationError("--skus-per-shop must be 1 to 100000")
    }
    guard lines >= 1, lines <= 2_000 else { throw ValidationError("--lines must be 1 to 2000") }
    guard hot >= 0, hot <= 100 else { throw ValidationError("--hot must be 0 to 100 per cent") }
    if let rate, rate < 1 || rate > 10_000_000 { throw ValidationError("--rate must be 1 to 10000000") }
  }

  func run() throws {
    var options = Sale.Options()
    options.dispatcher = dispatcher
    options.seconds = seconds
    options.inFlight = inFlight
    options.rate = rate
    options.shops = shops
    options.skusPerShop = skusPerShop
    options.linesPerOrder = lines
    options.hotPerMille = Int(hot * 10)
    options.seed = seed
    let sale = try Sale(options)
    if !skipSetup {
      try sale.setUp { done, total in
        Output.live("setting up: \(Output.grouped(done)) of \(Output.grouped(total)) shops and SKUs")
      }
      Output.endLive()
    }
    if !json {
      Output.line(
        "selling from \(Output.grouped(shops)) shops with \(Output.grouped(shops * skusPerShop)) SKUs, "
          + "\(lines) lines an order, "
          + (rate.map { "\(Int($0)) orders/s" } ?? "\(inFlight) in flight") + ", for \(Int(seconds)) s")
    }
    let summary = sale.sell { progress in
      Output.live(
        "\(Int(progress.seconds)) s: \(Output.grouped(progress.orders)) orders, "
          + "\(Output.grouped(progress.ordersLastSecond))/s, p99 "
          + String(format: "%.1f ms", progress.p99Milliseconds))
    }
    Output.endLive()
    show(summary)
    let broken = thresholds(summary)
    for threshold in broken { Output.error("laris-loadtest: \(threshold)") }
    if !broken.isEmpty { throw ExitCode(99) }
    if summary.unresolved > 0 { throw ExitCode(1) }
  }

  /// Those that do not hold.
  private func thresholds(_ summary: SaleSummary) -> [String] {
    var broken: [String] = []
    let p99 = summary.milliseconds(99)
    if let maxP99, p99 > maxP99 { broken.append("p99 is \(p99) ms, more than --max-p99 \(maxP99)") }
    if let minRate, summary.ordersPerSecond < minRate {
      broken.append("\(Int(summary.ordersPerSecond)) orders/s are fewer than --min-rate \(minRate)")
    }
    let errors = summary.finished - summary.done + summary.unresolved
    if let maxErrors, errors > maxErrors {
      broken.append("\(errors) orders were not done, more than --max-errors \(maxErrors)")
    }
    return broken
  }

  private func show(_ summary: SaleSummary) {
    let retried = summary.retries.values.reduce(0, +) + summary.silent
    if json {
      struct Object: Encodable {
        var orders, done, unresolved, retried: Int
        var no: [String: Int]
        var seconds, ordersPerSecond, p50, p90, p99, p999, max: Double
        var lagAt10Seconds, lagAtEnd: UInt64?
      }
      let object = Object(
        orders: summary.finished, done: summary.done, unresolved: summary.unresolved, retried: retried,
        no: Dictionary(uniqueKeysWithValues: summary.no.map { (name($0.key), $0.value) }),
        seconds: summary.sellingSeconds, ordersPerSecond: summary.ordersPerSecond,
        p50: summary.milliseconds(50), p90: summary.milliseconds(90), p99: summary.milliseconds(99),
        p999: summary.milliseconds(99.9), max: summary.milliseconds(100),
        lagAt10Seconds: summary.lagAt10Seconds, lagAtEnd: summary.lagAtEnd)
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys]
      Output.line(String(decoding: (try? encoder.encode(object)) ?? Data(), as: UTF8.self))
      return
    }
    Output.line(
      "\(Output.grouped(summary.finished)) orders in \(Int(summary.sellingSeconds)) s: "
        + "\(Output.grouped(Int(summary.ordersPerSecond))) orders/s")
    var fates = ["\(Output.grouped(summary.done)) done"]
    for (code, count) in summary.no.sorted(by: { $0.key < $1.key }) {
      fates.append("\(Output.grouped(count)) no: \(name(code))")
    }
    for (code, count) in summary.refused.sorted(by: { $0.key < $1.key }) {
      fates.append("\(Output.grouped(count)) not executed: \(name(code))")
    }
    fates.append("\(Output.grouped(summary.unresolved)) unresolved")
    fates.append("\(Output.grouped(retried)) attempts repeated")
    Output.line(fates.joined(separator: ", "))
    Output.line(
      "latency in ms: "
        + [("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100)]
        .map { name, percentile in name + String(format: " %.2f", summary.milliseconds(percentile)) }
        .joined(separator: ", "))
    if let early = summary.lagAt10Seconds, let late = summary.lagAtEnd {
      Output.line(
        "checkpoint lag, entries at most: \(Output.grouped(Int(early))) from 5 to 10 s, "
          + "\(Output.grouped(Int(late))) in the last 5 s")
    }
    if summary.generatorLoad > 0.9 {
      Output.line(
        "note: the load generator itself was busy for \(Int(summary.generatorLoad * 100)) % of the time: "
          + "it may be what limits the rate")
    }
    if summary.sendingWasLate {
      Output.line("note: more orders were due than could be in flight; --in-flight bounds the rate")
    }
  }

  private func name(_ code: UInt32) -> String {
    Laris_Code(rawValue: Int(code))?.contractName ?? "code \(code)"
  }
}
