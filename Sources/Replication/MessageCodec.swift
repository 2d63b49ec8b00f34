import Bytes
import Cluster

/// A message between replicas as bytes. Little endian:
///
/// `kind u8 | version u8 | partition u16 | cluster u64 | epoch u64 | incarnation u64 | node length u8, UTF-8`,
/// then
///
/// | kind | |
/// | --- | --- |
/// | 32 beacon | `sent at i64, committed (mark), flags u8 (1: probe, 2: a digest follows), digest sn u64, digest u64` |
/// | 33 prepare | `committed (mark), tag u64, first u64, count u32, length u32, time i64, entries hash u64, previous hash u64, entries` |
/// | 34 ack | `flags u8 (1: answers a beacon, 2: clock behind), sent at i64, durable (mark), checkpointed u64, rules u16` |
/// | 35 nack | `count u16, marks` |
/// | 36 stale, 38 restarted | |
/// | 37 snapshotNeeded | `base u64` |
/// | 39 snapshotNeeded, with a stranger | `base u64, stranger (mark)` |
///
/// A mark is `sn u64, tag u64, hash u64`. Nothing follows.
package enum MessageCodec {
  package static let version: UInt8 = 1
  package static let nodeBytesMax = 128
  /// As the log has it.
  package static let entriesBytesMax = 12 << 20

  package enum DecodingError: Error, Equatable {
    case truncated
    case unknownKind(UInt8)
    case unsupportedVersion(UInt8)
    /// In words.
    case invalid(String)
  }

  package struct Decoded {
    package var envelope: PeerEnvelope
    package var message: PeerMessage
    /// Of a prepare: its entries, whose hash was checked. Borrows the bytes.
    package var entries: UnsafeRawBufferPointer
  }

  /// Whether a message that begins with this byte may concern a ``BeaconDesk``.
  package static func concernsDesk(_ kind: UInt8) -> Bool {
    kind == Kind.beacon.rawValue || kind == Kind.ack.rawValue
  }

  private enum Kind: UInt8 {
    case beacon = 32
    case prepare = 33
    case ack = 34
    case nack = 35
    case stale = 36
    case snapshotNeeded = 37
    case restarted = 38
    case snapshotNeededByStranger = 39
  }

  /// - Parameter entries: of a prepare.
  package static func write(
    _ message: PeerMessage, _ envelope: PeerEnvelope,
    entries: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    into writer: inout ByteWriter
  ) {
    let kind: Kind =
      switch message {
      case .beacon: .beacon
      case .prepare: .prepare
      case .ack: .ack
      case .nack: .nack
      case .stale: .stale
      case .snapshotNeeded(_, nil): .snapshotNeeded
      case .snapshotNeeded: .snapshotNeededByStranger
      case .restarted: .restarted
      }
    writer.append(kind.rawValue)
    writer.append(version)
    writer.append(littleEndian: envelope.partition.rawValue)
    writer.append(littleEndian: envelope.cluster)
    writer.append(littleEndian: envelope.epoch.rawValue)
    writer.append(littleEndian: envelope.incarnation.rawValue)
    precondition(envelope.node.utf8.count <= nodeBytesMax)
    writer.append(UInt8(envelope.node.utf8.count))
    writer.append(utf8: envelope.node)
    switch message {
    case .beacon(let beacon):
      writer.append(littleEndian: beacon.sentAt)
      write(beacon.committed, into: &writer)
      writer.append((beacon.isProbe ? 1 : 0) | (beacon.digest != nil ? 2 : 0))
      writer.append(littleEndian: beacon.digest?.sn.rawValue ?? 0)
      writer.append(littleEndian: beacon.digest?.digest ?? 0)
    case .prepare(let head, let committed):
      write(committed, into: &writer)
      writer.append(littleEndian: head.tag.rawValue)
      writer.append(littleEndian: head.first.rawValue)
      writer.append(littleEndian: head.count)
      writer.append(littleEndian: UInt32(entries.count))
      writer.append(littleEndian: head.time)
      writer.append(littleEndian: head.entriesHash)
      writer.append(littleEndian: head.previousHash)
      writer.append(entries)
    case .ack(let ack):
      writer.append((ack.sentAt != nil ? 1 : 0) | (ack.isClockBehind ? 2 : 0))
      writer.append(littleEndian: ack.sentAt ?? 0)
      write(ack.durable, into: &writer)
      writer.append(littleEndian: ack.checkpointed.rawValue)
      writer.append(littleEndian: ack.rules)
    case .nack(let marks):
      precondition(marks.count <= BlockIndex.marksMax)
      writer.append(littleEndian: UInt16(marks.count))
      for mark in marks { write(mark, into: &writer) }
    case .snapshotNeeded(let base, let stranger):
      writer.append(littleEndian: base.rawValue)
      if let stranger { write(stranger, into: &writer) }
    case .stale, .restarted: break
    }
  }

  private static func write(_ mark: LogMark, into writer: inout ByteWriter) {
    writer.append(littleEndian: mark.sn.rawValue)
    writer.append(littleEndian: mark.tag.rawValue)
    writer.append(littleEndian: mark.hash)
  }

  private static func mark(_ reader: inout ByteReader) throws(ByteReader.Truncated) -> LogMark {
    LogMark(
      sn: SequenceNumber(try reader.number()), tag: Epoch(try reader.number()), hash: try reader.number())
  }

  package static func read(_ bytes: UnsafeRawBufferPointer) throws(DecodingError) -> Decoded {
    do {
      return try decode(bytes)
    } catch let error as DecodingError {
      throw error
    } catch { throw .truncated }
  }

  private static func decode(_ bytes: UnsafeRawBufferPointer) throws -> Decoded {
    var reader = ByteReader(bytes)
    let byte: UInt8 = try reader.number()
    guard let kind = Kind(rawValue: byte) else { throw DecodingError.unknownKind(byte) }
    let version: UInt8 = try reader.number()
    guard version == Self.version else { throw DecodingError.unsupportedVersion(version) }
    let partition = PartitionID(try reader.number())
    let cluster: UInt64 = try reader.number()
    let epoch = Epoch(try reader.number())
    let incarnation = Incarnation(try reader.number())
    let nodeLength: UInt8 = try reader.number()
    guard nodeLength > 0, nodeLength <= nodeBytesMax else {
      throw DecodingError.invalid("the sender's name has \(nodeLength) bytes")
    }
    guard let node = String(validating: try reader.slice(Int(nodeLength)), as: UTF8.self) else {
      throw DecodingError.invalid("the sender's name is no UTF-8")
    }
    var entries = UnsafeRawBufferPointer(start: nil, count: 0)
    let message: PeerMessage
    switch kind {
    case .beacon:
      let sentAt: Int64 = try reader.number()
      let committed = try mark(&reader)
      let flags: UInt8 = try reader.number()
      guard flags <= 3 else { throw DecodingError.invalid("a beacon's flags are \(flags)") }
      let digest = AppliedDigest(sn: SequenceNumber(try reader.number()), digest: try reader.number())
      guard flags & 2 != 0 || (digest.sn == .zero && digest.digest == 0) else {
        throw DecodingError.invalid("a beacon's digest is there and not there")
      }
      message = .beacon(
        .init(
          sentAt: sentAt, committed: committed, digest: flags & 2 != 0 ? digest : nil,
          isProbe: flags & 1 != 0))
    case .prepare:
      let committed = try mark(&reader)
      let tag = Epoch(try reader.number())
      let first = SequenceNumber(try reader.number())
      let count: UInt32 = try reader.number()
      let length: UInt32 = try reader.number()
      let head = BlockHead(
        tag: tag, first: first, count: count, time: try reader.number(), entriesHash: try reader.number(),
        previousHash: try reader.number())
      guard first.rawValue > 0, count > 0, first.rawValue <= UInt64.max - UInt64(count) else {
        throw DecodingError.invalid("a block of \(count) entries from \(first)")
      }
      guard length <= entriesBytesMax else {
        throw DecodingError.invalid("a block of \(length) bytes")
      }
      guard tag <= epoch else { throw DecodingError.invalid("a block of \(tag) is sent in \(epoch)") }
      entries = try reader.slice(Int(length))
      guard XXH64.hash(entries) == head.entriesHash else {
        throw DecodingError.invalid("the entries from \(first) are not those that were sent")
      }
      message = .prepare(head, committed: committed)
    case .ack:
      let flags: UInt8 = try reader.number()
      guard flags <= 3 else { throw DecodingError.invalid("an ack's flags are \(flags)") }
      let sentAt: Int64 = try reader.number()
      guard flags & 1 != 0 || sentAt == 0 else {
        throw DecodingError.invalid("an ack answers a beacon and does not")
      }
      message = .ack(
        .init(
          sentAt: flags & 1 != 0 ? sentAt : nil, durable: try mark(&reader),
          checkpointed: SequenceNumber(try reader.number()), rules: try reader.number(),
          isClockBehind: flags & 2 != 0))
    case .nack:
      let count: UInt16 = try reader.number()
      guard count <= BlockIndex.marksMax else { throw DecodingError.invalid("a nack of \(count) marks") }
      var marks: [LogMark] = []
      for _ in 0..<count { marks.append(try mark(&reader)) }
      message = .nack(marks)
    case .stale: message = .stale
    case .snapshotNeeded: message = .snapshotNeeded(base: SequenceNumber(try reader.number()))
    case .snapshotNeededByStranger:
      message = .snapshotNeeded(base: SequenceNumber(try reader.number()), stranger: try mark(&reader))
    case .restarted: message = .restarted
    }
    guard reader.isAtEnd else {
      throw DecodingError.invalid("\(reader.remaining) bytes are left over")
    }
    let envelope = PeerEnvelope(
      cluster: cluster, partition: partition, epoch: epoch, node: node, incarnation: incarnation)
    return Decoded(envelope: envelope, message: message, entries: entries)
  }
}
