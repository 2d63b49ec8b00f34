import Cluster

/// Rule 5's thread for beacons: stands in for a partition's thread that waits for its disk, so that a slow sync
/// costs no lease. A secondary's answers beacons; a primary's sends them, and notes which were answered.
///
/// Whoever receives messages has it, together with the partition's thread, under a lock. Every call that tells
/// the ``Replica`` of something is made in a ``step(_:_:)`` under that lock; what only asks it (`refusal`,
/// `assign`, `mayAnswerRead`, `takeEffects`) needs none. So what the desk does happens between two steps, with
/// the one ``Grace`` that there is: before a replica proposes itself it has abandoned the grace, in the same
/// step, and the desk answers no more. That is what rule 5 asks for.
///
/// A thread that has not been heard of for `absenceMilliseconds` is not stood in for any more: what hangs
/// must not look well.
package struct BeaconDesk: Sendable {
  private var seat = Seat.closed
  private var envelope = PeerEnvelope(
    cluster: 0, partition: PartitionID(0), epoch: Epoch(0), node: "", incarnation: Incarnation(0))
  private var settings = Replica.Settings()
  /// The replica's clock at its last step.
  private var steppedAt = Int64.min / 2
  /// Of the replica, when it was left; nil: it never was.
  private var steps: UInt64?

  private enum Seat: Sendable {
    case closed
    case follower(Follower)
    case primary(Primary)
  }

  fileprivate struct Follower: Sendable {
    let primary: String
    let incarnation: Incarnation
    /// A learner's silence stops nobody, and it never proposes itself.
    let isMember: Bool
    let durable: LogMark
    let checkpointed: SequenceNumber
    var grace: Grace
    var answered: Int64
  }

  fileprivate struct Primary: Sendable {
    let committed: LogMark
    let digest: AppliedDigest?
    var beaconAt: Int64
    var peers: [(node: String, isProbe: Bool, answered: Int64)]
  }

  package init() {}

  /// A call to the replica, or some. Quick, as others wait for the lock.
  package mutating func step<R>(_ replica: inout Replica, _ body: (inout Replica) throws -> R) rethrows -> R {
    precondition(steps == nil || steps == replica.steps, "the replica took a step past its desk")
    switch seat {
    case .closed: break
    case .follower(let follower): replica.resume(follower)
    case .primary(let primary): replica.resume(primary)
    }
    defer { leave(replica) }
    return try body(&replica)
  }

  private mutating func leave(_ replica: Replica) {
    envelope = replica.envelope
    settings = replica.settings
    steppedAt = replica.now
    steps = replica.steps
    if let follower = replica.deskOfFollower {
      seat = .follower(follower)
    } else if let primary = replica.deskOfPrimary {
      seat = .primary(primary)
    } else {
      seat = .closed
    }
  }

  /// Before the replica that comes next is another one, or none.
  package mutating func close() { self = BeaconDesk() }

  package var isOpen: Bool { if case .closed = seat { false } else { true } }

  private func standsIn(_ now: Int64) -> Bool { now - steppedAt < settings.absenceMilliseconds }

  package struct Outgoing: Sendable {
    package let to: String
    package let envelope: PeerEnvelope
    package let message: PeerMessage
  }

  /// A message has come, and goes to the replica too.
  ///
  /// - Parameter now: read after it came.
  /// - Returns: the answer that must leave now.
  package mutating func receive(_ message: PeerMessage, _ from: PeerEnvelope, now: Int64) -> Outgoing? {
    guard standsIn(now), from.cluster == envelope.cluster, from.partition == envelope.partition,
      from.epoch == envelope.epoch
    else { return nil }
    switch (seat, message) {
    case (.follower(var follower), .beacon(let beacon)):
      guard from.node == follower.primary, from.incarnation == follower.incarnation else { return nil }
      defer { seat = .follower(follower) }
      if follower.isMember {
        guard follower.grace.beacon(at: now, settings.graceMilliseconds) else { return nil }
      }
      follower.answered = max(follower.answered, beacon.sentAt)
      let ack = PeerMessage.Ack(
        sentAt: beacon.sentAt, durable: follower.durable, checkpointed: follower.checkpointed,
        rules: settings.rules, isClockBehind: false)
      return Outgoing(to: from.node, envelope: envelope, message: .ack(ack))
    case (.primary(var primary), .ack(let ack)):
      guard let sentAt = ack.sentAt, sentAt <= now,
        let place = primary.peers.firstIndex(where: { $0.node == from.node })
      else { return nil }
      primary.peers[place].answered = max(primary.peers[place].answered, sentAt)
      seat = .primary(primary)
      return nil
    default: return nil
    }
  }

  /// Beacons that the replica has not sent in time. Some times within a beacon's interval.
  ///
  /// - Parameter now: read before they leave.
  package mutating func beacons(now: Int64) -> [Outgoing] {
    guard case .primary(var primary) = seat, standsIn(now),
      now >= primary.beaconAt + settings.beaconMilliseconds / 4
    else { return [] }
    primary.beaconAt = now + settings.beaconMilliseconds
    seat = .primary(primary)
    return primary.peers.map { peer in
      let beacon = PeerMessage.Beacon(
        sentAt: now, committed: primary.committed, digest: primary.digest, isProbe: peer.isProbe)
      return Outgoing(to: peer.node, envelope: envelope, message: .beacon(beacon))
    }
  }
}

extension Replica {
  /// Where a desk would answer beacons.
  fileprivate var deskOfFollower: BeaconDesk.Follower? {
    guard role == .secondary || role == .learner, adopting == nil, let configuration,
      let primary = configuration.primary
    else { return nil }
    // One that is barred has more to say to a beacon than the desk can.
    guard role == .learner ? !isCountedOn : !(grace.isAbandoned || grace.isBarred) else { return nil }
    return BeaconDesk.Follower(
      primary: primary, incarnation: configuration.incarnation, isMember: role == .secondary,
      durable: vouched, checkpointed: checkpointed, grace: grace,
      answered: answeredByDesk.epoch == epoch ? answeredByDesk.sentAt : .min)
  }

  fileprivate mutating func resume(_ desk: BeaconDesk.Follower) {
    grace = desk.grace
    answeredByDesk = (epoch, desk.answered)
  }

  /// Where a desk would send beacons.
  fileprivate var deskOfPrimary: BeaconDesk.Primary? {
    guard role == .primary, adopting == nil, !peers.isEmpty else { return nil }
    return BeaconDesk.Primary(
      committed: committed, digest: namedDigest, beaconAt: beaconAt,
      peers: peers.map { ($0.node, $0.cursor == nil, .min) })
  }

  fileprivate mutating func resume(_ desk: BeaconDesk.Primary) {
    beaconAt = max(beaconAt, desk.beaconAt)
    for peer in desk.peers where peer.answered != .min {
      guard let place = peers.firstIndex(where: { $0.node == peer.node }) else { continue }
      peers[place].leaseUntil = max(peers[place].leaseUntil, peer.answered + settings.leaseMilliseconds)
    }
  }
}
