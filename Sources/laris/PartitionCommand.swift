import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct PartitionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "partition", abstract: "Which worker has which replica, and changes of that.",
    subcommands: [List.self, Switchover.self, MoveReplica.self, RestartFrom.self])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Partitions, their replicas, and what is asked of them.")

    @OptionGroup var cluster: ClusterOptions

    @Flag(help: "Print JSON: an array of PartitionStatus.")
    var json = false

    func run() throws {
      let status = try cluster.status(by: try cluster.client())
      if json {
        Terminal.print("[" + (try status.partitions.map { try $0.jsonString() }.joined(separator: ",")) + "]")
        return
      }
      Terminal.print(
        Terminal.table(
          ["PARTITION", "STATE", "PRIMARY", "SECONDARIES", "EPOCH", "ASKED FOR", "MOVE"],
          status.partitions.map { partition in
            let move = partition.move
            return [
              "\(partition.partition)", partition.active ? "active" : "away",
              partition.primary.isEmpty ? "-" : partition.primary, partition.secondariesText,
              "\(partition.epoch)", partition.asked,
              partition.hasMove ? "\(move.from) to \(move.to), \(move.percent) %" : "",
            ]
          }, right: [0, 4]))
    }
  }

  struct Switchover: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a secondary the primary.",
      discussion: """
        The primary stops taking writes, waits until the secondary has all that there is, and hands over: some
        milliseconds. What was sent meanwhile goes to the new primary.

          laris partition switchover 3 --to worker-2
        """)

    @Argument(help: "The partition, from 0.")
    var partition: UInt32

    @Option(help: "The secondary that becomes the primary.")
    var to: String

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var cluster: ClusterOptions

    func validate() throws { try validateNode(to, flag: "--to") }

    func run() throws {
      let client = try cluster.client()
      var request = Laris_Request()
      request.switchPrimary.partition = partition
      request.switchPrimary.to = to
      try cluster.ask(request, by: client)
      try waiting.wait("partition \(partition): switchover to \(to)", cluster, client) { status in
        guard let row = status.partition(partition) else { return .over("there is no such partition") }
        if row.primary == to { return row.active ? .done : .percent(90, "\(to) begins to serve") }
        // The wish is gone with an epoch that came in between, or was given up.
        if row.asked != "switchover \(to)" { try cluster.ask(request, by: client) }
        return .percent(row.epoch == 0 ? 0 : 50, "\(row.primary) hands over")
      }
    }
  }

  struct RestartFrom: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "restart-from",
      abstract: "Lets a partition go on with an old replica, when all of its members are lost.",
      discussion: """
        For the day on which no worker is left that has all that was answered. Entries that the old replica
        lacks are lost for good, and history says so. Without --accept-loss it only tells what may be lost. As
        long as a member lives it is refused, for then nothing need be lost.

          laris partition restart-from 3 --node worker-2
          laris partition restart-from 3 --node worker-2 --accept-loss 3
        """)

    @Argument(help: "The partition, from 0.")
    var partition: UInt32

    @Option(help: "The worker whose replica it goes on with.")
    var node: String

    @Option(help: "The partition once more: what is told to be lost may be lost.")
    var acceptLoss: UInt32?

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
      try validateNode(node)
      if let acceptLoss, acceptLoss != partition {
        throw ValidationError("--accept-loss \(acceptLoss) is not the partition \(partition)")
      }
    }

    func run() throws {
      let client = try cluster.client()
      var request = Laris_Request()
      request.restartGroup.partition = partition
      request.restartGroup.node = node
      request.restartGroup.acceptLoss = acceptLoss != nil
      let cost = try cluster.ask(request, by: client).message
      if !cost.isEmpty { Terminal.print(cost) }
      try waiting.wait("partition \(partition): restart from \(node)", cluster, client) { status in
        guard let row = status.partition(partition) else { return .over("there is no such partition") }
        guard row.primary == node else { return .over("\(row.primary) is the primary") }
        return row.active ? .done : .percent(50, row.note.isEmpty ? "it begins to serve" : row.note)
      }
    }
  }

  struct MoveReplica: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "move",
      abstract: "Moves a replica to another worker, while the partition serves.",
      discussion: """
        The target copies the data and follows; if the source is the primary, the target takes over; then the
        source leaves. The wish is kept in the cluster's configuration, so it goes on whatever stops meanwhile.
        --undo with the same names goes the way back, from wherever it is.

          laris partition move 3 --from worker-1 --to worker-4
          laris partition move 3 --from worker-1 --to worker-4 --undo
        """)

    @Argument(help: "The partition, from 0.")
    var partition: UInt32

    @Option(help: "The worker that has the replica.")
    var from: String

    @Option(help: "The worker that gets it.")
    var to: String

    @Flag(help: "Take the move back: the replica goes, or stays, where it was.")
    var undo = false

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
      try validateNode(from, flag: "--from")
      try validateNode(to, flag: "--to")
      guard from != to else { throw ValidationError("--from and --to are the same worker") }
    }

    func run() throws {
      let client = try cluster.client()
      var request = Laris_Request()
      request.moveReplica.partition = partition
      request.moveReplica.from = from
      request.moveReplica.to = to
      request.moveReplica.undo = undo
      try cluster.ask(request, by: client)
      let (source, target) = undo ? (to, from) : (from, to)
      try waiting.wait("partition \(partition) from \(source) to \(target)", cluster, client) { status in
        guard let row = status.partition(partition) else { return .over("there is no such partition") }
        if row.hasMove {
          if row.move.from == source, row.move.to == target {
            return .percent(Int(row.move.percent), row.move.percent == 100 ? "" : row.asked)
          }
          if row.move.from == target, row.move.to == source {
            return .over(undo ? "somebody asked for it again" : "somebody took it back")
          }
        }
        let members = row.members.filter { $0.role != "learner" }.map(\.node)
        if members.contains(target), !members.contains(source) { return .done }
        return .over("it is not planned any more")
      }
    }
  }
}

