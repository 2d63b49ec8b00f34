import Cluster

/// Rules 1, 7, 8, 10: how a replica learns of a configuration and takes its place in it.
extension Replica {
  mutating func read() {
    readingSince = now
    readAgainAt = now + (configuration == nil ? settings.readMilliseconds : settings.idleReadMilliseconds)
    if change?.isInDoubt == true { readAgainAt = now + settings.readMilliseconds }
    effects.append(.readConfiguration)
  }

  /// A linearizable read has ended; nil: it failed.
  package mutating func configurationWasRead(_ record: GroupRecord?, now: Int64) {
    advance(now)
    readingSince = nil
    if let record {
      // The process before can't have known of a later one.
      if hasLost, lostThrough == nil { lostThrough = record.epoch }
      learn(record, isRead: true)
    }
    settle()
  }

  /// Somebody has told of a configuration, an old one maybe.
  package mutating func configurationWasTold(_ record: GroupRecord, now: Int64) {
    advance(now)
    learn(record, isRead: false)
    settle()
  }

  /// Rule 7: a change that was asked for has ended.
  package mutating func compareAndSwapEnded(_ asked: GroupRecord, _ outcome: SwapOutcome, now: Int64) {
    advance(now)
    let isPresent = change?.record == asked
    switch outcome {
    case .accepted:
      note(.rule7Accepted)
      if isPresent { change = nil }
      learn(asked, isRead: true)
    case .refused(let record):
      note(.rule7Refused)
      if isPresent {
        change = nil
        changeAgainAt = self.now + settings.readMilliseconds
        // Not made, and never will be: what it was of need not be waited for. Unless it was asked for before
        // in this epoch, and nobody knows of that.
        if record.epoch == epoch, !hasDoubt {
          for place in peers.indices where !peers[place].isMember {
            peers[place].isPromoting = false
            peers[place].isPromotionAsked = false
          }
          updateLearner()
        }
      }
      learn(record, isRead: true)
    case .notAsked:
      guard isPresent else { break }
      change = nil
      changeAgainAt = self.now + settings.readMilliseconds
    case .unknown:
      guard isPresent else { break }
      note(.rule7Unknown)
      if mutation.contains(.unknownIsRefused) {
        change = nil
        drainingSince = nil
        isHandoverAsked = false
        for place in peers.indices where peers[place].isPromoting {
          peers[place].isPromoting = false
          peers[place].isPromotionAsked = false
        }
        break
      }
      // Nothing else is done before it was looked at.
      change?.isInDoubt = true
      hasDoubt = true
      read()
    }
    settle()
  }

  /// - Parameter isRead: it is what the manager had at a moment after the question.
  mutating func learn(_ record: GroupRecord, isRead: Bool) {
    guard record.partition == identity.partition else { return }
    if case .inactive(let why) = role, why.isFinal { return }
    if let adopting, record.epoch <= adopting.epoch { return }
    if record.epoch < epoch {
      // Rule 18: a store that knows less than this replica is not the one that it followed.
      if isRead, configuration == nil {
        role = .inactive(.configurationLost)
        effects.append(.alarm(.configurationLost(record.epoch)))
      }
      return
    }
    if record.epoch == epoch, configuration != nil {
      if isRead, change?.isInDoubt == true {
        // Not done yet. It may still be: what depends on it stays as it is until the epoch moves on.
        note(.rule7UnknownWasNotDone)
        change = nil
        changeAgainAt = now
      }
      proposalChanged(to: record.proposal)
      return
    }
    if change?.isInDoubt == true, change?.record == record { note(.rule7UnknownWasDone) }
    if record.epoch == epoch { return take(record) }
    // Rule 1: durable first. Until then nothing is acknowledged, assigned or answered.
    adopting = record
    change = nil
    effects.append(.makeEpochDurable(record.epoch))
    if mutation.contains(.epochNotDurable) { epochIsDurable(record.epoch, now: now) }
  }

  /// The epoch is durable.
  package mutating func epochIsDurable(_ durable: Epoch, now: Int64) {
    advance(now)
    guard let record = adopting, record.epoch == durable else { return }
    note(.rule1EpochDurable)
    adopting = nil
    epoch = durable
    take(record)
    settle()
  }

  /// Rule 1: stop, ineligible. The shell ends the process, and never tries the sync again.
  package mutating func epochCouldNotBeMadeDurable() {
    note(.rule1EpochNotDurable)
    effects.append(.alarm(.epochNotDurable(adopting?.epoch ?? epoch)))
    adopting = nil
    halt(.epochNotDurable)
    settle()
  }

