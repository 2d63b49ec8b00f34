import Bytes
import Cluster

/// A primary: rules 2, 4, 5, 6, 8, 11, 13, 14.
extension Replica {
  // MARK: Becoming and staying

  /// Rule 8: reconciles with every member, then asks for a no-op of the new epoch to be everywhere.
  mutating func becomePrimary(_ record: GroupRecord) {
    note(.rule8Reconciling)
    role = .primary
    isHandoverAsked = false
    hadLease = false
    namedDigest = nil
    awaitedDigest = nil
    blocksSinceDigest = 0
    if mutation.contains(.truncateByCommitPoint), committed.sn < index.last.sn {
      index.cut(to: committed.sn)
      durable = index.last
      effects.append(.cut(to: committed))
    }
    peers = record.secondaries.map { Peer(node: $0, isMember: true, now: now) }
    let head = BlockHead(
      tag: epoch, first: index.last.sn.next, count: 1, time: time,
      entriesHash: NoOp.entry.withUnsafeBytes { XXH64.hash($0) }, previousHash: index.last.hash)
    index.append(head.mark)
    effects.append(.appendNoOp(head, committed: committed.sn))
    effects.append(.sync)
    phase = .reconciling(through: head.last, since: now)
    updateLearner()
    sendBeacons()
    advanceCommitPoint()
  }

  /// Rule 7: this primary's own change was accepted. What is unacknowledged is sent again under the new
  /// epoch, with the tags that it has.
  mutating func goOn(_ record: GroupRecord) {
    note(.rule7WentOn)
    let before = peers
    peers = record.secondaries.map { node in
      guard var peer = before.first(where: { $0.node == node }) else {
        return Peer(node: node, isMember: true, now: now)
      }
      if !peer.isMember { note(.rule11Promoted) }
      peer.isMember = true
      peer.isPromoting = false
      peer.isPromotionAsked = false
      peer.needsEpoch = false
      peer.acked = nil
      peer.cursor = nil
      peer.progressAt = now
      return peer
    }
    if case .reconciling(let through, _) = phase { phase = .reconciling(through: through, since: now) }
    updateLearner()
    sendBeacons()
    advanceCommitPoint()
  }

  /// Follows what the configuration's proposal says about a learner.
  mutating func updateLearner() {
    guard role == .primary, let configuration else { return }
    var wanted: String?
    if case .join(let node) = configuration.proposal, !configuration.members.contains(node) { wanted = node }
    // One that was asked to be promoted stays required until the epoch moves on.
    let count = peers.count
    peers.removeAll { !$0.isMember && $0.node != wanted && !$0.isPromotionAsked }
    // One that was waited for may be gone.
    if peers.count < count { advanceCommitPoint() }
    if let wanted, !peers.contains(where: { $0.node == wanted }) {
      peers.append(Peer(node: wanted, isMember: false, now: now))
    }
  }

  /// Who joins, if this is the primary.
  package var learner: String? { peers.first { !$0.isMember }?.node }

  /// - Parameter snapshot: what the learner was sent of one.
  package func joinProgress(copying snapshot: JoinProgress.Snapshot?) -> JoinProgress? {
    peers.first { !$0.isMember }.map {
      JoinProgress(last: index.last.sn, acknowledged: $0.acked ?? .zero, snapshot: snapshot)
    }
  }

  // MARK: Lease

  /// Rule 5: every member's acknowledgement of a beacon is younger than L.
  package func isLeased(at now: Int64) -> Bool {
    peers.allSatisfy { !$0.isRequired || $0.leaseUntil > now }
  }

  var suspension: Suspension? { suspension(at: now) }

  private func suspension(at now: Int64) -> Suspension? {
    if adopting != nil || change != nil || isHandoverAsked { return .reconfiguring }
    if case .reconciling = phase { return .reconciling }
    if drainingSince != nil { return .switchingOver }
    return isLeased(at: now) ? nil : .leaseLost
  }

  /// Whether it would take a request, or answer a read, at this moment.
  package func isActing(at now: Int64) -> Bool { role == .primary && suspension(at: now) == nil }

  /// Rule 6: whether a read that was evaluated at `sn` may be answered now.
  package mutating func mayAnswerRead(at sn: SequenceNumber, now: Int64) -> Bool {
    advance(now)
    guard sn <= committed.sn else { return false }
    let may =
      role == .primary && adopting == nil && phase == .serving
      && (isLeased(at: self.now) && !isHandoverAsked || mutation.contains(.readWithoutLease))
    note(may ? .rule6Read : .rule6ReadRefused)
    return may
  }

  // MARK: Writing

