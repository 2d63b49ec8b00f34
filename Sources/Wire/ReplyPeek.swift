import Cluster
import Marketplace

/// What a client, a load test and an audit must know of a reply, read without SwiftProtobuf.
package struct ReplyPeek: Equatable, Sendable {
  /// nil: there is none of 16 bytes.
  package var id: RequestID?
  /// One of a later version is an unknown.
  package var outcome = Outcome.unknown
  package var code: UInt32 = 0
  package var retryAfterMilliseconds: UInt32 = 0
  /// Of a placed order, a settled payment, a changed order.
  package var order: OrderID?
  /// Of a placed order: what it owes. Of a settled payment: what the order still lacks.
  package var owed: Int64 = 0
  /// Of a settled payment; nil: there was none.
  package var settlement: Settlement?
  /// Where in these bytes the reply of another request stands that this one tells.
  package var told: Range<Int>?

  private enum Result: UInt32 { case orderPlaced = 9, paymentSettled, orderChanged, resolved = 14 }

  package init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length):
        let slice = try reader.slice()
        id = slice.count == 16 ? RequestID(bigEndian: slice) : nil
      case (2, Tag.varint):
        outcome = Outcome(rawValue: try Self.enumeration(&reader)) ?? .unknown
      case (3, Tag.varint): code = UInt32(truncatingIfNeeded: try reader.varint())
      case (7, Tag.varint): retryAfterMilliseconds = UInt32(truncatingIfNeeded: try reader.varint())
      case (let field, Tag.length):
        let slice = try reader.slice()
        guard let result = Result(rawValue: field) else { continue }
        try read(result, slice, at: reader.offset - slice.count)
      default: try reader.skip(tag)
      }
    }
  }

  /// 0 stands for what none of ours is. As in every reader of protobuf, 32 bits count.
  private static func enumeration(_ reader: inout ProtobufReader) throws(WireError) -> UInt8 {
    UInt8(exactly: Int32(truncatingIfNeeded: try reader.varint())) ?? 0
  }

  private mutating func read(
    _ result: Result, _ bytes: UnsafeRawBufferPointer, at offset: Int
  ) throws(WireError) {
    var reader = ProtobufReader(bytes)
    while let tag = try reader.tag() {
      switch (result, tag.field, tag.wire) {
      case (.resolved, 1, Tag.length):
        let slice = try reader.slice()
        told = offset + reader.offset - slice.count..<offset + reader.offset
      case (.orderPlaced, 1, Tag.length), (.paymentSettled, 1, Tag.length), (.orderChanged, 1, Tag.length):
        let slice = try reader.slice()
        if slice.count == 16 { order = OrderID(bigEndian: slice) }
      case (.orderPlaced, 2, Tag.varint), (.paymentSettled, 5, Tag.varint):
        owed = Int64(bitPattern: try reader.varint())
      case (.paymentSettled, 2, Tag.varint):
        settlement = Settlement(rawValue: try Self.enumeration(&reader))
      default: try reader.skip(tag)
      }
    }
  }
}