  /// Takes this replica's place in a configuration whose epoch is durable.
  private mutating func take(_ record: GroupRecord) {
    let was = role
    let before = configuration
    configuration = record
    change = nil
    hasDoubt = false
    changeAgainAt = now
    drainingSince = nil
    isHandoverAsked = false
    hasMatched = false
    matchedThrough = .zero
    nackedLast = nil
    grace = Grace(from: now, settings.graceMilliseconds)
    let isPrimary = record.primary == identity.node
    if was == .primary, !isPrimary { demote() }

    if isPrimary, record.incarnation == identity.incarnation || mutation.contains(.restartInOldEpoch) {
      guard isEligible || mutation.contains(.damagedIsEligible) else { return halt(.damaged) }
      if was == .primary, before?.primary == identity.node {
        goOn(record)
      } else {
        becomePrimary(record)
      }
    } else if isPrimary {
      // Rule 8: a restarted primary, however fast, takes a new epoch.
      guard isEligible || mutation.contains(.damagedIsEligible) else {
        note(.rule9Damaged)
        return halt(.damaged)
      }
      note(.rule8Restarted)
      role = .inactive(.restarted)
      takeOver("\(identity.node) started again")
    } else if record.secondaries.contains(identity.node) {
      peers = []
      guard isEligible || mutation.contains(.damagedIsEligible) else {
        // Rule 9: it lacks what it may have acknowledged. Its silence gets it dropped, then it joins.
        note(.rule9Damaged)
        role = .inactive(.damaged)
        return
      }
      role = .secondary
      awaitsSnapshot = false
      // The process before may have proposed itself in this epoch, and the proposal may come true yet.
      // So it has to hold that an epoch is never acknowledged again: the primary is asked for a new one.
      let isBarred = record.epoch == epochAtStart && !mutation.contains(.restartedMemberGoesOn)
      grace = Grace(from: now, settings.graceMilliseconds, isBarred: isBarred)
    } else {
      peers = []
      takePlaceOutside(record.proposal)
    }
  }

  /// Rule 10: not a member; a learner where it is asked to join.
  private mutating func takePlaceOutside(_ proposal: GroupProposal?) {
    if proposal == .join(identity.node) {
      note(.rule10Learner)
      role = .learner
      // Rule 9: nothing of a damaged log is relied on.
      awaitsSnapshot = !isEligible
      hasMatched = false
    } else {
      note(.rule1NotAMember)
      role = .inactive(isEligible ? .notAMember : .damaged)
    }
  }

  /// What the primary is asked to bring about has changed; the epoch has not.
  private mutating func proposalChanged(to proposal: GroupProposal?) {
    guard configuration?.proposal != proposal else { return }
    configuration?.proposal = proposal
    updateOutside(proposal)
  }

  private mutating func updateOutside(_ proposal: GroupProposal?) {
    switch role {
    case .primary: updateLearner()
    case .learner, .inactive(.notAMember), .inactive(.damaged):
      guard let configuration, !configuration.members.contains(identity.node) else { return }
      if (role == .learner) != (proposal == .join(identity.node)) { takePlaceOutside(proposal) }
    case .secondary, .inactive: break
    }
  }

  /// What was applied above the commit point may never have happened.
  private mutating func demote() {
    peers = []
    namedDigest = nil
    guard applied > committed.sn else { return }
    applied = committed.sn
    digests.removeAll { $0.sn > committed.sn }
    guard !mutation.contains(.noRebuild) else { return }
    effects.append(.rebuild(through: committed))
  }

  /// Rule 7: asks for a change. One at a time.
  mutating func propose(_ record: GroupRecord, why: String) {
    precondition(change == nil && record.epoch == epoch.next)
    change = Change(record: record, since: now)
    effects.append(.compareAndSwap(record, expecting: epoch, why: why, committed: committed.sn))
  }

  /// Rules 7 and 8: a member proposes itself, with all others but the old primary.
  mutating func takeOver(_ why: String) {
    guard change == nil, adopting == nil, now >= changeAgainAt, let configuration,
      isEligible || mutation.contains(.damagedIsEligible)
    else { return }
    note(.rule7TookOver)
    var record = configuration
    record.epoch = epoch.next
    record.primary = identity.node
    record.incarnation = identity.incarnation
    record.secondaries = configuration.secondaries.filter { $0 != identity.node }
    if record.secondaries.isEmpty { note(.rule12LastOne) }
    if case .join? = record.proposal {} else { record.proposal = nil }
    propose(record, why: why)
  }
}
