import Cluster
import Foundation
import LarisProtocol
import NodeProtocol
import TestSupport
import Wire
import ZeroMQ

/// A dispatcher's process over a cluster of its own, without workers. Nothing of it stays behind.
final class LoneDispatcher {
  let folder: TestFolder
  let services: String
  let workers: String
  private(set) var cluster = ""
  private var process: Process?
  private let options: [String]

  /// - Parameter options: further ones of `laris dispatcher`.
  init(replicas: Int, workers count: Int, partitions: Int, options: [String] = []) throws {
    self.options = options
    folder = try TestFolder()
    services = "tcp://127.0.0.1:\(try freePort())"
    workers = "tcp://127.0.0.1:\(try freePort())"
    let made = try Run.program(
      "laris",
      [
        "cluster", "init", "--data", folder.path + "/dispatcher", "--partitions", "\(partitions)",
        "--workers",
        "\(count)", "--replicas", "\(replicas)", "--json",
      ])
    struct Made: Decodable { let id: String }
    guard made.exit == 0 else { throw Problem("no cluster was made: \(made.errors)") }
    cluster = try JSONDecoder().decode(Made.self, from: Data(made.output.utf8)).id
    try start()
  }

  func start() throws {
    let arguments =
      [
        "dispatcher", "--data", folder.path + "/dispatcher", "--listen", services, "--worker-listen", workers,
      ] + options
    process = try Programs.start("laris", arguments, appendingTo: folder.path + "/dispatcher.log")
  }

  var said: String {
    (try? String(contentsOfFile: folder.path + "/dispatcher.log", encoding: .utf8)) ?? ""
  }

  func kill() {
    guard let process else { return }
    Foundation.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    self.process = nil
  }

  func laris(_ arguments: [String]) throws -> Run {
    try Run.program("laris", arguments + ["--dispatcher", services])
  }

  func status() throws -> Laris_ClusterStatus {
    let run = try laris(["status", "--json"])
    return try Laris_ClusterStatus(jsonString: run.output)
  }

  deinit { kill() }
}

/// What a worker says to a dispatcher, said by a test. It serves nothing.
final class FakeWorker {
  let node: String
  let incarnation: Incarnation
  var zone = ""
  /// What it says of its partitions.
  var partitions: [Laris_PartitionBeacon] = []
  private(set) var assignment = Laris_Assignment()
  private let dispatcher: LoneDispatcher
  private let context = ZeroMQContext()
  private let socket: Socket
  private var number: UInt64 = 0
  private var beaconAt = Date.distantPast

  init(_ node: String, incarnation: UInt64 = 1, of dispatcher: LoneDispatcher) throws {
    self.node = node
    self.incarnation = Incarnation(incarnation)
    self.dispatcher = dispatcher
    let socket = try Socket(.dealer, in: context)
    socket.setLinger(milliseconds: 0)
    socket.setReconnect(milliseconds: 20, max: 100)
    socket.setRoutingID("\(node)/\(Incarnation(incarnation))")
    try socket.connect(dispatcher.workers)
    self.socket = socket
  }

  func sendBeacon() throws {
    beaconAt = Date()
    var beacon = Laris_Beacon()
    beacon.version = 1
    beacon.clusterID = dispatcher.cluster
    beacon.node = node
    beacon.incarnation = incarnation.rawValue
    beacon.folder = "folder of \(node)"
    beacon.startedAt = Int64(incarnation.rawValue)
    beacon.zone = zone
    beacon.host = "host of \(node)"
    beacon.lockPath = "/\(node)/lock"
    beacon.replication = "tcp://\(node):12122"
    beacon.partitions = partitions
    let bytes: [UInt8] = try beacon.serializedBytes()
    try socket.send([FrameKind.beacon.rawValue, FrameKind.version] + bytes)
  }

  /// Takes what the dispatcher has sent.
  func listen(milliseconds: Int = 5) throws {
    _ = socket.wait(milliseconds: milliseconds)
    var message = Message()
    while try socket.receive(into: &message) {
      let bytes = Array(message.bytes)
      guard bytes.first == FrameKind.assignment.rawValue else { continue }
      assignment = try Laris_Assignment(serializedBytes: Array(bytes.dropFirst(2)))
    }
  }

  /// Says that it lives, some times a second, and takes what comes.
  func live() throws {
    if Date().timeIntervalSince(beaconAt) > 0.1 { try sendBeacon() }
    try listen()
  }

  /// What it was told of a partition last.
  func row(_ partition: UInt32) -> Laris_PartitionAssignment? {
    assignment.partitions.first { $0.partition == partition }
  }

  func group(_ partition: UInt32) throws -> GroupRecord? {
    try row(partition).map { try GroupRecord($0.group) }
  }

  /// A partition's replica of it asks, on a connection of its own.
  func ask(
    _ partition: UInt16, _ what: ConfigurationQuestion.What, cluster: String? = nil
  ) throws -> ConfigurationAnswer.Outcome {
    let link = try Socket(.dealer, in: context)
    link.setLinger(milliseconds: 0)
    link.setRoutingID("\(node)/\(incarnation)/\(partition)")
    try link.connect(dispatcher.workers)
    number += 1
    let question = ConfigurationQuestion(
      cluster: cluster ?? dispatcher.cluster, node: node, incarnation: incarnation, number: number,
      partition: PartitionID(partition), what: what)
    try link.send(try question.frame())
    guard link.wait(milliseconds: 10_000) else { throw Problem("\(node)'s question was not answered") }
    var message = Message()
    guard try link.receive(into: &message) else { throw Problem("\(node)'s question was not answered") }
    let answer = try ConfigurationAnswer(message.bytes)
    guard answer.number == number, answer.partition.rawValue == partition else {
      throw Problem("an answer to another question: \(answer)")
    }
    return answer.outcome
  }
}

extension [FakeWorker] {
  /// All of them live until it is so.
  func live(until what: String, _ isSo: () throws -> Bool) throws {
    let end = Date() + 30
    while true {
      for worker in self { try worker.live() }
      if try isSo() { return }
      guard Date() < end else { throw Problem("within 30 s it did not come about that \(what)") }
    }
  }
}
