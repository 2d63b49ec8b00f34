import Foundation

/// Real etcd processes on free ports of the loopback, in a folder that goes with them. They are ended by
/// their process ids.
package final class EtcdServers: @unchecked Sendable {
  package struct Problem: Error, CustomStringConvertible {
    package let description: String
  }

  private struct Server {
    var process: Process
    let arguments: [String]
  }

  private let folder: TestFolder
  private var servers: [Server] = []
  /// Of the clients.
  package private(set) var ports: [Int] = []
  package let scheme: String
  package var endpoints: [String] { ports.map { "\(scheme)://127.0.0.1:\($0)" } }

  /// - Parameters:
  ///   - count: 1, or 3 that elect a leader.
  ///   - options: further ones of each.
  ///   - https: `options` say how.
  package init(_ count: Int = 1, options: [String] = [], https: Bool = false) throws {
    guard let program = Self.program else {
      throw Problem(description: "there is no etcd here; deploy/install-packages.sh installs it")
    }
    folder = try TestFolder()
    scheme = https ? "https" : "http"
    var why = ""
    // Ports that were free may be taken by the time that they are used.
    for attempt in 0..<5 {
      ports = (0..<count).map { _ in Self.freePort() }
      let peers = (0..<count).map { _ in Self.freePort() }
      let members = peers.enumerated().map { "n\($0)=http://127.0.0.1:\($1)" }.joined(separator: ",")
      servers = try (0..<count).map { number in
        let client = "\(scheme)://127.0.0.1:\(ports[number])"
        let peer = "http://127.0.0.1:\(peers[number])"
        let arguments =
          [
            "--name", "n\(number)", "--data-dir", "\(folder.path)/\(attempt)-n\(number)",
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", members, "--heartbeat-interval", "50",
            "--election-timeout", "500", "--logger", "zap", "--log-outputs",
            "\(folder.path)/\(attempt)-n\(number).log",
          ] + options
        return Server(process: try Self.start(program, arguments), arguments: arguments)
      }
      let until = Date() + 20
      while Date() < until {
        if ports.allSatisfy({ Self.connects(to: $0) }) { return }
        if servers.contains(where: { !$0.process.isRunning }) { break }
        usleep(10_000)
      }
      why = (try? String(contentsOfFile: "\(folder.path)/\(attempt)-n0.log", encoding: .utf8)) ?? ""
      end()
    }
    throw Problem(description: "etcd did not come up: \(why.suffix(1_000))")
  }

  private static let program = ["/usr/bin/etcd", "/usr/local/bin/etcd"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  private static func start(_ program: String, _ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.environment = ["PATH": "/usr/bin:/bin", "ETCD_UNSUPPORTED_ARCH": "arm64"]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }

  /// SIGSTOP: it holds its connections, and says nothing.
  package func stop(_ number: Int = 0) { kill(servers[number].process.processIdentifier, SIGSTOP) }
  package func goOn(_ number: Int = 0) { kill(servers[number].process.processIdentifier, SIGCONT) }
  /// SIGKILL.
  package func kill(_ number: Int) {
    kill(servers[number].process.processIdentifier, SIGKILL)
    servers[number].process.waitUntilExit()
  }
  package func restart(_ number: Int) throws {
    servers[number].process = try Self.start(Self.program!, servers[number].arguments)
  }

  private func kill(_ pid: pid_t, _ signal: Int32) { Foundation.kill(pid, signal) }

  package func end() {
    for number in servers.indices where servers[number].process.isRunning { kill(number) }
    servers = []
  }

  deinit { end() }

  package static func freePort() -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    guard let port = Loopback.bind(descriptor, port: 0) else { fatalError("no free port: \(errno)") }
    return port
  }

  private static func connects(to port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    return Loopback.connect(descriptor, port: port)
  }
}

enum Loopback {
  private static func address(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
  }

  /// - Returns: the port; nil: it can't be had.
  static func bind(_ descriptor: Int32, port: Int) -> Int? {
    var address = address(port)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Foundation.bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
      }
    }
    return isBound ? Int(UInt16(bigEndian: address.sin_port)) : nil
  }

  static func connect(_ descriptor: Int32, port: Int) -> Bool {
    var address = address(port)
    return withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Foundation.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
