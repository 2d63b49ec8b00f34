import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import Logging
import NodeSupport

/// Of every command that asks a cluster.
struct ClusterOptions: ParsableArguments {
  @Option(help: "Where the dispatcher listens for services. Also LARIS_DISPATCHER.")
  var dispatcher: String = ProcessInfo.processInfo.environment["LARIS_DISPATCHER"] ?? "tcp://127.0.0.1:12120"

  @Option(help: "How long to try, in seconds.")
  var timeout: Double = 10

  func client(deadlineSeconds: Double? = nil) throws -> LarisClient {
    guard timeout > 0, timeout <= 86_400 else {
      throw ValidationError("--timeout must be more than 0 and at most 86400 seconds")
    }
    do {
      return try LarisClient(
        dispatcher: dispatcher, budgetMilliseconds: Int64(max(timeout, deadlineSeconds ?? 0) * 1_000))
    } catch {
      throw NodeError(.usage, "--dispatcher \(error)")
    }
  }

  /// The reply to a read, or the error that says why there is none.
  func reply(to request: Laris_Request, by client: LarisClient) throws -> Laris_Reply {
    switch try client.call(request) {
    case .done(let reply): return reply
    case .no(let reply): throw NodeError(.no, "\(reply.code.contractName): \(reply.message)")
    case .notExecuted(nil):
      throw NodeError(
        .unreachable,
        "nobody listens at \(dispatcher); start a cluster with: laris up, or name another with --dispatcher")
    case .notExecuted(let reply?):
      throw NodeError(.notExecuted, "\(reply.code.contractName): \(reply.message)")
    case .unknown(_, nil):
      throw NodeError(.unreachable, "\(dispatcher) did not answer within \(timeout) s")
    case .unknown(_, let reply?): throw NodeError(.unknown, "\(reply.code.contractName): \(reply.message)")
    }
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
func validateNode(_ name: String) throws {
  let allowed = name.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: false
    }
  }
  guard allowed, !name.isEmpty, name.utf8.count <= 64 else {
    throw ValidationError("--node '\(name)': a node's name has 1 to 64 letters, digits, '-', '_' or '.'")
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
