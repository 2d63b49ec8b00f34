import Cluster
import Replication
import ReplicationLog

/// Where a block of the log stands in its files.
struct BlockPlace: BlockItem {
  let sn: SequenceNumber
  let position: BlockPosition
}

extension BlockHead {
  /// Of a block that the log has.
  init(_ header: BlockHeader) {
    self.init(
      tag: header.tag, first: header.first, count: header.count, time: header.time,
      entriesHash: header.entriesHash, previousHash: header.previousHash)
  }
}
