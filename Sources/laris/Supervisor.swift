import Foundation
import NodeSupport

/// Child processes: started, started again when they die, stopped in good order.
struct Supervisor {
  private struct Child {
    let name: String
    let arguments: [String]
    var process: Process?
    var startedAt: Int64 = 0
    var restarts = 0
    var restartAt: Int64?
    /// Where in its log the present process began.
    var logStart = 0
  }

  private let logs: String
  private var children: [Child] = []

  init(logs: String) { self.logs = logs }

  mutating func add(_ name: String, _ arguments: [String]) {
    children.append(Child(name: name, arguments: arguments))
  }

  mutating func startAll() throws {
    for index in children.indices { try start(index) }
  }

  private func logPath(_ child: Child) -> String { logs + "/" + child.name + ".log" }

  private mutating func start(_ index: Int) throws {
    let child = children[index]
    let log = open(logPath(child), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard log >= 0 else {
      throw NodeError(.no, "\(logPath(child)) can't be written: \(String(cString: strerror(errno)))")
    }
    children[index].logStart = Int(lseek(log, 0, SEEK_END))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = child.arguments
    let handle = FileHandle(fileDescriptor: log, closeOnDealloc: true)
    process.standardOutput = handle
    process.standardError = handle
    process.standardInput = FileHandle.nullDevice
    try process.run()
    children[index].process = process
    children[index].startedAt = Clock.steadyMilliseconds()
    children[index].restartAt = nil
  }

  /// A node that ends while the cluster comes up has a reason that a person must see.
  func failIfDead() throws {
    for child in children {
      guard let process = child.process, !process.isRunning else { continue }
      throw NodeError(.no, "\(child.name) ended: \(lastWords(child))")
    }
  }

  private func lastWords(_ child: Child) -> String {
    let log = FileManager.default.contents(atPath: logPath(child)) ?? Data()
    let lines = String(decoding: log.dropFirst(child.logStart), as: UTF8.self).split(separator: "\n")
    let line = (lines.last { $0.hasPrefix("laris: ") } ?? lines.last).map(String.init) ?? "it said nothing"
    return line.hasPrefix("laris: ") ? String(line.dropFirst(7)) : line
  }

  /// Starts again what has died: at once the first time, more slowly when it keeps dying.
  mutating func restartDead(unless stop: StopFlag) throws {
    let now = Clock.steadyMilliseconds()
    for index in children.indices {
      if let at = children[index].restartAt {
        guard now >= at, !stop.isSet else { continue }
        try start(index)
        Terminal.print(
          "\(children[index].name) started again (pid \(children[index].process?.processIdentifier ?? 0))")
        continue
      }
      guard let process = children[index].process, !process.isRunning else { continue }
      if now - children[index].startedAt > 10_000 { children[index].restarts = 0 }
      // Ctrl-C reaches the whole group: what ends now may have been told to.
      let delay = Int64(100 << min(children[index].restarts, 6))
      children[index].restarts += 1
      children[index].restartAt = now + delay
      let how =
        process.terminationReason == .uncaughtSignal
        ? "was killed by signal \(process.terminationStatus)"
        : "ended with exit code \(process.terminationStatus): \(lastWords(children[index]))"
      if !stop.isSet { Terminal.print("\(children[index].name) (pid \(process.processIdentifier)) \(how)") }
    }
  }

  /// SIGTERM to all, the workers first; what does not end within 20 s is killed.
  ///
  /// - Returns: whether all ended in good order.
  @discardableResult
  mutating func stopAll() -> Bool {
    var isClean = true
    for child in children.reversed() { child.process?.terminate() }
    let deadline = Clock.steadyMilliseconds() + 20_000
    for index in children.indices {
      guard let process = children[index].process else { continue }
      while process.isRunning, Clock.steadyMilliseconds() < deadline { usleep(5_000) }
      if process.isRunning {
        isClean = false
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
      } else if process.terminationStatus != 0, children[index].restartAt == nil {
        isClean = false
      }
      children[index].process = nil
    }
    return isClean
  }
}
