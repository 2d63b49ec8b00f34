import Cluster

/// A secondary, or a learner: rules 3, 5, 10, 15, 16.
extension Replica {
  private func isFromPrimary(_ envelope: PeerEnvelope) -> Bool {
    if mutation.contains(.noEpochGate) || mutation.contains(.restartInOldEpoch) { return true }
    return envelope.node == configuration?.primary && envelope.incarnation == configuration?.incarnation
  }

  private var isFollower: Bool { role == .secondary || role == .learner }

  private var mayAcknowledge: Bool {
    if role == .learner, isCountedOn { return false }
    return grace.mayAcknowledge || mutation.contains(.ackAfterGrace)
  }

  /// A primary may still count on what this replica has lost.
  var isCountedOn: Bool { hasLost && lostThrough.map { epoch <= $0 } ?? true }

  mutating func receiveBeacon(_ beacon: PeerMessage.Beacon, _ envelope: PeerEnvelope) {
    guard isFollower, isFromPrimary(envelope) else { return }
    if role == .learner, isCountedOn { return send(.restarted, to: envelope.node) }
    let isAnswered = answeredByDesk.epoch == epoch && beacon.sentAt <= answeredByDesk.sentAt
    if isAnswered {
      // The grace has run since it came.
    } else if role == .secondary {
      // Rule 5: grace runs from the receipt; once it is gone, it is gone for this epoch.
      let wasDisconnected = grace.isDisconnected
      let mayGoOn = grace.beacon(at: now, settings.graceMilliseconds)
      guard mayGoOn || mutation.contains(.ackAfterGrace) else {
        if grace.isBarred { send(.restarted, to: envelope.node) }
        return
      }
      if mayGoOn, wasDisconnected { note(.rule5ConnectionCameBack) }
    } else {
      // A learner never proposes itself, so it has no grace to lose.
      grace = Grace(from: now, settings.graceMilliseconds)
    }
    learnCommitPoint(beacon.committed)
    if let digest = beacon.digest { compare(digest) }
    if !isAnswered {
      acknowledge(beacon: beacon.sentAt, to: mutation.contains(.noEpochGate) ? envelope.node : nil)
    }
    if beacon.isProbe { sayWhereItStands() }
  }

  /// Rule 3.
  mutating func receivePrepare(
    _ head: BlockHead, _ commitPoint: LogMark, _ envelope: PeerEnvelope, wall: Int64
  ) {
    guard isFollower, isFromPrimary(envelope), mayAcknowledge else { return }
    guard !awaitsSnapshot else { return sayWhereItStands() }
    if head.last <= committed.sn {
      // Older than what is kept can't be compared, and was when it was committed.
      guard let mine = index.mark(at: head.last) else {
        if head.last > index.base.sn { return diverge(at: head.first) }
        return acknowledge(beacon: nil)
      }
      guard mine == head.mark else { return diverge(at: head.first) }
      note(.rule3CommittedAgain)
      matched(through: head.last)
      return acknowledge(beacon: nil)
    }
    if index.mark(at: head.last) == head.mark {
      note(.rule3Again)
      matched(through: head.last)
      learnCommitPoint(commitPoint)
      // Not durable yet: the sync's end acknowledges it.
      if durable.sn >= head.last { acknowledge(beacon: nil) }
      return
    }
    let before = SequenceNumber(head.first.rawValue - 1)
    guard let mine = index.mark(at: before),
      mine.hash == head.previousHash || mutation.contains(.noChainCheck)
    else {
      note(before > index.last.sn ? .rule3Gap : .rule3Conflict)
      return sayWhereItStands()
    }
    if before < index.last.sn {
      // Another block stands there. What is committed stays; so does what only another history explains.
      guard before >= committed.sn else { return diverge(at: head.first) }
      if let next = index.block(after: before), next.tag == head.tag, !mutation.contains(.noChainCheck) {
        return diverge(at: head.first)
      }
    }
    // Rule 16. After the rest, so that only what would be taken is refused for it.
    let ahead = head.time - wall
    guard ahead <= settings.clockAheadMilliseconds else {
      note(.rule16Refused)
      effects.append(.alarm(.clockAhead(ahead)))
      return acknowledge(beacon: nil, isClockBehind: true)
    }
    if before < index.last.sn {
      note(.rule3Cut)
      index.cut(to: before)
      matchedThrough = min(matchedThrough, before)
      if durable.sn > before { durable = index.last }
      effects.append(.cut(to: index.last))
    }
    note(.rule3Appended)
    matched(through: head.last)
    time = head.time
    index.append(head.mark)
    effects.append(.append(head, committed: committed.sn))
    effects.append(.sync)
    learnCommitPoint(commitPoint)
    if mutation.contains(.ackBeforeSync) { acknowledge(beacon: nil) }
  }

  /// A contradiction at what is committed: rule 3 for a member, rule 10 for a learner.
  private mutating func diverge(at sn: SequenceNumber) {
    guard role == .learner else {
      note(.rule3Diverged)
      effects.append(.alarm(.divergence(sn)))
      return halt(.diverged)
    }
    note(.rule10Quarantined)
    effects.append(.alarm(.quarantined(sn)))
    awaitsSnapshot = true
    sayWhereItStands()
  }

