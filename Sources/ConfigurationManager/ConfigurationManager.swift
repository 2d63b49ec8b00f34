import Cluster

/// Where a cluster's configuration is the truth: a linearizable read and a compare-and-swap.
/// Never on the data path.
package protocol ConfigurationManager {
  func cluster() throws -> ClusterRecord
  /// All groups, by partition.
  func groups() throws -> [GroupRecord]
  /// Replaces a group's record if its epoch is still `record.epoch - 1`, and notes who, when and why.
  ///
  /// - Returns: whether it was replaced.
  func change(_ record: GroupRecord, why: String, at time: Int64) throws -> Bool
  /// Gives a node's name to a data folder, for ever, if nobody has it yet.
  ///
  /// - Returns: whether the name is this folder's.
  func claim(node: String, folder: String) throws -> Bool
  /// Notes that a partition serves, before it gets its first request: its data exists from now on.
  func markOpened(_ partition: PartitionID) throws
}
