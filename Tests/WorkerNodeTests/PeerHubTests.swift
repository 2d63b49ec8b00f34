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
    var random = SplitMix64(seed: 11)
    let sent = (0..<200).map { number in
      message(to: number % 2 == 0 ? 0 : 513, random.bytes(random.pick(0...70_000)), kind: 33)
    }
    for bytes in sent { a.send(bytes, to: "b") }
    for bytes in sent { #expect(try b.next(bytes[3] == 0 ? 0 : 513) == .message(bytes)) }
    #expect(b.hub.counts.received == a.hub.counts.sent)
  }
}
