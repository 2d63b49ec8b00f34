import Bytes
import Cluster
import Replication
import TestSupport

/// Two replicas, each with a thread that may be stuck and a desk that stands in for it, a network that delays
/// and cuts, and clocks that part. Judged from outside, in true time: rule 5.
///
/// Runs until somebody asks for a change of the configuration, or the time is over.
struct DeskWorld {
  struct Options {
    /// For how long a thread may be stuck, in milliseconds.
    var stuckMax = 0
    /// Whether the network cuts and loses.
    var isNetworkBad = false
    var hasDesk = true
    /// The fault that must be found: the replica decides by a grace of its own, which what the desk answers
    /// does not move.
    var hasTwoGraces = false
    var milliseconds = 3_000
  }

  struct Outcome {
    /// Why the configuration was to change, and who asked.
    var change: (node: String, why: String)?
    /// What rule 5 forbids.
    var violation: String?
    /// Acks of beacons, by whom they were sent.
    var deskAcks = 0
    var threadAcks = 0
  }

  private final class Node {
    var replica: Replica
    var desk = BeaconDesk()
    /// What came and the thread has not seen.
    var inbox: [(PeerMessage, PeerEnvelope)] = []
    var heads: [BlockHead] = []
    var turnAt: Int64 = 0
    /// Its clock: true time times 1 + rate / 1000, and this.
    let offset: Int64
    let rate: Int64

    init(_ replica: Replica, offset: Int64, rate: Int64) {
      self.replica = replica
      self.offset = offset
      self.rate = rate
    }
  }

  private struct Flight {
    let at: Int64
    let to: Int
    let envelope: PeerEnvelope
    let message: PeerMessage
  }

  private static let names = ["a", "b"]
  private var random: SplitMix64
  private let options: Options
  private var nodes: [Node] = []
  private var flights: [Flight] = []
  private var now: Int64 = 0
  /// In true time: when beacons left, by their own time; and the youngest that was acknowledged.
  private var beaconLeft: [Int64: Int64] = [:]
  private var acknowledged: Int64 = .min
  private var cutUntil: [Int64] = [0, 0]
  private var outcome = Outcome()
  private let settings = Replica.Settings()

  init(seed: UInt64, _ options: Options) {
    random = SplitMix64(seed: seed)
    self.options = options
    for name in Self.names {
      nodes.append(
        Node(
          Replica(
            .init(cluster: 7, partition: PartitionID(3), node: name, incarnation: Incarnation(1)), .empty,
            now: 0),
          offset: Int64(random.pick(0...100_000)), rate: Int64(random.pick(-20...20))))
    }
  }

  private func clock(_ place: Int) -> Int64 {
    nodes[place].offset + now + now * nodes[place].rate / 1_000
  }

  mutating func run() -> Outcome {
    while now < options.milliseconds, outcome.change == nil, outcome.violation == nil {
      now += 1
      disturb()
      let arriving = flights.filter { $0.at <= now }
      flights.removeAll { $0.at <= now }
      for flight in arriving { arrive(flight) }
      for place in nodes.indices {
        if options.hasDesk, now % 10 == 5 {
          for beacon in nodes[place].desk.beacons(now: clock(place)) { post(beacon, from: place) }
        }
        if now >= nodes[place].turnAt { turn(place) }
      }
    }
    return outcome
  }

  private mutating func disturb() {
    guard now > 300 else { return }
    if options.isNetworkBad, random.pick(0...300) == 0 {
      cutUntil[random.pick(0...1)] = now + Int64(random.pick(1...400))
    }
    if options.stuckMax > 0, random.pick(0...150) == 0 {
      let place = random.pick(0...1)
      let until = now + Int64(random.pick(1...options.stuckMax))
      // One that is stuck is not stuck for longer.
      if nodes[place].turnAt <= now + 10 { nodes[place].turnAt = until }
    }
  }

  private mutating func post(_ message: BeaconDesk.Outgoing, from place: Int) {
    post(message.message, message.envelope, from: place, isDesk: true)
  }

