import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Nodes, partitions and how they are.",
    discussion: """
      Columns: EPOCH counts the changes of a partition's primary. COMMITTED is its last durable entry,
      CHECKPOINTED the last one in SQLite too; REPLAY is what a restart would read of the log between
      them. WAITING and SENT are requests in the dispatcher now.

      Exit code 0: every partition is active; 1: not.

        laris status --watch
        laris status --exit-when-healthy --timeout 60
      """)

  @OptionGroup var cluster: ClusterOptions

  @Flag(help: "Print the reply as proto3 JSON (ClusterStatus).")
  var json = false

  @Flag(help: "Look again every second, until Ctrl-C.")
  var watch = false

  @Flag(help: "Look again until every partition is active, for at most --timeout seconds.")
  var exitWhenHealthy = false

  func run() throws {
    let client = try cluster.client()
    let until = Clock.steadyMilliseconds() + Int64(cluster.timeout * 1_000)
    while true {
      var request = Laris_Request()
      request.getStatus = Laris_GetStatus()
      let status = try cluster.reply(to: request, by: client).status
      let isOver = !exitWhenHealthy || status.isHealthy || Clock.steadyMilliseconds() >= until
      if watch || isOver {
        if watch, Terminal.isInteractive { Terminal.print("\u{1B}[H\u{1B}[2J", terminator: "") }
        Terminal.print(json ? try status.jsonString() : Self.text(status))
      }
      if isOver, !watch || (exitWhenHealthy && status.isHealthy) {
        guard status.isHealthy else { throw NodeError(.no, "not healthy: \(status.trouble)") }
        return
      }
      usleep(watch ? 1_000_000 : 50_000)
    }
  }

  static func text(_ status: Laris_ClusterStatus) -> String {
    let dispatcher = status.dispatcher
    var text = "cluster \(status.name) (\(status.clusterID)), \(status.currency), "
    text += "\(status.replicas) replica, \(status.isHealthy ? "healthy" : "NOT HEALTHY: \(status.trouble)")\n"
    text += "\(dispatcher.node): pid \(dispatcher.pid), up "
    text += Terminal.duration(milliseconds: status.now - dispatcher.startedAt)
    text += ", \(Terminal.grouped(dispatcher.requests)) requests: \(Terminal.grouped(dispatcher.done)) done, "
    text +=
      "\(Terminal.grouped(dispatcher.no)) no, \(Terminal.grouped(dispatcher.notExecuted)) not executed, "
    text += "\(Terminal.grouped(dispatcher.unknown)) unknown\n\n"
    text += Terminal.table(
      ["WORKER", "STATE", "PID", "UP", "PARTITIONS"],
      status.workers.map { worker in
        let mine = status.partitions.filter { $0.primary == worker.node }
        return [
          worker.node, worker.alive ? "alive" : "away", "\(worker.pid)",
          worker.alive ? Terminal.duration(milliseconds: status.now - worker.startedAt) : "-",
          mine.map { "\($0.partition)" }.joined(separator: " "),
        ]
      })
    text += "\n\n"
    text += Terminal.table(
      [
        "PARTITION", "STATE", "PRIMARY", "EPOCH", "COMMITTED", "CHECKPOINTED", "REPLAY", "ORDERS", "WAITING",
        "SENT",
      ],
      status.partitions.map { partition in
        [
          "\(partition.partition)", partition.active ? "active" : "away",
          partition.primary.isEmpty ? "-" : partition.primary, "\(partition.epoch)",
          Terminal.grouped(partition.committed), Terminal.grouped(partition.checkpointed),
          Terminal.bytes(partition.replayBytes), Terminal.grouped(partition.orders), "\(partition.waiting)",
          "\(partition.inFlight)",
        ]
      }, right: [0, 3, 4, 5, 6, 7, 8, 9])
    for partition in status.partitions where !partition.note.isEmpty {
      text += "\npartition \(partition.partition): \(partition.note)"
    }
    return text
  }
}

extension Laris_ClusterStatus {
  /// Every partition serves.
  var isHealthy: Bool { !partitions.isEmpty && partitions.allSatisfy(\.active) }

  /// What is wrong, in a few words.
  var trouble: String {
    let away = partitions.filter { !$0.active }
    if away.isEmpty { return "" }
    let unplaced = away.filter(\.primary.isEmpty)
    if unplaced.count == partitions.count {
      return "\(workers.filter(\.alive).count) of \(initialWorkers) workers have joined"
    }
    return "\(away.count) of \(partitions.count) partitions are not active"
  }
}
