import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Nodes, partitions and how they are.",
    discussion: """
      Columns: SYNC is how many members follow, of how many replicas there should be. A secondary's -N is
      how many entries it is behind the primary, by what both said last. EPOCH counts the changes of a
      partition's members. COMMITTED is the primary's last entry that is durable on all members, CHECKPOINTED the last
      one in SQLite too; REPLAY is what a restart would read of the log between them. WAITING and SENT are
      requests in the dispatcher now.

      Exit code 0: every partition is active and has all its replicas; 1: not.

        laris status --watch
        laris status --history 3                the changes of partition 3's members, who made them and why
        laris status --history 3 --all          all of them
        laris status --exit-when-healthy --timeout 60
      """)

  @OptionGroup var cluster: ClusterOptions

  @Flag(help: "Print the reply as proto3 JSON (ClusterStatus).")
  var json = false

  @Flag(help: "Look again every second, until Ctrl-C.")
  var watch = false

  @Flag(
    help: "Look again until every partition is active with all its replicas, for at most --timeout seconds.")
  var exitWhenHealthy = false

  @Option(help: "Print the latest 64 changes of this partition's members instead.")
  var history: UInt32?

  @Flag(help: "With --history: all changes since the partition was placed.")
  var all = false

  func validate() throws {
    guard history != nil || !all else { throw ValidationError("--all goes with --history PARTITION") }
    guard history == nil || !(watch || exitWhenHealthy) else {
      throw ValidationError("--history is looked at once: leave out --watch and --exit-when-healthy")
    }
  }

  func run() throws {
    let client = try cluster.client()
    if let history { return try show(history, client) }
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

  private func show(_ partition: UInt32, _ client: LarisClient) throws {
    var request = Laris_Request()
    request.getGroupHistory.partition = partition
    var history = try cluster.reply(to: request, by: client).groupHistory
    while all, let oldest = history.changes.first?.epoch {
      request.getGroupHistory.beforeEpoch = oldest
      let older = try cluster.reply(to: request, by: client).groupHistory.changes
      // A dispatcher of an earlier version tells the latest again.
      guard let last = older.last?.epoch, last < oldest else { break }
      history.changes.insert(contentsOf: older, at: 0)
    }
    Terminal.print(json ? try history.jsonString() : Self.text(history))
  }

  static func text(_ history: Laris_GroupHistory) -> String {
    Terminal.table(
      ["WHEN", "EPOCH", "PRIMARY", "SECONDARIES", "ASKED FOR", "COMMITTED", "BY", "WHY"],
      history.changes.map { change in
        [
          Terminal.time(milliseconds: change.at), "\(change.epoch)", change.primary,
          change.secondaries.isEmpty ? "-" : change.secondaries.joined(separator: " "), change.asked,
          change.committed == 0 ? "-" : Terminal.grouped(change.committed), change.by, change.why,
        ]
      }, right: [1, 5])
  }

  static func text(_ status: Laris_ClusterStatus) -> String {
    let dispatcher = status.dispatcher
    var text = "cluster \(status.name) (\(status.clusterID)), \(status.currency), "
    text +=
      status.replicas == 1 ? "1 replica" : "\(status.replicas) replicas (\(status.minReplicas) at least)"
    text += ", \(status.isHealthy ? "healthy" : "NOT HEALTHY: \(status.trouble)")\n"
    text += "\(dispatcher.node): pid \(dispatcher.pid), up "
    text += Terminal.duration(milliseconds: status.now - dispatcher.startedAt)
    text += ", \(Terminal.grouped(dispatcher.requests)) requests: \(Terminal.grouped(dispatcher.done)) done, "
    text +=
      "\(Terminal.grouped(dispatcher.no)) no, \(Terminal.grouped(dispatcher.notExecuted)) not executed, "
    text += "\(Terminal.grouped(dispatcher.unknown)) unknown\n\n"
    text += WorkerCommands.List.table(status)
    text += "\n\n"
    text += Terminal.table(
      [
        "PARTITION", "STATE", "SYNC", "PRIMARY", "SECONDARIES", "EPOCH", "COMMITTED", "CHECKPOINTED",
        "REPLAY",
        "ORDERS", "WAITING", "SENT",
      ],
      status.partitions.map { partition in
        [
          "\(partition.partition)", partition.active ? "active" : "away",
          "\(partition.inSync)/\(status.replicas)", partition.primary.isEmpty ? "-" : partition.primary,
          partition.secondariesText, "\(partition.epoch)",
          Terminal.grouped(partition.committed), Terminal.grouped(partition.checkpointed),
          Terminal.bytes(partition.replayBytes), Terminal.grouped(partition.orders), "\(partition.waiting)",
          "\(partition.inFlight)",
        ]
      }, right: [0, 5, 6, 7, 8, 9, 10, 11])
    for partition in status.partitions where partition.hasMove {
      let move = partition.move
      text += "\npartition \(partition.partition): moves from \(move.from) to \(move.to), \(move.percent) %"
    }
    for partition in status.partitions where !partition.note.isEmpty {
      text += "\npartition \(partition.partition): \(partition.note)"
    }
    return text
  }
}

extension Laris_ClusterStatus {
  /// Every partition serves, and has all its replicas.
  var isHealthy: Bool {
    !partitions.isEmpty && partitions.allSatisfy { $0.active && $0.inSync >= replicas }
  }

  /// What is wrong, in a few words.
  var trouble: String {
    let away = partitions.filter { !$0.active }
    if away.isEmpty {
      let weak = partitions.filter { $0.inSync < replicas }
      return weak.isEmpty ? "" : "\(weak.count) of \(partitions.count) partitions lack a replica"
    }
    let unplaced = away.filter(\.primary.isEmpty)
    if unplaced.count == partitions.count {
      return "\(workers.filter(\.alive).count) of \(initialWorkers) workers have joined"
    }
    return "\(away.count) of \(partitions.count) partitions are not active"
  }
}
