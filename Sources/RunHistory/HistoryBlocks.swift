import Bytes
import Foundation
import LZ4

/// Reads a file of blocks, in the memory of one.
final class HistoryBlocks {
  let header: HistoryHeader
  private(set) var end: HistoryEnd?
  private(set) var cut: String?
  /// Where the block of the last record begins in the file.
  private(set) var blockOffset: UInt64 = 0

  let file: String
  private let kind: HistoryFileKind
  private let descriptor: Int32
  private let salt: UInt64
  private var offset: UInt64
  private var blockNumber: UInt64 = 0
  private var records: UInt64 = 0
  private var isOver = false

  /// Whether a file's first 16 bytes are of that kind.
  static func `is`(_ head: [UInt8], _ kind: HistoryFileKind) -> Bool {
    head.count >= 16 && head.starts(with: [0x52, 0x2A, 0x4D, 0x18]) && Array(head[8..<16]) == kind.mark
  }

  init(path: String, _ kind: HistoryFileKind) throws(HistoryError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw HistoryError(.unreadable, path, "it can't be opened: \(String(cString: strerror(errno)))")
    }
    let head: (header: HistoryHeader, salt: UInt64, bytes: Int)
    do throws(HistoryError) {
      head = try Self.readHeader(path, descriptor, kind)
    } catch {
      close(descriptor)
      throw error
    }
    file = path
    self.kind = kind
    self.descriptor = descriptor
    header = head.header
    salt = head.salt
    offset = UInt64(head.bytes)
  }

  deinit { close(descriptor) }

  /// The next block: how many records, and their bytes; nil after the last.
  func next() throws(HistoryError) -> (records: Int, bytes: [UInt8])? {
    guard !isOver else { return nil }
    blockOffset = offset
    var head = try Self.read(8, descriptor, file)
    if head.isEmpty { return endWithout("it has no end: the run was killed or is still going on") }
    guard head.count == 8 else { return endWithout("it ends within a frame at byte \(offset)") }
    let magic = Self.number(head, 0)
    let length = Int(Self.number(head, 4))
    if magic == HistoryFormat.endMagic {
      guard length <= HistoryFormat.textBytesMax else { throw damaged("the end is too long") }
      let rest = try Self.read(length, descriptor, file)
      guard rest.count == length else { return endWithout("it ends within its end at byte \(offset)") }
      guard let end: HistoryEnd = try Self.content(head + rest, file, kind) else {
        throw damaged("the end's hash")
      }
      guard end.records == records else {
        throw damaged("the end counts \(end.records) records, and \(records) are there")
      }
      guard try Self.read(1, descriptor, file).isEmpty else { throw damaged("something follows the end") }
      self.end = end
      isOver = true
      return nil
    }
    guard magic == HistoryFormat.blockMagic, length == HistoryFormat.blockHeaderBytes - 8 else {
      throw damaged("there is no block")
    }
    head += try Self.read(length, descriptor, file)
    guard head.count == HistoryFormat.blockHeaderBytes else {
      return endWithout("it ends within a block's header at byte \(offset)")
    }
    let checksum = head[..<40].withUnsafeBytes { XXH64.hash($0, seed: salt) }
    guard checksum == Self.wide(head, 40), Array(head[8..<12]) == kind.blockMark else {
      throw damaged("the checksum of a block's header")
    }
    let count = Int(Self.number(head, 12))
    let bytes = kind.recordBytes == 0 ? Int(Self.number(head, 36)) : count * kind.recordBytes
    let frameBytes = Int(Self.number(head, 32))
    guard Self.wide(head, 16) == blockNumber, count > 0, count <= HistoryFormat.blockRecordsMax,
      bytes <= kind.blockBytesMax, frameBytes <= LZ4Frame.bound(kind.blockBytesMax)
    else {
      throw damaged("block \(blockNumber) is not where it should be")
    }
    let frame = try Self.read(frameBytes, descriptor, file)
    guard frame.count == frameBytes else { return endWithout("it ends within a block at byte \(offset)") }
    let plain = try decompressed(frame, count: bytes)
    guard plain.withUnsafeBytes({ XXH64.hash($0) }) == Self.wide(head, 24) else {
      throw damaged("the hash of a block's records")
    }
    offset += UInt64(head.count + frame.count)
    blockNumber += 1
    records += UInt64(count)
    return (count, plain)
  }

  private func decompressed(_ frame: [UInt8], count: Int) throws(HistoryError) -> [UInt8] {
    var plain = [UInt8](repeating: 0, count: count)
    var failure: LZ4Frame.Failure?
    frame.withUnsafeBytes { frame in
      plain.withUnsafeMutableBytes { plain in
        do throws(LZ4Frame.Failure) { try LZ4Frame.decompress(frame, into: plain) } catch { failure = error }
      }
    }
    if let failure { throw damaged("\(failure)") }
    return plain
  }

  private func endWithout(_ what: String) -> (Int, [UInt8])? {
    cut = what
    isOver = true
    return nil
  }

  func damaged(_ what: String) -> HistoryError {
    HistoryError(.damaged, file, "damaged at byte \(offset): \(what); use an undamaged copy")
  }

  private static func readHeader(
    _ path: String, _ descriptor: Int32, _ kind: HistoryFileKind
  ) throws(HistoryError) -> (header: HistoryHeader, salt: UInt64, bytes: Int) {
    let head = try read(16, descriptor, path)
    guard Self.is(head, kind) else {
      throw HistoryError(
        .noHistory, path, "this is no \(kind.name); laris-loadtest run \(kind.option) writes one")
    }
    let length = Int(number(head, 4))
    guard length >= 24, length <= HistoryFormat.textBytesMax else {
      throw HistoryError(.damaged, path, "its header is damaged; use an undamaged copy")
    }
    let frame = try head + read(length - 8, descriptor, path)
    guard frame.count == length + 8 else {
      throw HistoryError(.damaged, path, "it ends within its header")
    }
    let version = UInt16(number(frame, 16) & 0xFFFF)
    guard version == HistoryFormat.version else {
      throw HistoryError(
        .otherVersion, path, "it has version \(version), and this program reads \(HistoryFormat.version)")
    }
    guard let header: HistoryHeader = try content(frame, path, kind) else {
      throw HistoryError(.damaged, path, "its header is damaged; use an undamaged copy")
    }
    return (header, frame.withUnsafeBytes { XXH64.hash($0) }, frame.count)
  }

  /// The JSON of a header or an end; nil where its hash is another.
  private static func content<Value: Decodable>(
    _ frame: [UInt8], _ path: String, _ kind: HistoryFileKind
  ) throws(HistoryError) -> Value? {
    guard frame.count >= 32, Array(frame[8..<16]) == kind.mark else { return nil }
    let json = Int(number(frame, 20))
    guard frame.count == 32 + json else { return nil }
    let hash = frame[..<(frame.count - 8)].withUnsafeBytes { XXH64.hash($0) }
    guard hash == wide(frame, frame.count - 8), number(frame, 16) >> 16 == UInt32(kind.recordBytes) else {
      return nil
    }
    do {
      return try JSONDecoder().decode(Value.self, from: Data(frame[24..<24 + json]))
    } catch {
      throw HistoryError(.damaged, path, "its header or end is no JSON of ours: \(error)")
    }
  }

  /// So many bytes, or fewer at the end of the file.
  private static func read(_ count: Int, _ descriptor: Int32, _ path: String) throws(HistoryError) -> [UInt8]
  {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let more = bytes[done...].withUnsafeMutableBytes {
        Foundation.read(descriptor, $0.baseAddress, $0.count)
      }
      if more < 0, errno == EINTR { continue }
      guard more >= 0 else {
        throw HistoryError(.unreadable, path, "it can't be read: \(String(cString: strerror(errno)))")
      }
      if more == 0 { break }
      done += more
    }
    bytes.removeLast(count - done)
    return bytes
  }

  static func number(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
    bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
  }

  private static func wide(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
  }
}
