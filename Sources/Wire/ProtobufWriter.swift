import Bytes

/// Protobuf fields, written the way SwiftProtobuf writes them: in the order of their
/// numbers, defaults left out.
extension ByteWriter {
  @inline(__always)
  package mutating func field(_ number: UInt32, _ wire: UInt8) {
    append(varint: UInt64(number) << 3 | UInt64(wire))
  }

  @inline(__always)
  package mutating func field(_ number: UInt32, varint value: UInt64) {
    guard value != 0 else { return }
    field(number, Tag.varint)
    append(varint: value)
  }

  @inline(__always)
  package mutating func field(_ number: UInt32, int64 value: Int64) {
    field(number, varint: UInt64(bitPattern: value))
  }

  package mutating func field(_ number: UInt32, sint64 value: Int64) {
    field(number, varint: UInt64(bitPattern: (value << 1) ^ (value >> 63)))
  }

  package mutating func field(_ number: UInt32, string value: String) {
    guard !value.isEmpty else { return }
    var value = value
    value.withUTF8 { field(number, bytes: UnsafeRawBufferPointer($0)) }
  }

  @inline(__always)
  package mutating func field(_ number: UInt32, bytes value: UnsafeRawBufferPointer) {
    guard value.count > 0 else { return }
    field(number, Tag.length)
    append(varint: UInt64(value.count))
    append(value)
  }

  /// 16 bytes, big endian.
  @inline(__always)
  package mutating func field(_ number: UInt32, high: UInt64, low: UInt64) {
    field(number, Tag.length)
    append(16 as UInt8)
    append(littleEndian: high.byteSwapped)
    append(littleEndian: low.byteSwapped)
  }

  /// A message of its own; its length is put before it once it is known.
  @inline(__always)
  package mutating func field(_ number: UInt32, message body: (inout ByteWriter) -> Void) {
    field(number, Tag.length)
    // Most are below 128 bytes, so one byte is kept for the length, and a longer one moves.
    let start = count
    append(0 as UInt8)
    body(&self)
    let length = count - start - 1
    if length < 0x80 {
      patch(byte: UInt8(length), at: start)
    } else {
      insertLength(length, at: start)
    }
  }

  private mutating func insertLength(_ length: Int, at start: Int) {
    var copy = ByteWriter(capacity: length)
    copy.append(UnsafeRawBufferPointer(rebasing: bytes[(start + 1)...]))
    truncate(to: start)
    append(varint: UInt64(length))
    append(copy.bytes)
  }
}
