import Foundation
import Fuzz
import TestSupport
import Testing

/// A short run of every target, and all past findings. `Tests/fuzz.sh` runs for hours.
struct FuzzTests {
  static let corpus = URL(filePath: #filePath).deletingLastPathComponent().path + "/corpus"
  static let names = FuzzTargets.all.map(\.name)

  /// The program beside the tests.
  private static func program() throws -> String {
    var folders = [URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()]
    for argument in CommandLine.arguments where argument.contains(".xctest") {
      folders.append(URL(filePath: argument).deletingLastPathComponent())
    }
    folders.append(URL(filePath: corpus + "/../../../.build/release").standardizedFileURL)
    let paths = folders.map { $0.path + "/laris-fuzz" }
    return try #require(
      paths.first { FileManager.default.isExecutableFile(atPath: $0) }, "laris-fuzz is not built")
  }

  private func run(_ target: String, seed: UInt64, inputs: Int) throws {
    let campaign = Campaign(program: try Self.program())
    let result = try campaign.run([
      "child", target, "--seed", "\(seed)", "--inputs", "\(inputs)", "--corpus", Self.corpus,
    ])
    if let (what, input) = result.finding {
      let folder = NSTemporaryDirectory()
      let path = "\(folder)/laris-fuzz-\(target)-\(Corpus.name(input))"
      try Data(input).write(to: URL(filePath: path))
      Issue.record("\(what); again: laris-fuzz replay \(target) \(path) (seed \(seed))")
    } else {
      #expect(result.tally.inputs >= inputs)
      #expect(result.tally.outcomes > 1, "every input had the same outcome: nothing was reached")
    }
  }

  @Test(arguments: names) func `nothing is found with the seed of every run, past findings included`(
    target: String
  ) throws {
    try run(target, seed: 1, inputs: Self.inputs(target))
  }

  @Test(arguments: names) func `nothing is found with a new seed`(target: String) throws {
    try run(target, seed: .random(in: 0...UInt64.max), inputs: Self.inputs(target))
  }

  /// What fits into half a second.
  private static func inputs(_ target: String) -> Int {
    switch target {
    case "request", "reply", "frames", "csv", "node-messages", "lz4": 8_000
    case "epoch", "synced", "identity", "submit", "entries": 2_500
    case "dispatcher", "partition", "trace": 1_200
    default: 150
    }
  }

  @Test func `each folder of the corpus is a target's, and its files are small`() throws {
    for folder in try FileManager.default.contentsOfDirectory(atPath: Self.corpus) where folder != "README.md"
    {
      #expect(Self.names.contains(folder), "no target has the name of the folder \(folder)")
      let files = Corpus.files(of: folder, in: Self.corpus)
      #expect(!files.isEmpty)
      for file in files { #expect(file.bytes.count <= 64 << 10, "\(folder)/\(file.name) is large") }
    }
  }

  @Test func `a trap, a signal and a loop are findings with their input`() throws {
    let campaign = Campaign(program: "/bin/sh")
    let result = try campaign.run(["-c", "echo 3 1; kill -11 $$"])
    #expect(result.finding?.what.contains("signal 11") == true)
    let said = try campaign.run(["-c", "echo because >&2; exit 2"])
    #expect(said.finding?.what == "because")
    #expect(try campaign.run(["-c", "echo 3 1"]).finding == nil)
  }
}
