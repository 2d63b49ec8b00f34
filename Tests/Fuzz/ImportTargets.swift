import Bytes
import Foundation
import LoadTest
import TestSupport

/// A CSV file: the rows that are read, written anew with every field in quotes, are read as the same.
struct CSVTarget: FuzzTarget {
  let name = "csv"
  let about = "CSV: CSVReader, and the same rows in quotes"

  var words: [[UInt8]] {
    Texts.words(["\"", "\"\"", ",", "\r\n", "\n", "\r", "\u{FEFF}", "a,b,c\n", "\"a\nb\""])
  }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    ["a,b,c\n1,2,3\n", "\u{FEFF}c,x,a\r\n\"1\",\"é\"\"\",3\r\n\r\n4,,6", "a\n\n\"\"\n1", "a,c\n\"x\ny\",z\n"]
      .map {
        Array($0.utf8)
      }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let input = Array(bytes)
    let columns = ["a", "c"].filter { name in input.prefix(64).contains(name.utf8.first!) }
    var rows: [CSVRow] = []
    do {
      var reader = try CSVReader.open(name: "in", bytes: input, columns: columns)
      while let row = try reader.next() { rows.append(row) }
    } catch {
      try require(error.line >= 1 && error.line <= input.count + 1, "an error in line \(error.line)")
      return try outcome(of: error)
    }
    guard !columns.isEmpty else { return "no columns" }
    var text = columns.joined(separator: ",") + "\n"
    for row in rows {
      text += row.fields.map { "\"" + $0.replacing("\"", with: "\"\"") + "\"" }.joined(separator: ",") + "\n"
    }
    var second: [[String]] = []
    do {
      var reader = try CSVReader.open(name: "again", bytes: Array(text.utf8), columns: columns)
      while let row = try reader.next() { second.append(row.fields) }
    } catch { throw Finding("rows that were read can't be read again: \(error)") }
    try require(
      second.map { $0.map { Array($0.utf8) } } == rows.map { $0.fields.map { Array($0.utf8) } }, "rows differ"
    )
    return "ok \(columns.count) \(size(rows.count))"
  }
}

/// The published data set: its files one after the other, each ended by a byte 0x1C.
struct OlistTarget: FuzzTarget {
  let name = "olist"
  let about = "the import of the published orders: OlistImport over its CSV files, and its trace"

  var words: [[UInt8]] {
    Texts.words([
      ",", "\n", "\"", "0.00", "999999999.99", "-1.00", "2017-09-15 18:04:37", "9999-12-31 23:59:59",
      "1970-01-01 00:00:00",
      "canceled", "delivered", "voucher", "1000000000", "4294967295", Texts.id(1), Texts.id(2), Texts.id(9),
      "a@b",
    ])
  }

