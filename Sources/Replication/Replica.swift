import Cluster

/// One replica of a group: what it may do, and what it says to the others. Rules are those of
/// docs/REPLICATION.md, named by their numbers where they are carried out.
///
/// No socket, no disk, no clock. Its shell, a partition's thread, hands in what happened: messages, time,
/// what became durable, what the configuration manager said. After each it carries out ``takeEffects()``:
///
///     drain sockets → receive… → effects → append → send → apply → sync → durable(through:) → effects
///
/// `now` is always milliseconds of a clock that counts suspend and never runs back; `wall` is milliseconds
/// since the Unix epoch.
///
/// Invariants: `committed <= durable <= index.last`; `epoch` is durable; nothing is acknowledged, assigned or
/// answered while a higher epoch is on its way to the disk.
package struct Replica: Sendable {
  package let identity: Identity
  /// E of the process before.
  let epochAtStart: Epoch
  package let settings: Settings
  #if DELIBERATE_BUGS
    package var mutation: Mutation = []
  #else
    var mutation: Mutation { [] }
  #endif

  /// E.
  package internal(set) var epoch: Epoch
  /// Of epoch E; nil: not read since the start.
  package internal(set) var configuration: GroupRecord?
  package internal(set) var role: Role
  package internal(set) var index: BlockIndex
  /// The log is durable through here.
  package internal(set) var durable: LogMark
  /// C.
  package internal(set) var committed: LogMark
  /// Time of the last block.
  package internal(set) var time: Int64
  package internal(set) var activity: Activity
  package internal(set) var branches = [UInt32](repeating: 0, count: Branch.allCases.count)

  package enum Role: Equatable, Sendable {
    case primary, secondary, learner
    case inactive(Inactivity)
  }

  var now: Int64 = .min
  /// Grows with everything that may change this replica's place, or its grace.
  var steps: UInt64 = 0
  var effects: [Effect] = []
  /// What the shell has applied, above C too where this is the primary.
  var applied: SequenceNumber
  var checkpointed: SequenceNumber
  /// Rule 17: what the next block goes by, as the shell has applied the log.
  package private(set) var rulesInForce: UInt16 = 1
  /// Rule 9.
  var isEligible: Bool
  /// The log was damaged at the start. What the process before acknowledged is gone, and in the epochs up to
  /// `lostThrough` a primary may count on it: nothing is acknowledged in them. nil: it is not known yet.
  let hasLost: Bool
  var lostThrough: Epoch?
  /// Its epoch is being made durable.
  var adopting: GroupRecord?
  /// A configuration was asked for then.
  var readingSince: Int64?
  var readAgainAt: Int64 = .min
  /// A change of the configuration that was asked for.
  var change: Change?
  var changeAgainAt: Int64 = .min
  /// A change that was asked for in this epoch may come true yet.
  var hasDoubt = false
  // Of a secondary or learner.
  var grace: Grace
  /// The last beacon of an epoch that a ``BeaconDesk`` has answered.
  var answeredByDesk: (epoch: Epoch, sentAt: Int64) = (Epoch(0), .min)
  var nackedAt: Int64 = .min / 2
  var nackedLast: SequenceNumber?
  var awaitsSnapshot = false
  /// The log was found to be the primary's, in this epoch.
  var hasMatched = false
  /// Up to here, by its blocks: what comes after may be of another history.
  var matchedThrough = SequenceNumber.zero
  // Of a primary.
  var peers: [Peer] = []
  var phase = Phase.serving
  var beaconAt: Int64 = .min
  var drainingSince: Int64?
  var isHandoverAsked = false
  var handedOver: String?
  var noSwitchoverUntil: Int64 = .min
  var hadLease = false
  // Digests.
  var digests: [AppliedDigest] = []
  var namedDigest: AppliedDigest?
  var awaitedDigest: AppliedDigest?
  var blocksSinceDigest = 0

  enum Phase: Equatable, Sendable {
    /// Rule 8: until everybody has everything through the no-op.
    case reconciling(through: SequenceNumber, since: Int64)
    case serving
  }

  struct Change: Sendable {
    let record: GroupRecord
    let since: Int64
    /// Nobody knows whether it was done, or will be.
    var isInDoubt = false
  }

  /// - Precondition: ``Settings/areLeasesSafe``.
  package init(_ identity: Identity, _ start: Start, settings: Settings = Settings(), now: Int64) {
    precondition(settings.areLeasesSafe, "the grace must be longer than the lease and the clocks' drift")
    self.identity = identity
    self.settings = settings
    epoch = start.epoch
    epochAtStart = start.epoch
    role = .inactive(.configurationUnknown)
    activity = .inactive(.configurationUnknown)
    index = BlockIndex(base: start.base)
    for mark in start.blocks { index.append(mark) }
    durable = index.last
    // Rule 9: what is durable of a clean log was acknowledged, or may have been; what is committed of it
    // is at least what the log and SQLite say.
    committed = index.mark(at: start.committed) ?? index.base
    time = start.time
    applied = committed.sn
    checkpointed = start.checkpointed
    isEligible = start.isClean
    hasLost = !start.isClean
    grace = Grace(from: now, settings.graceMilliseconds)
    self.now = now
    read()
  }

  /// What is to be done, and forgets it.
  package mutating func takeEffects() -> [Effect] {
    defer { effects.removeAll(keepingCapacity: true) }
    return effects
  }

  /// Whose epoch is being made durable.
  package var accepting: GroupRecord? { adopting }

  /// It takes no part any more, and nothing but a new start changes that.
  package var isHalted: Bool {
    if case .inactive(let why) = role { why.isFinal } else { false }
  }

  /// A learner that can't use the log that it has.
  package var isAwaitingSnapshot: Bool { role == .learner && awaitsSnapshot }

  /// Rule 9: what is here may be relied on.
  package var isClean: Bool { isEligible }

  package var hasEffects: Bool { !effects.isEmpty }

  /// The same as at the last of the log.
  package var last: LogMark { index.last }

  package func count(_ branch: Branch) -> UInt32 { branches[branch.rawValue] }
  mutating func note(_ branch: Branch) { branches[branch.rawValue] &+= 1 }

  // MARK: What happened

  /// Time passed; at least every quarter of ``Settings/beaconMilliseconds``.
  package mutating func tick(now: Int64) {
    advance(now)
    if let since = readingSince, self.now - since >= settings.changeMilliseconds { readingSince = nil }
    if let asked = change, !asked.isInDoubt, self.now - asked.since >= settings.changeMilliseconds {
      compareAndSwapEnded(asked.record, .unknown, now: now)
    }
    if readingSince == nil, needsToRead, self.now >= readAgainAt { read() }
    switch role {
    case .primary: tickPrimary()
    case .secondary: tickSecondary()
    case .learner, .inactive: break
    }
    if case .inactive(.restarted) = role { takeOver("\(identity.node) started again") }
    settle()
  }

  private var needsToRead: Bool {
    if configuration == nil || change?.isInDoubt == true { return true }
    switch role {
    case .primary, .secondary: return false
    case .learner, .inactive: return true
    }
  }

  /// A message of another replica. Of a prepare the shell keeps the entries at hand until the effects
  /// are carried out.
  package mutating func receive(_ message: PeerMessage, _ envelope: PeerEnvelope, now: Int64, wall: Int64) {
    advance(now)
    // Rule 18.
    guard envelope.cluster == identity.cluster, envelope.partition == identity.partition else {
      effects.append(.alarm(.foreignCluster(envelope.node)))
      return
    }
    guard envelope.node != identity.node else { return }
    // Rule 1, the epoch gate.
    if envelope.epoch < epoch {
      guard message != .stale else { return }
      note(.rule1Stale)
      send(.stale, to: envelope.node)
      guard mutation.contains(.noEpochGate) else { return }
    } else if envelope.epoch > epoch {
      note(.rule1Higher)
      if let adopting, adopting.epoch >= envelope.epoch { return }
      if readingSince == nil { read() }
      guard mutation.contains(.noEpochGate) else { return }
    }
    guard configuration != nil, adopting == nil else { return }
    switch message {
    case .beacon(let beacon): receiveBeacon(beacon, envelope)
    case .prepare(let head, let committed): receivePrepare(head, committed, envelope, wall: wall)
    case .snapshotNeeded(let base, let stranger): receiveSnapshotNeeded(base, stranger, envelope)
    case .ack(let ack): receiveAck(ack, envelope)
    case .nack(let marks): receiveNack(marks, envelope)
    case .restarted: receiveRestarted(envelope)
    case .stale: break
    }
    settle()
  }

  /// A sync has ended: what had been appended through the mark when it began is durable.
  package mutating func durable(through mark: LogMark, now: Int64) {
    advance(now)
    // Cut in the meantime.
    guard index.contains(mark) else { return }
    if mark.sn > durable.sn { durable = mark }
    switch role {
    case .primary: advanceCommitPoint()
    case .secondary, .learner: acknowledge(beacon: nil)
    case .inactive: break
    }
    settle()
  }

  /// What the primary named is not applied yet: the next ``applied(through:digest:)`` may find that it differs.
  package var isDigestAwaited: Bool { awaitedDigest != nil }

  /// The shell has applied a block, or a start has applied some; `digest` is of all that was applied through it,
  /// where it is known. A step of a ``BeaconDesk`` where ``isDigestAwaited``.
  package mutating func applied(through sn: SequenceNumber, digest: UInt64?) {
    applied = sn
    guard let digest else { return }
    noteDigest(AppliedDigest(sn: sn, digest: digest))
  }

  /// Rule 17: what was applied makes this version hold. It goes back where something that was applied never
  /// happened.
  package mutating func rulesHold(_ version: UInt16) { rulesInForce = version }

  /// SQLite holds entries through `sn`, synced.
  package mutating func checkpointed(through sn: SequenceNumber) { checkpointed = max(checkpointed, sn) }

  /// Blocks that end at `sn` or before are not in the log any more.
  package mutating func trimmed(through sn: SequenceNumber) { index.trim(through: sn) }

  /// A connection to a node broke.
  package mutating func connectionBroke(to node: String, now: Int64) {
    advance(now)
    // Rule 5: it stops acknowledging at once; whether to act on it the grace says, or a proof.
    if role == .secondary, node == configuration?.primary {
      note(.rule5ConnectionBroke)
      grace.disconnect()
      if mutation.contains(.takeoverWithoutGrace) {
        grace.end()
        takeOver("the connection to \(node) broke")
      }
    }
    settle()
  }

  /// It is proven that a process does not run any more.
  package mutating func died(_ node: String, _ incarnation: Incarnation, now: Int64) {
    advance(now)
    if role == .secondary, adopting == nil, node == configuration?.primary,
      incarnation == configuration?.incarnation
    {
      note(.rule5DeathProven)
      grace.end()
      takeOver("\(node) died")
    } else if role == .primary, let place = peers.firstIndex(where: { $0.node == node }),
      peers[place].incarnation == incarnation
    {
      note(.rule5MemberDeathProven)
      peers[place].isDead = true
      tickPrimary()
    }
    settle()
  }

  mutating func advance(_ now: Int64) { self.now = max(self.now, now) }

  mutating func send(_ message: PeerMessage, to node: String) {
    effects.append(.send(to: node, envelope, message))
  }

  var envelope: PeerEnvelope {
    PeerEnvelope(
      cluster: identity.cluster, partition: identity.partition, epoch: epoch, node: identity.node,
      incarnation: identity.incarnation)
  }

  mutating func halt(_ why: Inactivity) {
    role = .inactive(why)
    peers = []
    change = nil
  }

  /// Says what changed of what this replica may do.
  mutating func settle() {
    steps &+= 1
    let present = presentActivity()
    guard present != activity else { return }
    activity = present
    effects.append(.activity(present))
  }

  private func presentActivity() -> Activity {
    switch role {
    case .primary: suspension.map { .suspended($0) } ?? .active
    case .secondary: .following
    case .learner: .learning
    case .inactive(let why): .inactive(why)
    }
  }

  /// How far the log may be trimmed: what every member has in SQLite, and a learner does not wait for.
  package var mayTrim: SequenceNumber { mayTrim(checkpointing: checkpointed) }

  /// As ``mayTrim``, once a checkpoint of `sn` is in SQLite here, synced.
  package func mayTrim(checkpointing sn: SequenceNumber) -> SequenceNumber {
    var through = min(max(checkpointed, sn), committed.sn)
    guard role == .primary else { return through }
    for peer in peers {
      if peer.isRequired {
        through = min(through, peer.checkpointed)
      } else if now - peer.heardAt < settings.pinMilliseconds {
        // Rule 11: pinned from the snapshot on, for a while.
        through = min(through, peer.acked ?? peer.checkpointed)
      }
    }
    return through
  }
}