  /// Rule 2: whether a block may get sequence numbers now.
  package mutating func refusal(now: Int64) -> Refusal? {
    advance(now)
    guard role == .primary else {
      note(.rule2RefusedNotPrimary)
      return .notPrimary
    }
    if let suspension {
      note(.rule2RefusedSuspended)
      return .suspended(suspension)
    }
    // Rule 14.
    let members = 1 + peers.count { $0.isMember }
    guard members >= settings.minReplicas else {
      note(.rule14TooFew)
      return .tooFewReplicas(members)
    }
    guard index.blocks(from: committed.sn, through: index.last.sn) < settings.windowBlocks else {
      note(.rule2RefusedWindow)
      return .windowFull
    }
    return nil
  }

  /// Rule 2: gives a block its sequence numbers. The shell appends it to the log before it carries out the
  /// effects, which send it, and syncs while it is on its way.
  ///
  /// - Parameters:
  ///   - time: the entries', in milliseconds since the Unix epoch.
  ///   - committed: what the log keeps with the block as committed.
  /// - Returns: nil: ``refusal(now:)`` says why.
  package mutating func assign(
    entriesHash: UInt64, count: UInt32, time blockTime: Int64, now: Int64
  ) -> (head: BlockHead, committed: SequenceNumber)? {
    guard refusal(now: now) == nil else { return nil }
    // Rule 16: never less than the entry before.
    precondition(blockTime >= time && count > 0)
    note(.rule2Assigned)
    time = blockTime
    let head = BlockHead(
      tag: epoch, first: index.last.sn.next, count: count, time: time, entriesHash: entriesHash,
      previousHash: index.last.hash)
    index.append(head.mark)
    for place in peers.indices { pump(place) }
    if mutation.contains(.answerBeforeSync) { advanceCommitPoint() }
    return (head, committed.sn)
  }

  /// Sends what a peer misses, as far as its window goes.
  private mutating func pump(_ place: Int) {
    guard var cursor = peers[place].cursor, cursor < index.last.sn else { return }
    let window = peers[place].isRequired ? settings.windowBlocks : settings.learnerWindowBlocks
    let acked = peers[place].acked ?? cursor
    if acked >= cursor { peers[place].progressAt = now }
    var room = window - index.blocks(from: acked, through: cursor)
    while room > 0, let next = index.block(after: cursor) {
      effects.append(
        .sendBlock(to: peers[place].node, envelope, endingAt: next.sn, committed: committed))
      cursor = next.sn
      room -= 1
    }
    peers[place].cursor = cursor
  }

  // MARK: What peers say

  mutating func receiveAck(_ ack: PeerMessage.Ack, _ envelope: PeerEnvelope) {
    guard role == .primary, let place = peers.firstIndex(where: { $0.node == envelope.node }) else { return }
    peers[place].incarnation = envelope.incarnation
    peers[place].heardAt = now
    peers[place].isDead = false
    peers[place].isClockBehind = ack.isClockBehind
    peers[place].checkpointed = max(peers[place].checkpointed, ack.checkpointed)
    peers[place].rules = ack.rules
    if let sentAt = ack.sentAt, sentAt <= now {
      // Rule 5: from the sending.
      let from = mutation.contains(.leaseFromReceipt) ? now : sentAt
      peers[place].leaseUntil = max(peers[place].leaseUntil, from + settings.leaseMilliseconds)
    }
    // Only what is this log's own counts: the hash says so.
    guard index.contains(ack.durable) else { return settleLease() }
    let sn = ack.durable.sn
    if peers[place].cursor == nil || sn > (peers[place].acked ?? .zero) { peers[place].progressAt = now }
    peers[place].acked = max(peers[place].acked ?? .zero, sn)
    if peers[place].cursor == nil { note(.rule8Matched) }
    peers[place].cursor = max(peers[place].cursor ?? .zero, sn)
    advanceCommitPoint()
    pump(place)
    settleLease()
  }

  /// A member that starts again gets a new epoch, whatever its process before may have asked for; a learner
  /// too, if it has lost what that acknowledged.
  mutating func receiveRestarted(_ envelope: PeerEnvelope) {
    guard role == .primary, let place = peers.firstIndex(where: { $0.node == envelope.node }) else { return }
    peers[place].needsEpoch = true
    // It may be another program now.
    peers[place].rules = 0
    reconfigure()
  }

