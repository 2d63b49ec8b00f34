import Bytes
import Cluster
import PartitionStore

/// What a primary and its secondaries say when an audit compares their tables (rule 15): the primary has them hold
/// their checkpoints back, and then names one entry that all write one of.
///
/// A ``PeerHead``, then
///
/// | kind | from | |
/// | --- | --- | --- |
/// | 56 hold | primary | `round u64`: begin no checkpoint |
/// | 57 holds | secondary | `round u64`: none is under way |
/// | 58 compare | primary | `round u64, sn u64`: write one of this entry, and say what the tables hold |
/// | 59 told | secondary | `round u64, state u8 (0 working, 1 missed, 2 failed, 3 found)`, and of what was found `sn u64, applied digest u64, tables u8`, of each table `rows u64, digest u64` |
package enum AuditMessage: Equatable {
  case hold(round: UInt64)
  case holds(round: UInt64)
  case compare(round: UInt64, at: SequenceNumber)
  case told(round: UInt64, Told)

  package enum Told: Equatable {
    case working
    /// It did not stop at the entry.
    case missed
    /// Its tables could not be read.
    case failed
    case found(TablesDigest)
  }

  package struct Decoded: Equatable {
    package var head: PeerHead
    package var message: AuditMessage
  }

  package static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool { (56...59).contains(bytes.first ?? 0) }

  private var kind: UInt8 {
    switch self {
    case .hold: 56
    case .holds: 57
    case .compare: 58
    case .told: 59
    }
  }

  package func write(cluster: UInt64, partition: PartitionID, node: String, into writer: inout ByteWriter) {
    PeerHead(kind: kind, partition: partition, cluster: cluster, node: node).write(into: &writer)
    switch self {
    case .hold(let round), .holds(let round): writer.append(littleEndian: round)
    case .compare(let round, let sn):
      writer.append(littleEndian: round)
      writer.append(littleEndian: sn.rawValue)
    case .told(let round, let told):
      writer.append(littleEndian: round)
      switch told {
      case .working: writer.append(0 as UInt8)
      case .missed: writer.append(1 as UInt8)
      case .failed: writer.append(2 as UInt8)
      case .found(let digest):
        writer.append(3 as UInt8)
        writer.append(littleEndian: digest.applied.rawValue)
        writer.append(littleEndian: digest.appliedDigest)
        writer.append(UInt8(digest.tables.count))
        for table in digest.tables {
          writer.append(littleEndian: table.rows)
          writer.append(littleEndian: table.digest)
        }
      }
    }
  }

  /// - Throws: it is none.
  package static func read(_ bytes: UnsafeRawBufferPointer) throws -> Decoded {
    var reader = ByteReader(bytes)
    let head = try PeerHead(&reader)
    let round: UInt64 = try reader.number()
    let message: AuditMessage
    switch head.kind {
    case 56: message = .hold(round: round)
    case 57: message = .holds(round: round)
    case 58: message = .compare(round: round, at: SequenceNumber(try reader.number()))
    case 59: message = .told(round: round, try Told(&reader))
    default: throw PeerHead.DecodingError.invalid
    }
    guard reader.isAtEnd else { throw PeerHead.DecodingError.invalid }
    return Decoded(head: head, message: message)
  }
}

extension AuditMessage.Told {
  fileprivate init(_ reader: inout ByteReader) throws {
    switch try reader.number(UInt8.self) {
    case 0: self = .working
    case 1: self = .missed
    case 2: self = .failed
    case 3:
      let applied = SequenceNumber(try reader.number())
      let digest: UInt64 = try reader.number()
      guard try reader.number(UInt8.self) == UInt8(TablesDigest.names.count) else {
        throw PeerHead.DecodingError.invalid
      }
      var tables: [TablesDigest.Table] = []
      for _ in TablesDigest.names {
        tables.append(.init(rows: try reader.number(), digest: try reader.number()))
      }
      self = .found(TablesDigest(applied: applied, appliedDigest: digest, tables: tables))
    default: throw PeerHead.DecodingError.invalid
    }
  }
}
