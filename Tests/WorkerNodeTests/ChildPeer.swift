import Cluster
import Foundation
import NodeSupport
import WorkerNode

/// A process with a hub and a data folder of its own; ended by its id, whatever the test does.
final class ChildPeer {
  let address: PeerAddress
  private let process = Process()
  private let input = Pipe()

  init(_ node: String, folder: String, incarnation: UInt64) throws {
    process.executableURL = Bundle.main.executableURL?.deletingLastPathComponent().appending(
      path: "laris-peer")
    process.arguments = ["live", folder, node, String(incarnation)]
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    var line = ""
    while !line.hasSuffix("\n") {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else {
        process.waitUntilExit()
        throw Problem("laris-peer ended before it said where it is")
      }
      line += String(decoding: data, as: UTF8.self)
    }
    let parts = line.dropLast().split(separator: " ", maxSplits: 1)
    guard parts.count == 2 else { throw Problem("laris-peer said \(line)") }
    address = PeerAddress(
      node: node, incarnation: Incarnation(incarnation), endpoint: String(parts[0]), host: Machine.bootID,
      lockPath: String(parts[1]))
  }

  func signal(_ number: Int32) { kill(process.processIdentifier, number) }

  /// Kills it and takes note of its end.
  func end() {
    guard process.isRunning else { return }
    signal(SIGKILL)
    process.waitUntilExit()
  }

  deinit { end() }
}
