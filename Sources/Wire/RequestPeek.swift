import Bytes
import Cluster
import Marketplace

/// What a dispatcher must know of a request: who it is, and where it goes.
///
/// Scans the top level and what the command is routed by, and passes over all else; protobuf
/// promises no order of fields. The partition decodes the rest.
package struct RequestPeek: Equatable {
  package enum Target: Equatable, Sendable {
    /// A shop's partition is found by hashing.
    case shop(UInt64)
    /// An order's id carries its partition.
    case order(OrderID)
    /// From 0, as the caller gave it: it may not exist.
    case partition(UInt32)
    /// The partition's audit.
    case audit(UInt32)
    /// The dispatcher answers itself.
    case status
    /// The dispatcher answers itself, once the cluster's configuration has spoken.
    case configuration
  }

  package var id: RequestID
  package var deadlineMilliseconds: UInt32
  package var target: Target
  /// A hash of the channel's name.
  package var channel: UInt64
  package var isDeferrable: Bool

  private static let noChannel: UInt64 = 0

  /// - Throws: what is wrong with the bytes. `id` is what was read of it before, for the answer.
  package init(_ bytes: UnsafeRawBufferPointer, id readID: inout RequestID?) throws(WireError) {
    var reader = ProtobufReader(bytes)
    var deadline: UInt32 = 0
    var command: CommandField?
    var number: UInt64 = 0
    var order: OrderID?
    var partition: UInt64?
    var channel = Self.noChannel
    readID = nil
    var sawID = false
    while let tag = try reader.tag() {
      switch (tag.field, tag.wire) {
      case (1, Tag.length):
        sawID = true
        let slice = try reader.slice()
        readID = slice.count == 16 ? RequestID(bigEndian: slice) : nil
      case (2, Tag.length):
        // Present and empty is the same as absent.
        let slice = try reader.slice()
        channel = slice.isEmpty ? Self.noChannel : XXH64.hash(slice)
      case (3, Tag.varint):
        deadline = UInt32(truncatingIfNeeded: try reader.varint())
      case (let field, Tag.length):
        guard let known = CommandField(rawValue: field) else {
          try reader.skip(tag)
          continue
        }
        if known != command {
          command = known
          number = 0
          order = nil
          partition = nil
        }
        var inner = ProtobufReader(try reader.slice())
        while let tag = try inner.tag() {
          switch (known.key, tag.field, tag.wire) {
          case (.shop, 1, Tag.varint), (.partition, 1, Tag.varint), (.place, 1, Tag.varint):
            number = try inner.varint()
          case (.place, 4, Tag.varint):
            partition = try inner.varint()
          case (.order, 1, Tag.length), (.place, 2, Tag.length):
            let slice = try inner.slice()
            guard slice.count == 16 else { throw .badValue(field: "order_id") }
            order = OrderID(bigEndian: slice)
          default:
            try inner.skip(tag)
          }
        }
      default:
        try reader.skip(tag)
      }
    }
    guard sawID, let id = readID else { throw .badValue(field: "request_id") }
    guard let command else { throw .noCommand }
    self.id = id
    self.channel = channel
    isDeferrable = command.isDeferrable
    deadlineMilliseconds =
      deadline == 0
      ? WireLimits.deadlineMillisecondsDefault : min(deadline, WireLimits.deadlineMillisecondsMax)
    switch command.key {
    case .shop: target = .shop(number)
    case .order:
      guard let order else { throw .badValue(field: "order_id") }
      target = .order(order)
    case .partition: target = .audit(UInt32(truncatingIfNeeded: number))
    case .place:
      if let order {
        target = .order(order)
      } else if number != 0 {
        target = .shop(number)
      } else if let partition {
        target = .partition(UInt32(truncatingIfNeeded: partition))
      } else {
        throw .badValue(field: "shop_id, order_id or partition")
      }
    case .none: target = command == .getStatus ? .status : .configuration
    }
  }
}

extension RequestID {
  /// - Parameter bytes: 16.
  @inline(__always)
  package init(bigEndian bytes: UnsafeRawBufferPointer) {
    self.init(
      high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
      low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
  }

  package var bytes: [UInt8] { bigEndianBytes(high, low) }
}

extension OrderID {
  /// - Parameter bytes: 16.
  @inline(__always)
  package init(bigEndian bytes: UnsafeRawBufferPointer) {
    self.init(
      high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
      low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
  }

  package var bytes: [UInt8] { bigEndianBytes(high, low) }
}

private func bigEndianBytes(_ high: UInt64, _ low: UInt64) -> [UInt8] {
  withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { Array($0) }
}
