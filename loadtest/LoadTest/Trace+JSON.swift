import Foundation

// How the header and the events stand in the file. Written by hand, so that the same event is always
// the same bytes and reads from left to right: when, what, to which, how much, from where.

// MARK: Writing

extension TraceHeader {
  /// Without the line feed.
  package var json: [UInt8] {
    var line = JSONLine()
    line.field("trace", Trace.version)
    line.field("source", source)
    line.field("currency", currency)
    line.field("rows", rows)
    line.field("events", events)
    line.field("starts_at", startsAt)
    line.field("ends_at", endsAt)
    line.array("files", files) { line, file in
      line.field("file", file.file)
      line.field("path", file.path)
      line.field("rows", file.rows)
    }
    line.array("refused", refused) { line, refusal in
      line.field("file", refusal.file)
      line.field("reason", refusal.reason)
      line.field("rows", refusal.rows)
      line.field("cents", refusal.cents)
    }
    line.array("moved", moved) { line, rule in
      line.field("name", rule.name)
      line.field("count", rule.count)
    }
    return line.closed()
  }
}

extension TraceEvent {
  /// Without the line feed.
  package var json: [UInt8] {
    var line = JSONLine()
    line.field("at", at)
    line.field("action", action.kind.rawValue)
    switch action {
    case .refused(let refused):
      line.field("file", refused.file)
      line.field("row", refused.row)
      line.field("reason", refused.reason)
      line.field("cents", refused.cents)
    case .registerShop(let shop):
      line.field("shop", shop.shop)
      line.field("name", shop.name)
      line.field("city", shop.city)
      line.field("province", shop.province)
    case .putSku(let sku):
      line.field("shop", sku.shop)
      line.field("sku", sku.sku)
      line.field("price", sku.price)
      line.field("on_hand", sku.onHand)
      line.field("name", sku.name)
    case .placeOrder(let order):
      line.field("key", order.key)
      line.field("shop", order.shop)
      line.field("buyer", order.buyer)
      line.field("shipping_fee", order.shippingFee)
      line.field("reference", order.reference)
      line.array("lines", order.lines) { line, item in
        line.field("sku", item.sku)
        line.field("quantity", item.quantity)
        line.field("unit_price", item.unitPrice)
      }
    case .settlePayment(let payment):
      line.field("key", payment.key)
      line.field("provider", payment.provider)
      line.field("reference", payment.reference)
      line.field("amount", payment.amount)
      line.field("method", payment.method.rawValue)
      line.field("instalments", payment.instalments)
    case .shipOrder(let key), .deliverOrder(let key), .completeOrder(let key):
      line.field("key", key)
    case .cancelOrder(let cancellation):
      line.field("key", cancellation.key)
      line.field("by", cancellation.by.rawValue)
      line.field("reason", cancellation.reason)
    }
    line.rows(rows)
    return line.closed()
  }
}

/// A JSON object in the making.
private struct JSONLine {
  private var bytes: [UInt8] = [UInt8(ascii: "{")]

  mutating func field(_ name: String, _ number: some BinaryInteger) {
    self.name(name)
    bytes.append(contentsOf: String(number).utf8)
  }

  mutating func field(_ name: String, _ text: String) {
    self.name(name)
    string(text)
  }

