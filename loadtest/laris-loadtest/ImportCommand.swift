import ArgumentParser
import Foundation
import LoadTest

struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Turns a published data set into a trace.", subcommands: [Olist.self])

  struct Olist: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "olist",
      abstract: "The public Olist data set: a folder of CSV files.",
      discussion: "docs/OLIST.md has the mapping, and the rule for each odd row.")

    @Argument(help: "The folder with the olist_*.csv files.") var directory: String
    @Option(help: "The trace to write.") var out: String = "olist.trace.jsonl"
    @Option(help: "Stock before the start, in thousandths of what is ordered of each SKU.")
    var stockPerMille: Int64 = 1_000
    @Flag(help: "Print the report as JSON.") var json = false

    func validate() throws {
      guard stockPerMille >= 0, stockPerMille <= 1_000_000 else {
        throw ValidationError("--stock-per-mille must be 0 to 1000000")
      }
    }

    func run() throws {
      let imported = try OlistImport.run(
        directory: directory, options: .init(stockPerMille: stockPerMille))
      try imported.write(path: out)
      Output.line(json ? imported.report.json : imported.report.table)
      if !json { Output.line("wrote \(out); replay it with: laris-loadtest replay \(out)") }
    }
  }
}

struct Generate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a made-up data set in Olist's format, with the same oddities.",
    discussion: "For where the real one is not at hand. The same seed writes the same files.")

  @Argument(help: "The folder to write the CSV files into; made if missing.") var directory: String
  @Option(help: "Orders.") var orders: Int = 1_000
  @Option(help: "Seed.") var seed: UInt64 = 1

  func validate() throws {
    guard orders >= 1, orders <= 1_000_000 else { throw ValidationError("--orders must be 1 to 1000000") }
  }

  func run() throws {
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try OddMarketplace(seed: seed, orders: orders).write(directory: directory)
    Output.line("wrote \(orders) orders to \(directory); next: laris-loadtest import olist \(directory)")
  }
}
