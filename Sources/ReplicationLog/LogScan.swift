import Bytes
import Cluster
import Files

/// Reads a whole log, segment by segment, and says how it ends. Changes nothing.
package struct LogScan {
  package struct Segment: Sendable {
    package let name: String
    package let first: SequenceNumber
    /// Of the log before it.
    package let previousHash: UInt64
  }

  package let segments: [Segment]
  /// A lower bound of the commit point, as far as the blocks tell.
  package let committed: SequenceNumber
  /// The last segment's.
  package let last: SegmentScan

  /// Names of the segments in `directory`, in their order.
  package static func names(
    in directory: String, files: any FileSystem = SystemFiles()
  ) throws(FileError) -> [String] {
    try files.names(in: directory).filter { $0.hasSuffix(".lz4") }
  }

  /// - Parameters:
  ///   - names: at least one.
  ///   - identity: whose log it must be; nil: whose the first segment is.
  ///   - marked: what ``SyncedMark`` said before the names were listed: the log must reach it.
  ///   - body: gets every block in order, empty ones too: its header, its file, where it stands in it,
  ///     and its entries.
  /// - Throws: `damaged`, `foreign`, `gap`, `unsupportedVersion`, or what `body` throws, as `replay`;
  ///   `FileError`.
  package init(
    directory: String, names: [String], identity: ReplicationLog.Identity? = nil,
    marked: SequenceNumber? = nil, files: any FileSystem = SystemFiles(),
    _ body: (BlockHeader, String, Int, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    precondition(!names.isEmpty)
    var identity = identity
    var segments: [Segment] = []
    var found: SegmentScan?
    var committed = SequenceNumber.zero
    for (index, name) in names.enumerated() {
      let path = directory + "/" + name
      let contents = try files.open(path, .read).contents()
      let scan = try contents.withUnsafeBytes { bytes in
        try SegmentScan(bytes, path: path, following: Self.first(after: index, in: names)) {
          block, offset, entries in
          do {
            try body(block, path, offset, entries)
          } catch  where error is LogError || error is FileError {
            throw error
          } catch {
            throw LogError.replay(path: path, offset: offset, cause: error)
          }
        }
      }
      let owner =
        identity ?? ReplicationLog.Identity(cluster: scan.header.cluster, partition: scan.header.partition)
      identity = owner
      guard scan.header.cluster == owner.cluster else {
        throw LogError.foreign(path: path, what: "it is of another cluster")
      }
      guard scan.header.partition == owner.partition else {
        throw LogError.foreign(path: path, what: "it is of partition \(scan.header.partition)")
      }
      if let before = found {
        guard scan.header.first == before.next else {
          throw LogError.gap(path: path, expected: before.next.rawValue, found: scan.header.first.rawValue)
        }
        guard scan.header.previousHash == before.hash else {
          throw LogError.damaged(path: path, offset: 0, what: "it does not follow the segment before it")
        }
      }
      // The next segment's name is made of its first entry; it must not be one that is there.
      guard name == ReplicationLog.name(scan.header.first) else {
        throw LogError.damaged(
          path: path, offset: 0, what: "its name is not that of its first entry, \(scan.header.first)")
      }
      segments.append(
        Segment(name: name, first: scan.header.first, previousHash: scan.header.previousHash))
      committed = max(committed, scan.committed)
      found = scan
    }
    self.committed = committed
    self.segments = segments
    last = found!
    if let marked, marked >= last.next {
      throw Self.short(directory + "/" + names.last!, last, marked, directory)
    }
  }

  /// Where the segment after this one begins, by its name. A name that tells nothing is found out when its
  /// segment is read.
  private static func first(after index: Int, in names: [String]) -> SequenceNumber? {
    guard index + 1 < names.count else { return nil }
    return SequenceNumber(UInt64(names[index + 1].dropLast(".lz4".count)) ?? .max)
  }

  /// What was synced is missing at the end.
  private static func short(
    _ path: String, _ last: SegmentScan, _ marked: SequenceNumber, _ directory: String
  ) -> LogError {
    let (offset, what): (Int, String) =
      switch last.end {
      case .clean(let offset): (offset, "the log ends here")
      case .torn(let offset, let what): (offset, what)
      }
    return .damaged(
      path: path, offset: offset,
      what: "\(what); \(directory)/\(SyncedMark.name) says that entry \(marked) was synced, "
        + "and entry \(last.next) is missing")
  }
}
