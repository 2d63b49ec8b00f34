import Bytes
import Wire
import TestSupport

/// A protobuf field that can be taken apart and put together otherwise.
indirect enum Field {
  case varint(UInt32, UInt64)
  case fixed64(UInt32, UInt64)
  case fixed32(UInt32, UInt32)
  case bytes(UInt32, [UInt8])
  case message(UInt32, [Field])
  case group(UInt32, [Field])

  private static let commands: Set<UInt32> = [4, 5, 6, 7, 8, 9, 10, 11, 12, 32, 33, 34, 35, 48, 49]

  /// The fields of a `Request` that SwiftProtobuf wrote.
  static func parse(_ bytes: [UInt8]) throws -> [Field] {
    try parse(bytes) { number in commands.contains(number) ? { number == 4 && $0 == 3 } : nil }
  }

  private static func parse(
    _ bytes: [UInt8], isMessage: (UInt32) -> ((UInt32) -> Bool)?
  ) throws -> [Field] {
    try bytes.withUnsafeBytes { bytes in
      var reader = ProtobufReader(bytes)
      var fields: [Field] = []
      while let tag = try reader.tag() {
        if tag.wire == Tag.varint {
          fields.append(.varint(tag.field, try reader.varint()))
        } else {
          let slice = Array(try reader.slice())
          if let inner = isMessage(tag.field) {
            fields.append(.message(tag.field, try parse(slice) { inner($0) ? { _ in false } : nil }))
          } else {
            fields.append(.bytes(tag.field, slice))
          }
        }
      }
      return fields
    }
  }

  static func bytes(_ fields: [Field]) -> [UInt8] {
    var writer = ByteWriter()
    for field in fields { field.write(into: &writer) }
    return Array(writer.bytes)
  }

  private func write(into writer: inout ByteWriter) {
    func tag(_ number: UInt32, _ wire: UInt8) { writer.append(varint: UInt64(number) << 3 | UInt64(wire)) }
    switch self {
    case .varint(let number, let value):
      tag(number, 0)
      writer.append(varint: value)
    case .fixed64(let number, let value):
      tag(number, 1)
      writer.append(littleEndian: value)
    case .fixed32(let number, let value):
      tag(number, 5)
      writer.append(littleEndian: value)
    case .bytes(let number, let value):
      tag(number, 2)
      writer.append(varint: UInt64(value.count))
      writer.append(value)
    case .message(let number, let fields): Field.bytes(number, Self.bytes(fields)).write(into: &writer)
    case .group(let number, let fields):
      tag(number, 3)
      for field in fields { field.write(into: &writer) }
      tag(number, 4)
    }
  }

  /// At every level.
  static func shuffle(_ fields: inout [Field], _ random: inout SplitMix64) {
    fields.shuffle(using: &random)
    for index in fields.indices {
      guard case .message(let number, var inner) = fields[index] else { continue }
      shuffle(&inner, &random)
      fields[index] = .message(number, inner)
    }
  }

  /// Leaves about half of a command's fields.
  static func drop(_ fields: inout [Field], _ random: inout SplitMix64) {
    for index in fields.indices {
      guard case .message(let number, var inner) = fields[index] else { continue }
      inner.removeAll { _ in random.chance(50) }
      fields[index] = .message(number, inner)
    }
  }

  /// Puts unknown fields between the known, at every level; also known numbers of another kind.
  static func sprinkle(_ fields: inout [Field], _ values: inout RandomValues) {
    for index in fields.indices {
      guard case .message(let number, var inner) = fields[index] else { continue }
      sprinkle(&inner, &values)
      fields[index] = .message(number, inner)
    }
    for _ in 0..<values.random.pick(0...4) {
      fields.insert(unknown(&values, depth: 0), at: values.random.pick(0...fields.count))
    }
  }

  private static func unknown(_ values: inout RandomValues, depth: Int) -> Field {
    // 13 to 31 and beyond 55 are nobody's; 1 to 12 are somebody's, but not as fixed numbers or groups.
    let free = UInt32(values.random.pick([13, 31, 56, 1_000, 0x1FFF_FFFF]))
    let taken = UInt32(values.random.pick(1...55))
    switch values.random.pick(0...5) {
    case 0: return .varint(free, values.unsigned())
    case 1: return .fixed64(values.random.chance(50) ? free : taken, values.random.next())
    case 2: return .fixed32(values.random.chance(50) ? free : taken, values.small())
    case 3: return .bytes(free, values.bytes(values.random.pick([0, 1, 200])))
    default:
      guard depth < 40 else { return .varint(free, 1) }
      let inner = (0..<values.random.pick([0, 1, 1, 2])).map { _ in unknown(&values, depth: depth + 1) }
      return .group(values.random.chance(50) ? free : taken, inner)
    }
  }
}
