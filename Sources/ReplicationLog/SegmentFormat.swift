import Bytes
import Cluster

/// What a segment is made of. Little endian; docs/FORMATS.md describes it to a stranger.
///
/// Every piece is an LZ4 frame or a skippable frame, so that `lz4 -dc` reads a segment
/// anywhere and gives its entries.
///
/// ```
/// segment header   skippable 0x184D2A50
/// block header     skippable 0x184D2A51 ┐ again and again
/// entries          LZ4 frame            ┘
/// rest             skippable 0x184D2A5F, to the end of the file
/// ```
package enum SegmentFormat {
  /// 1: a block with no entries was part of the chain of hashes. 2: it is this file's own affair.
  package static let version: UInt16 = 2
  static let segmentMagic: UInt32 = 0x184D_2A50
  static let blockMagic: UInt32 = 0x184D_2A51
  static let restMagic: UInt32 = 0x184D_2A5F
  static let skippableHeaderSize = 8
  static let restSize = skippableHeaderSize

  package static let segmentBytesDefault = 16 << 20
  /// Uncompressed entries of one block.
  package static let entriesBytesMax = 12 << 20
}

/// Of a segment: `"LARISLOG" | version u16 | partition u16 | segment bytes u32 | use u64 |
/// first sn u64 | previous block's hash u64 | cluster u64 | salt u64 | checksum u64`.
package struct SegmentHeader: Equatable, Sendable {
  package var partition: PartitionID
  package var segmentBytes: UInt32
  /// How many times a segment was begun in this log, this one included.
  package var use: UInt64
  package var first: SequenceNumber
  /// Hash of the last block before this segment; 0 before the first.
  package var previousHash: UInt64
  /// A hash of the cluster's id.
  package var cluster: UInt64
  /// Random, new with every use: nobody who only sends requests can write bytes that look like a
  /// block of this segment.
  package var salt: UInt64

  private static let mark = Array("LARISLOG".utf8)
  static let payloadSize = 8 + 2 + 2 + 4 + 8 * 6
  static let size = SegmentFormat.skippableHeaderSize + payloadSize

  func write(into writer: inout ByteWriter) {
    let start = writer.count
    writer.append(littleEndian: SegmentFormat.segmentMagic)
    writer.append(littleEndian: UInt32(Self.payloadSize))
    writer.append(Self.mark)
    writer.append(littleEndian: SegmentFormat.version)
    writer.append(littleEndian: partition.rawValue)
    writer.append(littleEndian: segmentBytes)
    writer.append(littleEndian: use)
    writer.append(littleEndian: first.rawValue)
    writer.append(littleEndian: previousHash)
    writer.append(littleEndian: cluster)
    writer.append(littleEndian: salt)
    writer.append(littleEndian: XXH64.hash(UnsafeRawBufferPointer(rebasing: writer.bytes[start...])))
  }

  enum Reading {
    case header(SegmentHeader)
    case newer(UInt16)
    case invalid(String)
  }

  static func read(_ bytes: UnsafeRawBufferPointer) -> Reading {
    var reader = ByteReader(bytes)
    do {
      guard try reader.number(UInt32.self) == SegmentFormat.segmentMagic,
        try reader.number(UInt32.self) == UInt32(payloadSize), try reader.slice(8).elementsEqual(mark)
      else { return .invalid("this is no segment of a Laris log") }
      let version: UInt16 = try reader.number()
      guard version <= SegmentFormat.version else { return .newer(version) }
      guard version > 0 else { return .invalid("format version 0") }
      let header = SegmentHeader(
        partition: PartitionID(try reader.number()), segmentBytes: try reader.number(),
        use: try reader.number(), first: SequenceNumber(try reader.number()),
        previousHash: try reader.number(), cluster: try reader.number(), salt: try reader.number())
      let hashed = UnsafeRawBufferPointer(rebasing: bytes[..<reader.offset])
      guard try reader.number() == XXH64.hash(hashed) else {
        return .invalid("the segment header's checksum is wrong")
      }
      // Beyond is no sequence number that an order's id can hold.
      guard header.first.rawValue >= 1, header.first.rawValue < 1 << 46 else {
        return .invalid("the segment begins at entry \(header.first)")
      }
      return .header(header)
    } catch {
      return .invalid("the file ends inside the segment header")
    }
  }
}

