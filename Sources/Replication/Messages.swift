import Cluster

/// Who says it, in which configuration.
package struct PeerEnvelope: Equatable, Sendable {
  /// A hash of the cluster's id.
  package var cluster: UInt64
  package var partition: PartitionID
  package var epoch: Epoch
  package var node: String
  package var incarnation: Incarnation

  package init(
    cluster: UInt64, partition: PartitionID, epoch: Epoch, node: String, incarnation: Incarnation
  ) {
    self.cluster = cluster
    self.partition = partition
    self.epoch = epoch
    self.node = node
    self.incarnation = incarnation
  }
}

/// The digest of all that was applied through an entry.
package struct AppliedDigest: Equatable, Sendable {
  package var sn: SequenceNumber
  package var digest: UInt64
  package init(sn: SequenceNumber, digest: UInt64) {
    self.sn = sn
    self.digest = digest
  }
}

/// What replicas of a group say to each other.
///
/// | name | from | to | when |
/// | --- | --- | --- | --- |
/// | beacon | primary | all | some times within a lease |
/// | prepare | primary | all | a block was assigned, or is missed there |
/// | ack | a member, a learner | primary | a beacon came, or something became durable |
/// | nack | the same | primary | a block does not fit the log, or a beacon asks where it stands |
/// | stale | anybody | anybody | a message had a lower epoch; or there is a higher one to be learned of |
/// | snapshotNeeded | primary | learner | their logs can't be matched: the primary's begins behind an entry, or has another block where the learner has one |
/// | restarted | secondary | primary | a beacon came, of an epoch that the sender's process before had accepted |
package enum PeerMessage: Equatable, Sendable {
  case beacon(Beacon)
  /// Its entries follow; the shell has them.
  case prepare(BlockHead, committed: LogMark)
  case ack(Ack)
  /// Marks of the sender's log, newest first.
  case nack([LogMark])
  case stale
  /// - Parameter stranger: the lowest of the learner's marks that is not in the primary's log, though that reaches
  ///   there.
  case snapshotNeeded(base: SequenceNumber, stranger: LogMark? = nil)
  case restarted

  package struct Beacon: Equatable, Sendable {
    /// By the primary's clock; comes back in the ack.
    package var sentAt: Int64
    package var committed: LogMark
    package var digest: AppliedDigest?
    /// The primary does not know where the receiver's log ends.
    package var isProbe: Bool
    package init(sentAt: Int64, committed: LogMark, digest: AppliedDigest?, isProbe: Bool) {
      self.sentAt = sentAt
      self.committed = committed
      self.digest = digest
      self.isProbe = isProbe
    }
  }

  package struct Ack: Equatable, Sendable {
    /// Of the beacon that this answers; nil: it answers a prepare, and gives no lease.
    package var sentAt: Int64?
    /// The log is durable through here.
    package var durable: LogMark
    /// SQLite holds everything through here, synced.
    package var checkpointed: SequenceNumber
    /// The highest version of the rules that the sender knows.
    package var rules: UInt16
    /// A block was refused, because its time is too far ahead of the sender's clock.
    package var isClockBehind: Bool
    package init(
      sentAt: Int64?, durable: LogMark, checkpointed: SequenceNumber, rules: UInt16, isClockBehind: Bool
    ) {
      self.sentAt = sentAt
      self.durable = durable
      self.checkpointed = checkpointed
      self.rules = rules
      self.isClockBehind = isClockBehind
    }
  }
}
