import Cluster

extension Replica {
  /// Times are milliseconds of a clock that counts suspend.
  package struct Settings: Sendable {
    /// L: how long a secondary's acknowledgement of a beacon lets the primary serve, from its sending.
    package var leaseMilliseconds: Int64 = 160
    /// G: how long a secondary waits for a beacon, from the last receipt.
    package var graceMilliseconds: Int64 = 200
    /// How far two clocks may part within G.
    package var driftMilliseconds: Int64 = 10
    package var beaconMilliseconds: Int64 = 40
    /// How long a ``BeaconDesk`` stands in for a thread that says nothing.
    package var absenceMilliseconds: Int64 = 2_000
    /// How long a new primary waits for a member that has not said anything.
    package var reconcileMilliseconds: Int64 = 400
    /// How long a member may leave a block unacknowledged.
    package var stallMilliseconds: Int64 = 2_000
    /// After how long a block is sent again.
    package var resendMilliseconds: Int64 = 60
    /// How long the configuration manager may take before an outcome counts as unknown.
    package var changeMilliseconds: Int64 = 500
    /// How often the configuration is read again: where one is missing, and where nothing else tells of it.
    package var readMilliseconds: Int64 = 50
    package var idleReadMilliseconds: Int64 = 1_000
    /// How long a switchover may drain before it is given up.
    package var drainMilliseconds: Int64 = 1_000
    /// How long a learner keeps the log from being trimmed without saying anything.
    package var pinMilliseconds: Int64 = 60_000
    /// Blocks above the commit point, and on their way to one member.
    package var windowBlocks = 64
    package var learnerWindowBlocks = 32
    /// How far a block's time may be ahead of a secondary's clock.
    package var clockAheadMilliseconds: Int64 = 2_000
    /// Digests are compared after so many blocks.
    package var digestBlocks = 64
    /// Members on which an answer must be durable.
    package var minReplicas = 1
    /// The highest version of the rules that this program knows.
    package var rules: UInt16 = 1
    package init() {}

    /// What follows from a cluster's lease, for all of its members alike.
    package init(leaseMilliseconds lease: Int64) {
      leaseMilliseconds = lease
      graceMilliseconds = lease + lease / 4
      driftMilliseconds = lease / 16
      beaconMilliseconds = lease / 4
    }

    /// Rule 5: a secondary must never be done waiting before the primary has stopped.
    package var areLeasesSafe: Bool {
      graceMilliseconds > leaseMilliseconds + driftMilliseconds && beaconMilliseconds * 2 <= leaseMilliseconds
    }
  }

  package struct Identity: Sendable {
    /// A hash of the cluster's id.
    package var cluster: UInt64
    package var partition: PartitionID
    package var node: String
    package var incarnation: Incarnation
    package init(cluster: UInt64, partition: PartitionID, node: String, incarnation: Incarnation) {
      self.cluster = cluster
      self.partition = partition
      self.node = node
      self.incarnation = incarnation
    }
  }

  /// What a replica finds on its disk.
  package struct Start: Sendable {
    /// E, the highest epoch that was accepted.
    package var epoch: Epoch
    /// Marks of the log's blocks in their order, durable all; the first's predecessor is `base`.
    package var base: LogMark
    package var blocks: [LogMark]
    /// Time of the last block.
    package var time: Int64
    /// A lower bound of the commit point: what the log's blocks claim, and what SQLite holds. The end of a block.
    package var committed: SequenceNumber
    package var checkpointed: SequenceNumber
    /// Rule 9: neither damage, nor a recorded sync error, nor a folder that should not be empty.
    package var isClean: Bool

    package init(
      epoch: Epoch, base: LogMark, blocks: [LogMark], time: Int64, committed: SequenceNumber,
      checkpointed: SequenceNumber, isClean: Bool
    ) {
      self.epoch = epoch
      self.base = base
      self.blocks = blocks
      self.time = time
      self.committed = committed
      self.checkpointed = checkpointed
      self.isClean = isClean
    }

    package static let empty = Start(
      epoch: Epoch(0), base: .empty, blocks: [], time: 0, committed: .zero, checkpointed: .zero,
      isClean: true)
  }
}
