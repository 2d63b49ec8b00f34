import ArgumentParser
import Cluster
import ConfigurationManager
import Files
import Foundation
import NodeSupport
import PartitionStore
import ReplicationLog
import RunHistory
import SQLite

struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What a file or folder of ours holds, offline.",
    discussion: """
      Knows log segments (*.lz4, spare, next), log/synced, partition.sqlite, cluster.sqlite, epoch, laris.json, lock,
      unclean and diverged, a load test's history and its replies, and folders of them. Changes nothing.

        laris inspect laris-data/worker-1/partitions/0000
        laris inspect laris-data/dispatcher/cluster.sqlite
      """)

  @Argument(help: "A file or folder.")
  var path: String

  @Flag(help: "Print JSON, an object a line.")
  var json = false

  func run() throws {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
      throw NodeError(.usage, "there is no file or folder \(path)")
    }
    let found = isDirectory.boolValue ? try files(under: path) : [path]
    guard !found.isEmpty else { throw NodeError(.no, "\(path) holds nothing that Laris wrote") }
    var isSound = true
    for file in found {
      do {
        show(try describe(file))
      } catch {
        isSound = false
        show([("file", file), ("error", "\(error)")])
      }
    }
    if !isSound { throw ExitCode(1) }
  }

  private func files(under folder: String) throws -> [String] {
    guard let names = FileManager.default.enumerator(atPath: folder) else { return [] }
    return names.compactMap { $0 as? String }
      .filter { name in
        name.hasSuffix(".lz4") || Self.names.contains((name as NSString).lastPathComponent)
      }.sorted().map { folder + "/" + $0 }
  }

  /// What else is looked at in a folder.
  private static let names: Set = [
    "partition.sqlite", "cluster.sqlite", "epoch", "synced", "laris.json", "unclean", "diverged",
  ]

  private func show(_ fields: [(String, String)]) {
    if json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      let object = Dictionary(fields, uniquingKeysWith: { first, _ in first })
      Terminal.print(String(decoding: (try? encoder.encode(object)) ?? Data(), as: UTF8.self))
      return
    }
    for (index, (name, value)) in fields.enumerated() {
      Terminal.print(
        index == 0 ? value : "  \(name)\(String(repeating: " ", count: max(1, 16 - name.count)))\(value)")
    }
  }

  private func describe(_ file: String) throws -> [(String, String)] {
    let head: [UInt8]
    do {
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: file))
      head = [UInt8](try handle.read(upToCount: 16) ?? Data())
    } catch {
      throw NodeError(.no, "it can't be read: \(error.localizedDescription)")
    }
    if HistoryReader.isHistory(head) { return try history(file) }
    if RepliesReader.isReplies(head) { return try replies(file) }
    switch (file as NSString).lastPathComponent {
    case "synced": return try mark(file)
    case "epoch": return try epoch(file)
    case "laris.json": return try identity(file)
    case "lock": return [("file", file), ("kind", "lock of a data folder"), ("process", try line(file))]
    case "unclean", "diverged":
      return [("file", file), ("kind", "mark: nothing here is to be relied on"), ("why", try line(file))]
    case let name where ["spare", "next", "trimmed"].contains(name.prefix { $0 != "." }):
      return [("file", file), ("kind", "room for a log segment to come: nothing in it counts")]
    case let name where name.hasSuffix(".sqlite-wal") || name.hasSuffix(".sqlite-shm"):
      return [("file", file), ("kind", "SQLite's own, part of \(name.dropLast(4)): inspect that")]
    default: break
    }
    if head.starts(with: [0x50, 0x2A, 0x4D, 0x18]) { return try segment(file) }
    if head.first == UInt8(ascii: "{"), let header = try? line(file), header.contains("\"laris-trace/") {
      return [("file", file), ("kind", "trace for laris-loadtest replay"), ("header", header)]
    }
    guard head.starts(with: Array("SQLite format 3".utf8)) else {
      throw NodeError(.no, "this is no file that Laris writes")
    }
    return file.hasSuffix("cluster.sqlite") ? try cluster(file) : try partition(file)
  }

  private func segment(_ file: String) throws -> [(String, String)] {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
    var blocks = 0
    var entries: UInt64 = 0
    var plain: UInt64 = 0
    let scan = try bytes.withUnsafeBytes { bytes in
      try SegmentScan(bytes, path: file, following: nil) { block, _, _ in
        blocks += 1
        entries += UInt64(block.count)
        plain += UInt64(block.entriesBytes)
      }
    }
    let end: String
    switch scan.end {
    case .clean(let offset): end = "clean at byte \(offset)"
    case .torn(let offset, let what): end = "torn at byte \(offset): \(what)"
    }
    return [
      ("file", file), ("kind", "log segment"), ("partition", "\(scan.header.partition.rawValue)"),
      ("use", "\(scan.header.use)"), ("first entry", "\(scan.header.first)"),
      ("last entry", "\(scan.next.rawValue - 1)"), ("blocks", "\(blocks)"), ("entries", "\(entries)"),
      ("entry bytes", "\(plain)"), ("end", end),
    ]
  }

  private func mark(_ file: String) throws -> [(String, String)] {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
    guard let synced = bytes.withUnsafeBytes({ SyncedMark.sequenceNumber(in: $0) }) else {
      throw NodeError(.no, "it says nothing that can be read")
    }
    return [("file", file), ("kind", "mark of what was synced"), ("synced", "entry \(synced)")]
  }

  /// The first one.
  private func line(_ file: String) throws -> String {
    let head = try FileHandle(forReadingFrom: URL(fileURLWithPath: file)).read(upToCount: 200) ?? Data()
    return String(decoding: head, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
  }

  private func epoch(_ file: String) throws -> [(String, String)] {
    let accepted = try EpochFile.read(file)
    return [
      ("file", file), ("kind", "accepted epoch"), ("epoch", "\(accepted.epoch.rawValue)"),
      ("primary", accepted.primary ?? "-"), ("secondaries", accepted.secondaries.joined(separator: " ")),
    ]
  }

  private func identity(_ file: String) throws -> [(String, String)] {
    guard let identity = try DataFolder.identity(in: SystemFiles.directory(of: file)) else {
      throw NodeError(.no, "it is gone")
    }
    return [
      ("file", file), ("kind", "identity of a data folder"), ("of a", identity.kind), ("node", identity.node),
      ("cluster", identity.cluster.isEmpty ? "none yet" : identity.cluster), ("folder", identity.folder),
    ]
  }

  private func history(_ file: String) throws -> [(String, String)] {
    let reader = try HistoryReader(path: file)
    var counts: [String: UInt64] = [:]
    while let record = try reader.next() {
      counts["\(record.command.name) \(record.outcome.name)", default: 0] += 1
    }
    return [
      ("file", file), ("kind", "history of a load test"), ("run", reader.header.run),
      ("cluster", reader.header.cluster), ("load", reader.header.load), ("seed", "\(reader.header.seed)"),
      ("orders before", "\(reader.header.ordersBefore)"), ("records", "\(reader.position)"),
    ] + counts.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
      + [("end", reader.end == nil ? reader.cut ?? "missing" : "complete")]
  }

  private func replies(_ file: String) throws -> [(String, String)] {
    let reader = try RepliesReader(path: file)
    var (count, bytes) = (0, 0)
    while let reply = try reader.next() {
      count += 1
      bytes += reply.count
    }
    return [
      ("file", file), ("kind", "replies of a load test, beside its history"), ("run", reader.header.run),
      ("cluster", reader.header.cluster), ("replies", "\(count)"), ("bytes", "\(bytes)"),
      ("end", reader.end == nil ? reader.cut ?? "missing" : "complete"),
    ]
  }

  private func partition(_ file: String) throws -> [(String, String)] {
    let database = try Database(file, mode: .readOnly)
    func value(_ sql: String) throws -> String {
      let statement = try database.prepare(sql)
      return try statement.step() ? statement.text(0) : ""
    }
    var fields = [("file", file), ("kind", "partition")]
    for key in ["cluster", "partition", "format", "applied_sn", "time", "orders_placed"] {
      fields.append((key, try value("SELECT value FROM meta WHERE key = '\(key)'")))
    }
    fields.append(("rules", try value("SELECT coalesce(max(value), 1) FROM meta WHERE key = 'rules'")))
    let digest = "SELECT printf('%016x', value) FROM meta WHERE key = 'applied_digest'"
    fields.append(("applied_digest", try value(digest)))
    for table in ["shops", "skus", "orders", "payments", "accounts", "transfers", "requests"] {
      fields.append((table, try value("SELECT count(*) FROM \(table)") + " rows"))
    }
    return fields
  }

  private func cluster(_ file: String) throws -> [(String, String)] {
    let store = try EmbeddedStore(file, exists: true, mode: .readOnly)
    let record = store.cluster
    let groups = try store.groups()
    return [
      ("file", file), ("kind", "cluster configuration"), ("id", record.id), ("name", record.name),
      ("currency", record.currency), ("partitions", "\(record.partitions)"),
      ("replicas", "\(record.replicas)"), ("initial workers", "\(record.initialWorkers)"),
      ("reserve", "\(record.reserveMilliseconds) ms"), ("fee", "\(record.feeBasisPoints) basis points"),
      ("request window", "\(record.requestWindowMilliseconds) ms"),
      ("lease", "\(record.leaseMilliseconds) ms"),
      (
        "groups",
        groups.map { group in
          let members = group.members.isEmpty ? "-" : group.members.joined(separator: "+")
          return "\(group.partition.rawValue):\(members)@\(group.epoch.rawValue)"
        }.joined(separator: " ")
      ),
    ]
  }
}
