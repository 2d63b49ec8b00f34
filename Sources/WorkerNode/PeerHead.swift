import Bytes
import Cluster

/// How a message between workers begins that is none of their replicas' protocol, but looks like one to who
/// only passes it on.
///
/// Little endian: `kind u8 | version u8 | partition u16 | cluster u64 | node length u8, UTF-8`.
package struct PeerHead: Equatable {
  package var kind: UInt8
  package var partition: PartitionID
  package var cluster: UInt64
  /// Who sends it.
  package var node: String

  private static let version: UInt8 = 1

  package enum DecodingError: Error { case invalid }

  func write(into writer: inout ByteWriter) {
    writer.append(kind)
    writer.append(Self.version)
    writer.append(littleEndian: partition.rawValue)
    writer.append(littleEndian: cluster)
    writer.append(UInt8(node.utf8.count))
    writer.append(utf8: node)
  }

  package init(kind: UInt8, partition: PartitionID, cluster: UInt64, node: String) {
    self.kind = kind
    self.partition = partition
    self.cluster = cluster
    self.node = node
  }

  /// - Throws: it is none of this version.
  init(_ reader: inout ByteReader) throws {
    kind = try reader.number()
    guard try reader.number(UInt8.self) == Self.version else { throw DecodingError.invalid }
    partition = PartitionID(try reader.number(UInt16.self))
    cluster = try reader.number()
    let length: UInt8 = try reader.number()
    guard let name = String(validating: try reader.slice(Int(length)), as: UTF8.self),
      NodeRecord.isName(name)
    else { throw DecodingError.invalid }
    node = name
  }
}
