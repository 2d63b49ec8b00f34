import Cluster
import Foundation
import NodeSupport
import TestSupport
import Testing
import WorkerNode
import ZeroMQ

struct PeerHubTests {
  @Test func `messages go both ways between the partitions that they name, unchanged and in order`() throws {
    let a = try TestPeer("a", partitions: [0, 513])
    let b = try TestPeer("b", partitions: [0, 513])
    a.hub.setPeers([b.address])
    b.hub.setPeers([a.address])
    for partition: UInt16 in [0, 513] {
      try a.send(message(to: partition), from: partition, untilSeenBy: b)
      try b.send(message(to: partition), from: partition, untilSeenBy: a)
    }
    let before = (sent: a.hub.counts.sent, received: b.hub.counts.received)
    var random = SplitMix64(seed: 11)
    let sent = (0..<200).map { number in
      message(to: number % 2 == 0 ? 0 : 513, random.bytes(random.pick(0...70_000)), kind: 33)
    }
    for bytes in sent { a.send(bytes, to: "b") }
    for (number, bytes) in sent.enumerated() {
      #expect(try b.next(number % 2 == 0 ? 0 : 513) == .message(bytes), "seed 11, message \(number)")
    }
    #expect(a.hub.counts.sent == before.sent + 200)
    #expect(b.hub.counts.received == before.received + 200)
  }

