import Bytes
import Cluster
import Marketplace
import Wire

/// What a run and its audit must know of a reply, read without SwiftProtobuf.
package struct ReplyFacts {
  package var id: RequestID?
  package var outcome = HistoryRecord.Outcome.unknown
  package var code: UInt16 = 0
  package var retryAfterMilliseconds: UInt32 = 0
  /// Of a placed order, a settled payment, a changed order.
  package var order: OrderID?
  /// Of a placed order: what it owes. Of a settled payment: what the order still lacks.
  package var owed: Int64 = 0
  /// Of a settled payment; nil: there was none.
  package var settlement: Settlement?
  /// The reply of another request that this one tells, within the reply's bytes.
  package var told: UnsafeRawBufferPointer?

  package init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length):
        let slice = try reader.slice()
        id = slice.count == 16 ? RequestID(bigEndian: slice) : nil
      case (2, Tag.varint):
        // One of a later version is an unknown.
        outcome = .init(rawValue: UInt8(truncatingIfNeeded: min(255, try reader.varint()))) ?? .unknown
      case (3, Tag.varint): code = UInt16(truncatingIfNeeded: min(0xFFFF, try reader.varint()))
      case (7, Tag.varint): retryAfterMilliseconds = UInt32(truncatingIfNeeded: try reader.varint())
      case (9, Tag.length), (10, Tag.length), (11, Tag.length):
        try readResult(tag.field, try reader.slice())
      case (14, Tag.length):
        var inner = ProtobufReader(try reader.slice())
        while let tag = try inner.tag() {
          if tag.field == 1, tag.wire == Tag.length {
            told = try inner.slice()
          } else {
            try inner.skip(tag)
          }
        }
      default: try reader.skip(tag)
      }
    }
  }

  private mutating func readResult(_ field: UInt32, _ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (field, tag.field, tag.wire) {
      case (_, 1, Tag.length):
        let slice = try reader.slice()
        if slice.count == 16 { order = OrderID(bigEndian: slice) }
      case (9, 2, Tag.varint), (10, 5, Tag.varint): owed = Int64(bitPattern: try reader.varint())
      case (10, 2, Tag.varint):
        settlement = Settlement(rawValue: UInt8(truncatingIfNeeded: min(255, try reader.varint())))
      default: try reader.skip(tag)
      }
    }
  }
}
