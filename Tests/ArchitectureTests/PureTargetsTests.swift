import Foundation
import Testing

/// The cores decide and import nothing but each other; time and chance come to them as data.
struct PureTargetsTests {
  static let pure = [
    "Bytes", "Marketplace", "Cluster", "Wire", "WorkerCore", "DispatcherCore", "ClientCore", "Replication",
    "Referee", "Simulation",
  ]

  /// What each may import: those that stand before it, as the package's manifest has it.
  static let allowed: [String: Set<String>] = [
    "Bytes": [],
    "Marketplace": [],
    "Cluster": ["Bytes"],
    "Wire": ["Bytes", "Marketplace", "Cluster"],
    "WorkerCore": ["Bytes", "Marketplace", "Cluster", "Wire"],
    "DispatcherCore": ["Bytes", "Marketplace", "Cluster", "Wire"],
    "ClientCore": ["Bytes", "Cluster", "Wire"],
    "Replication": ["Bytes", "Cluster"],
    // Shares nothing with the cores but the words of commands.
    "Referee": ["Marketplace", "Cluster"],
    // A world of its own, with a clock and chance that a seed makes.
    "Simulation": [
      "Bytes", "Marketplace", "Cluster", "ClientCore", "DispatcherCore", "Referee", "Replication",
      "ReplicationWithBugs", "Wire", "WorkerCore",
    ],
  ]

  struct Line {
    let place: String
    /// Without comments and strings.
    let code: String
  }

  private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// Every line of code of a target.
  private func lines(of target: String) throws -> [Line] {
    let folder = Self.root.appending(path: "Sources").appending(path: target).resolvingSymlinksInPath()
    let files = try FileManager.default.subpathsOfDirectory(atPath: folder.path())
      .filter { $0.hasSuffix(".swift") }.sorted()
    #expect(!files.isEmpty, "\(target) has no files")
    return try files.flatMap { file in
      let text = try String(contentsOf: folder.appending(path: file), encoding: .utf8)
      return Self.code(text).enumerated().map { Line(place: "\(target)/\(file):\($0 + 1)", code: $1) }
    }
  }

