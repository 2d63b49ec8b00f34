/// A growing run of bytes, written at its end. Little endian where a number is fixed in size.
package struct ByteWriter: ~Copyable {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  package private(set) var count = 0

  package init(capacity: Int = 256) {
    self.capacity = max(16, capacity)
    base = .allocate(byteCount: self.capacity, alignment: 16)
  }

  deinit { base.deallocate() }

  /// What was written; valid until the next write.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  package mutating func reserve(_ more: Int) {
    if count + more > capacity { grow(to: count + more) }
  }

  private mutating func grow(to needed: Int) {
    var size = capacity
    while size < needed { size *= 2 }
    let moved = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    moved.copyMemory(from: base, byteCount: count)
    base.deallocate()
    base = moved
    capacity = size
  }

  /// Forgets all; what was needed once for something large is given back.
  package mutating func removeAll() {
    count = 0
    guard capacity > Self.capacityKept else { return }
    base.deallocate()
    capacity = 1 << 16
    base = .allocate(byteCount: capacity, alignment: 16)
  }

  private static var capacityKept: Int { 8 << 20 }

  /// Forgets all after the first `count` bytes.
  package mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count)
    self.count = count
  }

  @inline(__always)
  package mutating func append(_ byte: UInt8) {
    reserve(1)
    base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
  }

  // Not generic, as in ByteReader.
  package mutating func append(littleEndian number: UInt16) { append(integer: number) }
  package mutating func append(littleEndian number: UInt32) { append(integer: number) }
  package mutating func append(littleEndian number: UInt64) { append(integer: number) }
  package mutating func append(littleEndian number: Int64) { append(integer: number) }

  @inline(__always)
  private mutating func append<Number: FixedWidthInteger & BitwiseCopyable>(integer number: Number) {
    let size = MemoryLayout<Number>.size
    reserve(size)
    base.storeBytes(of: number.littleEndian, toByteOffset: count, as: Number.self)
    count += size
  }

  @inline(__always)
  package mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    reserve(bytes.count)
    (base + count).copyMemory(from: start, byteCount: bytes.count)
    count += bytes.count
  }

  package mutating func append(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { append($0) }
  }

  package mutating func append(utf8 text: String) {
    var text = text
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  /// A base-128 number, least significant group first.
  @inline(__always)
  package mutating func append(varint number: UInt64) {
    reserve(10)
    var rest = number
    var offset = count
    while rest >= 0x80 {
      base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: offset, as: UInt8.self)
      rest >>= 7
      offset += 1
    }
    base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: offset, as: UInt8.self)
    count = offset + 1
  }

  package mutating func patch(byte: UInt8, at offset: Int) {
    precondition(offset >= 0 && offset < count)
    base.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
  }

  /// Overwrites four bytes that were written before.
  package mutating func patch(_ number: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset + 4 <= count)
    base.storeBytes(of: number.littleEndian, toByteOffset: offset, as: UInt32.self)
  }

  package mutating func patch(_ number: UInt64, at offset: Int) {
    precondition(offset >= 0 && offset + 8 <= count)
    base.storeBytes(of: number.littleEndian, toByteOffset: offset, as: UInt64.self)
  }
}
