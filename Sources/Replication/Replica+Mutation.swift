extension Replica {
  /// Deliberate faults, to show that the simulation finds them. They are compiled in with `DELIBERATE_BUGS`, for
  /// laris-sim-bugs and tests. In a node ``mutation`` is a constant: none.
  package struct Mutation: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// The commit point does not wait for the primary's own disk.
    package static let answerBeforeSync = Mutation(rawValue: 1 << 0)
    /// A secondary acknowledges what it has appended.
    package static let ackBeforeSync = Mutation(rawValue: 1 << 1)
    /// A new primary cuts its log to the commit point that it knows.
    package static let truncateByCommitPoint = Mutation(rawValue: 1 << 2)
    /// Messages of lower epochs are acted on.
    package static let noEpochGate = Mutation(rawValue: 1 << 3)
    /// A lease runs from when its acknowledgement came.
    package static let leaseFromReceipt = Mutation(rawValue: 1 << 4)
    /// A learner is promoted without its acknowledgement being waited for.
    package static let promoteWithoutAck = Mutation(rawValue: 1 << 5)
    /// A change whose outcome is unknown is taken for one that was refused.
    package static let unknownIsRefused = Mutation(rawValue: 1 << 6)
    /// A restarted primary goes on in the epoch that it had.
    package static let restartInOldEpoch = Mutation(rawValue: 1 << 7)
    /// A secondary applies all that is durable with it.
    package static let applyAboveCommit = Mutation(rawValue: 1 << 8)
    /// A secondary goes on acknowledging after it has proposed itself.
    package static let ackAfterGrace = Mutation(rawValue: 1 << 9)
    /// A broken connection is taken for a death.
    package static let takeoverWithoutGrace = Mutation(rawValue: 1 << 10)
    /// The acknowledgement of one secondary is enough.
    package static let commitByOne = Mutation(rawValue: 1 << 11)
    /// An epoch is acted on before it is durable.
    package static let epochNotDurable = Mutation(rawValue: 1 << 12)
    /// A block is appended without a look at what stands before it.
    package static let noChainCheck = Mutation(rawValue: 1 << 13)
    /// A primary that has lost its place keeps what it applied above the commit point.
    package static let noRebuild = Mutation(rawValue: 1 << 14)
    /// Reads are answered without a lease.
    package static let readWithoutLease = Mutation(rawValue: 1 << 15)
    /// A replica whose log is damaged goes on as a member.
    package static let damagedIsEligible = Mutation(rawValue: 1 << 17)
    /// A restarted secondary goes on in the epoch that it had.
    package static let restartedMemberGoesOn = Mutation(rawValue: 1 << 18)
    /// Other rules are switched to as soon as one member knows them.
    package static let switchBeforeAllKnow = Mutation(rawValue: 1 << 19)
  }
}
