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
    guard let id = field(1, of: bytes), id.count == 16 else { return nil }
    return (bigEndian(id, 0), bigEndian(id, 8))
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
    var at = 0
    var found: UnsafeRawBufferPointer?
    while at < bytes.count {
      guard let tag = varint(bytes, &at) else { return nil }
      guard tag & 7 == 2 else {
        guard tag & 7 == 0, varint(bytes, &at) != nil else { return nil }
        continue
      }
      guard let length = varint(bytes, &at), Int(length) <= bytes.count - at else { return nil }
      if tag >> 3 == number { found = UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(length)]) }
      at += Int(length)
    }
    return found
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
    var at = 0
    func varint() -> UInt64? { Self.varint(bytes, &at) }
    while at < bytes.count {
      guard let tag = varint() else { return nil }
      switch (tag >> 3, tag & 7) {
      case (2, 0): guard let value = varint() else { return nil }; outcome = value
      case (3, 0): guard let value = varint() else { return nil }; code = value
      case (let field, 2):
        guard let length = varint(), Int(length) <= bytes.count - at else { return nil }
        let inner = UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(length)])
        at += Int(length)
        if field == 14 {
          result = field
        } else if (9...13).contains(field) || (32...35).contains(field) {
          result = field
          guard read(inner) else { return nil }
        }
      case (_, 0): guard varint() != nil else { return nil }
      default: return nil
      }
    }
  }

  private mutating func read(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var at = 0
    while at < bytes.count {
      guard let tag = Self.varint(bytes, &at) else { return false }
      let field = Int(tag >> 3)
      if tag & 7 == 0 {
        guard let value = Self.varint(bytes, &at) else { return false }
        if field < 23 { self[field] = value }
      } else {
        guard let length = Self.varint(bytes, &at), Int(length) <= bytes.count - at else { return false }
        if field == 1, length == 16 {
          high = Self.bigEndian(bytes, at)
          low = Self.bigEndian(bytes, at + 8)
        }
        at += Int(length)
      }
    }
    return true
  }

  static func bigEndian(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 << 8 | UInt64(bytes[at + $1]) }
  }

  static func varint(_ bytes: UnsafeRawBufferPointer, _ at: inout Int) -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while at < bytes.count, shift < 64 {
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte & 0x80 == 0 { return value }
      shift += 7
    }
    return nil
  }
}
