import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import Logging
import NodeSupport
import ReplicationLog

/// Of every command that asks a cluster.
struct ClusterOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Where the dispatcher listens for services. More of them, with commas or by repeating it: the next takes "
        + "over where one can't be reached. Also LARIS_DISPATCHER. (default: tcp://127.0.0.1:12120)",
      valueName: "dispatcher"))
  var dispatcher: [String] = []

  @Option(help: "How long to try, in seconds.")
  var timeout: Double = 10

  var dispatchers: [String] { LarisClient.dispatchers(named: dispatcher) }

  func client(deadlineSeconds: Double? = nil) throws -> LarisClient {
    guard timeout > 0, timeout <= 86_400 else {
      throw ValidationError("--timeout must be more than 0 and at most 86400 seconds")
    }
    var options = LarisClient.Options()
    options.budgetMilliseconds = Int64((max(timeout, deadlineSeconds ?? 0) * 1_000).rounded(.up))
    options.connectDeadlineMilliseconds = options.budgetMilliseconds
    do {
      return try LarisClient(dispatchers: dispatchers, options: options)
    } catch {
      throw NodeError(.usage, "--dispatcher \(error)")
    }
  }

  /// The reply to a read, or the error that says why there is none.
  func reply(to request: Laris_Request, by client: LarisClient) throws -> Laris_Reply {
    try reply(of: try client.call(request))
  }

  /// The reply of what must be done, or the error that says why it is not.
  func reply(of outcome: LarisClient.Outcome) throws -> Laris_Reply {
    switch outcome {
    case .done(let reply): return reply
    case .no(let reply): throw NodeError(.no, "\(reply.code.contractName): \(reply.message)")
    case .notExecuted(nil): throw unreachable
    case .notExecuted(let reply?):
      throw NodeError(.notExecuted, "\(reply.code.contractName): \(reply.message)")
    case .unknown(_, nil):
      throw NodeError(
        .unreachable, "\(dispatchers.joined(separator: ", ")) did not answer within \(timeout) s")
    case .unknown(_, let reply?): throw NodeError(.unknown, "\(reply.code.contractName): \(reply.message)")
    }
  }

  var unreachable: NodeError {
    NodeError(
      .unreachable,
      "nobody listens at \(dispatchers.joined(separator: ", ")); start a cluster with: laris up, "
        + "or name another with --dispatcher")
  }
}

/// Of every node.
struct NodeOptions: ParsableArguments {
  @Option(help: "Log for people or for machines: readable or json.")
  var logFormat: LogFormat = .readable

  @Option(help: "Least level to log: trace, debug, info, notice, warning, error, critical.")
  var logLevel: LogLevel = .info

  /// Of `laris up`: the node ends with the process that started it.
  @Option(help: .hidden)
  var parent: Int32?

  enum LogFormat: String, ExpressibleByArgument, CaseIterable { case readable, json }
  enum LogLevel: String, ExpressibleByArgument, CaseIterable {
    case trace, debug, info, notice, warning, error, critical
  }

  /// Prepares the process; call before any thread is made.
  func start() -> StopFlag {
    Signals.block()
    Descriptors.raiseLimit()
    Scheduling.answersSoon()
    Allocation.keepsWhatItHas()
    LogOutput.bootstrap(
      logFormat == .json ? .json : .readable, level: Logger.Level(rawValue: logLevel.rawValue) ?? .info)
    let stop = StopFlag()
    Signals.stop(stop)
    if let parent { Signals.follow(parent: parent, stop) }
    return stop
  }
}

/// A node's name: letters, digits, `-`, `_` and `.`, 1 to 64 of them.
func validateNode(_ name: String, flag: String = "--node") throws {
  let allowed = name.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: false
    }
  }
  guard allowed, !name.isEmpty, name.utf8.count <= 64 else {
    throw ValidationError("\(flag) '\(name)': a node's name has 1 to 64 letters, digits, '-', '_' or '.'")
  }
}

/// ArgumentParser's own errors are not for nodes.
func validateEndpoint(_ endpoint: String, flag: String) throws {
  let parts = endpoint.split(separator: ":", omittingEmptySubsequences: false)
  guard endpoint.hasPrefix("tcp://"), parts.count >= 3, let port = UInt16(parts[parts.count - 1]), port > 0
  else {
    throw ValidationError("\(flag) '\(endpoint)' is no address; it should look like tcp://127.0.0.1:12120")
  }
}

func validateDiskReserve(_ mebibytes: Int) throws {
  guard mebibytes >= 0, mebibytes <= 1 << 30 else {
    throw ValidationError("--disk-reserve must be 0 to 1073741824 MiB")
  }
}

/// What a partition keeps of its log when nobody needs it any more.
struct LogTailOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Seconds that a partition keeps of its log beyond what its replicas need.",
      discussion: "A worker that was away for less catches up without a snapshot."))
  var logKeepSeconds: Int = 60

  @Option(help: "MiB of its log that a partition keeps so at most.")
  var logKeepMib: Int = 256

  func validate() throws {
    guard (0...1 << 30).contains(logKeepSeconds) else {
      throw ValidationError("--log-keep-seconds must be 0 to 1073741824")
    }
    guard (0...1 << 30).contains(logKeepMib) else {
      throw ValidationError("--log-keep-mib must be 0 to 1073741824")
    }
  }

  var tail: LogTail { LogTail(milliseconds: Int64(logKeepSeconds) * 1_000, bytes: logKeepMib << 20) }

  /// For another process.
  var words: [String] { ["--log-keep-seconds", "\(logKeepSeconds)", "--log-keep-mib", "\(logKeepMib)"] }
}
