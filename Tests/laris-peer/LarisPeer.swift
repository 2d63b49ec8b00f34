import Cluster
import Foundation
import Logging
import NodeSupport
import WorkerNode
import ZeroMQ

/// A process with a hub, for tests that end it, and what a message between two hubs costs.
///
///     laris-peer live FOLDER NODE INCARNATION   # until its input ends; its output is `ENDPOINT PLACE`
///     laris-peer round-trip COUNT
@main struct LarisPeer {
  static func main() throws {
    let arguments = CommandLine.arguments
    switch arguments.dropFirst().first {
    case "live" where arguments.count == 5:
      try live(arguments[2], arguments[3], Incarnation(UInt64(arguments[4]) ?? 0))
    case "round-trip" where arguments.count == 3:
      for bytes in [100, 65_536] { try RoundTrip.measure(count: Int(arguments[2]) ?? 0, bytes: bytes) }
    default:
      print("usage: laris-peer live FOLDER NODE INCARNATION | round-trip COUNT")
      exit(64)
    }
  }

  private static func live(_ path: String, _ node: String, _ incarnation: Incarnation) throws {
    let place = try DataFolder(path, create: true).keepUntilExit(as: incarnation)
    let hub = try PeerHub(
      listen: "tcp://127.0.0.1:0", node: node, incarnation: incarnation, context: ZeroMQContext(),
      logger: Logger(label: node))
    let line = Array("\(hub.endpoint) \(place.text)\n".utf8)
    _ = write(STDOUT_FILENO, line, line.count)
    while readLine() != nil {}
    hub.stop()
  }
}
