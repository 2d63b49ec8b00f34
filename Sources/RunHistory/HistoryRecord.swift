import Bytes
import Cluster
import Marketplace
import Wire

/// The end of one request, as the client that sent it saw it: 64 bytes (docs/FORMATS.md).
package struct HistoryRecord: Equatable, Sendable {
  /// What was asked. Raw values are the file's; they never change.
  package enum Command: UInt8, CaseIterable, Sendable {
    case place = 1
    case settle, ship, deliver, complete, cancel, adjust, getOrder, getSKU

    /// Reads leave no trace in the cluster.
    package var isRead: Bool { self == .getOrder || self == .getSKU }

    package var name: String {
      switch self {
      case .place: "place"
      case .settle: "settle"
      case .ship: "ship"
      case .deliver: "deliver"
      case .complete: "complete"
      case .cancel: "cancel"
      case .adjust: "adjust"
      case .getOrder: "get-order"
      case .getSKU: "get-sku"
      }
    }
  }

  package typealias Outcome = Wire.Outcome

  /// Where the request went, so that it can be asked for there.
  package enum Key: Equatable, Sendable {
    case shop(UInt64)
    case order(OrderID)
  }

  package var command: Command
  package var outcome: Outcome
  /// The contract's `Code`; 0 where there was no reply.
  package var code: UInt16 = 0
  /// How often it was sent; 65,535 stands for more.
  package var attempts: UInt16 = 0
  package var connection: UInt8 = 0
  /// Not the end of a request but what `Resolve` told of it afterwards.
  package var isResolution = false
  /// Another final reply to a request whose end was recorded before.
  package var isRepeated = false
  /// When it was to be sent, in microseconds since the Unix epoch.
  package var plannedAt: UInt64 = 0
  /// Microseconds from then to the first sending and to the end. ``never``: it was not sent.
  package var sentAfter: UInt32 = 0
  package var endedAfter: UInt32 = 0
  package var request: RequestID
  /// A placed order's is its own id; otherwise what the command was routed by.
  package var key: Key
  /// XXH64 of the reply's bytes, seed 0; 0 where there was none.
  package var replyHash: UInt64 = 0

  package static let never = UInt32.max
  package static let size = 64

  package init(_ command: Command, _ outcome: Outcome, request: RequestID, key: Key) {
    self.command = command
    self.outcome = outcome
    self.request = request
    self.key = key
  }

  /// The order that this says was placed.
  package var placed: OrderID? {
    guard command == .place, outcome == .done, case .order(let order) = key else { return nil }
    return order
  }
}

// MARK: Bytes

extension HistoryRecord {
  private static let resolution: UInt8 = 1
  private static let repeated: UInt8 = 2
  private static let keyIsOrder: UInt8 = 4

  package func write(into writer: inout ByteWriter) {
    writer.append(command.rawValue)
    writer.append(outcome.rawValue)
    writer.append(littleEndian: code)
    writer.append(littleEndian: attempts)
    var flags: UInt8 = 0
    if isResolution { flags |= Self.resolution }
    if isRepeated { flags |= Self.repeated }
    if case .order = key { flags |= Self.keyIsOrder }
    writer.append(flags)
    writer.append(connection)
    writer.append(littleEndian: plannedAt)
    writer.append(littleEndian: sentAfter)
    writer.append(littleEndian: endedAfter)
    // Ids big endian, as everywhere.
    writer.append(littleEndian: request.high.byteSwapped)
    writer.append(littleEndian: request.low.byteSwapped)
    switch key {
    case .order(let order):
      writer.append(littleEndian: order.high.byteSwapped)
      writer.append(littleEndian: order.low.byteSwapped)
    case .shop(let shop):
      writer.append(littleEndian: shop.byteSwapped)
      writer.append(littleEndian: 0 as UInt64)
    }
    writer.append(littleEndian: replyHash)
  }

  /// The reply that belongs to a record, as ``HistoryWriter`` takes it.
  package static func write(reply: some Collection<UInt8>, into writer: inout ByteWriter) {
    writer.append(littleEndian: UInt32(reply.count))
    writer.append(Array(reply))
  }

  /// - Parameter bytes: 64 of them.
  /// - Throws: what no writer of this version writes.
  package init(_ bytes: UnsafeRawBufferPointer) throws(HistoryError.Invalid) {
    guard bytes.count == Self.size else { throw .init(what: "the record has \(bytes.count) bytes") }
    func word(_ offset: Int) -> UInt64 {
      UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    func half(_ offset: Int) -> UInt32 {
      UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
    func quarter(_ offset: Int) -> UInt16 {
      UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }
    guard let command = Command(rawValue: bytes[0]) else {
      throw .init(what: "there is no command \(bytes[0])")
    }
    guard let outcome = Outcome(rawValue: bytes[1]) else {
      throw .init(what: "there is no outcome \(bytes[1])")
    }
    let flags = bytes[6]
    guard flags < 8 else { throw .init(what: "there are no flags \(flags)") }
    let high = word(40).byteSwapped
    let low = word(48).byteSwapped
    let request = RequestID(high: word(24).byteSwapped, low: word(32).byteSwapped)
    self.init(
      command, outcome, request: request,
      key: flags & Self.keyIsOrder != 0 ? .order(OrderID(high: high, low: low)) : .shop(high))
    code = quarter(2)
    attempts = quarter(4)
    isResolution = flags & Self.resolution != 0
    isRepeated = flags & Self.repeated != 0
    connection = bytes[7]
    plannedAt = word(8)
    sentAfter = half(16)
    endedAfter = half(20)
    replyHash = word(56)
  }
}
