import Bytes
import TestSupport
import Testing

struct ByteWriterTests {
  /// Reads a base-128 number, the plain way.
  private static func varint(_ bytes: [UInt8]) -> (value: UInt64, count: Int)? {
    var value: UInt64 = 0
    for (index, byte) in bytes.enumerated() {
      value |= UInt64(byte & 0x7F) << UInt64(7 * index)
      if byte < 0x80 { return (value, index + 1) }
    }
    return nil
  }

  /// Of protobuf.dev, "Base 128 Varints", and the edges.
  @Test(
    arguments: [
      (0, [0x00]), (1, [0x01]), (127, [0x7F]), (128, [0x80, 0x01]), (150, [0x96, 0x01]),
      (16_383, [0xFF, 0x7F]), (16_384, [0x80, 0x80, 0x01]),
      (.max, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
    ] as [(UInt64, [UInt8])])
  func `a varint is as protobuf has it`(_ value: UInt64, _ expected: [UInt8]) {
    var writer = ByteWriter()
    writer.append(varint: value)
    #expect(Array(writer.bytes) == expected)
  }

  @Test func `every width of varint comes back`() {
    var random = SplitMix64(seed: 7)
    var writer = ByteWriter(capacity: 16)
    var values: [UInt64] = []
    for bits in 0...64 {
      for _ in 0..<20 {
        let value = bits == 0 ? 0 : random.next() >> UInt64(64 - bits)
        values.append(value)
        writer.append(varint: value)
      }
    }
    var rest = Array(writer.bytes)
    for value in values {
      guard let (read, count) = Self.varint(rest) else {
        Issue.record("the bytes end before \(value)")
        return
      }
      #expect(read == value)
      rest.removeFirst(count)
    }
    #expect(rest.isEmpty)
  }

  /// A dumb model beside it: an array of bytes.
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `whatever is written is what an array would hold`(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var writer = ByteWriter(capacity: 1)
    var model: [UInt8] = []
    for _ in 0..<2_000 {
      switch random.next() % 10 {
      case 0:
        let byte = UInt8(truncatingIfNeeded: random.next())
        writer.append(byte)
        model.append(byte)
      case 1:
        let number = UInt16(truncatingIfNeeded: random.next())
        writer.append(littleEndian: number)
        model += (0..<2).map { UInt8(truncatingIfNeeded: number >> UInt16(8 * $0)) }
      case 2:
        let number = random.next()
        writer.append(littleEndian: number)
        model += (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * $0)) }
      case 3:
        let bytes = random.bytes(Int(random.next() % 300))
        writer.append(bytes)
        model += bytes
      case 4:
        let text = ["", "Toko", "é漢字🛵"][Int(random.next() % 3)]
        writer.append(utf8: text)
        model += Array(text.utf8)
      case 5 where model.count >= 4:
        let offset = Int(random.next() % UInt64(model.count - 3))
        let number = UInt32(truncatingIfNeeded: random.next())
        writer.patch(number, at: offset)
        for byte in 0..<4 { model[offset + byte] = UInt8(truncatingIfNeeded: number >> UInt32(8 * byte)) }
      case 6 where model.count >= 8:
        let offset = Int(random.next() % UInt64(model.count - 7))
        let number = random.next()
        writer.patch(number, at: offset)
        for byte in 0..<8 { model[offset + byte] = UInt8(truncatingIfNeeded: number >> UInt64(8 * byte)) }
      case 7 where model.count >= 1:
        let offset = Int(random.next() % UInt64(model.count))
        writer.patch(byte: 0x42, at: offset)
        model[offset] = 0x42
      case 8:
        let count = model.count - Int(random.next() % UInt64(min(model.count, 40) + 1))
        writer.truncate(to: count)
        model.removeLast(model.count - count)
      default:
        writer.append([])
      }
      #expect(writer.count == model.count)
    }
    #expect(Array(writer.bytes) == model)
    writer.removeAll()
    #expect(writer.bytes.isEmpty)
  }

  @Test func `what a writer wrote a reader reads`() throws {
    var writer = ByteWriter()
    writer.append(littleEndian: Int64.min)
    writer.append(littleEndian: UInt32.max)
    writer.append(0x2A as UInt8)
    var reader = ByteReader(writer.bytes)
    let eight = try reader.number(Int64.self)
    let four = try reader.number(UInt32.self)
    let one = try reader.number(UInt8.self)
    #expect(eight == .min)
    #expect(four == .max)
    #expect(one == 0x2A)
    #expect(reader.isAtEnd)
  }
}
