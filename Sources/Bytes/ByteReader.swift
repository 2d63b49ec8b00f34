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

  @inline(__always)
  package mutating func number<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type = Number.self
  ) throws(Truncated) -> Number {
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