  private mutating func post(
    _ message: PeerMessage, _ envelope: PeerEnvelope, from place: Int, isDesk: Bool = false
  ) {
    switch message {
    case .beacon(let beacon):
      if beaconLeft[beacon.sentAt] == nil { beaconLeft[beacon.sentAt] = now }
    case .ack(let ack):
      guard let sentAt = ack.sentAt, let left = beaconLeft[sentAt] else { break }
      if isDesk { outcome.deskAcks += 1 } else { outcome.threadAcks += 1 }
      acknowledged = max(acknowledged, left)
      if let change = outcome.change, change.node == Self.names[place] {
        outcome.violation = "\(change.node) acknowledges a beacon after it has proposed itself"
      }
    default: break
    }
    guard cutUntil[place] <= now, !(options.isNetworkBad && random.pick(0...20) == 0) else { return }
    let delay = options.isNetworkBad ? random.pick(1...60) : random.pick(1...3)
    flights.append(Flight(at: now + Int64(delay), to: 1 - place, envelope: envelope, message: message))
  }

  private mutating func arrive(_ flight: Flight) {
    let place = flight.to
    if options.hasDesk,
      let answer = nodes[place].desk.receive(flight.message, flight.envelope, now: clock(place))
    {
      post(answer, from: place)
    }
    nodes[place].inbox.append((flight.message, flight.envelope))
  }

  private mutating func step(_ place: Int, _ body: (inout Replica) -> Void) {
    guard options.hasDesk else { return body(&nodes[place].replica) }
    if options.hasTwoGraces {
      var desk = BeaconDesk()
      desk.step(&nodes[place].replica, body)
      if !desk.isOpen || !nodes[place].desk.isOpen { nodes[place].desk = desk }
      return
    }
    nodes[place].desk.step(&nodes[place].replica, body)
  }

  /// A turn of the thread: some of what came, then time.
  private mutating func turn(_ place: Int) {
    nodes[place].turnAt = now + Int64(random.pick(3...10))
    let count = min(nodes[place].inbox.count, random.pick(0...6))
    let inbox = nodes[place].inbox.prefix(count)
    nodes[place].inbox.removeFirst(count)
    for (message, envelope) in inbox {
      let clock = clock(place)
      step(place) { $0.receive(message, envelope, now: clock, wall: 0) }
      carryOut(place)
    }
    let clock = clock(place)
    step(place) { $0.tick(now: clock) }
    carryOut(place)
  }

  private mutating func carryOut(_ place: Int) {
    while nodes[place].replica.hasEffects {
      for effect in nodes[place].replica.takeEffects() { carryOut(effect, place) }
    }
  }

  private mutating func carryOut(_ effect: Replica.Effect, _ place: Int) {
    let clock = clock(place)
    switch effect {
    case .send(_, let envelope, let message): post(message, envelope, from: place)
    case .sendBlock(_, let envelope, let sn, let committed):
      if let head = nodes[place].heads.first(where: { $0.last == sn }) {
        post(.prepare(head, committed: committed), envelope, from: place)
      }
    case .append(let head, _), .appendNoOp(let head, _): nodes[place].heads.append(head)
    case .sync: step(place) { $0.durable(through: $0.last, now: clock) }
    case .makeEpochDurable(let epoch): step(place) { $0.epochIsDurable(epoch, now: clock) }
    case .readConfiguration:
      let record = GroupRecord(
        partition: PartitionID(3), epoch: Epoch(1), primary: "a", incarnation: Incarnation(1),
        secondaries: ["b"], isOpened: true)
      step(place) { $0.configurationWasRead(record, now: clock) }
    case .compareAndSwap(_, _, let why, _):
      outcome.change = (Self.names[place], why)
      // The clocks part by 4 % at most: within L that is some milliseconds.
      if place == 1, now <= acknowledged + settings.leaseMilliseconds + 5 {
        outcome.violation =
          "b proposes itself at \(now), but acknowledged a beacon that left at \(acknowledged)"
      }
      // What would be acknowledged from now on must not be.
      for _ in 0..<8 {
        let beacon = PeerMessage.Beacon(sentAt: clock, committed: .empty, digest: nil, isProbe: false)
        if place == 1, options.hasDesk,
          nodes[1].desk.receive(
            .beacon(beacon),
            PeerEnvelope(
              cluster: 7, partition: PartitionID(3), epoch: Epoch(1), node: "a", incarnation: Incarnation(1)),
            now: clock) != nil
        {
          outcome.violation = "b's desk acknowledges a beacon after b has proposed itself"
        }
      }
    case .cut(let mark): nodes[place].heads.removeAll { $0.last > mark.sn }
    case .activity, .committed, .rebuild, .offerSnapshot, .wantSnapshot, .alarm: break
    }
  }
}