  /// A learner without a log of its own yet vouches for nothing.
  var vouched: LogMark { awaitsSnapshot ? .empty : durable }

  mutating func acknowledge(beacon sentAt: Int64?, isClockBehind: Bool = false, to node: String? = nil) {
    guard isFollower, adopting == nil, mayAcknowledge, let primary = node ?? configuration?.primary else {
      return
    }
    var vouched = self.vouched
    if mutation.contains(.ackBeforeSync), !awaitsSnapshot { vouched = index.last }
    send(
      .ack(
        .init(
          sentAt: sentAt, durable: vouched, checkpointed: checkpointed, rules: settings.rules,
          isClockBehind: isClockBehind)),
      to: primary)
    if mutation.contains(.applyAboveCommit), role == .secondary, durable.sn > committed.sn {
      committed = durable
      effects.append(.committed(committed))
    }
  }

  /// Once for a place and a few milliseconds, however many blocks don't fit.
  private mutating func sayWhereItStands() {
    guard let primary = configuration?.primary else { return }
    guard nackedLast != index.last.sn || now - nackedAt >= settings.beaconMilliseconds / 4 else { return }
    nackedAt = now
    nackedLast = index.last.sn
    send(.nack(awaitsSnapshot ? [] : index.landmarks()), to: primary)
  }

  private mutating func matched(through sn: SequenceNumber) {
    hasMatched = true
    matchedThrough = max(matchedThrough, sn)
  }

  /// C = min(what the primary says, what is durable here), of a log that is the primary's. One that is far
  /// behind takes what it has: the primary's log goes on from there.
  private mutating func learnCommitPoint(_ mark: LogMark) {
    guard !awaitsSnapshot, mark.sn > committed.sn else { return }
    let known: LogMark?
    if mark.sn <= durable.sn {
      known = index.contains(mark) ? mark : nil
      if known != nil { matched(through: mark.sn) }
    } else {
      known = index.mark(at: min(durable.sn, matchedThrough))
    }
    guard let known, known.sn > committed.sn else { return }
    committed = known
    effects.append(.committed(known))
  }

  mutating func tickSecondary() {
    guard adopting == nil else { return }
    // Rule 5: first it stops acknowledging, then it proposes itself.
    if grace.runOut(at: now) { note(.rule5GraceGone) }
    if grace.isAbandoned { takeOver("\(configuration?.primary ?? "the primary") was silent") }
  }

  // MARK: Learner

  /// - Parameters:
  ///   - base: the primary's log begins behind it.
  ///   - stranger: a mark of this log that the primary's lacks, though it reaches there.
  mutating func receiveSnapshotNeeded(_ base: SequenceNumber, _ stranger: LogMark?, _ envelope: PeerEnvelope)
  {
    guard role == .learner, isFromPrimary(envelope), !isCountedOn else { return }
    // However late: a primary's log has all that was ever committed (I3), as far as it reaches.
    if !awaitsSnapshot, let stranger, stranger.sn <= committed.sn, index.contains(stranger) {
      return diverge(at: stranger.sn)
    }
    // A late one must not take away what was acknowledged since: a log that begins there or later, or that
    // was found to be the primary's as far as that, goes on without a snapshot. One that was, and does not
    // reach so far, was left behind while the primary did not know of this learner.
    if !awaitsSnapshot, index.base.sn >= base || (hasMatched && matchedThrough >= base) { return }
    awaitsSnapshot = true
    hasMatched = false
    effects.append(.wantSnapshot(from: envelope.node))
  }

  /// Rule 11: the tables are those of `mark`, a committed end of a block; the log begins after it. Both
  /// are durable.
  package mutating func snapshotIsInstalled(_ mark: LogMark, time: Int64, now: Int64) {
    advance(now)
    guard role == .learner, awaitsSnapshot else { return }
    note(.rule11SnapshotInstalled)
    index = BlockIndex(base: mark)
    durable = mark
    committed = mark
    self.time = time
    applied = mark.sn
    checkpointed = mark.sn
    digests = []
    awaitsSnapshot = false
    isEligible = true
    nackedLast = nil
    sayWhereItStands()
    settle()
  }

  // MARK: Digests

  mutating func noteDigest(_ digest: AppliedDigest) {
    if role == .primary {
      blocksSinceDigest += 1
      guard blocksSinceDigest >= settings.digestBlocks else { return }
      blocksSinceDigest = 0
      digests.append(digest)
    } else {
      digests.append(digest)
      if let awaited = awaitedDigest, awaited.sn <= digest.sn {
        awaitedDigest = nil
        compare(awaited)
      }
    }
    if digests.count > Self.digestsMax { digests.removeFirst(digests.count / 2) }
  }

  private static var digestsMax: Int { 512 }

  /// Rule 15. One that started again since, or that is far ahead, has no digest of that entry any more; the next
  /// one is compared.
  private mutating func compare(_ digest: AppliedDigest) {
    guard applied >= digest.sn else {
      awaitedDigest = digest
      return
    }
    guard let mine = digests.last(where: { $0.sn == digest.sn }) else { return }
    note(.rule15Compared)
    guard mine.digest != digest.digest else { return }
    note(.rule15Differed)
    effects.append(.alarm(.digest(digest.sn)))
    halt(.rowsDiffer)
    settle()
  }
}
