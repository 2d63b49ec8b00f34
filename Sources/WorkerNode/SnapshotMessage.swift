import Bytes
import Cluster
import Replication

/// What a learner and its primary say about a snapshot, besides the protocol of their replicas (rule 11).
/// The learner asks for piece after piece, so that it sets the pace.
///
/// Little endian, and as a peer's message: `kind u8 | version u8 | partition u16 | cluster u64 |
/// node length u8, UTF-8`, then
///
/// | kind | |
/// | --- | --- |
/// | 48 request | `snapshot u64 (0: any), offset u64` |
/// | 49 piece | `snapshot u64, mark (sn u64, tag u64, hash u64), total u64, offset u64, hash u64, bytes` |
enum SnapshotMessage {
  case request(snapshot: UInt64, offset: UInt64)
  case piece(Piece)

  struct Piece {
    /// Another one has another number.
    var snapshot: UInt64
    /// Its tables are those of this entry.
    var mark: LogMark
    var total: UInt64
    var offset: UInt64
    /// Borrowed.
    var bytes: UnsafeRawBufferPointer
  }

  static let pieceBytesMax = 512 << 10
  private static let version: UInt8 = 1
  private static let requestKind: UInt8 = 48
  private static let pieceKind: UInt8 = 49

  struct Decoded {
    var cluster: UInt64
    var node: String
    var message: SnapshotMessage
  }

  enum DecodingError: Error { case invalid }

  static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.first == requestKind || bytes.first == pieceKind
  }

  func write(cluster: UInt64, partition: PartitionID, node: String, into writer: inout ByteWriter) {
    switch self {
    case .request: writer.append(Self.requestKind)
    case .piece: writer.append(Self.pieceKind)
    }
    writer.append(Self.version)
    writer.append(littleEndian: partition.rawValue)
    writer.append(littleEndian: cluster)
    writer.append(UInt8(node.utf8.count))
    writer.append(utf8: node)
    switch self {
    case .request(let snapshot, let offset):
      writer.append(littleEndian: snapshot)
      writer.append(littleEndian: offset)
    case .piece(let piece):
      writer.append(littleEndian: piece.snapshot)
      writer.append(littleEndian: piece.mark.sn.rawValue)
      writer.append(littleEndian: piece.mark.tag.rawValue)
      writer.append(littleEndian: piece.mark.hash)
      writer.append(littleEndian: piece.total)
      writer.append(littleEndian: piece.offset)
      writer.append(littleEndian: XXH64.hash(piece.bytes, seed: piece.offset))
      writer.append(piece.bytes)
    }
  }

  /// - Throws: it is none, or its bytes are not those that were sent.
  static func read(_ bytes: UnsafeRawBufferPointer) throws -> Decoded {
    var reader = ByteReader(bytes)
    let kind: UInt8 = try reader.number()
    guard try reader.number(UInt8.self) == version else { throw DecodingError.invalid }
    _ = try reader.number(UInt16.self)
    let cluster: UInt64 = try reader.number()
    let length: UInt8 = try reader.number()
    guard let node = String(validating: try reader.slice(Int(length)), as: UTF8.self),
      NodeRecord.isName(node)
    else { throw DecodingError.invalid }
    let snapshot: UInt64 = try reader.number()
    guard kind == pieceKind else {
      let offset: UInt64 = try reader.number()
      guard kind == requestKind, reader.isAtEnd else { throw DecodingError.invalid }
      return Decoded(cluster: cluster, node: node, message: .request(snapshot: snapshot, offset: offset))
    }
    let mark = LogMark(
      sn: SequenceNumber(try reader.number()), tag: Epoch(try reader.number()), hash: try reader.number())
    let (total, offset): (UInt64, UInt64) = (try reader.number(), try reader.number())
    let hash: UInt64 = try reader.number()
    guard reader.remaining <= pieceBytesMax else { throw DecodingError.invalid }
    let rest = try reader.slice(reader.remaining)
    guard snapshot != 0, total <= 1 << 46, offset <= total, UInt64(rest.count) <= total - offset,
      mark.sn.rawValue < 1 << 46, XXH64.hash(rest, seed: offset) == hash
    else { throw DecodingError.invalid }
    return Decoded(
      cluster: cluster, node: node,
      message: .piece(Piece(snapshot: snapshot, mark: mark, total: total, offset: offset, bytes: rest)))
  }
}
