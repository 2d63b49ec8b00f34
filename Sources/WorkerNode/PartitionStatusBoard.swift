import Cluster
import Synchronization

/// What a partition's thread tells its node, and the node its partition.
final class PartitionStatusBoard: Sendable {
  struct Status: Sendable {
    var epoch = Epoch(0)
    var role = "inactive"
    /// What keeps it from its role's work, in words.
    var activity = ""
    /// The last entry of its log.
    var last: UInt64 = 0
    var committed: UInt64 = 0
    var checkpointed: UInt64 = 0
    var orders: UInt64 = 0
    var replayBytes: UInt64 = 0
    /// Of the learner that joins this primary.
    var joinedPercent = 0
    /// Rule 15: with the primary's, and of those that were not equal.
    var digestsCompared: UInt64 = 0
    var digestsDiffered: UInt64 = 0
    var isActive = false
    /// Its disk is full.
    var isFull = false
    /// A snapshot has to come first.
    var isUnclean = false
    /// It takes no part until the worker is started again.
    var isHalted = false
    /// What it does while it is not active, or why it never will be.
    var note = "starting"
  }

  let status = Mutex(Status())
}
