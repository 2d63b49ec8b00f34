import Bytes

/// Where a key lives.
///
/// partition = XXH64(key as 8 bytes, little endian, seed 0) mod count. The number of
/// partitions never changes in a cluster's life, so keys never move; partitions do.
/// Vectors are in the tests: a change of this function is a new kind of cluster.
package enum Routing {
  /// - Parameter count: partitions of the cluster, 1 to ``partitionsMax``.
  @inline(__always)
  package static func partition(ofKey key: UInt64, count: Int) -> PartitionID {
    PartitionID(UInt16(truncatingIfNeeded: XXH64.hash(key) % UInt64(count)))
  }

  package static let partitionsMax = 4096
}
