import Bytes
import Foundation

/// Why a history can't be read or written on.
package struct HistoryError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Kind: Equatable, Sendable {
    case unreadable, unwritable, noHistory, otherVersion, damaged
  }

  /// What is wrong with a record.
  package struct Invalid: Error, Equatable, Sendable {
    package let what: String
  }

  package let kind: Kind
  package let file: String
  /// What is wrong, where, and what to do.
  package let problem: String

  package init(_ kind: Kind, _ file: String, _ problem: String) {
    self.kind = kind
    self.file = file
    self.problem = problem
  }

  package var description: String { "\(file): \(problem)" }
}

/// What a history is of. In the file as JSON, so that people can read it too.
package struct HistoryHeader: Codable, Equatable, Sendable {
  /// A UUIDv7 of the run.
  package var run: String
  package var seed: UInt64
  /// Milliseconds since the Unix epoch.
  package var startedAt: Int64
  package var cluster: String
  package var partitions: Int
  /// Orders that the cluster had placed before the run, over all partitions.
  package var ordersBefore: UInt64
  /// The load, readable.
  package var load: String

  package init(
    run: String, seed: UInt64, startedAt: Int64, cluster: String, partitions: Int, ordersBefore: UInt64,
    load: String
  ) {
    self.run = run
    self.seed = seed
    self.startedAt = startedAt
    self.cluster = cluster
    self.partitions = partitions
    self.ordersBefore = ordersBefore
    self.load = load
  }
}

/// How a run ended. A history without it was cut off.
package struct HistoryEnd: Codable, Equatable, Sendable {
  package var endedAt: Int64
  package var records: UInt64
  package init(endedAt: Int64, records: UInt64) {
    self.endedAt = endedAt
    self.records = records
  }
}

/// The frames of a history file; docs/FORMATS.md has them byte by byte.
///
/// Ours are skippable frames of LZ4, so `lz4 -dc` gives the records and nothing else.
package enum HistoryFormat {
  package static let version: UInt16 = 1
  static let mark = Array("LARISHIS".utf8)
  static let blockMark = Array("HBLK".utf8)
  static let headerMagic: UInt32 = 0x184D_2A52
  static let blockMagic: UInt32 = 0x184D_2A53
  static let endMagic: UInt32 = 0x184D_2A54
  static let blockHeaderBytes = 48
  /// A block has at most so many records.
  package static let blockRecordsMax = 16_384
  /// Of header and end.
  static let textBytesMax = 64 << 10

  /// A header or an end: magic, length, mark, version, bytes of a record, JSON and its hash.
  static func frame<Value: Encodable>(_ magic: UInt32, _ value: Value) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Numbers and strings of ours always encode.
    let json = (try? encoder.encode(value)).map { [UInt8]($0) } ?? []
    var writer = ByteWriter(capacity: json.count + 64)
    writer.append(littleEndian: magic)
    writer.append(littleEndian: UInt32(mark.count + 8 + json.count + 8))
    writer.append(mark)
    writer.append(littleEndian: version)
    writer.append(littleEndian: UInt16(HistoryRecord.size))
    writer.append(littleEndian: UInt32(json.count))
    writer.append(json)
    let hash = XXH64.hash(writer.bytes)
    writer.append(littleEndian: hash)
    return Array(writer.bytes)
  }

  /// Of what stands in a frame's header, with the file's own salt: the hash of its header frame.
  static func blockHeader(
    number: UInt64, records: Int, hash: UInt64, frameBytes: Int, salt: UInt64
  ) -> [UInt8] {
    var writer = ByteWriter(capacity: blockHeaderBytes)
    writer.append(littleEndian: blockMagic)
    writer.append(littleEndian: UInt32(blockHeaderBytes - 8))
    writer.append(blockMark)
    writer.append(littleEndian: UInt32(records))
    writer.append(littleEndian: number)
    writer.append(littleEndian: hash)
    writer.append(littleEndian: UInt32(frameBytes))
    writer.append(littleEndian: 0 as UInt32)
    let checksum = XXH64.hash(writer.bytes, seed: salt)
    writer.append(littleEndian: checksum)
    return Array(writer.bytes)
  }
}