  mutating func array<Element>(
    _ name: String, _ elements: [Element], _ write: (inout JSONLine, Element) -> Void
  ) {
    self.name(name)
    bytes.append(UInt8(ascii: "["))
    for (index, element) in elements.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      bytes.append(UInt8(ascii: "{"))
      write(&self, element)
      bytes.append(UInt8(ascii: "}"))
    }
    bytes.append(UInt8(ascii: "]"))
  }

  mutating func rows(_ rows: [TraceRows]) {
    name("rows")
    bytes.append(UInt8(ascii: "{"))
    for part in rows {
      name(part.file)
      bytes.append(UInt8(ascii: "["))
      for (index, number) in part.numbers.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        bytes.append(contentsOf: String(number).utf8)
      }
      bytes.append(UInt8(ascii: "]"))
    }
    bytes.append(UInt8(ascii: "}"))
  }

  func closed() -> [UInt8] { bytes + [UInt8(ascii: "}")] }

  private mutating func name(_ name: String) {
    if bytes.last != UInt8(ascii: "{") { bytes.append(UInt8(ascii: ",")) }
    string(name)
    bytes.append(UInt8(ascii: ":"))
  }

  private mutating func string(_ text: String) {
    let hex = Array("0123456789abcdef".utf8)
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
      case 0..<0x20: bytes += Array("\\u00".utf8) + [hex[Int(byte >> 4)], hex[Int(byte & 15)]]
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

// MARK: Reading

private typealias Fields = KeyedDecodingContainer<TraceKey>

private enum TraceKey: String, CodingKey {
  case trace, source, currency, events, files, refused, moved, path
  case starts_at, ends_at
  case at, action, rows, file, row, reason, cents
  case shop, sku, name, city, province, price, on_hand
  case key, buyer, shipping_fee, reference, lines, quantity, unit_price
  case provider, amount, method, instalments, by
  case count
}

/// Years 1970 to 9999, and the weeks that follow the last of them.
private let times: ClosedRange<Int64> = 0...253_500_000_000_000
private let ids: ClosedRange<UInt64> = 1...UInt64(Int64.max)
private let amounts: ClosedRange<Int64> = 0...Int64.max

extension TraceHeader: Decodable {
  package init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: TraceKey.self)
    source = try fields.text(.source, 1...64)
    currency = try fields.text(.currency, 3...3)
    events = try fields.number(.events, 0...Int.max)
    startsAt = try fields.number(.starts_at, times)
    endsAt = try fields.number(.ends_at, times)
    files = []
    var list = try fields.nestedUnkeyedContainer(forKey: .files)
    while !list.isAtEnd {
      let file = try list.nestedContainer(keyedBy: TraceKey.self)
      files.append(
        TraceFile(
          file: try file.text(.file, 1...64), path: try file.text(.path, 1...4096),
          rows: try file.number(.rows, 0...Trace.rowsMax)))
    }
    refused = []
    list = try fields.nestedUnkeyedContainer(forKey: .refused)
    while !list.isAtEnd {
      let refusal = try list.nestedContainer(keyedBy: TraceKey.self)
      refused.append(
        TraceRefusal(
          file: try refusal.text(.file, 1...64), reason: try refusal.text(.reason, 1...64),
          rows: try refusal.number(.rows, 0...Trace.rowsMax),
          cents: try refusal.number(.cents, Int64.min...Int64.max)))
    }
    moved = []
    list = try fields.nestedUnkeyedContainer(forKey: .moved)
    while !list.isAtEnd {
      let rule = try list.nestedContainer(keyedBy: TraceKey.self)
      moved.append(
        TraceCount(
          name: try rule.text(.name, 1...64), count: try rule.number(.count, 0...Int.max)))
    }
    guard files.count <= Trace.filesMax else { throw fields.invalid(.files, "has too many files") }
    guard zip(files, files.dropFirst()).allSatisfy({ $0.file < $1.file }) else {
      throw fields.invalid(.files, "is not in the order of the names, or has a name twice")
    }
    // No overflow: at most `filesMax` times `rowsMax`.
    guard rows <= Trace.rowsMax else { throw fields.invalid(.files, "has too many rows") }
    guard try fields.number(.rows, 0...Trace.rowsMax) == rows else {
      throw fields.invalid(.rows, "is not the sum of the files' rows")
    }
  }

  /// What the first line says that it is; nil where it says nothing.
  struct Version: Decodable {
    let trace: String?
  }
}

extension TraceEvent: Decodable {
  package init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: TraceKey.self)
    at = try fields.number(.at, times)
    action = try TraceAction(fields)
    let numbers: [String: [Int]] = try fields.value(.rows, "has a number that is no row's")
    rows = numbers.map { TraceRows($0.key, $0.value) }
    // A dictionary has no order of its own.
    rows.sort { $0.file < $1.file }
  }
}

