/// Why bytes are not a message of ours.
package enum WireError: Error, Equatable {
  /// The bytes end inside a field.
  case truncated
  /// No tag, varint or group has this form.
  case malformed
  /// A string is not UTF-8.
  case notUTF8(field: StaticString)
  /// A field is longer or larger than allowed.
  case tooLong(field: StaticString, limit: Int)
  /// An enumeration has no such value, or an id has another size.
  case badValue(field: StaticString)
  /// The request names no command, or one that this node does not know.
  case noCommand

  package static func == (a: WireError, b: WireError) -> Bool { a.description == b.description }

  /// Says what is wrong, and where.
  package var description: String {
    switch self {
    case .truncated: "the bytes end inside a field"
    case .malformed: "the bytes are not protobuf"
    case .notUTF8(let field): "\(field) is not UTF-8"
    case .tooLong(let field, let limit): "\(field) is more than \(limit) long"
    case .badValue(let field): "\(field) has a value that is not allowed"
    case .noCommand: "the request names no known command"
    }
  }
}

/// A tag: field number and wire type.
package struct Tag {
  package let field: UInt32
  package let wire: UInt8

  package static let varint: UInt8 = 0
  package static let fixed64: UInt8 = 1
  package static let length: UInt8 = 2
  package static let startGroup: UInt8 = 3
  package static let endGroup: UInt8 = 4
  package static let fixed32: UInt8 = 5
}

/// Reads protobuf fields one after the other. Never trusts a length; borrows the bytes.
///
/// Source: protobuf.dev, "Encoding".
package struct ProtobufReader {
  private let bytes: UnsafeRawBufferPointer
  /// Where the next field begins.
  package private(set) var offset = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The next field's tag, or nil at the end.
  @inline(__always)
  package mutating func tag() throws(WireError) -> Tag? {
    guard offset < bytes.count else { return nil }
    let start = offset
    let value = try varint()
    // 32 bits need no more; readers differ on longer ones, and two that differ must never see one.
    guard offset - start <= 5 else { throw .malformed }
    let field = value >> 3
    guard field >= 1, field <= 0x1FFF_FFFF else { throw .malformed }
    return Tag(field: UInt32(field), wire: UInt8(value & 7))
  }

  @inline(__always)
  package mutating func varint() throws(WireError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard offset < bytes.count else { throw .truncated }
      let byte = bytes[offset]
      offset += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
      guard shift < 70 else { throw .malformed }
    }
  }

  /// The bytes of a length-delimited field.
  @inline(__always)
  package mutating func slice() throws(WireError) -> UnsafeRawBufferPointer {
    let count = try varint()
    guard count <= UInt64(bytes.count - offset) else { throw .truncated }
    let slice = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + Int(count)])
    offset += Int(count)
    return slice
  }

  package mutating func fixed64() throws(WireError) -> UInt64 {
    guard bytes.count - offset >= 8 else { throw .truncated }
    defer { offset += 8 }
    return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  package mutating func string(_ field: StaticString, max: Int) throws(WireError) -> String {
    let slice = try slice()
    guard slice.count <= max else { throw .tooLong(field: field, limit: max) }
    // A repair changes bytes. `String(validating:)` says the same at four times the cost.
    var text = String(decoding: slice, as: UTF8.self)
    guard text.withUTF8({ Self.areEqual(UnsafeRawBufferPointer($0), slice) }) else {
      throw .notUTF8(field: field)
    }
    return text
  }

  private static func areEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    for index in a.indices where a[index] != b[index] { return false }
    return true
  }

  /// Passes over a field that nobody here knows.
  package mutating func skip(_ tag: Tag, depth: Int = 0) throws(WireError) {
    switch tag.wire {
    case Tag.varint: _ = try varint()
    case Tag.fixed64: try advance(8)
    case Tag.length: _ = try slice()
    case Tag.fixed32: try advance(4)
    case Tag.startGroup:
      guard depth < 64 else { throw .malformed }
      while true {
        guard let inner = try self.tag() else { throw .truncated }
        if inner.wire == Tag.endGroup {
          guard inner.field == tag.field else { throw .malformed }
          return
        }
        try skip(inner, depth: depth + 1)
      }
    default: throw .malformed
    }
  }

  private mutating func advance(_ count: Int) throws(WireError) {
    guard bytes.count - offset >= count else { throw .truncated }
    offset += count
  }
}
