import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct WorkerCommands: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "worker", abstract: "Run a worker, look at the workers, drain one, or take one out.",
    subcommands: [WorkerCommand.self, List.self, Drain.self, Remove.self],
    defaultSubcommand: WorkerCommand.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The workers, where they stand, and what they have.")

    @OptionGroup var cluster: ClusterOptions

    @Flag(help: "Print JSON: an array of WorkerStatus.")
    var json = false

    func run() throws {
      let status = try cluster.status(by: try cluster.client())
      if json {
        Terminal.print("[" + (try status.workers.map { try $0.jsonString() }.joined(separator: ",")) + "]")
        return
      }
      Terminal.print(Self.table(status))
    }

    static func table(_ status: Laris_ClusterStatus) -> String {
      Terminal.table(
        ["WORKER", "STATE", "ZONE", "PID", "UP", "PRIMARY OF", "SECONDARY OF", "JOINS"],
        status.workers.map { worker in
          func partitions(_ role: String) -> String {
            status.partitions.filter { partition in
              partition.members.contains { $0.node == worker.node && $0.role == role }
            }.map { "\($0.partition)" }.joined(separator: " ")
          }
          return [
            worker.node, (worker.alive ? "alive" : "away") + (worker.draining ? ", draining" : ""),
            worker.zone.isEmpty ? "-" : worker.zone, "\(worker.pid)",
            worker.alive ? Terminal.duration(milliseconds: status.now - worker.startedAt) : "-",
            partitions("primary"), partitions("secondary"), partitions("learner"),
          ]
        }, right: [3])
    }
  }

  struct Drain: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Moves all that a worker has to others, and gives it nothing new.",
      discussion: """
        For maintenance, or before a worker is taken away for good. Its replicas go one after the other, while
        the partitions serve; the last replica that is needed never goes. With fewer workers than replicas the
        partitions keep those that there can be. --undo lets it take replicas again; what has left stays away.

          laris worker drain worker-3
          laris worker drain worker-3 --undo
        """)

    @Argument(help: "The worker's name.")
    var node: String

    @Flag(help: "It takes replicas again.")
    var undo = false

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var cluster: ClusterOptions

    func validate() throws { try validateNode(node, flag: "the worker") }

    func run() throws {
      let client = try cluster.client()
      var request = Laris_Request()
      request.drainWorker.node = node
      request.drainWorker.undo = undo
      try cluster.ask(request, by: client)
      if undo { return Terminal.print("\(node) takes replicas again") }
      var first: Int?
      try waiting.wait("worker \(node)", cluster, client) { status in
        let left = status.partitions.filter { partition in
          partition.members.contains { $0.node == node && $0.role != "learner" }
        }
        first = first ?? left.count
        if left.isEmpty { return .done }
        let isDrained = status.workers.first { $0.node == node }?.draining ?? true
        guard isDrained else { return .over("somebody took it back") }
        let names = left.map { "\($0.partition)" }.joined(separator: " ")
        return .percent((first! - left.count) * 100 / max(1, first!), "it has partitions \(names)")
      }
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Takes a worker that will never come back out of the cluster.",
      discussion: """
        Its name is never used again: who comes under it is refused. Refused itself as long as the worker is
        alive, or a member of a partition: drain it first, or wait until the others have dropped it.

          laris worker remove worker-3
          laris worker remove worker-3 --undo
        """)

    @Argument(help: "The worker's name.")
    var node: String

    @Flag(help: "It may come back.")
    var undo = false

    @OptionGroup var cluster: ClusterOptions

    func validate() throws { try validateNode(node, flag: "the worker") }

    func run() throws {
      let client = try cluster.client()
      var request = Laris_Request()
      request.removeWorker.node = node
      request.removeWorker.undo = undo
      try cluster.ask(request, by: client)
      Terminal.print(undo ? "\(node) may come back" : "\(node) is not of this cluster any more")
    }
  }
}
