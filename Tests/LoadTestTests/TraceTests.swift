import Foundation
import Testing

import LoadTest

struct TraceTests {
  static let header = TraceHeader(
    source: "test", currency: "IDR", events: 9, startsAt: 1_000, endsAt: 5_000,
    files: [
      TraceFile(file: "items", path: "items.csv", rows: 3),
      TraceFile(file: "orders", path: "orders.csv", rows: 2),
    ],
    refused: [TraceRefusal(file: "items", reason: "no_lines", rows: 1, cents: -5)],
    moved: [TraceCount(name: "shipment_missing", count: 1)])

  static let events: [TraceEvent] = [
    TraceEvent(
      at: 0,
      action: .refused(
        TraceAction.Refused(file: "items", row: 3, reason: "no_lines", cents: -5)), rows: []),
    TraceEvent(
      at: 0,
      action: .registerShop(
        TraceAction.RegisterShop(
          shop: 1, name: "Shop \"1\" \\ \u{1} / ´", city: "", province: "São\nPaulo")), rows: []),
    TraceEvent(
      at: 0,
      action: .putSku(
        TraceAction.PutSku(
          shop: 1, sku: UInt64(Int64.max), price: 0, onHand: Int64.max, name: "")), rows: []),
    TraceEvent(
      at: 1_000,
      action: .placeOrder(
        TraceAction.PlaceOrder(
          key: "o/1", shop: 1, buyer: 1 << 60, shippingFee: 7, reference: "r",
          lines: [
            TraceAction.Line(sku: 9, quantity: 1_000_000_000, unitPrice: Int64.max),
            TraceAction.Line(sku: 9, quantity: 1, unitPrice: 0),
          ])), rows: [TraceRows("items", [1, 2]), TraceRows("orders", [1])]),
    TraceEvent(
      at: 1_000,
      action: .settlePayment(
        TraceAction.SettlePayment(
          key: "o/1", provider: "p", reference: "o-1/2", amount: 0, method: .voucherBalance,
          instalments: .max)), rows: []),
    TraceEvent(at: 2_000, action: .shipOrder(key: "o/1"), rows: [TraceRows("orders", [1])]),
    TraceEvent(at: 3_000, action: .deliverOrder(key: "o/1"), rows: [TraceRows("orders", [1])]),
    TraceEvent(at: 4_000, action: .completeOrder(key: "o/1"), rows: [TraceRows("orders", [1])]),
    TraceEvent(
      at: 5_000, action: .cancelOrder(TraceAction.CancelOrder(key: "o/2", by: .platform, reason: "gone")),
      rows: [TraceRows("orders", [2])]),
  ]

  static func bytes(_ lines: [[UInt8]]) -> [UInt8] { lines.flatMap { $0 + [UInt8(ascii: "\n")] } }

  private func read(_ bytes: [UInt8]) throws -> [TraceEvent] {
    var reader = try TraceReader(name: "t.trace", bytes: bytes)
    var events: [TraceEvent] = []
    while let event = try reader.next() { events.append(event) }
    return events
  }

  private func error(_ bytes: [UInt8]) throws -> TraceError {
    try #require(throws: TraceError.self) { _ = try read(bytes) }
  }

  @Test func `what is written is read again`() throws {
    let bytes = TraceTests.bytes([TraceTests.header.json] + TraceTests.events.map(\.json))
    #expect(try TraceReader(name: "t", bytes: bytes).header == TraceTests.header)
    #expect(try read(bytes) == TraceTests.events)
    // The last line feed may be missing.
    #expect(try read(Array(bytes.dropLast())) == TraceTests.events)
  }

