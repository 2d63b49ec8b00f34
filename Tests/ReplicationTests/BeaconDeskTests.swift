import Bytes
import Cluster
import Replication
import TestReplication
import TestSupport
import Testing

/// A desk that an expectation can call.
private final class Desk {
  private var desk = BeaconDesk()
  var isOpen: Bool { desk.isOpen }
  func step(_ replica: inout Replica, _ body: (inout Replica) -> Void) { desk.step(&replica, body) }
  func receive(_ message: PeerMessage, _ from: PeerEnvelope, now: Int64) -> BeaconDesk.Outgoing? {
    desk.receive(message, from, now: now)
  }
  func beacons(now: Int64) -> [BeaconDesk.Outgoing] { desk.beacons(now: now) }
  func close() { desk.close() }
}

/// Rule 5 where somebody else than the partition's thread answers beacons.
struct BeaconDeskTests {
  private static let seeds: ClosedRange<UInt64> = 1...400

  @Test func `no member proposes itself while an acknowledgement of its own may still be a lease`() {
    var (takeovers, deskAcks) = (0, 0)
    for seed in Self.seeds {
      var world = DeskWorld(seed: seed, .init(stuckMax: 700, isNetworkBad: true))
      let outcome = world.run()
      #expect(outcome.violation == nil, "seed \(seed): \(outcome.violation ?? "")")
      if outcome.change?.node == "b" { takeovers += 1 }
      deskAcks += outcome.deskAcks
    }
    // Otherwise nothing was shown.
    #expect(takeovers > 20 && deskAcks > 1_000, "\(takeovers) takeovers, \(deskAcks) acks")
  }

  @Test func `a grace that the desk does not share is found out`() {
    let found = Self.seeds.first { seed in
      var world = DeskWorld(seed: seed, .init(stuckMax: 700, isNetworkBad: true, hasTwoGraces: true))
      return world.run().violation != nil
    }
    #expect(found != nil)
  }

  @Test func `threads that are stuck for a while lose no lease, and without a desk they do`() {
    var lost = 0
    for seed in Self.seeds {
      var world = DeskWorld(seed: seed, .init(stuckMax: 700))
      let outcome = world.run()
      #expect(outcome.change == nil, "seed \(seed): \(outcome.change.map { "\($0)" } ?? "")")
      #expect(outcome.violation == nil, "seed \(seed): \(outcome.violation ?? "")")
      var alone = DeskWorld(seed: seed, .init(stuckMax: 700, hasDesk: false))
      if alone.run().change != nil { lost += 1 }
    }
    #expect(lost > 200, "\(lost)")
  }

  @Test func `without trouble the replicas answer and send themselves or are late by little`() {
    for seed in Self.seeds.prefix(20) {
      var world = DeskWorld(seed: seed, .init())
      let outcome = world.run()
      #expect(outcome.change == nil && outcome.violation == nil, "seed \(seed)")
    }
  }

  private func envelope(_ epoch: UInt64, _ node: String, _ incarnation: UInt64 = 1) -> PeerEnvelope {
    PeerEnvelope(
      cluster: Group.cluster, partition: Group.partition, epoch: Epoch(epoch), node: node,
      incarnation: Incarnation(incarnation))
  }

  private func beacon(_ sentAt: Int64) -> PeerMessage {
    .beacon(.init(sentAt: sentAt, committed: .empty, digest: nil, isProbe: false))
  }

  private func sendings(_ replica: inout Replica) -> [PeerMessage] {
    replica.takeEffects().compactMap { if case .send(_, _, let message) = $0 { message } else { nil } }
  }

  /// A settled secondary at time 1,050, and its desk.
  private func secondary() -> (Replica, Desk) {
    let group = Group(["a", "b"])
    var replica = group.replicas["b"]!
    let desk = Desk()
    desk.step(&replica) { $0.tick(now: 1_050) }
    return (replica, desk)
  }

  @Test func `a secondary's desk answers what its replica would, and the replica does not again`() throws {
    var (replica, desk) = secondary()
    _ = replica.takeEffects()
    let answer = try #require(desk.receive(beacon(1_060), envelope(1, "a"), now: 1_061))
    #expect(answer.to == "a" && answer.envelope == envelope(1, "b"))
    guard case .ack(let ack) = answer.message else { Issue.record("\(answer)"); return }
    #expect(ack.sentAt == 1_060 && ack.durable == replica.durable)
    desk.step(&replica) { $0.receive(beacon(1_060), envelope(1, "a"), now: 1_200, wall: 0) }
    #expect(sendings(&replica) == [])
    // The grace runs from when it came: 1,061 + 200.
    desk.step(&replica) { $0.tick(now: 1_260) }
    #expect(!replica.hasEffects)
    desk.step(&replica) { $0.tick(now: 1_261) }
    #expect(replica.takeEffects().contains { if case .compareAndSwap = $0 { true } else { false } })
    #expect(!desk.isOpen && desk.receive(beacon(1_255), envelope(1, "a"), now: 1_261) == nil)
  }

