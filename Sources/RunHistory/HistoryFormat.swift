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

/// A file of blocks: a history's records, or the replies that belong to them.
struct HistoryFileKind: Sendable {
  let mark: [UInt8]
  let blockMark: [UInt8]
  /// Of a record; 0: each says its own length.
  let recordBytes: Int
  /// Of a block's records, uncompressed.
  let blockBytesMax: Int
  /// In sentences.
  let name: String
  let option: String

  static let records = HistoryFileKind(
    mark: Array("LARISHIS".utf8), blockMark: Array("HBLK".utf8), recordBytes: HistoryRecord.size,
    blockBytesMax: HistoryFormat.blockRecordsMax * HistoryRecord.size, name: "history", option: "--history")
  static let replies = HistoryFileKind(
    mark: Array("LARISREP".utf8), blockMark: Array("RBLK".utf8), recordBytes: 0,
    blockBytesMax: HistoryFormat.replyBlockBytes + 4 + HistoryFormat.replyBytesMax, name: "file of replies",
    option: "--history with --replies")
}

/// The frames of a history file; docs/FORMATS.md has them byte by byte.
///
/// Ours are skippable frames of LZ4, so `lz4 -dc` gives the records and nothing else.
package enum HistoryFormat {
  package static let version: UInt16 = 1
  /// Of the replies that belong to a history.
  package static func repliesPath(of history: String) -> String { history + ".replies" }
  static let headerMagic: UInt32 = 0x184D_2A52
  static let blockMagic: UInt32 = 0x184D_2A53
  static let endMagic: UInt32 = 0x184D_2A54
  static let blockHeaderBytes = 48
  /// A block has at most so many records.
  package static let blockRecordsMax = 16_384
  /// Of header and end.
  static let textBytesMax = 64 << 10
  /// A block of replies is written once it has so many bytes.
  static let replyBlockBytes = 1 << 20
  /// Replies are smaller: a request has at most so many bytes, and the longest replies name its lines.
  package static let replyBytesMax = 1 << 20

  /// A header or an end: magic, length, mark, version, bytes of a record, JSON and its hash.
  static func frame<Value: Encodable>(_ magic: UInt32, _ value: Value, _ kind: HistoryFileKind) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Numbers and strings of ours always encode.
    let json = (try? encoder.encode(value)).map { [UInt8]($0) } ?? []
    var writer = ByteWriter(capacity: json.count + 64)
    writer.append(littleEndian: magic)
    writer.append(littleEndian: UInt32(kind.mark.count + 8 + json.count + 8))
    writer.append(kind.mark)
    writer.append(littleEndian: version)
    writer.append(littleEndian: UInt16(kind.recordBytes))
    writer.append(littleEndian: UInt32(json.count))
    writer.append(json)
    let hash = XXH64.hash(writer.bytes)
    writer.append(littleEndian: hash)
    return Array(writer.bytes)
  }

  /// Of what stands in a frame's header, with the file's own salt: the hash of its header frame.
  static func blockHeader(
    number: UInt64, records: Int, bytes: Int, hash: UInt64, frameBytes: Int, salt: UInt64,
    _ kind: HistoryFileKind
  ) -> [UInt8] {
    var writer = ByteWriter(capacity: blockHeaderBytes)
    writer.append(littleEndian: blockMagic)
    writer.append(littleEndian: UInt32(blockHeaderBytes - 8))
    writer.append(kind.blockMark)
    writer.append(littleEndian: UInt32(records))
    writer.append(littleEndian: number)
    writer.append(littleEndian: hash)
    writer.append(littleEndian: UInt32(frameBytes))
    writer.append(littleEndian: kind.recordBytes == 0 ? UInt32(bytes) : 0)
    let checksum = XXH64.hash(writer.bytes, seed: salt)
    writer.append(littleEndian: checksum)
    return Array(writer.bytes)
  }
}