  @Test func `an event reads from left to right`() {
    #expect(
      String(decoding: TraceTests.events[3].json, as: UTF8.self) == """
        {"at":1000,"action":"place_order","key":"o/1","shop":1,"buyer":1152921504606846976,\
        "shipping_fee":7,"reference":"r","lines":[\
        {"sku":9,"quantity":1000000000,"unit_price":9223372036854775807},\
        {"sku":9,"quantity":1,"unit_price":0}],"rows":{"items":[1,2],"orders":[1]}}
        """)
  }

  @Test func `a file appears when it is complete, and is read as it was written`() throws {
    let folder = try OlistTestFolder()
    let path = "\(folder.path)/t.trace"
    var writer = try TraceWriter(path: path, header: TraceTests.header)
    for event in TraceTests.events { try writer.write(event) }
    #expect(!FileManager.default.fileExists(atPath: path))
    try writer.finish()
    var reader = try TraceReader(path: path)
    var events: [TraceEvent] = []
    while let event = try reader.next() { events.append(event) }
    #expect(events == TraceTests.events)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["t.trace"])
  }

  @Test func `a file that cannot be opened or made is an error with its name`() throws {
    let reading = try #require(throws: TraceError.self) { _ = try TraceReader(path: "/nowhere/t") }
    #expect(reading.kind == .unreadable)
    let writing = try #require(throws: TraceError.self) {
      _ = try TraceWriter(path: "/nowhere/t", header: TraceTests.header)
    }
    #expect(writing.kind == .unwritable)
    #expect(writing.description.contains("/nowhere/t"))
  }

  // MARK: Hostile input

  /// Each replaces something in one of the events above; the line and a word of the complaint follow.
  @Test(arguments: [
    (3, "\"at\":1000", "\"at\":-1", "at is not a whole number within"),
    (3, "\"at\":1000", "\"at\":1e300", "at is not a whole number"),
    (3, "\"at\":1000", "\"at\":99999999999999999999999999", "at is not a whole number"),
    (3, "\"at\":1000", "\"at\":\"1000\"", "at has another type"),
    (3, "\"at\":1000", "\"at\":null", "at"),
    (3, "\"at\":1000", "\"at\":1000.5", "at is not a whole number"),
    (3, "\"at\":1000,", "", "at is missing"),
    (5, "\"at\":2000", "\"at\":999", "earlier"),
    (3, "\"place_order\"", "\"drop_table\"", "action"),
    (3, "\"key\":\"o/1\"", "\"key\":\"\"", "key is not between"),
    (3, "\"shop\":1", "\"shop\":0", "shop is not a whole number within"),
    (3, "\"shop\":1", "\"shop\":-1", "shop"),
    (3, "\"shop\":1", "\"shop\":9223372036854775808", "shop is not a whole number within"),
    (3, "\"shop\":1", "\"shop\":18446744073709551616", "shop"),
    (3, "\"shipping_fee\":7", "\"shipping_fee\":-7", "shipping_fee"),
    (3, "\"quantity\":1,", "\"quantity\":0,", "lines.[1].quantity"),
    (3, "\"quantity\":1,", "\"quantity\":1000000001,", "lines.[1].quantity"),
    (3, "\"quantity\":1,", "\"quantity\":4294967296,", "lines.[1].quantity"),
    (3, "\"unit_price\":0", "\"unit_price\":true", "lines.[1].unit_price has another type"),
    (3, "\"lines\":[", "\"lines\":[7,", "lines.[0]"),
    (3, "\"rows\":{\"items\":[1,2]", "\"rows\":{\"items\":[1,4]", "names a row"),
    (3, "\"rows\":{\"items\":[1,2]", "\"rows\":{\"items\":[0]", "names a row"),
    (3, "\"rows\":{\"items\":[1,2]", "\"rows\":{\"others\":[1,2]", "names a file"),
    (3, "\"rows\":{\"items\":[1,2]", "\"rows\":{\"items\":1", "rows.items has another type"),
    (3, "\"rows\":{\"items\":[1,2]", "\"rows\":{\"items\":[1e300]", "rows has a number"),
    (3, "\"rows\"", "\"sources\"", "rows is missing"),
    (4, "\"amount\":0", "\"amount\":-1", "amount"),
    (4, "\"voucher_balance\"", "\"barter\"", "method"),
    (0, "\"file\":\"items\"", "\"file\":\"nothing\"", "names a file"),
    (0, "\"row\":3", "\"row\":4", "names a row"),
    (8, "\"platform\"", "\"nobody\"", "by"),
    (5, "{", "[", "not JSON"),
    (5, "}", "", "not JSON"),
    (5, "{\"at\":2000", "7 {", "not JSON"),
  ])
  func `a line that is not as it should be is refused with its number`(
    _ place: Int, _ old: String, _ new: String, _ complaint: String
  ) throws {
    var lines = [TraceTests.header.json] + TraceTests.events.map(\.json)
    let text = String(decoding: lines[place + 1], as: UTF8.self)
    let range = try #require(text.range(of: old))
    lines[place + 1] = Array(text.replacingCharacters(in: range, with: new).utf8)
    let error = try error(TraceTests.bytes(lines))
    #expect(error.line == place + 2)
    #expect(error.problem.contains(complaint), "\(error)")
    #expect(error.description.hasPrefix("t.trace:\(place + 2): "))
    #expect(!error.hint.isEmpty)
  }

  @Test(arguments: [
    ("\"laris-trace/1\"", "\"laris-trace/2\"", TraceError.Kind.otherVersion),
    ("\"laris-trace/1\"", "7", .invalid),
    ("{\"trace\"", "{\"other\"", .otherVersion),
    ("\"rows\":5", "\"rows\":6", .invalid),
    ("\"rows\":5,", "", .invalid),
    ("\"rows\":3}", "\"rows\":30000000}", .invalid),
    ("\"rows\":3}", "\"rows\":-1}", .invalid),
    ("\"file\":\"items\"", "\"file\":\"orders\"", .invalid),
    ("\"currency\":\"IDR\"", "\"currency\":\"\"", .invalid),
    ("\"events\":9", "\"events\":10", .cutOff),
    ("\"events\":9", "\"events\":8", .invalid),
    ("\"files\":[", "\"files\":[null,", .invalid),
  ])
  func `a header that is not as it should be is refused`(
    _ old: String, _ new: String, _ kind: TraceError.Kind
  ) throws {
    let text = String(decoding: TraceTests.header.json, as: UTF8.self)
    let range = try #require(text.range(of: old))
    let header = Array(text.replacingCharacters(in: range, with: new).utf8)
    #expect(try error(TraceTests.bytes([header] + TraceTests.events.map(\.json))).kind == kind)
  }

  @Test func `bytes that are not UTF-8, an empty file and an endless line are refused`() throws {
    #expect(try error([]).kind == .notJSON)
    let header = TraceTests.header.json
    #expect(try error(TraceTests.bytes([header, [0x7B, 0xFF, 0x7D]])).kind == .invalidUTF8)
    #expect(try error(TraceTests.bytes([header, []])).kind == .notJSON)
    let endless = [UInt8](repeating: 0x20, count: Trace.lineBytesMax + 1)
    let error = try error(TraceTests.bytes([header, endless]))
    #expect(error.kind == .lineTooLong)
    #expect(error.line == 2)
    let deep = [UInt8](repeating: UInt8(ascii: "["), count: 500_000)
    #expect(try self.error(TraceTests.bytes([header, deep])).kind == .notJSON)
  }

  @Test func `an order of too many lines is refused`() throws {
    var event = TraceTests.events[3]
    guard case .placeOrder(var order) = event.action else { return }
    let line = TraceAction.Line(sku: 1, quantity: 1, unitPrice: 1)
    for (count, isAllowed) in [(1, true), (2_000, true), (2_001, false), (0, false)] {
      order.lines = [TraceAction.Line](repeating: line, count: count)
      event.action = .placeOrder(order)
      var header = TraceTests.header
      header.events = 1
      let bytes = TraceTests.bytes([header.json, event.json])
      #expect((try? read(bytes)) == (isAllowed ? [event] : nil))
    }
  }

  @Test func `damaged bytes never trap`() {
    let whole = TraceTests.bytes([TraceTests.header.json] + TraceTests.events.map(\.json))
    var random = OddMarketplace.Random(seed: 2)
    for _ in 0..<5_000 {
      var bytes = whole
      for _ in 0...random.below(3) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      _ = try? read(Array(bytes.prefix(random.below(4) == 0 ? random.below(bytes.count) : bytes.count)))
    }
  }

  // MARK: Accounts

  @Test func `every row is done, refused for its first reason, or missed`() {
    var account = TraceAccount(TraceTests.header)
    for event in TraceTests.events.prefix(8) {
      account.record(event, refusal: event.at == 2_000 ? "NOT_PAID" : event.at == 3_000 ? "NOT_SHIPPED" : nil)
    }
    #expect(!account.isComplete)
    #expect(
      account.totals() == [
        TraceAccount.File(
          file: "items", rows: 3, done: 2, refused: [TraceCount(name: "no_lines", count: 1)], unaccounted: 0),
        TraceAccount.File(
          file: "orders", rows: 2, done: 0, refused: [TraceCount(name: "NOT_PAID", count: 1)],
          unaccounted: 1),
      ])
    account.record(TraceTests.events[8])
    #expect(account.isComplete)
  }
}
