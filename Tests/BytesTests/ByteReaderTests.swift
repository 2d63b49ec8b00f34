import Bytes
import TestSupport
import Testing

struct ByteReaderTests {
  /// Reads a number of each width in turn, and a slice, until one does not fit.
  private static func readUntilEnd(_ reader: inout ByteReader, _ random: inout SplitMix64) -> Int {
    var reads = 0
    while true {
      let before = reader.offset
      let wanted: Int
      do throws(ByteReader.Truncated) {
        switch random.next() % 5 {
        case 0:
          wanted = 1
          _ = try reader.number(UInt8.self)
        case 1:
          wanted = 2
          _ = try reader.number(UInt16.self)
        case 2:
          wanted = 4
          _ = try reader.number(UInt32.self)
        case 3:
          wanted = 8
          _ = try reader.number(UInt64.self)
        default:
          wanted = Int(random.next() % 9)
          _ = try reader.slice(wanted)
        }
      } catch {
        #expect(error.offset == before)
        #expect(reader.offset == before, "a read that fails consumes nothing")
        return reads
      }
      #expect(reader.offset == before + wanted)
      reads += 1
    }
  }

  @Test(arguments: 0...64)
  func `no read goes past the end`(_ count: Int) {
    var random = SplitMix64(seed: UInt64(count))
    // Behind the bytes that are lent stand others, which must not be read.
    let backing = random.bytes(count) + [UInt8](repeating: 0xEE, count: 32)
    backing.withUnsafeBytes { all in
      for _ in 0..<20 {
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: all[..<count]))
        _ = Self.readUntilEnd(&reader, &random)
        #expect(reader.offset <= count)
        #expect(reader.remaining == count - reader.offset)
        #expect(reader.isAtEnd == (reader.offset == count))
      }
    }
  }

  @Test func `numbers are little endian`() throws {
    let bytes: [UInt8] = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B]
    try bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      let one = try reader.number(UInt8.self)
      let two = try reader.number(UInt16.self)
      let eight = try reader.number(UInt64.self)
      #expect(one == 0x01)
      #expect(two == 0x0302)
      #expect(eight == 0x0B0A_0908_0706_0504)
      #expect(reader.isAtEnd)
      reader = ByteReader(bytes, from: 1)
      let four = try reader.number(UInt32.self)
      #expect(four == 0x0504_0302)
    }
  }

  @Test func `a slice is where it was read`() throws {
    let bytes = Array("abcdef".utf8)
    let slices = try bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes, from: 1)
      var slices: [String] = []
      for count in [3, 0, 2, 0] { slices.append(String(decoding: try reader.slice(count), as: UTF8.self)) }
      return slices
    }
    #expect(slices == ["bcd", "", "ef", ""])
  }

  @Test(arguments: [-1, .min, 4, 5, .max])
  func `a length that can't be is refused`(_ count: Int) {
    let bytes: [UInt8] = [1, 2, 3]
    let error = #expect(throws: ByteReader.Truncated.self) {
      try bytes.withUnsafeBytes { bytes in
        var reader = ByteReader(bytes)
        _ = try reader.slice(count)
      }
    }
    #expect(error?.offset == 0)
  }
}
