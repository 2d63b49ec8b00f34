import Bytes
import Cluster
import LZ4

/// Reads one segment block by block and says how it ends.
package struct SegmentScan {
  package enum End: Equatable {
    /// At `offset` the rest begins, or the file ends: nothing is missing.
    case clean(offset: Int)
    /// At `offset` something was begun that was never synced.
    case torn(offset: Int, what: String)
  }

  package let header: SegmentHeader
  package private(set) var end: End
  /// Where the last block ended: what the next must follow.
  package private(set) var next: SequenceNumber
  package private(set) var hash: UInt64
  package private(set) var time: Int64
  package private(set) var tag = Epoch(0)
  /// A lower bound of the commit point.
  package private(set) var committed = SequenceNumber.zero
  /// The last entry that a block says was synced when it was written.
  package private(set) var synced = SequenceNumber.zero
  /// Where the first block begins that no later one says was synced; the end where there is none.
  package var unproven: Int {
    if let first = claimless.first { return first.offset }
    switch end {
    case .clean(let offset), .torn(let offset, _): return offset
    }
  }
  /// Blocks that ``synced`` does not reach yet: mostly one.
  private var claimless: [(offset: Int, last: SequenceNumber)] = []

  /// Walks `bytes`, the contents of the file at `path`.
  ///
  /// - Parameters:
  ///   - following: where the segment after this one begins; nil: this is the last one, so a torn tail is
  ///     possible. What stands here from there on was cut, and is not looked at.
  ///   - body: gets every block's header, its offset, and its entries.
  /// - Throws: `damaged`, `unsupportedVersion`, or what `body` throws.
  package init(
    _ bytes: UnsafeRawBufferPointer, path: String, following: SequenceNumber?,
    _ body: (BlockHeader, Int, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    switch SegmentHeader.read(bytes) {
    case .header(let found): header = found
    case .newer(let version): throw LogError.unsupportedVersion(path: path, version: version)
    case .invalid(let what): throw LogError.damaged(path: path, offset: 0, what: what)
    }
    // A segment is as long as it will be before its first block is written.
    guard bytes.count == Int(header.segmentBytes) else {
      throw LogError.damaged(
        path: path, offset: min(bytes.count, Int(header.segmentBytes)),
        what: "the file has \(bytes.count) bytes, and was made with \(header.segmentBytes)")
    }
    next = header.first
    hash = header.previousHash
    time = 0
    end = .clean(offset: SegmentHeader.size)
    var offset = SegmentHeader.size
    let isLast = following == nil
    scan: while offset < bytes.count {
      let remaining = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      let reading = BlockHeader.read(remaining, salt: header.salt)
      if next == following {
        guard case .header(let proof) = reading, proof.count == 0 else { break scan }
      }
      switch reading {
      case .rest:
        // A block of this use beyond the end means that the end is not the end.
        if let later = laterBlock(bytes, after: offset) {
          throw LogError.damaged(
            path: path, offset: offset, what: "block at byte \(later) was written after what is missing here")
        }
        break scan
      case .newer(let version): throw LogError.unsupportedVersion(path: path, version: version)
      case .invalid(let what):
        // The writer leaves room for it; without, a torn tail could not be cut.
        guard remaining.count >= SegmentFormat.restSize else {
          throw LogError.damaged(
            path: path, offset: offset, what: "there is no room for the header of a rest")
        }
        try checkTorn(bytes, offset, path, isLast, what)
        end = .torn(offset: offset, what: what)
        return
      case .header(let block):
        if let what = wrong(with: block) {
          // Of an earlier use: never written in this one.
          if block.use < header.use {
            try checkTorn(bytes, offset, path, isLast, what)
            end = .torn(offset: offset, what: what)
            return
          }
          throw LogError.damaged(path: path, offset: offset, what: what)
        }
        let frameStart = offset + BlockHeader.size
        let frame = UnsafeRawBufferPointer(rebasing: bytes[frameStart..<frameStart + Int(block.frameBytes)])
        do {
          try Self.withEntries(of: block, frame) { entries in
            guard let entries else { throw Invalid() }
            try body(block, offset, entries)
          }
        } catch is Invalid {
          let what = "the block's entries don't match their checksum"
          try checkTorn(bytes, offset, path, isLast, what)
          end = .torn(offset: offset, what: what)
          return
        }
        next = SequenceNumber(block.first.rawValue + UInt64(block.count))
        hash = block.chain
        time = block.time
        tag = block.tag
        synced = block.synced
        committed = max(committed, block.committed)
        claimless.removeAll { $0.last <= block.synced }
        if block.last > block.synced { claimless.append((offset, block.last)) }
        offset = frameStart + Int(block.frameBytes)
      }
    }
    end = .clean(offset: offset)
  }

  private struct Invalid: Error {}

  private func wrong(with block: BlockHeader) -> String? {
    if block.use != header.use { return "the block is of use \(block.use), the segment of \(header.use)" }
    if block.partition != header.partition { return "the block is of partition \(block.partition)" }
    if block.first != next { return "the block begins at entry \(block.first), expected \(next)" }
    if block.previousHash != hash { return "the block does not follow the one before it" }
    if block.time < time { return "the block's time runs back" }
    return nil
  }

  /// Gives the entries, or nil where the frame does not hold what the header says.
  static func withEntries(
    of block: BlockHeader, _ frame: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer?) throws -> Void
  ) throws {
    let count = Int(block.entriesBytes)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, count), alignment: 16)
    defer { buffer.deallocate() }
    let entries = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    do {
      try LZ4Frame.decompress(frame, into: entries)
    } catch {
      return try body(nil)
    }
    guard XXH64.hash(UnsafeRawBufferPointer(entries)) == block.entriesHash else { return try body(nil) }
    try body(UnsafeRawBufferPointer(entries))
  }

  /// What is invalid is damage if something written later shows that it was synced.
  private func checkTorn(
    _ bytes: UnsafeRawBufferPointer, _ offset: Int, _ path: String, _ isLast: Bool, _ what: String
  ) throws(LogError) {
    guard isLast else { throw .damaged(path: path, offset: offset, what: "\(what); a later segment exists") }
    if let later = laterBlock(bytes, after: offset) {
      throw .damaged(path: path, offset: offset, what: "\(what); block at byte \(later) was written later")
    }
  }

  /// A valid block header of the same use after `offset`, wherever it stands, that claims that what is
  /// missing at `offset` was synced (rule 9). One that does not was never synced itself.
  private func laterBlock(_ bytes: UnsafeRawBufferPointer, after offset: Int) -> Int? {
    var place = offset + 1
    while place + BlockHeader.size <= bytes.count {
      // "BLCK" stands 8 bytes into a header.
      if bytes[place + 8] == 0x42,
        case .header(let block) = BlockHeader.read(
          UnsafeRawBufferPointer(rebasing: bytes[place...]), salt: header.salt),
        block.use == header.use, block.synced >= next
      {
        return place
      }
      place += 1
    }
    return nil
  }
}
