import Bytes
import Cluster
import Files
import Referee
import ReplicationLog

/// One replica's log of a partition, as far as a folder has it: the heads of its blocks.
package struct ReplicaLog: Sendable {
  package struct Head: Equatable, Sendable {
    package var last: UInt64
    /// Names the log up to ``last``.
    package var hash: UInt64
    package init(last: UInt64, hash: UInt64) {
      self.last = last
      self.hash = hash
    }
  }

  /// Whose it is, for people.
  package let name: String
  /// The end of what is before its first block.
  package let base: Head
  package let heads: [Head]
  /// The epoch in which its last block got its numbers.
  package let tag: UInt64
  /// What it says itself that was committed.
  package let committed: UInt64

  package init(name: String, base: Head, heads: [Head], tag: UInt64, committed: UInt64) {
    self.name = name
    self.base = base
    self.heads = heads
    self.tag = tag
    self.committed = committed
  }

  package var end: Head { heads.last ?? base }

  /// The block that ends with an entry.
  func place(endingAt sn: UInt64) -> Int? {
    var (low, high) = (0, heads.count)
    while low < high {
      let middle = (low + high) / 2
      if heads[middle].last < sn { low = middle + 1 } else { high = middle }
    }
    return low < heads.count && heads[low].last == sn ? low : nil
  }
}

extension ReplicaLog {
  /// Reads the log in `directory`; nil: there is none.
  ///
  /// - Parameter isSetAside: it was found to be damaged and another one took its place: it counts as far as
  ///   it is sound.
  /// - Throws: `LogError`: it is damaged, or of another cluster. `FileError`.
  package init?(directory: String, partition: PartitionID, cluster: String, isSetAside: Bool = false) throws {
    guard let names = try Self.names(in: directory) else { return nil }
    var beginning: Head?
    var heads: [Head] = []
    var tag: UInt64 = 0
    var committed: UInt64 = 0
    do {
      let scan = try LogScan(
        directory: directory, names: names, identity: Self.identity(partition, cluster),
        marked: SyncedMark.read(in: directory, files: SystemFiles())
      ) { block, _, _, _ in
        if beginning == nil { beginning = Head(last: block.first.rawValue - 1, hash: block.previousHash) }
        committed = max(committed, block.committed.rawValue)
        guard block.count > 0 else { return }
        heads.append(Head(last: block.last.rawValue, hash: block.hash))
        tag = block.tag.rawValue
      }
      let first = scan.segments[0]
      beginning = Head(last: first.first.rawValue - 1, hash: first.previousHash)
    } catch {
      guard isSetAside else { throw error }
    }
    guard let beginning else { return nil }
    self.init(name: directory, base: beginning, heads: heads, tag: tag, committed: committed)
  }

  /// Reads its blocks once more.
  ///
  /// - Parameter body: gets those that end above `after` and not above `through`, in order.
  package func read(
    after: UInt64, through: UInt64, partition: PartitionID, cluster: String,
    _ body: (Referee.Block) -> Void
  ) throws {
    guard let names = try Self.names(in: name) else { return }
    var last = after
    do {
      _ = try LogScan(directory: name, names: names, identity: Self.identity(partition, cluster)) {
        block, _, _, entries in
        guard block.count > 0, block.last.rawValue > after, block.last.rawValue <= through else { return }
        last = block.last.rawValue
        body(
          Referee.Block(
            first: block.first.rawValue, count: block.count, time: block.time, hash: block.hash,
            previousHash: block.previousHash, entries: Array(entries)))
      }
    } catch {
      // What is damaged behind there is not wanted.
      guard last == through else { throw error }
    }
  }

  private static func identity(_ partition: PartitionID, _ cluster: String) -> ReplicationLog.Identity {
    .init(cluster: XXH64.hash(cluster), partition: partition)
  }

  private static func names(in directory: String) throws -> [String]? {
    guard try SystemFiles().exists(directory) else { return nil }
    let names = try LogScan.names(in: directory)
    return names.isEmpty ? nil : names
  }
}
