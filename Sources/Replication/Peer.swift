import Cluster

/// What a primary knows of another replica, in this epoch.
struct Peer: Sendable {
  let node: String
  /// In the configuration. A learner is not.
  var isMember: Bool
  /// Rule 11: a learner whose acknowledgement is required from now on.
  var isPromoting = false
  /// That was asked of the configuration manager: it may come true at any time.
  var isPromotionAsked = false
  /// Of the process that was heard last.
  var incarnation: Incarnation?
  /// Rule 5: until when its acknowledgement of a beacon lets this primary serve.
  var leaseUntil: Int64
  var heardAt: Int64
  /// Its log is this one's up to here, and durable; nil: nothing was acknowledged in this epoch.
  var acked: SequenceNumber?
  /// Blocks up to here were sent; nil: it is not known where the logs part.
  var cursor: SequenceNumber?
  /// When `acked` grew, or there began to be something to acknowledge.
  var progressAt: Int64
  /// When the cursor was set back.
  var rewoundAt = Int64.min / 2
  var isClockBehind = false
  var checkpointed = SequenceNumber.zero
  var rules: UInt16 = 0
  var snapshotOfferedAt = Int64.min / 2
  var isDead = false
  /// It has started again, and waits for a new epoch.
  var needsEpoch = false

  init(node: String, isMember: Bool, now: Int64, leaseUntil: Int64 = .min) {
    self.node = node
    self.isMember = isMember
    self.leaseUntil = leaseUntil
    heardAt = now
    progressAt = now
  }

  /// Whether the commit point and the lease depend on it.
  var isRequired: Bool { isMember || isPromoting }
}