  private static let heads: [OlistFile: String] = [
    .categories: "product_category_name,product_category_name_english",
    .customers: "customer_id,customer_unique_id",
    .items: "order_id,order_item_id,product_id,seller_id,price,freight_value",
    .orders:
      "order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,order_delivered_carrier_date,"
      + "order_delivered_customer_date",
    .payments: "order_id,payment_sequential,payment_type,payment_installments,payment_value",
    .products: "product_id,product_category_name", .reviews: "review_id,order_id",
    .sellers: "seller_id,seller_city,seller_state",
  ]

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    let (a, b, c) = (Texts.id(1), Texts.id(2), Texts.id(3))
    let times = "2017-09-15 18:04:37,2017-09-15 18:10:00,2017-09-16 00:00:00,2017-09-20 00:00:00"
    let rows: [OlistFile: [String]] = [
      .categories: ["casa,house"], .customers: ["\(a),\(b)", "\(b),\(b)"],
      .items: ["\(a),1,\(c),\(a),59.90,13.29", "\(a),2,\(c),\(b),59.90,0.00", "\(b),1,\(b),\(a),5.00,1.00"],
      .orders: ["\(a),\(a),delivered,\(times)", "\(b),\(b),canceled,2017-09-15 18:04:37,,,"],
      .payments: ["\(a),1,credit_card,2,133.09", "\(b),1,voucher,1,6.00"],
      .products: ["\(b),casa", "\(c),casa"],
      .reviews: ["r,\(a)"], .sellers: ["\(a),sao paulo,SP", "\(b),\"rio, de\",RJ"],
    ]
    var text = ""
    for file in OlistFile.allCases {
      text += ([Self.heads[file]!] + rows[file]!).joined(separator: "\n") + "\n\u{1C}"
    }
    return [Array(text.utf8)]
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let folder = try ScratchFolder.fresh("olist")
    let parts = bytes.split(separator: 0x1C, omittingEmptySubsequences: false)
    for (file, part) in zip(OlistFile.allCases, parts) {
      try ScratchFolder.write(UnsafeRawBufferPointer(rebasing: part), to: folder + "/" + file.path)
    }
    let trace: ImportedTrace
    do { trace = try OlistImport.run(directory: folder) } catch { return try outcome(of: error) }
    do {
      try trace.write(path: folder + "/trace")
      var reader = try TraceReader(path: folder + "/trace")
      try require(reader.header == trace.header, "the header changes on its way")
      var count = 0
      while let event = try reader.next() {
        try require(event == trace.events[count], "event \(count) changes on its way: \(event)")
        count += 1
      }
      try require(count == trace.events.count, "events are missing")
    } catch let finding as Finding {
      throw finding
    } catch { throw Finding("a trace that import wrote can't be read: \(error)") }
    return "ok \(Set(trace.events.map(\.action.kind.rawValue)).sorted()) \(size(trace.events.count))"
  }
}

/// A trace: the events that are read, written anew, are read as the same.
struct TraceTarget: FuzzTarget {
  let name = "trace"
  let about = "a trace: TraceReader, and the same events written anew"

  var words: [[UInt8]] {
    Texts.words([
      "\"rows\":", "\"at\":", "null", "1e5", "1.0", "-1", "9223372036854775808", "\"orders\"", "[]", "{}",
      "\n", "\\u0000",
      "\\ud800", "\"place_order\"", "[[", "true", "20000000", "\"\u{e9}\"", "\"e\u{301}\"",
    ])
  }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    let folder = try ScratchFolder.fresh("trace-seed")
    let olist = try OlistTarget().seeds(&random)[0].split(separator: 0x1C, omittingEmptySubsequences: false)
    for (file, part) in zip(OlistFile.allCases, olist) {
      try Array(part).withUnsafeBytes { try ScratchFolder.write($0, to: folder + "/" + file.path) }
    }
    try OlistImport.run(directory: folder).write(path: folder + "/trace")
    return [try ScratchFolder.read(folder + "/trace")]
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var kinds: Set<String> = []
    do {
      var reader = try TraceReader(name: "in", bytes: Array(bytes))
      var account = TraceAccount(reader.header)
      var events: [TraceEvent] = []
      defer { _ = account.isComplete }
      while let event = try reader.next() {
        account.record(event)
        events.append(event)
        kinds.insert(event.action.kind.rawValue)
      }
      var text = reader.header.json + [UInt8(ascii: "\n")]
      for event in events { text += event.json + [UInt8(ascii: "\n")] }
      do {
        var again = try TraceReader(name: "again", bytes: text)
        try require(again.header == reader.header, "a header changes on its way")
        for event in events {
          try require(try again.next() == event, "an event changes on its way: \(event)")
        }
      } catch let finding as Finding {
        throw finding
      } catch { throw Finding("what was read can't be read again: \(error)") }
      return "ok \(kinds.sorted()) \(size(events.count))"
    } catch let error as TraceError {
      try require(error.line >= 0 && error.line <= bytes.count + 2, "an error in line \(error.line)")
      return try "\(kinds.count) " + outcome(of: error)
    }
  }
}

enum Texts {
  static func words(_ texts: [String]) -> [[UInt8]] { texts.map { Array($0.utf8) } }
  static func id(_ number: Int) -> String { String(repeating: "\(number)", count: 32) }
}