  @Test func `three hubs: each message gets to the one that it is for, and to nobody else`() throws {
    let peers = try ["a", "b", "c"].map { try TestPeer($0) }
    for peer in peers { peer.hub.setPeers(peers.map(\.address)) }
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
      // What two send at once may come in any order; so each waits for its own.
      let bytes = message(to: 0, [UInt8(from), UInt8(to)])
      let before = try peers[from].send(bytes, untilSeenBy: peers[to])
      #expect(before.allSatisfy { if case .message(let bytes) = $0 { bytes[5] == UInt8(to) } else { false } })
    }
  }

  @Test func `the largest message passes, in one piece`() throws {
    let a = try TestPeer("a")
    let b = try TestPeer("b")
    a.hub.setPeers([b.address])
    try a.send(message(), untilSeenBy: b)
    let bytes = message([UInt8](repeating: 7, count: PeerHub.messageBytesMax - 4))
    a.send(bytes, to: "b")
    #expect(try b.next() == .message(bytes))
  }

  @Test func `what is for nobody that is known is dropped and counted`() throws {
    let a = try TestPeer("a")
    let b = try TestPeer("b", partitions: [1])
    a.send(message(), to: "nobody")
    #expect(a.hub.counts.toUnknown == 1)
    // Known, but not there.
    a.hub.setPeers([
      PeerAddress(
        node: "c", incarnation: Incarnation(1), endpoint: "tcp://127.0.0.1:1", host: "", lockPath: "")
    ])
    try until("c is known") {
      a.send(message(), to: "c")
      return a.hub.counts.toUnconnected > 0
    }
    // There, without the partition.
    a.hub.setPeers([b.address])
    try a.send(message(to: 1), untilSeenBy: b)
    a.send(message(to: 9), to: "b")
    a.send(message(to: 1, [1]), to: "b")
    #expect(try b.next(1) == .message(message(to: 1, [1])))
    #expect(b.hub.counts.forNobody == 1)
    b.close(1)
    a.send(message(to: 1, [2]), to: "b")
    try until("it is for nobody") { b.hub.counts.forNobody == 2 }
    #expect(a.hub.counts.toFull == 0)
  }

  @Test func `an address that is none leaves the others as they are`() throws {
    let a = try TestPeer("a")
    let b = try TestPeer("b")
    a.hub.setPeers([
      PeerAddress(node: "c", incarnation: Incarnation(1), endpoint: "nonsense", host: "", lockPath: ""),
      b.address,
    ])
    try a.send(message(), untilSeenBy: b)
    a.send(message(), to: "c")
    #expect(a.hub.counts.toUnknown >= 1)
  }

  @Test func `garbage is dropped and counted, and an oversized message costs its sender the connection`()
    throws
  {
    let a = try TestPeer("a")
    let b = try TestPeer("b")
    a.hub.setPeers([b.address])
    try a.send(message(), untilSeenBy: b)
    let context = ZeroMQContext()
    let stranger = try Socket(.push, in: context)
    stranger.setLinger(milliseconds: 1_000)
    try stranger.connect(b.hub.endpoint)
    var random = SplitMix64(seed: 5)
    try stranger.send([])
    try stranger.send([36, 1, 0])
    try stranger.send([36, 2, 0, 0])
    try stranger.send(message(), more: true)
    try stranger.send(message())
    try until("all five frames were dropped") { b.hub.counts.malformed == 5 }
    let large = try Socket(.push, in: context)
    let monitor = try ConnectionMonitor(large, in: context)
    try large.connect(b.hub.endpoint)
    var events: [ConnectionMonitor.Event] = []
    var scratch = Message()
    func wait(for event: ConnectionMonitor.Event) throws {
      try until("\(event)") {
        while let next = try monitor.next(&scratch) { events.append(next) }
        return events.contains(event)
      }
    }
    try wait(for: .connected)
    try large.send([UInt8](repeating: 1, count: PeerHub.messageBytesMax + 1))
    try wait(for: .broke)
    ConnectionMonitor.stop(large)
    // Bytes that are not even ZeroMQ's.
    let raw = try RawConnection(to: b.hub.endpoint)
    raw.send(random.bytes(10_000))
    // The hub lives, and hears its peer.
    a.send(message(to: 0, [9]), to: "b")
    #expect(try b.next() == .message(message(to: 0, [9])))
  }

  @Test func `a peer that does not read costs a bounded amount, and gets what is new once it reads`() throws {
    let a = try TestPeer("a")
    let context = ZeroMQContext()
    let deaf = try Socket(.pull, in: context)
    deaf.setHighWaterMarks(send: 1, receive: 1)
    try deaf.bind("tcp://127.0.0.1:0")
    a.hub.setPeers([
      PeerAddress(
        node: "deaf", incarnation: Incarnation(1), endpoint: deaf.lastEndpoint, host: "", lockPath: "")
    ])
    var received = Message()
    try until("deaf is there") {
      a.send(message(), to: "deaf")
      return try deaf.receive(into: &received)
    }
    let bytes = message([UInt8](repeating: 3, count: 1 << 20))
    for _ in 0..<400 { a.send(bytes, to: "deaf") }
    // 64 MiB wait here; some are in the system's buffers and the other side's.
    let counts = a.hub.counts
    #expect(counts.toFull >= 300, "\(counts)")
    try until("what waited has come, and there is room again") {
      while try deaf.receive(into: &received) {}
      a.send(message(to: 0, [5]), to: "deaf")
      return try deaf.receive(into: &received) && received.bytes.count == 5
    }
  }

  @Test func `a partition that does not read loses messages, and never what happened`() throws {
    let a = try TestPeer("a", partitions: [0, 1])
    let b = try TestPeer("b", partitions: [0, 1])
    a.hub.setPeers([b.address])
    try a.send(message(to: 0), untilSeenBy: b)
    let bytes = message(to: 0, [UInt8](repeating: 3, count: 1 << 20))
    try until("the inbox is full") {
      a.send(bytes, to: "b")
      return b.hub.counts.forFull > 0
    }
    b.hub.poke(PartitionID(0))
    #expect(try b.next() == .other(.poked))
    // The other partition has its own.
    let mine = message(to: 1, [8])
    try until("the other partition hears") {
      a.send(mine, to: "b")
      return try b.next(1) == .message(mine)
    }
    for _ in 0..<60 { #expect(try b.next() == .message(bytes)) }
  }

  @Test func `a poke ends the wait of its partition, from any thread`() throws {
    let a = try TestPeer("a", partitions: [0, 1])
    let hub = a.hub
    let thread = NodeThread("poke") { hub.poke(PartitionID(1)) }
    #expect(try a.next(1) == .other(.poked))
    thread.join()
    hub.poke(PartitionID(1))
    hub.poke(PartitionID(1))
    hub.poke(PartitionID(77))
    // Two that nobody has seen are one.
    #expect(try a.next(1) == .other(.poked))
    #expect(throws: Problem.self) { try a.next(1, within: 1) }
    #expect(throws: Problem.self) { try a.next(0, within: 1) }
  }

  @Test func `a broken connection is told to every partition, and made again where the peer comes back`()
    throws
  {
    let a = try TestPeer("a", partitions: [0, 1])
    var b: TestPeer? = try TestPeer("b")
    a.hub.setPeers([try #require(b).address])
    try a.send(message(), untilSeenBy: try #require(b))
    let endpoint = try #require(b).hub.endpoint
    b = nil
    for partition: UInt16 in [0, 1] {
      #expect(try a.next(partition) == .other(.connectionBroke("b")))
    }
    // The same process's address, again.
    let again = try TestPeer("b", listen: endpoint)
    try a.send(message(to: 0, [1]), untilSeenBy: again)
    // A later process elsewhere.
    let later = try TestPeer("b", incarnation: 2)
    a.hub.setPeers([later.address])
    try a.send(message(to: 0, [2]), untilSeenBy: later)
    // What went to the old address before it was known to be one is all that is there.
    a.send(message(to: 0, [3]), to: "b")
    while try later.next() != .message(message(to: 0, [3])) {}
    while let event = try? again.next(within: 1) { #expect(event != .message(message(to: 0, [3]))) }
    // Nobody.
    a.hub.setPeers([])
    let before = a.hub.counts.toUnknown
    try until("b is not known any more") {
      a.send(message(), to: "b")
      return a.hub.counts.toUnknown > before
    }
  }

  @Test func `a listening address that is taken, or none, is said so`() throws {
    let a = try TestPeer("a")
    func problem(_ listen: String) -> String {
      do {
        _ = try TestPeer("b", listen: listen)
        return "none"
      } catch { return "\(error)" }
    }
    #expect(problem(a.hub.endpoint).contains("is in use by another process"))
    #expect(problem("nonsense").contains("--replication-listen should look like"))
  }

  @Test func `a hub that has stopped drops what it is given`() throws {
    let a = try TestPeer("a")
    let b = try TestPeer("b")
    a.hub.setPeers([b.address])
    try a.send(message(), untilSeenBy: b)
    a.hub.stop()
    let before = a.hub.counts.toUnknown
    a.send(message(to: 0, [1]), to: "b")
    #expect(a.hub.counts.toUnknown == before + 1)
    a.hub.stop()
  }
}
