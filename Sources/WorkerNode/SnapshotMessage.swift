import Bytes
import Cluster
import Replication

/// What a learner and its primary say about a snapshot, besides the protocol of their replicas (rule 11).
/// The learner asks for piece after piece, so that it sets the pace.
///
/// A ``PeerHead``, then
///
/// | kind | |
/// | --- | --- |
/// | 48 request | `snapshot u64 (0: any), offset u64` |
/// | 49 piece | `snapshot u64, mark (sn u64, tag u64, hash u64), total u64, offset u64, hash u64, bytes` |
package enum SnapshotMessage {
  case request(snapshot: UInt64, offset: UInt64)
  case piece(Piece)

  package struct Piece {
    /// Another one has another number.
    package var snapshot: UInt64
    /// Its tables are those of this entry.
    package var mark: LogMark
    package var total: UInt64
    package var offset: UInt64
    /// Borrowed.
    package var bytes: UnsafeRawBufferPointer

    package init(
      snapshot: UInt64, mark: LogMark, total: UInt64, offset: UInt64, bytes: UnsafeRawBufferPointer
    ) {
      self.snapshot = snapshot
      self.mark = mark
      self.total = total
      self.offset = offset
      self.bytes = bytes
    }
  }

  package static let pieceBytesMax = 512 << 10
  private static let requestKind: UInt8 = 48
  private static let pieceKind: UInt8 = 49

  package struct Decoded {
    package var cluster: UInt64
    package var node: String
    package var message: SnapshotMessage
  }

  package static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.first == requestKind || bytes.first == pieceKind
  }

  package func write(cluster: UInt64, partition: PartitionID, node: String, into writer: inout ByteWriter) {
    let kind =
      switch self {
      case .request: Self.requestKind
      case .piece: Self.pieceKind
      }
    PeerHead(kind: kind, partition: partition, cluster: cluster, node: node).write(into: &writer)
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
  package static func read(_ bytes: UnsafeRawBufferPointer) throws -> Decoded {
    var reader = ByteReader(bytes)
    let head = try PeerHead(&reader)
    let snapshot: UInt64 = try reader.number()
    guard head.kind == pieceKind else {
      let offset: UInt64 = try reader.number()
      guard head.kind == requestKind, reader.isAtEnd else { throw PeerHead.DecodingError.invalid }
      return Decoded(
        cluster: head.cluster, node: head.node, message: .request(snapshot: snapshot, offset: offset))
    }
    let mark = LogMark(
      sn: SequenceNumber(try reader.number()), tag: Epoch(try reader.number()), hash: try reader.number())
    let (total, offset): (UInt64, UInt64) = (try reader.number(), try reader.number())
    let hash: UInt64 = try reader.number()
    guard reader.remaining <= pieceBytesMax else { throw PeerHead.DecodingError.invalid }
    let rest = try reader.slice(reader.remaining)
    guard snapshot != 0, total <= 1 << 46, offset <= total, UInt64(rest.count) <= total - offset,
      mark.sn.rawValue < 1 << 46, XXH64.hash(rest, seed: offset) == hash
    else { throw PeerHead.DecodingError.invalid }
    return Decoded(
      cluster: head.cluster, node: head.node,
      message: .piece(Piece(snapshot: snapshot, mark: mark, total: total, offset: offset, bytes: rest)))
  }
}
