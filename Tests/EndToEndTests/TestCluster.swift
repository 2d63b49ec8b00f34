import Foundation
import LarisClient
import LarisProtocol
import TestSupport

/// Programs as they were built, beside the tests.
enum Programs {
  static func path(_ name: String) throws -> String {
    var folders: [String] = []
    for start in ["/proc/self/exe", CommandLine.arguments[0]] {
      var folder = URL(fileURLWithPath: start).resolvingSymlinksInPath().deletingLastPathComponent()
      for _ in 0..<4 {
        folders.append(folder.path)
        folder.deleteLastPathComponent()
      }
    }
    for argument in CommandLine.arguments where argument.contains(".xctest") {
      folders.append(URL(fileURLWithPath: argument).deletingLastPathComponent().path)
    }
    folders.append(root + "/.build/release")
    for folder in folders {
      let path = folder + "/" + name
      var isDirectory: ObjCBool = false
      if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), !isDirectory.boolValue {
        return path
      }
    }
    throw Problem("\(name) is not built: \(folders)")
  }

  /// Starts a program that reads nothing, and adds what it says to the end of `log`.
  static func start(_ name: String, _ arguments: [String], appendingTo log: String) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try path(name))
    process.arguments = arguments
    if !FileManager.default.fileExists(atPath: log) {
      _ = FileManager.default.createFile(atPath: log, contents: nil)
    }
    let file = FileHandle(forWritingAtPath: log)
    _ = try file?.seekToEnd()
    process.standardOutput = file
    process.standardError = file
    process.standardInput = FileHandle.nullDevice
    try process.run()
    return process
  }

  /// Of the repository.
  static var root: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().path
  }
}

struct Problem: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Waits until something is so.
///
/// - Parameters:
///   - what: in words: what is waited for.
///   - state: to be told if that does not come about.
func waitUntil(
  _ what: String, seconds: Int = 60, state: @autoclosure () throws -> Any, _ isSo: () throws -> Bool
) throws {
  let until = Date() + Double(seconds)
  while try !isSo() {
    guard Date() < until else {
      throw Problem("within \(seconds) s it did not come about that \(what): \(try state())")
    }
    usleep(10_000)
  }
}

/// What a program printed and how it ended.
struct Run {
  let output: String
  let errors: String
  let exit: Int32

  /// Runs to the end. Output goes through files, so that it never blocks.
  static func program(
    _ name: String, _ arguments: [String], input: String? = nil, environment: [String: String] = [:]
  ) throws -> Run {
    let folder = try TestFolder()
    let process = Process()
    process.executableURL = URL(
      fileURLWithPath: name.hasPrefix("/") ? name : try Programs.path(name))
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let input {
      try input.write(toFile: folder.path + "/in", atomically: true, encoding: .utf8)
      process.standardInput = FileHandle(forReadingAtPath: folder.path + "/in")
    } else {
      process.standardInput = FileHandle.nullDevice
    }
    for (name, isError) in [("out", false), ("err", true)] {
      _ = FileManager.default.createFile(atPath: folder.path + "/" + name, contents: nil)
      let handle = FileHandle(forWritingAtPath: folder.path + "/" + name)
      if isError { process.standardError = handle } else { process.standardOutput = handle }
    }
    try process.run()
    let until = Date() + 180
    while process.isRunning {
      guard Date() < until else {
        Foundation.kill(process.processIdentifier, SIGKILL)
        throw Problem("\(name) \(arguments) did not end within 180 s")
      }
      usleep(2_000)
    }
    return Run(
      output: try String(contentsOfFile: folder.path + "/out", encoding: .utf8),
      errors: try String(contentsOfFile: folder.path + "/err", encoding: .utf8),
      exit: process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus)
  }
}

/// A port of the loopback that nobody uses now.
func freePort() throws -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let bound = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      bind(descriptor, address, size) == 0 && getsockname(descriptor, address, &size) == 0
    }
  }
  guard bound else { throw Problem("no free port: \(String(cString: strerror(errno)))") }
  return Int(UInt16(bigEndian: address.sin_port))
}

/// A cluster of real processes, by `laris up`. Whatever a test does, nothing of it stays behind.
final class TestCluster {
  let folder: TestFolder
  let services: String
  let workers: String
  private let process = Process()
  let client: LarisClient

  /// - Parameters:
  ///   - services: where the dispatcher listens; nil: some free port.
  ///   - options: further ones of `laris up`.
  init(
    folder: TestFolder? = nil, services: String? = nil, workers count: Int = 3, partitions: Int = 6,
    timeout: Int = 60, options: [String] = []
  ) throws {
    self.folder = try folder ?? TestFolder()
    self.services = try services ?? "tcp://127.0.0.1:\(freePort())"
    workers = "tcp://127.0.0.1:\(try freePort())"
    client = try LarisClient(dispatcher: self.services, budgetMilliseconds: 30_000)
    process.executableURL = URL(fileURLWithPath: try Programs.path("laris"))
    process.arguments =
      [
        "up", "--workers", "\(count)", "--partitions", "\(partitions)", "--data", data, "--listen",
        self.services, "--worker-listen", workers,
      ] + options
    _ = FileManager.default.createFile(atPath: self.folder.path + "/up.log", contents: nil)
    let log = FileHandle(forWritingAtPath: self.folder.path + "/up.log")
    process.standardOutput = log
    process.standardError = log
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let healthy = try laris(["status", "--exit-when-healthy", "--timeout", "\(timeout)"])
    guard healthy.exit == 0 else {
      // `laris up` says after two seconds what it waits for; a busy machine may take longer.
      let log = self.folder.path + "/up.log"
      let until = Date() + 30
      while Date() < until, process.isRunning,
        try !String(contentsOfFile: log, encoding: .utf8).contains("waiting for partition")
      {
        usleep(50_000)
      }
      throw Problem("the cluster did not come up: \(healthy.errors) \(log: self.folder.path + "/up.log")")
    }
  }

  var data: String { folder.path + "/data" }

  /// A command of `laris` against this cluster.
  func laris(_ arguments: [String], input: String? = nil) throws -> Run {
    try Run.program("laris", arguments + ["--dispatcher", services], input: input)
  }

  func loadtest(_ arguments: [String]) throws -> Run {
    try Run.program("laris-loadtest", arguments + ["--dispatcher", services])
  }

  func status() throws -> Laris_ClusterStatus {
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    return try done(request).status
  }

  /// The reply of a request that must be done.
  func done(_ request: Laris_Request) throws -> Laris_Reply {
    switch try client.call(request) {
    case .done(let reply): return reply
    case .no(let reply): throw Problem("no: \(reply.code) \(reply.message)")
    case .notExecuted(let reply): throw Problem("not executed: \(String(describing: reply))")
    case .unknown(_, let reply): throw Problem("unknown: \(String(describing: reply))")
    }
  }

  /// Kills a process of the cluster as a crash would.
  func kill(_ pid: UInt32) {
    Foundation.kill(pid_t(pid), SIGKILL)
  }

  /// SIGTERM, and the exit code of `laris up`.
  func stop() -> Int32 {
    if process.isRunning { process.terminate() }
    process.waitUntilExit()
    return process.terminationStatus
  }

  deinit {
    if process.isRunning {
      process.terminate()
      process.waitUntilExit()
    }
  }
}

extension String.StringInterpolation {
  fileprivate mutating func appendInterpolation(log path: String) {
    appendLiteral((try? String(contentsOfFile: path, encoding: .utf8)) ?? "")
  }
}