  /// The lines of a file with comments and the insides of strings blanked out.
  static func code(_ text: String) -> [String] {
    var lines: [String] = []
    var commentDepth = 0
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      var code = ""
      var isString = false
      var rest = line[...]
      while let character = rest.first {
        if commentDepth > 0 {
          if rest.hasPrefix("*/") {
            commentDepth -= 1
            rest = rest.dropFirst()
          } else if rest.hasPrefix("/*") {
            commentDepth += 1
            rest = rest.dropFirst()
          }
        } else if isString {
          if character == "\\" {
            rest = rest.dropFirst()
          } else if character == "\"" {
            isString = false
          }
        } else if rest.hasPrefix("//") {
          break
        } else if rest.hasPrefix("/*") {
          commentDepth += 1
          rest = rest.dropFirst()
        } else {
          if character == "\"" { isString = true }
          code.append(character)
        }
        rest = rest.dropFirst()
      }
      lines.append(code)
    }
    return lines
  }

  /// The module that a line imports, whatever attributes stand before it.
  static func imported(_ code: String) -> String? {
    let words = code.split(whereSeparator: \.isWhitespace).map(String.init)
    guard let place = words.firstIndex(of: "import"), place + 1 < words.count else { return nil }
    guard words[..<place].allSatisfy({ $0.hasPrefix("@") || Self.access.contains($0) }) else { return nil }
    let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
    let name = words[kinds.contains(words[place + 1]) && place + 2 < words.count ? place + 2 : place + 1]
    return String(name.prefix { $0 != "." && $0 != ";" })
  }

  private static let access: Set<String> = ["public", "package", "internal", "fileprivate", "private"]

  /// What a core must not know of: clocks, chance that no seed made, the process around it.
  static let forbidden: [String] = [
    #"\bDate\s*\("#, #"\bDate\."#, #"\bUUID\s*\("#, #"\.random\s*\((?![^)]*using:)"#,
    #"\.(shuffled|randomElement)\s*\((?![^)]*using:)"#, #"\.shuffle\s*\((?![^)]*using:)"#,
    #"\bSystemRandomNumberGenerator\b"#, #"\b(Continuous|Suspending)Clock\b"#, #"\bDispatchTime\b"#,
    #"\b(clock_gettime|gettimeofday|mach_absolute_time|time)\s*\(\s*(nil|CLOCK|&)"#, #"\bProcessInfo\b"#,
    #"\bTask\s*[.{]"#, #"\bThread\s*[.({]"#, #"\bsleep\s*\("#, #"\bFileManager\b"#, #"\bgetenv\s*\("#,
    #"\.hashValue\b"#, #"\bprint\s*\("#,
  ]

  static func offence(_ code: String) -> String? {
    forbidden.first { code.range(of: $0, options: .regularExpression) != nil }
  }

  @Test(arguments: pure) func `a pure target imports nothing but what is below it`(target: String) throws {
    let allowed = try #require(Self.allowed[target])
    for line in try lines(of: target) {
      guard let module = Self.imported(line.code) else { continue }
      #expect(allowed.contains(module), "\(line.place) imports \(module)")
    }
  }

  @Test(arguments: pure)
  func `a pure target has no clock, no chance and no surroundings`(target: String) throws {
    for line in try lines(of: target) {
      let offence = Self.offence(line.code)
      #expect(offence == nil, "\(line.place): \(line.code)")
    }
  }

  @Test(
    arguments: [
      ("import Foundation", "Foundation"), ("@preconcurrency import Glibc", "Glibc"),
      ("package import struct Foundation.Date", "Foundation"), ("@_exported import Wire", "Wire"),
      ("  import CSQLite", "CSQLite"), ("let important = 1", nil), ("#if canImport(Glibc)", nil),
      ("@testable import Marketplace;", "Marketplace"),
    ] as [(String, String?)])
  func `an import is found in any dress`(code: String, module: String?) {
    #expect(Self.imported(code) == module)
  }

  @Test(arguments: [
    ("let now = Date()", true), ("Date.now", true), ("UUID()", true), ("UUID ( )", true),
    ("Int.random(in: 0..<5)", true), ("Int.random(in: 0..<5, using: &generator)", false),
    ("list.shuffled()", true), ("list.shuffled(using: &generator)", false), ("ContinuousClock.now", true),
    ("let update = validate(it)", false), ("key.hashValue", true), ("book.update(slot)", false),
    ("clock_gettime(CLOCK_REALTIME, &spec)", true), ("settledAt: time, settlement: .rejected", false),
    ("Task { work() }", true),
  ])
  func `what a core must not know is found`(code: String, isForbidden: Bool) {
    #expect((Self.offence(code) != nil) == isForbidden)
  }

  /// What a node is made of, above the cores.
  static let shells = [
    "Files", "ReplicationLog", "PartitionStore", "DurablePartition", "NodeSupport", "NodeProtocol",
    "WorkerNode",
    "ConfigurationManager", "DispatcherNode", "laris",
  ]

  @Test(arguments: shells) func `no node has the simulation's deliberate bugs`(target: String) throws {
    for line in try lines(of: target) {
      let imported = Self.imported(line.code) ?? ""
      #expect(imported != "Simulation" && !imported.hasSuffix("WithBugs"), "\(line.place) imports it")
      let isNamed = line.code.range(of: #"\b([mM]utation|DELIBERATE_BUGS)\b"#, options: .regularExpression)
      #expect(isNamed == nil, "\(line.place): \(line.code)")
    }
  }

  @Test func `deliberate bugs are compiled into what is named so, and nothing else`() throws {
    let manifest = try String(contentsOf: Self.root.appending(path: "Package.swift"), encoding: .utf8)
    // A target of the manifest, up to the next one.
    let targets = manifest.split(separator: /\n    \.\w*[tT]arget\(/).dropFirst()
    let broken = targets.filter { $0.contains("withBugs") || $0.contains("DELIBERATE_BUGS") }
    let names = broken.compactMap { $0.firstMatch(of: /name: "([^"]*)"/)?.1 }
    #expect(names == ["ReplicationWithBugs", "SimulationWithBugs", "laris-sim-bugs"])
    #expect(targets.count > 40 && manifest.components(separatedBy: "DELIBERATE_BUGS").count == 2)
  }

  @Test func `comments and strings are not code`() {
    let text = """
      let a = "Date() // no" // Date()
      /* import Foundation
       /* Date() */ UUID()
      */ let b = "\\"" + c
      """
    #expect(Self.code(text) == [#"let a = " "#, "", "", #" let b = " + c"#])
  }
}