  mutating func receiveNack(_ marks: [LogMark], _ envelope: PeerEnvelope) {
    guard role == .primary, let place = peers.firstIndex(where: { $0.node == envelope.node }) else { return }
    peers[place].heardAt = now
    guard let match = index.highestMatch(marks) else {
      // Rule 11: only where the logs can't be matched. A member of which that is true stalls, and is dropped.
      guard !peers[place].isMember, now - peers[place].snapshotOfferedAt >= settings.graceMilliseconds else {
        return
      }
      note(.rule11SnapshotOffered)
      peers[place].snapshotOfferedAt = now
      peers[place].cursor = nil
      let stranger = marks.last { index.base.sn <= $0.sn && $0.sn <= index.last.sn }
      send(.snapshotNeeded(base: index.base.sn, stranger: stranger), to: envelope.node)
      effects.append(.offerSnapshot(to: envelope.node))
      return
    }
    guard now - peers[place].rewoundAt >= settings.beaconMilliseconds / 8 else { return }
    note(.rule8Matched)
    peers[place].rewoundAt = now
    peers[place].cursor = max(match.sn, peers[place].acked ?? .zero)
    pump(place)
  }

  /// Rule 4.
  mutating func advanceCommitPoint() {
    guard role == .primary, adopting == nil else { return }
    var through = mutation.contains(.answerBeforeSync) ? index.last.sn : durable.sn
    let required = peers.filter(\.isRequired)
    if mutation.contains(.commitByOne), !required.isEmpty {
      through = min(through, required.map { $0.acked ?? .zero }.max() ?? .zero)
    } else {
      for peer in required { through = min(through, peer.acked ?? .zero) }
    }
    if case .reconciling(let noOp, _) = phase {
      guard through >= noOp else { return }
      note(.rule8Active)
      phase = .serving
    }
    guard through > committed.sn, let mark = index.mark(at: through) else { return }
    note(isLeased(at: now) ? .rule4Committed : .rule4CommittedWithoutLease)
    committed = mark
    effects.append(.committed(mark))
    while let first = digests.first, first.sn <= committed.sn {
      namedDigest = first
      digests.removeFirst()
    }
  }

  // MARK: Time

  mutating func tickPrimary() {
    guard role == .primary, adopting == nil else { return }
    if now >= beaconAt { sendBeacons() }
    for place in peers.indices {
      guard let cursor = peers[place].cursor, cursor > (peers[place].acked ?? .zero) else { continue }
      guard now - max(peers[place].progressAt, peers[place].rewoundAt) >= settings.resendMilliseconds else {
        continue
      }
      note(.resent)
      peers[place].rewoundAt = now
      peers[place].cursor = peers[place].acked
      // What is sent again is not new: who takes nothing is dropped some time.
      let since = peers[place].progressAt
      pump(place)
      peers[place].progressAt = since
    }
    settleLease()
    reconfigure()
  }

  private mutating func sendBeacons() {
    beaconAt = now + settings.beaconMilliseconds
    for place in peers.indices {
      pump(place)
      send(
        .beacon(
          .init(
            sentAt: now, committed: committed, digest: namedDigest, isProbe: peers[place].cursor == nil)),
        to: peers[place].node)
    }
  }

  private mutating func settleLease() {
    let isLeased = isLeased(at: now)
    if isLeased != hadLease, phase == .serving { note(isLeased ? .rule5LeaseCameBack : .rule5LeaseLost) }
    hadLease = isLeased
  }

  // MARK: Changes

  /// Asks for the change that is due, if one is: rules 5, 7, 8, 11, 13.
  private mutating func reconfigure() {
    guard change == nil, adopting == nil, now >= changeAgainAt, let configuration else { return }
    let silent = peers.filter(isSilent).map(\.node)
    if !silent.isEmpty { return drop(silent, configuration) }
    if peers.contains(where: \.needsEpoch) {
      note(.rule8MemberRestarted)
      return renew(configuration, "a member started again")
    }
    guard phase == .serving else { return }
    if isHandoverAsked, configuration.proposal != handedOver.map({ .switchover($0) }) {
      // It may come true yet; a new epoch settles that it does not.
      return renew(configuration, "a switchover was given up")
    }
    if peers.contains(where: { $0.isPromotionAsked && $0.node != configuration.learner }) {
      // As above: nobody wants it any more, and it is required as long as it may come true.
      return renew(configuration, "a promotion was given up")
    }
    promote(configuration)
    guard change == nil else { return }
    switch configuration.proposal {
    case .switchover(let target): handOver(to: target, configuration)
    case .remove(let node): remove(node, configuration)
    case .join, nil: drainingSince = nil
    }
  }

  /// The same members in a new epoch.
  private mutating func renew(_ configuration: GroupRecord, _ why: String) {
    var record = configuration
    record.epoch = epoch.next
    propose(record, why: why)
  }

  private func isSilent(_ peer: Peer) -> Bool {
    guard peer.isRequired else { return false }
    if peer.isDead { return true }
    if case .reconciling(_, let since) = phase {
      if now - since < settings.reconcileMilliseconds { return false }
      return peer.leaseUntil <= now || isStalled(peer)
    }
    return peer.leaseUntil <= now || isStalled(peer)
  }

  private func isStalled(_ peer: Peer) -> Bool {
    (peer.acked ?? .zero) < index.last.sn && !peer.isClockBehind
      && now - peer.progressAt >= settings.stallMilliseconds
  }