  @Test func `only the present primary's present process is answered, in the present epoch`() {
    let (_, desk) = secondary()
    #expect(desk.receive(beacon(1_060), envelope(2, "a"), now: 1_061) == nil)
    #expect(desk.receive(beacon(1_060), envelope(0, "a"), now: 1_061) == nil)
    #expect(desk.receive(beacon(1_060), envelope(1, "c"), now: 1_061) == nil)
    #expect(desk.receive(beacon(1_060), envelope(1, "a", 2), now: 1_061) == nil)
    var foreign = envelope(1, "a")
    foreign.cluster = 8
    #expect(desk.receive(beacon(1_060), foreign, now: 1_061) == nil)
    foreign = envelope(1, "a")
    foreign.partition = PartitionID(4)
    #expect(desk.receive(beacon(1_060), foreign, now: 1_061) == nil)
    #expect(desk.receive(beacon(1_060), envelope(1, "a"), now: 1_061) != nil)
  }

  @Test func `a beacon that comes after the grace is not answered, whether or not the thread has looked`() {
    var (replica, desk) = secondary()
    #expect(desk.receive(beacon(1_240), envelope(1, "a"), now: 1_251) == nil)
    desk.step(&replica) { $0.tick(now: 1_252) }
    #expect(replica.takeEffects().contains { if case .compareAndSwap = $0 { true } else { false } })
  }

  @Test func `a proven death, an epoch on its way to the disk and a close end the answers`() throws {
    var (replica, desk) = secondary()
    desk.step(&replica) { $0.died("a", Incarnation(1), now: 1_060) }
    #expect(!desk.isOpen)
    (replica, desk) = secondary()
    var record = GroupRecord(
      partition: Group.partition, epoch: Epoch(2), primary: "a", incarnation: Incarnation(1),
      secondaries: ["b"], isOpened: true)
    desk.step(&replica) { $0.configurationWasTold(record, now: 1_060) }
    #expect(!desk.isOpen)
    desk.step(&replica) { $0.epochIsDurable(Epoch(2), now: 1_061) }
    #expect(desk.receive(beacon(1_062), envelope(2, "a"), now: 1_063) != nil)
    record.epoch = Epoch(3)
    desk.close()
    #expect(desk.receive(beacon(1_064), envelope(2, "a"), now: 1_065) == nil)
  }

  @Test func `a restarted member's desk leaves its beacons to the replica, which asks for an epoch`() {
    let group = Group(["a", "b"])
    group.crash("b")
    group.cut = ["ba"]
    group.start("b", incarnation: 2)
    var replica = group.replicas["b"]!
    let desk = Desk()
    desk.step(&replica) { $0.tick(now: group.now) }
    #expect(replica.role == .secondary && !desk.isOpen)
  }

  @Test func `a primary's desk sends what its replica is late with, and hears what was answered`() throws {
    let group = Group(["a", "b"])
    var replica = group.replicas["a"]!
    let desk = Desk()
    let began = group.now + 40
    desk.step(&replica) { $0.tick(now: began) }
    _ = replica.takeEffects()
    #expect(desk.beacons(now: began + 49).isEmpty)
    let sent = try #require(desk.beacons(now: began + 50).first)
    guard case .beacon(let beacon) = sent.message else { Issue.record("\(sent)"); return }
    #expect(sent.to == "b" && beacon.sentAt == began + 50 && beacon.committed == replica.committed)
    #expect(desk.beacons(now: began + 50).isEmpty)
    // Every 50 ms, each answered at once; from the future, or of somebody else, is no answer.
    for now in stride(from: began + 100, through: began + 500, by: 50) {
      #expect(desk.beacons(now: now).count == 1)
      let ack = PeerMessage.Ack(
        sentAt: now, durable: .empty, checkpointed: .zero, rules: 1, isClockBehind: false)
      #expect(desk.receive(.ack(ack), envelope(1, "b"), now: now) == nil)
    }
    for (sentAt, node) in [(began + 5_000, "b"), (began + 510, "c")] {
      let ack = PeerMessage.Ack(
        sentAt: sentAt, durable: .empty, checkpointed: .zero, rules: 1, isClockBehind: false)
      _ = desk.receive(.ack(ack), envelope(1, node), now: began + 510)
    }
    #expect(!replica.isLeased(at: began + 500))
    desk.step(&replica) { $0.tick(now: began + 501) }
    #expect(replica.isLeased(at: began + 659) && !replica.isLeased(at: began + 660))
  }

  @Test func `who hangs is not stood in for`() {
    var (_, desk) = secondary()
    for now in stride(from: Int64(1_060), to: 3_050, by: 40) {
      #expect(desk.receive(beacon(now), envelope(1, "a"), now: now) != nil, "\(now)")
    }
    #expect(desk.receive(beacon(3_050), envelope(1, "a"), now: 3_050) == nil)
    let group = Group(["a", "b"])
    var replica = group.replicas["a"]!
    desk = Desk()
    desk.step(&replica) { $0.tick(now: 2_000) }
    #expect(!desk.beacons(now: 3_999).isEmpty)
    #expect(desk.beacons(now: 4_100).isEmpty)
  }
}