/// Of commands that ask for what takes its time.
struct WaitOptions: ParsableArguments {
  @Flag(help: "Don't wait until it is done: it will be, as long as a dispatcher runs.")
  var noWait = false

  @Option(help: "How long to wait until it is done, in seconds. It goes on after that.")
  var wait: Double = 3_600

  enum Progress {
    case done
    case percent(Int, String)
    /// As it looks it won't be done, for this reason.
    case over(String)
  }

  func validate() throws {
    guard wait > 0, wait <= 604_800 else {
      throw ValidationError("--wait must be more than 0, at most a week")
    }
  }

  /// A dispatcher sees a moment later what another one was told: only what looks over for so long is.
  private static let overMilliseconds: Int64 = 5_000

  /// Looks ten times a second, and says how far it is.
  func wait(
    _ what: String, _ cluster: ClusterOptions, _ client: LarisClient,
    _ look: (Laris_ClusterStatus) throws -> Progress
  ) throws {
    if noWait { return Terminal.print("\(what): asked for") }
    let until = Clock.steadyMilliseconds() + Int64(wait * 1_000)
    var overAt: Int64?
    var said = ""
    while true {
      let progress = try look(try cluster.status(by: client))
      let now = Clock.steadyMilliseconds()
      switch progress {
      case .done:
        say("\(what): done", isLast: true)
        return
      case .over(let why):
        overAt = overAt ?? now + Self.overMilliseconds
        guard now < min(overAt!, until) else {
          say("", isLast: true)
          throw NodeError(.no, "\(what): \(why)")
        }
      case .percent(let percent, let doing):
        overAt = nil
        let line = "\(what): \(percent) %\(doing.isEmpty ? "" : ", \(doing)")"
        if line != said { say(line, isLast: false) }
        said = line
        guard now < until else {
          say("", isLast: true)
          throw NodeError(.no, "\(line) after \(Int(wait)) s; it goes on, laris partition list shows how far")
        }
      }
      usleep(100_000)
    }
  }

  /// On a terminal one line that changes.
  private func say(_ line: String, isLast: Bool) {
    guard Terminal.isInteractive else {
      if !line.isEmpty { Terminal.print(line) }
      return
    }
    Terminal.print("\r\u{1B}[K\(line)", terminator: isLast && !line.isEmpty ? "\n" : "")
  }
}

extension ClusterOptions {
  func status(by client: LarisClient) throws -> Laris_ClusterStatus {
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    return try reply(to: request, by: client).status
  }

  /// An operator's wish: kept, or an error that says why not.
  @discardableResult
  func ask(_ request: Laris_Request, by client: LarisClient) throws -> Laris_Reply {
    var request = request
    // The configuration may be slow; what an operator asks for waits for it.
    request.deadlineMilliseconds = UInt32(min(600_000, timeout * 1_000))
    return try reply(to: request, by: client)
  }
}

extension Laris_ClusterStatus {
  func partition(_ number: UInt32) -> Laris_PartitionStatus? {
    partitions.first { $0.partition == number }
  }
}

extension Laris_PartitionStatus {
  /// "worker-2 -0, worker-3 away, worker-4 joins (35 %) -1234": -N is how many entries it is behind the primary.
  var secondariesText: String {
    let others = members.filter { $0.role != "primary" }.map { member in
      if member.role == "learner" {
        return member.alive
          ? "\(member.node) joins (\(joinedPercent) %) -\(lag(of: member))"
          : "\(member.node) is to join, away"
      }
      guard member.alive else { return "\(member.node) away" }
      return member.inSync
        ? "\(member.node) -\(lag(of: member))"
        : "\(member.node) (\(member.activity.isEmpty ? "not in sync" : member.activity))"
    }
    return others.isEmpty ? "-" : others.joined(separator: ", ")
  }

  /// How many entries it is behind the primary. They speak at different times: one that seems to be ahead is not
  /// behind.
  private func lag(of member: Laris_MemberStatus) -> UInt64 {
    let last = members.first { $0.role == "primary" }?.last ?? 0
    return last > member.last ? last - member.last : 0
  }
}