  private mutating func drop(_ silent: [String], _ configuration: GroupRecord) {
    for place in peers.indices where silent.contains(peers[place].node) {
      if isStalled(peers[place]) { note(.stalledDropped) }
      // Rule 11: nothing was asked yet, so the decision can be taken back here.
      if peers[place].isPromoting, !peers[place].isPromotionAsked {
        note(.rule11Withdrawn)
        peers[place].isPromoting = false
        advanceCommitPoint()
      }
    }
    // One that was asked to be promoted may be a member at any time: a new epoch without it settles that.
    let gone = peers.filter { silent.contains($0.node) && $0.isRequired }.map(\.node)
    guard !gone.isEmpty || isHandoverAsked else { return }
    if case .reconciling = phase { note(.rule8SilentDropped) } else { note(.rule7Dropped) }
    var record = configuration
    record.epoch = epoch.next
    record.secondaries.removeAll { gone.contains($0) }
    if case .join(let node) = record.proposal, !gone.contains(node) {} else { record.proposal = nil }
    propose(record, why: "\(gone.joined(separator: ", ")) silent")
  }

  /// Rule 11: log in pieces, then live, then the decision, then the change.
  private mutating func promote(_ configuration: GroupRecord) {
    guard let place = peers.firstIndex(where: { !$0.isMember && $0.node == configuration.learner }) else {
      return
    }
    if mutation.contains(.promoteWithoutAck) {
      guard peers[place].leaseUntil > now, peers[place].cursor != nil, peers[place].rules >= rulesInForce
      else { return }
      return proposePromotion(place, configuration)
    }
    guard let acked = peers[place].acked, peers[place].leaseUntil > now else { return }
    // It would have to stop at what the others go by.
    guard peers[place].rules >= rulesInForce else { return note(.rule17Withheld) }
    if !peers[place].isPromoting {
      let behind = index.blocks(from: acked, through: index.last.sn)
      guard behind <= settings.learnerWindowBlocks / 2 else { return }
      // From here on nothing is committed without it.
      note(.rule11Decided)
      peers[place].isPromoting = true
    }
    guard acked >= committed.sn else { return }
    proposePromotion(place, configuration)
  }

  private mutating func proposePromotion(_ place: Int, _ configuration: GroupRecord) {
    peers[place].isPromotionAsked = !mutation.contains(.promoteWithoutAck)
    var record = configuration
    record.epoch = epoch.next
    record.secondaries.append(peers[place].node)
    record.proposal = nil
    propose(record, why: "\(peers[place].node) has caught up")
  }

  /// Rule 13.
  private mutating func handOver(to target: String, _ configuration: GroupRecord) {
    guard let peer = peers.first(where: { $0.node == target && $0.isMember }),
      let incarnation = peer.incarnation, now >= noSwitchoverUntil
    else { return }
    if drainingSince == nil {
      drainingSince = now
      note(.rule13Drained)
    }
    guard committed.sn == index.last.sn else {
      if let since = drainingSince, now - since >= settings.drainMilliseconds, !isHandoverAsked {
        note(.rule13GivenUp)
        drainingSince = nil
        noSwitchoverUntil = now + settings.drainMilliseconds
      }
      return
    }
    note(.rule13HandedOver)
    isHandoverAsked = true
    handedOver = target
    var record = configuration
    record.epoch = epoch.next
    record.primary = target
    record.incarnation = incarnation
    record.secondaries = configuration.secondaries.filter { $0 != target } + [identity.node]
    record.proposal = nil
    propose(record, why: "switchover to \(target)")
  }

  private mutating func remove(_ node: String, _ configuration: GroupRecord) {
    drainingSince = nil
    guard configuration.secondaries.contains(node) else { return }
    note(.rule13Removed)
    var record = configuration
    record.epoch = epoch.next
    record.secondaries.removeAll { $0 == node }
    record.proposal = nil
    propose(record, why: "\(node) is to leave")
  }

  /// Rule 17: the version of the rules that every member knows, where this is the primary; no less than what
  /// holds. A log entry makes it hold.
  package mutating func agreedRules() -> UInt16 {
    guard role == .primary else { return rulesInForce }
    var rules = settings.rules
    for peer in peers where peer.isRequired {
      rules = mutation.contains(.switchBeforeAllKnow) ? max(rules, peer.rules) : min(rules, peer.rules)
    }
    guard rules > rulesInForce else { return rulesInForce }
    note(.rule17Agreed)
    return rules
  }
}

/// Rule 8: an entry that changes nothing, as a log has it: reservations that ran out, of no order.
package enum NoOp {
  package static let entry: [UInt8] = [0, 0, 0, 0, 2]
}
