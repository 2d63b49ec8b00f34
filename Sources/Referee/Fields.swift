/// The fields of a Protobuf message, read without any code of Laris, so that a fault there does not hide itself.
/// Bytes come from disk too: nothing that a length says is believed.
enum Fields {
  enum Value {
    case number(UInt64)
    case bytes(UnsafeRawBufferPointer)
  }

  /// - Parameter body: gets every field, and says whether it can be.
  /// - Returns: false: one can't, or the bytes are no message.
  static func read(_ bytes: UnsafeRawBufferPointer, _ body: (UInt64, Value) -> Bool) -> Bool {
    var at = 0
    while at < bytes.count {
      guard let tag = varint(bytes, &at), let number = varint(bytes, &at) else { return false }
      switch tag & 7 {
      case 0: guard body(tag >> 3, .number(number)) else { return false }
      case 2:
        guard number <= UInt64(bytes.count - at) else { return false }
        let inner = UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(number)])
        at += Int(number)
        guard body(tag >> 3, .bytes(inner)) else { return false }
      default: return false
      }
    }
    return true
  }

  /// An id of 16 bytes.
  static func id(_ bytes: UnsafeRawBufferPointer) -> (high: UInt64, low: UInt64)? {
    bytes.count == 16 ? (bigEndian(bytes, 0), bigEndian(bytes, 8)) : nil
  }

  static func bigEndian(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 << 8 | UInt64(bytes[at + $1]) }
  }

  private static func varint(_ bytes: UnsafeRawBufferPointer, _ at: inout Int) -> UInt64? {
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
