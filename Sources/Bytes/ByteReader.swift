/// Reads bytes that nobody vouches for: every read is checked against the end.
///
/// Borrows the bytes; they must outlive it.
package struct ByteReader {
  package let bytes: UnsafeRawBufferPointer
  package private(set) var offset: Int

  /// The bytes ended before what was to be read.
  package struct Truncated: Error, Equatable {
    package let offset: Int
  }

  package init(_ bytes: UnsafeRawBufferPointer, from offset: Int = 0) {
    self.bytes = bytes
    self.offset = offset
  }

  package var isAtEnd: Bool { offset >= bytes.count }
  package var remaining: Int { bytes.count - offset }

  // Not generic: in other targets that would be a call of unspecialised code, a hundred instructions a number.
  package mutating func number(_ type: UInt8.Type = UInt8.self) throws(Truncated) -> UInt8 { try integer() }
  package mutating func number(_ type: UInt16.Type = UInt16.self) throws(Truncated) -> UInt16 {
    try integer()
  }
  package mutating func number(_ type: UInt32.Type = UInt32.self) throws(Truncated) -> UInt32 {
    try integer()
  }
  package mutating func number(_ type: UInt64.Type = UInt64.self) throws(Truncated) -> UInt64 {
    try integer()
  }
  package mutating func number(_ type: Int64.Type = Int64.self) throws(Truncated) -> Int64 { try integer() }

  @inline(__always)
  private mutating func integer<Number: FixedWidthInteger & BitwiseCopyable>() throws(Truncated) -> Number {
    let size = MemoryLayout<Number>.size
    guard remaining >= size else { throw Truncated(offset: offset) }
    let value = bytes.loadUnaligned(fromByteOffset: offset, as: Number.self)
    offset += size
    return Number(littleEndian: value)
  }

  @inline(__always)
  package mutating func slice(_ count: Int) throws(Truncated) -> UnsafeRawBufferPointer {
    guard count >= 0, remaining >= count else { throw Truncated(offset: offset) }
    let slice = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    offset += count
    return slice
  }
}
