import Cluster
import Foundation
import Logging
import NodeSupport
import Synchronization
import WorkerNode
import ZeroMQ

/// From a partition's thread to another hub's partition's thread over the loopback, and back.
enum RoundTrip {
  static func measure(count: Int, bytes: Int) throws {
    let context = ZeroMQContext()
    let hubs = try ["a", "b"].map {
      try PeerHub(
        listen: "tcp://127.0.0.1:0", node: $0, incarnation: Incarnation(1), context: context,
        logger: Logger(label: $0))
    }
    for (hub, (other, name)) in zip(hubs, [(hubs[1], "b"), (hubs[0], "a")]) {
      hub.setPeers([
        PeerAddress(
          node: name, incarnation: Incarnation(1), endpoint: other.endpoint, host: "", lockPath: "")
      ])
    }
    let stop = StopFlag()
    let echo = NodeThread("echo") {
      let link = PeerLink(partition: PartitionID(0), hub: hubs[1])
      let frame = PeerFrame()
      var items = [link.pollItem]
      while !stop.isSet {
        Socket.wait(for: &items, milliseconds: 50)
        while let event = link.receive(into: frame) {
          if event == .message { link.send(frame.bytes, to: "a") }
        }
      }
    }
    var message = [UInt8](repeating: 0, count: bytes)
    (message[0], message[1]) = (33, 1)
    let link = PeerLink(partition: PartitionID(0), hub: hubs[0])
    let frame = PeerFrame()
    var items = [link.pollItem]
    var microseconds: [Double] = []
    while microseconds.count < count + 500 {
      let began = now()
      message.withUnsafeBytes { link.send($0, to: "b") }
      while true {
        if let event = link.receive(into: frame) {
          guard event == .message, frame.bytes.count == bytes else { continue }
          microseconds.append(now() - began)
          break
        }
        // Without a connection yet: again.
        guard Socket.wait(for: &items, milliseconds: 50) else { break }
      }
    }
    stop.set()
    echo.join()
    for hub in hubs { hub.stop() }
    let sorted = microseconds.dropFirst(500).sorted()
    func at(_ share: Double) -> Int { Int(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) }
    print(
      "\(bytes) B: \(count) round trips, median \(at(0.5)) µs, p99 \(at(0.99)) µs, most \(Int(sorted.last!)) µs"
    )
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
  }
}
