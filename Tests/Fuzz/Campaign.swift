import Bytes
import Foundation

/// Runs targets in processes of their own, so that a trap, a signal or a loop ends a process and leaves the
/// input that did it.
package struct Campaign {
  /// An input that takes longer hangs.
  private static let hangSeconds = 30.0

  package struct Result: Sendable {
    package var tally = Session.Tally()
    /// What was found, and with which input.
    package var finding: (what: String, input: [UInt8])?
  }

  /// This program.
  package let program: String
  package init(program: String) { self.program = program }

  /// - Parameters:
  ///   - arguments: of the child, which must note its inputs in the file that is appended to them.
  package func run(_ arguments: [String]) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.path + "/laris-fuzz-\(UUID())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let record = try InputRecord(path: folder + "/input")
    defer { record.close() }
    let process = Process()
    process.executableURL = URL(filePath: program)
    process.arguments = arguments + ["--record", folder + "/input"]
    process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
    process.standardInput = FileHandle.nullDevice
    for name in ["out", "err"] {
      _ = FileManager.default.createFile(atPath: folder + "/" + name, contents: nil)
    }
    process.standardOutput = FileHandle(forWritingAtPath: folder + "/out")
    process.standardError = FileHandle(forWritingAtPath: folder + "/err")
    try process.run()
    // Of the child's, where it ended before it could.
    defer { try? FileManager.default.removeItem(atPath: "/dev/shm/laris-fuzz-\(process.processIdentifier)") }
    var (number, since) = (record.number, Date())
    var hangs = false
    while process.isRunning {
      usleep(5_000)
      if record.number != number { (number, since) = (record.number, Date()) }
      if Date().timeIntervalSince(since) > Self.hangSeconds {
        hangs = true
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
      }
    }
    var result = Result()
    let output = (try? String(contentsOfFile: folder + "/out", encoding: .utf8)) ?? ""
    let numbers = output.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
    if numbers.count == 2 { result.tally = Session.Tally(inputs: numbers[0], outcomes: numbers[1]) }
    guard process.terminationReason != .exit || process.terminationStatus != 0 else { return result }
    result.tally.inputs = max(result.tally.inputs, Int(record.number))
    let errors = (try? Data(contentsOf: URL(filePath: folder + "/err"))).map {
      String(decoding: $0, as: UTF8.self)
    }
    let words = (errors ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
    let how =
      hangs
      ? "it hangs" : process.terminationReason == .exit ? "" : "signal \(process.terminationStatus)"
    result.finding = ([how, words].filter { !$0.isEmpty }.joined(separator: ": "), record.bytes)
    return result
  }

  /// Runs one input in a process of its own.
  package func replay(_ target: String, _ input: [UInt8]) throws -> Result {
    let path = FileManager.default.temporaryDirectory.path + "/laris-fuzz-\(UUID())"
    try Data(input).write(to: URL(filePath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try run(["replay", target, path])
  }

  /// A shorter input that is a finding still, by leaving out pieces.
  package func shortened(_ input: [UInt8], of target: String, tries: Int = 120) throws -> [UInt8] {
    var (best, piece, left) = (input, max(1, input.count / 2), tries)
    while piece >= 1, left > 0 {
      var offset = 0
      while offset < best.count, left > 0 {
        var shorter = best
        shorter.removeSubrange(offset..<min(best.count, offset + piece))
        left -= 1
        if try replay(target, shorter).finding != nil { best = shorter } else { offset += piece }
      }
      piece /= 2
    }
    return best
  }
}

/// Past findings: `corpus/TARGET/NAME`, small files that are run in every test run.
package enum Corpus {
  package static func files(of target: String, in folder: String) -> [(name: String, bytes: [UInt8])] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder + "/" + target)) ?? []
    return names.sorted().compactMap { name in
      guard let data = FileManager.default.contents(atPath: "\(folder)/\(target)/\(name)") else { return nil }
      return (name, Array(data))
    }
  }

  /// A name for an input: the hash of its bytes.
  package static func name(_ input: [UInt8]) -> String {
    hexadecimal(input.withUnsafeBytes { XXH64.hash($0) })
  }
}
