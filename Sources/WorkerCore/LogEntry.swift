import Bytes
import Cluster
import Wire

/// An entry of the log, as it stands in a block: `length u32 | kind u8 | payload`.
package enum LogEntry {
  /// A client's `Request`, byte for byte as it came.
  case request(UnsafeRawBufferPointer)
  /// Orders whose reservations ran out: `sequence number u64` each.
  case expire([UInt64])
  /// A request that never will be executed: its id, 16 bytes, big endian.
  case seal(RequestID)
  /// The version of the rules that holds from the next block on: u16.
  case rules(UInt16)

  package enum DecodingError: Error, Equatable {
    case truncated
    case unknownKind(UInt8)
  }

  /// Bytes of an entry besides its payload.
  package static let overhead = 5

  package static func write(request: UnsafeRawBufferPointer, into writer: inout ByteWriter) {
    writer.append(littleEndian: UInt32(request.count))
    writer.append(1 as UInt8)
    writer.append(request)
  }

  package static func write(expire orders: [UInt64], into writer: inout ByteWriter) {
    writer.append(littleEndian: UInt32(orders.count * 8))
    writer.append(2 as UInt8)
    for order in orders { writer.append(littleEndian: order) }
  }

  package static func write(seal id: RequestID, into writer: inout ByteWriter) {
    writer.append(littleEndian: 16 as UInt32)
    writer.append(3 as UInt8)
    id.bytes.withUnsafeBytes { writer.append($0) }
  }

  package static func write(rules version: UInt16, into writer: inout ByteWriter) {
    writer.append(littleEndian: 2 as UInt32)
    writer.append(4 as UInt8)
    writer.append(littleEndian: version)
  }

  /// The next entry; borrows the reader's bytes.
  package init(_ reader: inout ByteReader) throws(DecodingError) {
    do {
      let length: UInt32 = try reader.number()
      let kind: UInt8 = try reader.number()
      let payload = try reader.slice(Int(length))
      switch kind {
      case 1: self = .request(payload)
      case 2:
        guard length % 8 == 0 else { throw DecodingError.truncated }
        var inner = ByteReader(payload)
        var orders: [UInt64] = []
        while !inner.isAtEnd { orders.append(try inner.number()) }
        self = .expire(orders)
      case 3:
        guard length == 16 else { throw DecodingError.truncated }
        self = .seal(RequestID(bigEndian: payload))
      case 4:
        guard length == 2 else { throw DecodingError.truncated }
        var inner = ByteReader(payload)
        self = .rules(try inner.number())
      default: throw DecodingError.unknownKind(kind)
      }
    } catch let error as DecodingError {
      throw error
    } catch { throw .truncated }
  }
}