/// Of a block: `"BLCK" | version u16 | partition u16 | epoch tag u64 | first sn u64 | count u32 |
/// entries bytes u32 | frame bytes u32 | uncommitted u32 | time u64 | use u64 | synced sn u64 |
/// entries hash u64 | previous block's hash u64 | hash u64 | checksum u64`.
///
/// The hash covers what the block says (tag, first sn, count, time, entries hash, previous hash), so it
/// names the whole log up to here, the same in every replica. An empty block has a hash too, but the block
/// after it follows the one before it: replicas rest at different times. The checksum covers the header as it
/// stands in this file, seeded with the segment's salt.
package struct BlockHeader: Equatable, Sendable {
  package var version = SegmentFormat.version
  package var partition: PartitionID
  /// The epoch in which the sequence numbers were assigned.
  package var tag: Epoch
  package var first: SequenceNumber
  package var count: UInt32
  package var entriesBytes: UInt32
  package var frameBytes: UInt32
  /// Entries before this block that were not known to be committed when it was written.
  package var uncommitted: UInt32
  /// Milliseconds since the Unix epoch: the entries'.
  package var time: Int64
  package var use: UInt64
  /// The last entry that was synced when this block was written.
  package var synced: SequenceNumber
  package var entriesHash: UInt64
  package var previousHash: UInt64
  package var hash: UInt64 {
    withUnsafeBytes(
      of: (
        tag.rawValue.littleEndian, first.rawValue.littleEndian, UInt64(count).littleEndian,
        time.littleEndian, entriesHash.littleEndian, previousHash.littleEndian
      )
    ) { XXH64.hash($0) }
  }

  /// What the block after this one must name as the hash before it.
  var chain: UInt64 { count == 0 && version >= 2 ? previousHash : hash }

  /// A lower bound of the commit point.
  package var committed: SequenceNumber {
    SequenceNumber(first.rawValue - 1 - min(first.rawValue - 1, UInt64(uncommitted)))
  }

  /// Of an empty block, the entry before it. `first` is at least 1.
  package var last: SequenceNumber { SequenceNumber(first.rawValue - 1 + UInt64(count)) }

  private static let mark: UInt32 = 0x4B43_4C42  // "BLCK"
  static let payloadSize = 4 + 2 + 2 + 8 + 8 + 4 + 4 + 4 + 4 + 8 * 7
  static let size = SegmentFormat.skippableHeaderSize + payloadSize

  func write(into writer: inout ByteWriter, salt: UInt64) {
    let start = writer.count
    writer.append(littleEndian: SegmentFormat.blockMagic)
    writer.append(littleEndian: UInt32(Self.payloadSize))
    writer.append(littleEndian: Self.mark)
    writer.append(littleEndian: version)
    writer.append(littleEndian: partition.rawValue)
    writer.append(littleEndian: tag.rawValue)
    writer.append(littleEndian: first.rawValue)
    writer.append(littleEndian: count)
    writer.append(littleEndian: entriesBytes)
    writer.append(littleEndian: frameBytes)
    writer.append(littleEndian: uncommitted)
    writer.append(littleEndian: time)
    writer.append(littleEndian: use)
    writer.append(littleEndian: synced.rawValue)
    writer.append(littleEndian: entriesHash)
    writer.append(littleEndian: previousHash)
    writer.append(littleEndian: hash)
    writer.append(
      littleEndian: XXH64.hash(UnsafeRawBufferPointer(rebasing: writer.bytes[start...]), seed: salt))
  }

  enum Reading {
    case header(BlockHeader)
    case newer(UInt16)
    /// The rest of the segment was not written yet.
    case rest
    case invalid(String)
  }

  /// Reads what stands at the beginning of `bytes`, which go on to the segment's end.
  ///
  /// - Parameter room: bytes up to there, where `bytes` are fewer.
  static func read(_ bytes: UnsafeRawBufferPointer, salt: UInt64, in room: Int? = nil) -> Reading {
    var reader = ByteReader(bytes)
    do {
      let magic: UInt32 = try reader.number()
      let length: UInt32 = try reader.number()
      if magic == SegmentFormat.restMagic {
        return Int(length) == bytes.count - SegmentFormat.restSize
          ? .rest : .invalid("the rest of the segment has a wrong length")
      }
      guard magic == SegmentFormat.blockMagic, length == UInt32(payloadSize),
        try reader.number(UInt32.self) == mark
      else { return .invalid("this is no block header") }
      let version: UInt16 = try reader.number()
      let header = BlockHeader(
        version: version, partition: PartitionID(try reader.number()), tag: Epoch(try reader.number()),
        first: SequenceNumber(try reader.number()), count: try reader.number(),
        entriesBytes: try reader.number(), frameBytes: try reader.number(),
        uncommitted: try reader.number(), time: try reader.number(), use: try reader.number(),
        synced: SequenceNumber(try reader.number()),
        entriesHash: try reader.number(), previousHash: try reader.number())
      let hash: UInt64 = try reader.number()
      let checked = UnsafeRawBufferPointer(rebasing: bytes[..<reader.offset])
      guard try reader.number() == XXH64.hash(checked, seed: salt) else {
        return .invalid("the block header's checksum is wrong")
      }
      guard version <= SegmentFormat.version else { return .newer(version) }
      guard hash == header.hash else { return .invalid("the block's hash is wrong") }
      guard header.entriesBytes <= UInt32(SegmentFormat.entriesBytesMax) else {
        return .invalid("the block claims \(header.entriesBytes) bytes of entries")
      }
      guard Int(header.frameBytes) <= (room ?? bytes.count) - size else {
        return .invalid("the block is longer than its segment")
      }
      return .header(header)
    } catch {
      return .invalid("the segment ends inside a block header")
    }
  }
}
