/// What a reply says, in numbers. Read without any code of Laris, so that a fault there does not hide itself.
package struct ReplyFacts: Equatable, CustomStringConvertible {
  package private(set) var outcome: UInt64 = 0
  package private(set) var code: UInt64 = 0
  /// Field of the result; 0: none.
  package private(set) var result: UInt64 = 0
  /// Of the result: an id's halves, then its numbers by field, 1 to 22; zeros at the end are left out.
  package var high: UInt64 = 0
  package var low: UInt64 = 0
  private var values: [UInt64] = []

  package var isFinal: Bool { outcome == 1 || outcome == 2 }

  /// The result's number in this field.
  package subscript(field: Int) -> UInt64 {
    get { field < values.count ? values[field] : 0 }
    set {
      guard newValue != self[field] else { return }
      while values.count <= field { values.append(0) }
      values[field] = newValue
      while values.last == 0 { values.removeLast() }
    }
  }

  /// Of a reply: the request that it answers.
  package static func request(in bytes: UnsafeRawBufferPointer) -> (high: UInt64, low: UInt64)? {
    field(1, of: bytes).flatMap { Fields.id($0) }
  }

  /// Of a reply that tells of another request: which, and what that was answered.
  static func told(in bytes: UnsafeRawBufferPointer) -> (high: UInt64, low: UInt64, facts: ReplyFacts)? {
    guard let resolved = field(14, of: bytes), let inner = field(1, of: resolved),
      let id = request(in: inner), let facts = ReplyFacts(inner)
    else { return nil }
    return (id.high, id.low, facts)
  }

  /// The last field of that number, which has a length.
  private static func field(_ number: UInt64, of bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var found: UnsafeRawBufferPointer?
    let isWhole = Fields.read(bytes) { field, value in
      if field == number, case .bytes(let inner) = value { found = inner }
      return true
    }
    return isWhole ? found : nil
  }

  package var description: String {
    "outcome \(outcome) code \(code) result \(result) id \(String(high, radix: 16)):\(String(low, radix: 16)) "
      + values.enumerated().filter { $0.element != 0 }.map { "\($0.offset)=\(Int64(bitPattern: $0.element))" }
      .joined(separator: " ")
  }

  package static func no(_ code: UInt64) -> ReplyFacts {
    var facts = ReplyFacts()
    (facts.outcome, facts.code) = (2, code)
    return facts
  }

  package static func done(_ result: UInt64) -> ReplyFacts {
    var facts = ReplyFacts()
    (facts.outcome, facts.result) = (1, result)
    return facts
  }

  package init() {}

  /// nil: this is no reply.
  package init?(_ bytes: UnsafeRawBufferPointer) {
    let isWhole = Fields.read(bytes) { field, value in
      switch (field, value) {
      case (2, .number(let value)): outcome = value
      case (3, .number(let value)): code = value
      case (14, .bytes): result = field
      case (9...13, .bytes(let inner)), (32...35, .bytes(let inner)):
        result = field
        return read(inner)
      default: break
      }
      return true
    }
    guard isWhole else { return nil }
  }

  private mutating func read(_ bytes: UnsafeRawBufferPointer) -> Bool {
    Fields.read(bytes) { field, value in
      switch (field, value) {
      case (..<23, .number(let value)): self[Int(field)] = value
      case (1, .bytes(let bytes)): if let id = Fields.id(bytes) { (high, low) = id }
      default: break
      }
      return true
    }
  }
}
