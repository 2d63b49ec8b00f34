import Cluster

extension Replica {
  /// What the shell must do, in this order, before it hands in anything else.
  package enum Effect: Equatable, Sendable {
    case send(to: String, PeerEnvelope, PeerMessage)
    /// A prepare of the block that ends at `endingAt`, which is in the log, appended or durable.
    case sendBlock(to: String, PeerEnvelope, endingAt: SequenceNumber, committed: LogMark)
    /// Appends the block of the prepare in hand. With it the log keeps that `committed` is committed.
    case append(BlockHead, committed: SequenceNumber)
    /// Appends a block of one entry that changes nothing.
    case appendNoOp(BlockHead, committed: SequenceNumber)
    /// Takes everything above the mark, the end of a block, out of the log.
    case cut(to: LogMark)
    /// Makes durable what was appended; ``Replica/durable(through:now:)`` follows.
    case sync
    /// ``Replica/epochIsDurable(_:now:)`` or ``Replica/epochCouldNotBeMadeDurable()`` follows.
    case makeEpochDurable(Epoch)
    /// ``Replica/configurationWasRead(_:now:)`` follows, or nothing.
    case readConfiguration
    /// ``Replica/compareAndSwapEnded(_:_:now:)`` follows, or nothing.
    case compareAndSwap(GroupRecord, expecting: Epoch, why: String, committed: SequenceNumber)
    /// Answers that wait for entries up to here may leave; entries up to here are applied where they are
    /// not yet.
    case committed(LogMark)
    case activity(Activity)
    /// What was applied above the mark never happened: the working set is thrown away, and loaded again from
    /// SQLite and the log up to the mark.
    case rebuild(through: LogMark)
    /// A learner needs a snapshot: of an entry that is committed, the log kept from there on.
    case offerSnapshot(to: String)
    /// ``Replica/snapshotIsInstalled(_:now:)`` follows.
    case wantSnapshot(from: String)
    case alarm(Alarm)
  }

  package enum Activity: Equatable, Sendable {
    /// Answers requests.
    case active
    /// Is the primary, and answers nothing.
    case suspended(Suspension)
    case following
    case learning
    case inactive(Inactivity)
  }

  package enum Suspension: String, Sendable {
    case reconciling
    case leaseLost = "lease lost"
    case reconfiguring
    case switchingOver = "switching over"
  }

  package enum Inactivity: String, Sendable {
    case configurationUnknown = "the configuration is not known yet"
    case notAMember = "not a member of the group"
    case restarted = "restarted; asks for a new epoch"
    case damaged = "the log is damaged; it joins as a learner"
    case diverged = "the log contradicts the group's; it is kept as it is"
    case rowsDiffer = "its rows are not the primary's; they are kept as they are"
    case epochNotDurable = "the epoch could not be made durable"
    case configurationLost = "the configuration store is behind this replica's epoch"

    /// Nothing but a new start changes it.
    package var isFinal: Bool {
      switch self {
      case .diverged, .rowsDiffer, .epochNotDurable: true
      case .configurationUnknown, .notAMember, .restarted, .damaged, .configurationLost: false
      }
    }
  }

  /// What somebody must hear of.
  package enum Alarm: Equatable, Sendable {
    /// Rule 3: a committed entry is another one elsewhere.
    case divergence(SequenceNumber)
    /// Rule 10: what was applied here is not in the group's log.
    case quarantined(SequenceNumber)
    /// Rule 15: the same entries made other rows.
    case digest(SequenceNumber)
    /// Rule 16: the primary's clock is so many milliseconds ahead.
    case clockAhead(Int64)
    /// Rule 18: a message of another cluster, or a store that knows less than this replica.
    case foreignCluster(String)
    case configurationLost(Epoch)
    case epochNotDurable(Epoch)
  }

  package enum SwapOutcome: Equatable, Sendable {
    case accepted
    /// As it is there.
    case refused(GroupRecord)
    /// It may have happened, or may happen yet.
    case unknown
    /// It never left: there was nobody to ask.
    case notAsked
  }

  /// Why a write gets no sequence number: definite, nothing was done.
  package enum Refusal: Equatable, Sendable {
    case notPrimary
    case suspended(Suspension)
    /// As many blocks are on their way as may be.
    case windowFull
    /// Rule 14.
    case tooFewReplicas(Int)
  }
}

/// What of the rules was carried out, counted: a run that never came through one proves nothing of it.
package enum Branch: Int, CaseIterable, Sendable {
  case rule1Stale, rule1Higher, rule1EpochDurable, rule1NotAMember, rule1EpochNotDurable
  case rule2Assigned, rule2RefusedSuspended, rule2RefusedWindow, rule2RefusedNotPrimary
  case rule3Appended, rule3CommittedAgain, rule3Again, rule3Gap, rule3Conflict, rule3Cut, rule3Diverged
  case rule4Committed, rule4CommittedWithoutLease
  case rule5LeaseLost, rule5LeaseCameBack, rule5GraceGone, rule5ConnectionBroke, rule5ConnectionCameBack
  case rule5DeathProven, rule5MemberDeathProven
  case rule6Read, rule6ReadRefused
  case rule7Accepted, rule7Refused, rule7Unknown, rule7UnknownWasDone, rule7UnknownWasNotDone, rule7Dropped
  case rule7TookOver, rule7WentOn
  case rule8Reconciling, rule8Matched, rule8Active, rule8SilentDropped, rule8Restarted, rule8MemberRestarted
  case rule9Damaged
  case rule10Learner, rule10Quarantined
  case rule11SnapshotOffered, rule11SnapshotInstalled, rule11Decided, rule11Promoted, rule11Withdrawn
  case rule12LastOne
  case rule13Drained, rule13HandedOver, rule13GivenUp, rule13Removed
  case rule14TooFew
  case rule15Compared, rule15Differed
  case rule16Refused
  case rule17Agreed, rule17Withheld
  case resent, stalledDropped
}
