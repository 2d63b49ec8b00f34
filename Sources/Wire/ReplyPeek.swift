import Cluster
import Marketplace

/// What a load generator must know of a reply, read without SwiftProtobuf.
package struct ReplyPeek: Equatable {
  package var id: RequestID?
  package var outcome: UInt8 = 0
  package var code: UInt32 = 0
  package var retryAfterMilliseconds: UInt32 = 0
  /// Of a placed order.
  package var order: OrderID?

  package init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length):
        let slice = try reader.slice()
        id = slice.count == 16 ? RequestID(bigEndian: slice) : nil
      case (2, Tag.varint): outcome = UInt8(truncatingIfNeeded: min(255, try reader.varint()))
      case (3, Tag.varint): code = UInt32(truncatingIfNeeded: try reader.varint())
      case (7, Tag.varint): retryAfterMilliseconds = UInt32(truncatingIfNeeded: try reader.varint())
      case (9, Tag.length):
        var inner = ProtobufReader(try reader.slice())
        while let tag = try inner.tag() {
          if tag.field == 1, tag.wire == Tag.length {
            let slice = try inner.slice()
            if slice.count == 16 { order = OrderID(bigEndian: slice) }
          } else {
            try inner.skip(tag)
          }
        }
      default: try reader.skip(tag)
      }
    }
  }
}
