import Bytes
import Cluster
import Foundation
import Logging
import NodeSupport
import WorkerNode
import ZeroMQ

/// A worker's hub and the links of its partitions, all used by the test's own thread.
final class TestPeer {
  let node: String
  let incarnation: Incarnation
  let hub: PeerHub
  private var links: [PartitionID: PeerLink] = [:]

  init(
    _ node: String, partitions: [UInt16] = [0], incarnation: UInt64 = 1, listen: String = "tcp://127.0.0.1:0",
    context: ZeroMQContext = ZeroMQContext()
  ) throws {
    self.node = node
    self.incarnation = Incarnation(incarnation)
    var logger = Logger(label: node)
    logger.logLevel = .critical
    hub = try PeerHub(
      listen: listen, node: node, incarnation: self.incarnation, context: context, logger: logger)
    for partition in partitions { open(partition) }
  }

  deinit { hub.stop() }

  func open(_ partition: UInt16) {
    links[PartitionID(partition)] = PeerLink(partition: PartitionID(partition), hub: hub)
  }

  func close(_ partition: UInt16) { links[PartitionID(partition)] = nil }

  var address: PeerAddress {
    PeerAddress(node: node, incarnation: incarnation, endpoint: hub.endpoint, host: "", lockPath: "")
  }

  enum Event: Equatable {
    case message([UInt8])
    case other(PeerEvent)
  }

  /// The next event of a partition.
  func next(_ partition: UInt16 = 0, within milliseconds: Int64 = 20_000) throws -> Event {
    guard let event = poll(partition, milliseconds: milliseconds) else {
      throw Problem("\(node)'s partition \(partition) got nothing within \(milliseconds) ms; \(hub.counts)")
    }
    return event
  }

  private func poll(_ partition: UInt16, milliseconds: Int64) -> Event? {
    let link = links[PartitionID(partition)]!
    let frame = PeerFrame()
    let deadline = Clock.steadyMilliseconds() + milliseconds
    while true {
      if let event = link.receive(into: frame) {
        return event == .message ? .message(Array(frame.bytes)) : .other(event)
      }
      let left = deadline - Clock.steadyMilliseconds()
      guard left > 0 else { return nil }
      var items = [link.pollItem]
      Socket.wait(for: &items, milliseconds: Int(left))
    }
  }

  func send(_ bytes: [UInt8], from partition: UInt16 = 0, to node: String) {
    bytes.withUnsafeBytes { links[PartitionID(partition)]!.send($0, to: node) }
  }

  /// Sends until it arrives: connections come when they come.
  ///
  /// - Returns: what came before it.
  @discardableResult
  func send(_ bytes: [UInt8], from partition: UInt16 = 0, untilSeenBy peer: TestPeer) throws -> [Event] {
    let target = UInt16(bytes[2]) | UInt16(bytes[3]) << 8
    let deadline = Clock.steadyMilliseconds() + 20_000
    var before: [Event] = []
    while Clock.steadyMilliseconds() < deadline {
      send(bytes, from: partition, to: peer.node)
      while let event = peer.poll(target, milliseconds: 5) {
        if event == .message(bytes) { return before }
        before.append(event)
      }
    }
    throw Problem("\(peer.node) did not hear of \(node); \(hub.counts), \(peer.hub.counts)")
  }
}

struct Problem: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// As a message of the protocol begins: `kind u8 | version u8 | partition u16`.
func message(to partition: UInt16 = 0, _ rest: [UInt8] = [], kind: UInt8 = 36) -> [UInt8] {
  [kind, 1, UInt8(partition & 0xFF), UInt8(partition >> 8)] + rest
}

/// Asks again and again, without a fixed wait.
func until(_ what: String, within milliseconds: Int64 = 20_000, _ condition: () throws -> Bool) throws {
  let deadline = Clock.steadyMilliseconds() + milliseconds
  while try !condition() {
    guard Clock.steadyMilliseconds() < deadline else {
      throw Problem("not within \(milliseconds) ms: \(what)")
    }
    sched_yield()
  }
}