extension TraceAction {
  fileprivate init(_ fields: Fields) throws {
    switch try fields.decode(Kind.self, forKey: .action) {
    case .refused:
      self = .refused(
        Refused(
          file: try fields.text(.file, 1...64), row: try fields.number(.row, 1...Trace.rowsMax),
          reason: try fields.text(.reason, 1...64),
          cents: try fields.number(.cents, Int64.min...Int64.max)))
    case .registerShop:
      self = .registerShop(
        RegisterShop(
          shop: try fields.number(.shop, ids), name: try fields.text(.name, 1...128),
          city: try fields.text(.city, 0...64), province: try fields.text(.province, 0...64)))
    case .putSku:
      self = .putSku(
        PutSku(
          shop: try fields.number(.shop, ids), sku: try fields.number(.sku, ids),
          price: try fields.number(.price, amounts), onHand: try fields.number(.on_hand, amounts),
          name: try fields.text(.name, 0...128)))
    case .placeOrder:
      self = .placeOrder(
        PlaceOrder(
          key: try fields.orderKey(), shop: try fields.number(.shop, ids),
          buyer: try fields.number(.buyer, ids),
          shippingFee: try fields.number(.shipping_fee, amounts),
          reference: try fields.text(.reference, 0...64), lines: try fields.orderLines()))
    case .settlePayment:
      self = .settlePayment(
        SettlePayment(
          key: try fields.orderKey(), provider: try fields.text(.provider, 1...32),
          reference: try fields.text(.reference, 1...64), amount: try fields.number(.amount, amounts),
          method: try fields.decode(Method.self, forKey: .method),
          instalments: try fields.number(.instalments, 0...UInt32.max)))
    case .shipOrder: self = .shipOrder(key: try fields.orderKey())
    case .deliverOrder: self = .deliverOrder(key: try fields.orderKey())
    case .completeOrder: self = .completeOrder(key: try fields.orderKey())
    case .cancelOrder:
      self = .cancelOrder(
        CancelOrder(
          key: try fields.orderKey(), by: try fields.decode(Actor.self, forKey: .by),
          reason: try fields.text(.reason, 0...128)))
    }
  }
}

extension Fields {
  fileprivate func number<Number: FixedWidthInteger & Decodable>(
    _ key: TraceKey, _ range: ClosedRange<Number>
  ) throws -> Number {
    let outside = "is not a whole number within \(range.lowerBound) and \(range.upperBound)"
    let number: Number = try value(key, outside)
    guard range.contains(number) else { throw invalid(key, outside) }
    return number
  }

  /// - Parameter problem: what to call a number that does not fit its type: the decoder reports it without
  ///   its place, and with an error of its own.
  fileprivate func value<Value: Decodable>(_ key: TraceKey, _ problem: String) throws -> Value {
    do {
      return try decode(Value.self, forKey: key)
    } catch let error as DecodingError {
      guard case .dataCorrupted = error else { throw error }
      throw invalid(key, problem)
    } catch {
      throw invalid(key, problem)
    }
  }

  /// - Parameter bytes: how long it may be in UTF-8.
  fileprivate func text(_ key: TraceKey, _ bytes: ClosedRange<Int>) throws -> String {
    let text = try decode(String.self, forKey: key)
    guard bytes.contains(text.utf8.count) else {
      throw invalid(key, "is not between \(bytes.lowerBound) and \(bytes.upperBound) bytes long")
    }
    return text
  }

  fileprivate func orderKey() throws -> String { try text(.key, 1...Trace.keyBytesMax) }

  fileprivate func orderLines() throws -> [TraceAction.Line] {
    var list = try nestedUnkeyedContainer(forKey: .lines)
    var lines: [TraceAction.Line] = []
    while !list.isAtEnd {
      guard lines.count < Trace.linesPerOrderMax else {
        throw invalid(.lines, "has more than \(Trace.linesPerOrderMax) lines")
      }
      let line = try list.nestedContainer(keyedBy: TraceKey.self)
      lines.append(
        TraceAction.Line(
          sku: try line.number(.sku, ids), quantity: try line.number(.quantity, 1...1_000_000_000),
          unitPrice: try line.number(.unit_price, amounts)))
    }
    guard !lines.isEmpty else { throw invalid(.lines, "has no lines") }
    return lines
  }

  fileprivate func invalid(_ key: TraceKey, _ problem: String) -> DecodingError {
    .dataCorruptedError(forKey: key, in: self, debugDescription: problem)
  }
}
