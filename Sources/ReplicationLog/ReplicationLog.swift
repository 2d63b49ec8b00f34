import Bytes
import Cluster
import Files
import LZ4

/// A partition's log on disk: segments of blocks, appended and synced. One thread's; what is static is for
/// another thread, which trims it.
///
/// Invariant: `synced <= last`. What is synced survives; what is not may be cut at the next start.
package struct ReplicationLog: ~Copyable {
  package struct Identity: Sendable {
    /// A hash of the cluster's id.
    package let cluster: UInt64
    package let partition: PartitionID
    package init(cluster: UInt64, partition: PartitionID) {
      self.cluster = cluster
      self.partition = partition
    }
  }

  package let directory: String
  private let files: any FileSystem
  private let identity: Identity
  private let segmentBytes: Int

  /// Last entry that was appended.
  package private(set) var last: SequenceNumber
  /// Last entry that survives whatever happens.
  package private(set) var synced: SequenceNumber
  /// What the log says was committed: the truth may be ahead of it.
  package private(set) var committed: SequenceNumber
  /// The last entry that a block on disk says was synced.
  private var proven: SequenceNumber
  /// Time of the last block.
  private var time: Int64
  /// Its epoch tag.
  private var tag: Epoch
  /// Names the log up to ``last``.
  package private(set) var hash: UInt64
  /// The end of the log before the first block that is there: its entry and its hash.
  package let base: (last: SequenceNumber, hash: UInt64)
  /// Where the last block stands; nil: none was appended or found.
  package private(set) var lastPosition: BlockPosition?
  /// Bytes of blocks that were appended or found since the log was opened.
  package private(set) var bytesAppended: UInt64 = 0

  private var file: any File
  private var offset: Int
  private var header: SegmentHeader
  private var headerBytes = ByteWriter(capacity: BlockHeader.size)
  private let scratch: Scratch
  private var mark: SyncedMark
  /// Of the file of the next segment, if it was made already.
  private var nextBytes: Int?

  static func name(_ first: SequenceNumber) -> String {
    let digits = String(first.rawValue)
    return String(repeating: "0", count: 20 - digits.count) + digits + ".lz4"
  }
  /// Of a segment's path; what has no such name is refused before anybody asks.
  private static func first(ofPath path: String) -> SequenceNumber {
    SequenceNumber(UInt64(path.dropLast(".lz4".count).suffix(20)) ?? 0)
  }
  /// Files that segments are begun in. Threads meet here: whoever trims makes them, whoever appends takes
  /// them, each by a rename.
  private static let spareNames = ["spare", "spare.2", "spare.3", "spare.4"]
  /// Of the next segment, until it is begun: the appending thread's own.
  private static let nextName = "next"

  /// Opens the log in `directory`, which exists, or begins one there; cuts a torn tail.
  ///
  /// - Parameters:
  ///   - applied: entries up to here are not needed; the log must go on from there.
  ///   - mayBegin: there may be no log yet.
  ///   - found: gets every block that has entries, in order.
  ///   - replay: gets every block that has later entries, in order, after `found` did.
  /// - Throws: `damaged` and the like: nothing was changed. `FileError`. What `replay` throws.
  package init(
    directory: String, identity: Identity, applied: SequenceNumber,
    segmentBytes: Int = SegmentFormat.segmentBytesDefault, mayBegin: Bool = true,
    files: any FileSystem = SystemFiles(),
    found: (BlockHeader, BlockPosition) throws -> Void = { _, _ in },
    replay: (BlockHeader, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    let marked = try SyncedMark.read(in: directory, files: files)
    var names = try LogScan.names(in: directory, files: files)
    if names.isEmpty {
      guard mayBegin, marked ?? .zero <= applied else { throw LogError.missing(directory: directory) }
      try Self.begin(
        in: directory, identity: identity, after: applied, hash: 0, segmentBytes: segmentBytes, files: files)
      names = [Self.name(applied.next)]
    }
    var needed = applied.next
    var position: BlockPosition?
    let log = try LogScan(
      directory: directory, names: names, identity: identity, marked: marked, files: files
    ) { block, path, offset, entries in
      guard block.first <= needed else {
        throw LogError.gap(path: path, expected: needed.rawValue, found: block.first.rawValue)
      }
      guard block.count > 0 else { return }
      let place = BlockPosition(
        segment: Self.first(ofPath: path), offset: offset, bytes: BlockHeader.size + Int(block.frameBytes))
      position = place
      try found(block, place)
      guard block.last > applied else { return }
      needed = block.last.next
      try replay(block, entries)
    }
    let scan = log.last
    guard let first = log.segments.first, let segment = log.segments.last else {
      preconditionFailure("a log has a segment")
    }
    guard first.first <= applied.next else {
      throw LogError.gap(
        path: directory + "/" + first.name, expected: applied.next.rawValue, found: first.first.rawValue)
    }
    let offset: Int
    switch scan.end {
    case .clean(let end), .torn(let end, _): offset = end
    }
    let last = SequenceNumber(scan.next.rawValue - 1)
    guard last >= applied else {
      throw LogError.damaged(
        path: directory + "/" + segment.name, offset: offset,
        what: "the log ends at entry \(last), but SQLite holds entry \(applied)")
    }
    // What was read may be in memory only: the process before may have died before it was synced, or
    // because its sync failed. So what nothing says was synced is written again.
    let file = try files.open(directory + "/" + segment.name, .update)
    try file.refresh(from: scan.unproven, to: offset)
    try Self.writeRest(file, at: offset, segmentBytes: Int(scan.header.segmentBytes))
    try file.sync()
    // So may the segment's name.
    try files.syncDirectory(directory)
    var mark = try SyncedMark(in: directory, files: files)
    try mark.write(last)
    self.mark = mark
    self.directory = directory
    self.files = files
    self.identity = identity
    self.segmentBytes = segmentBytes
    header = scan.header
    self.file = file
    self.offset = offset
    self.last = last
    synced = last
    proven = scan.synced
    committed = log.committed
    base = (SequenceNumber(first.first.rawValue - 1), first.previousHash)
    lastPosition = position
    time = scan.time
    tag = scan.tag
    hash = scan.hash
    scratch = Scratch(
      count: LZ4Frame.bound(SegmentFormat.entriesBytesMax) + BlockHeader.size + SegmentFormat.restSize)
  }

  /// Begins a log in `directory`, where there is none, behind another log's entry.
  ///
  /// - Parameters:
  ///   - last: that entry; zero: it is the first log of all.
  ///   - hash: of the other log up to there.
  package static func begin(
    in directory: String, identity: Identity, after last: SequenceNumber, hash: UInt64,
    segmentBytes: Int = SegmentFormat.segmentBytesDefault, files: any FileSystem = SystemFiles()
  ) throws(FileError) {
    // A spare of an earlier log would bring that log's first use back.
    for name in spareNames {
      let spare = directory + "/" + name
      if try files.exists(spare) { try files.remove(spare) }
    }
    try prewrite(directory + "/" + nextName, bytes: segmentBytes, files)
    let header = SegmentHeader(
      partition: identity.partition, segmentBytes: UInt32(segmentBytes), use: 1, first: last.next,
      previousHash: hash, cluster: identity.cluster, salt: .random(in: 0...UInt64.max))
    try begin(header, in: directory, files)
  }

  /// Where a block is put together. Not private: a `ReplicationLog` inside of another module's value needs
  /// to see it.
  package final class Scratch {
    fileprivate let bytes: UnsafeMutableRawBufferPointer
    fileprivate init(count: Int) { bytes = .allocate(byteCount: count, alignment: 4096) }
    deinit { bytes.deallocate() }
  }

  /// Appends one block of entries. Not durable until ``sync()``.
  ///
  /// - Parameters:
  ///   - entries: `count` of them, the first being `last + 1`.
  ///   - time: not less than the block's before it.
  ///   - committed: what is known to be committed; nil: all that was appended before.
  ///   - entriesHash: XXH64 of the entries; nil: it is not known yet.
  /// - Throws: `FileError`: the log is poisoned, the process must end. Where ``makeRoom(for:)`` was called
  ///   before, a full disk is no reason.
  package mutating func append(
    _ entries: UnsafeRawBufferPointer, count: UInt32, tag: Epoch, time: Int64,
    committed: SequenceNumber? = nil, entriesHash: UInt64? = nil
  ) throws {
    precondition(entries.count <= SegmentFormat.entriesBytesMax)
    let frameRoom = UnsafeMutableRawBufferPointer(rebasing: scratch.bytes[BlockHeader.size...])
    let frameBytes = try LZ4Frame.compress(entries, into: frameRoom)
    let blockBytes = BlockHeader.size + frameBytes
    let room = Int(header.segmentBytes) - offset
    if blockBytes + SegmentFormat.restSize > room { try roll(atLeast: blockBytes) }

    let block = BlockHeader(
      partition: identity.partition, tag: tag, first: last.next, count: count,
      entriesBytes: UInt32(entries.count), frameBytes: UInt32(frameBytes),
      uncommitted: UInt32(clamping: committed.map { last.rawValue - min(last.rawValue, $0.rawValue) } ?? 0),
      time: time, use: header.use,
      synced: synced, entriesHash: entriesHash ?? XXH64.hash(entries), previousHash: hash)
    headerBytes.removeAll()
    block.write(into: &headerBytes, salt: header.salt)
    scratch.bytes.copyMemory(from: headerBytes.bytes)
    let rest = Int(header.segmentBytes) - offset - blockBytes - SegmentFormat.restSize
    scratch.bytes.storeBytes(
      of: SegmentFormat.restMagic.littleEndian, toByteOffset: blockBytes, as: UInt32.self)
    scratch.bytes.storeBytes(of: UInt32(rest).littleEndian, toByteOffset: blockBytes + 4, as: UInt32.self)
    try file.write(
      UnsafeRawBufferPointer(rebasing: scratch.bytes[..<(blockBytes + SegmentFormat.restSize)]), at: offset)
    if count > 0 {
      lastPosition = BlockPosition(segment: header.first, offset: offset, bytes: blockBytes)
    }
    offset += blockBytes
    bytesAppended += UInt64(blockBytes)
    last = block.last
    hash = block.chain
    self.committed = max(self.committed, block.committed)
    proven = synced
    self.time = time
    self.tag = tag
  }

  /// Whether something was synced that no block on disk says was.
  package var needsProof: Bool { proven < synced }

  /// Appends an empty block that says what was synced before it, and syncs it.
  ///
  /// A log that rests ends with one, so that damage to its last entries can't be taken for a
  /// torn tail. Damage to the empty block itself costs nothing.
  package mutating func prove() throws {
    guard needsProof else { return }
    try append(
      UnsafeRawBufferPointer(start: nil, count: 0), count: 0, tag: tag, time: time, committed: committed)
    try sync()
  }

  /// Makes all that was appended durable. One sync serves every block before it.
  ///
  /// - Throws: the log is poisoned, the process must end.
  package mutating func sync() throws(FileError) {
    try file.sync()
    synced = last
    try mark.write(last)
  }

  /// Cuts what is above `last`: entries that were never committed, and that another history replaces.
  ///
  /// The cut is made by beginning a segment there: what stands behind that place in the segment before it does
  /// not count any more. So it is done at once, by a rename, or not at all; but segments above may be gone.
  ///
  /// - Parameters:
  ///   - last: the end of a block of this log, not above ``last``; nothing above it was applied to tables.
  ///   - hash: of the log up to there.
  ///   - tag: of that block.
  /// - Throws: `FileError`. On a full disk nothing was cut.
  package mutating func cut(to last: SequenceNumber, hash: UInt64, tag: Epoch) throws(FileError) {
    precondition(last <= self.last && last >= committed, "what is committed is never cut")
    guard last < self.last else { return }
    try makeNext(atLeast: segmentBytes)
    try sync()
    try mark.lower(to: last)
    let names = try LogScan.names(in: directory, files: files)
    for name in names.reversed() where name > Self.name(last.next) {
      try files.remove(directory + "/" + name)
      // One after the other, so that a crash leaves no gap.
      try files.syncDirectory(directory)
    }
    self.last = last
    self.hash = hash
    self.tag = tag
    synced = last
    proven = last
    try beginNext()
  }

  /// Reads a block again.
  ///
  /// - Parameter position: as it was found, or was ``lastPosition``; it was not cut since.
  /// - Returns: nil: it was trimmed.
  /// - Throws: `damaged`, `FileError`.
  package func block(at position: BlockPosition) throws -> (header: BlockHeader, entries: [UInt8])? {
    let path = directory + "/" + Self.name(position.segment)
    guard try files.exists(path) else { return nil }
    let file = try files.open(path, .read)
    let segment = try file.contents(to: SegmentHeader.size).withUnsafeBytes { SegmentHeader.read($0) }
    let bytes = try file.contents(from: position.offset, to: position.offset + position.bytes)
    // Another segment may stand in the file by now.
    guard case .header(let segment) = segment, segment.first == position.segment,
      case .header(let block) = bytes.withUnsafeBytes({ BlockHeader.read($0, salt: segment.salt) }),
      block.use == segment.use
    else { return nil }
    var entries: [UInt8]?
    try bytes.withUnsafeBytes { bytes in
      let frame = UnsafeRawBufferPointer(rebasing: bytes[BlockHeader.size...])
      try SegmentScan.withEntries(of: block, frame) { found in entries = found.map(Array.init) }
    }
    guard let entries else {
      throw LogError.damaged(
        path: path, offset: position.offset, what: "the block's entries don't match their checksum")
    }
    return (block, entries)
  }

  /// Makes sure that a block of so many bytes of entries can be appended whatever room the disk has:
  /// where the segment might not hold it, the file of the next one is made now.
  ///
  /// - Throws: there is no room, or the disk failed. The log is as it was, and may be used.
  package mutating func makeRoom(for entriesBytes: Int) throws(FileError) {
    let blockBytes = BlockHeader.size + LZ4Frame.bound(entriesBytes)
    guard offset + blockBytes + SegmentFormat.restSize > Int(header.segmentBytes) else { return }
    try makeNext(atLeast: max(segmentBytes, SegmentHeader.size + blockBytes + SegmentFormat.restSize))
  }

  /// Makes sure that the file of the next segment is there, out of a spare where one has the size.
  private mutating func makeNext(atLeast bytes: Int) throws(FileError) {
    if let nextBytes, nextBytes >= bytes { return }
    nextBytes = nil
    let path = directory + "/" + Self.nextName
    for name in Self.spareNames where try files.exists(directory + "/" + name) {
      try files.rename(directory + "/" + name, to: path)
      let size = try files.open(path, .read).size()
      guard size >= bytes else { break }
      nextBytes = size
      return
    }
    try Self.prewrite(path, bytes: bytes, files)
    nextBytes = bytes
  }

  private mutating func roll(atLeast blockBytes: Int) throws(FileError) {
    try sync()
    try makeNext(atLeast: max(segmentBytes, SegmentHeader.size + blockBytes + SegmentFormat.restSize))
    try beginNext()
  }

  /// The segment behind ``last``, in the file that was made for it.
  private mutating func beginNext() throws(FileError) {
    let next = SegmentHeader(
      partition: identity.partition, segmentBytes: UInt32(nextBytes!), use: header.use + 1, first: last.next,
      previousHash: hash, cluster: identity.cluster, salt: .random(in: 0...UInt64.max))
    nextBytes = nil
    try Self.begin(next, in: directory, files)
    file = try files.open(directory + "/" + Self.name(next.first), .update)
    header = next
    offset = SegmentHeader.size
  }

  /// Makes the next file a segment that is durable and empty.
  private static func begin(
    _ header: SegmentHeader, in directory: String, _ files: any FileSystem
  ) throws(FileError) {
    let next = directory + "/" + nextName
    let file = try files.open(next, .update)
    var writer = ByteWriter(capacity: SegmentHeader.size)
    header.write(into: &writer)
    try file.write(writer.bytes, at: 0)
    try writeRest(file, at: SegmentHeader.size, segmentBytes: Int(header.segmentBytes))
    try file.sync()
    try files.rename(next, to: directory + "/" + name(header.first))
    try files.syncDirectory(directory)
  }

  private static func writeRest(_ file: any File, at offset: Int, segmentBytes: Int) throws(FileError) {
    let rest = segmentBytes - offset - SegmentFormat.restSize
    guard rest >= 0 else { return }
    var writer = ByteWriter(capacity: SegmentFormat.restSize)
    writer.append(littleEndian: SegmentFormat.restMagic)
    writer.append(littleEndian: UInt32(rest))
    try file.write(writer.bytes, at: offset)
  }

  /// A file whose blocks all exist, so that a sync of an append need not touch the file system's own data:
  /// one rest from its first byte on.
  ///
  /// - Throws: nothing is left of it.
  private static func prewrite(_ path: String, bytes: Int, _ files: any FileSystem) throws(FileError) {
    let file = try files.open(path, .create)
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: min(bytes, 1 << 20), alignment: 4096)
    defer { piece.deallocate() }
    piece.initializeMemory(as: UInt8.self, repeating: 0)
    do throws(FileError) {
      var offset = 0
      while offset < bytes {
        let count = min(piece.count, bytes - offset)
        try file.write(UnsafeRawBufferPointer(rebasing: piece[..<count]), at: offset)
        offset += count
      }
      try writeRest(file, at: 0, segmentBytes: bytes)
      try file.sync()
    } catch {
      try? files.remove(path)
      throw error
    }
  }

  // MARK: On another thread

  /// Lets go of whole segments with no entry above `sequenceNumber`, which SQLite holds durably, but for the
  /// log's tail. They become spares while these are few; the others are removed.
  ///
  /// - Parameters:
  ///   - directory: a log's that another thread may append to. It has left these segments behind.
  ///   - now: by the log's time.
  /// - Returns: the first entry that is left; nil: there is no log.
  @discardableResult
  package static func trim(
    in directory: String, through sequenceNumber: SequenceNumber, tail: LogTail, now: Int64,
    segmentBytes: Int = SegmentFormat.segmentBytesDefault, files: any FileSystem = SystemFiles()
  ) throws(FileError) -> SequenceNumber? {
    var names = try LogScan.names(in: directory, files: files)
    var unneeded: [Int] = []
    // The last one is being written.
    for (segment, next) in zip(names, names.dropFirst()) where next <= name(sequenceNumber.next) {
      unneeded.append(try files.open(directory + "/" + segment, .read).size())
    }
    let surplus = try tail.surplus(of: unneeded, now: now) { segment throws(FileError) in
      try firstTime(in: directory + "/" + names[segment + 1], files) ?? now
    }
    for bytes in unneeded.prefix(surplus) {
      let path = directory + "/" + names.removeFirst()
      guard bytes == segmentBytes, let spare = try freeSpareName(in: directory, files) else {
        try files.remove(path)
        continue
      }
      let trimmed = directory + "/trimmed"
      try files.rename(path, to: trimmed)
      // The old name must be gone for good before another segment is begun in the file.
      try files.syncDirectory(directory)
      try files.rename(trimmed, to: spare)
    }
    if surplus > 0 { try files.syncDirectory(directory) }
    return names.first.map { first(ofPath: $0) }
  }

  /// Time of a segment's first block; nil: it has none yet.
  private static func firstTime(in path: String, _ files: any FileSystem) throws(FileError) -> Int64? {
    let file = try files.open(path, .read)
    let size = try file.size()
    let bytes = try file.contents(to: min(size, SegmentHeader.size + BlockHeader.size))
    return bytes.withUnsafeBytes { bytes in
      guard case .header(let segment) = SegmentHeader.read(bytes), bytes.count > SegmentHeader.size else {
        return nil
      }
      // How long its frame is does not matter here.
      let block = UnsafeRawBufferPointer(rebasing: bytes[SegmentHeader.size...])
      guard
        case .header(let block) = BlockHeader.read(block, salt: segment.salt, in: size - SegmentHeader.size),
        block.use == segment.use
      else { return nil }
      return block.time
    }
  }

  /// Makes a spare ahead of time where there is none.
  package static func prepareSpare(
    in directory: String, segmentBytes: Int = SegmentFormat.segmentBytesDefault,
    files: any FileSystem = SystemFiles()
  ) throws(FileError) {
    for name in spareNames where try files.exists(directory + "/" + name) { return }
    // Under a name of its own until it is whole.
    let temporary = directory + "/spare.new"
    try prewrite(temporary, bytes: segmentBytes, files)
    try files.rename(temporary, to: directory + "/" + spareNames[0])
  }

  /// nil: there are enough.
  private static func freeSpareName(
    in directory: String, _ files: any FileSystem
  ) throws(FileError) -> String? {
    for name in spareNames {
      let spare = directory + "/" + name
      if try !files.exists(spare) { return spare }
    }
    return nil
  }
}
