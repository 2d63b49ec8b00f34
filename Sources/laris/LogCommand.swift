import ArgumentParser
import Bytes
import Cluster
import Files
import Foundation
import LarisProtocol
import NodeSupport
import ReplicationLog
import WorkerCore

struct LogCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log", abstract: "What a partition's log holds, offline.",
    subcommands: [Verify.self, Dump.self])

  /// Runs over every block of the logs that a path names.
  fileprivate static func scan(
    _ path: String, _ body: (BlockHeader, String, Int, UnsafeRawBufferPointer) throws -> Void
  ) throws -> [(directory: String, scan: LogScan)] {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
      throw NodeError(.usage, "there is no file or folder \(path)")
    }
    if !isDirectory.boolValue {
      let url = URL(fileURLWithPath: path)
      let directory = url.deletingLastPathComponent().path
      return [(path, try LogScan(directory: directory, names: [url.lastPathComponent], body))]
    }
    var directories = [path]
    if let all = FileManager.default.enumerator(atPath: path) {
      for case let name as String in all where name == "log" || name.hasSuffix("/log") {
        directories.append(path + "/" + name)
      }
    }
    var found: [(String, LogScan)] = []
    for directory in directories.sorted() {
      // First the mark: a log that is being written may get ahead of it, never behind.
      let marked = try SyncedMark.read(in: directory)
      let names = try LogScan.names(in: directory)
      if !names.isEmpty {
        found.append((directory, try LogScan(directory: directory, names: names, marked: marked, body)))
      }
    }
    guard !found.isEmpty else { throw NodeError(.no, "\(path) holds no log") }
    return found
  }

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Checks every block of a log: checksums, chain, order.",
      discussion: """
        Of a segment, a log's folder, or any folder above some. A torn tail is no fault: the next start
        cuts it. Exit code 1: damage, a gap or a foreign file; it says where.

          laris log verify laris-data
        """)

    @Argument(help: "A segment, or a folder.") var path: String
    @Flag(help: "Print JSON, an object a log.") var json = false

    func run() throws {
      var blocks: [String: (blocks: Int, entries: UInt64)] = [:]
      let found: [(directory: String, scan: LogScan)]
      do {
        found = try LogCommand.scan(path) { block, file, _, _ in
          let key = URL(fileURLWithPath: file).deletingLastPathComponent().path
          blocks[key, default: (0, 0)].blocks += 1
          blocks[key, default: (0, 0)].entries += UInt64(block.count)
        }
      } catch  where error is LogError || error is FileError {
        throw NodeError(.no, "\(error)")
      }
      for (directory, scan) in found {
        let key = URL(fileURLWithPath: directory).path
        let counts = blocks[key] ?? blocks.first?.value ?? (0, 0)
        let first = scan.segments[0].first
        let torn: String
        if case .torn(let offset, let what) = scan.last.end {
          torn = "torn at byte \(offset) of \(scan.segments[scan.segments.count - 1].name): \(what)"
        } else {
          torn = ""
        }
        if json {
          struct Row: Encodable {
            let log: String, partition, segments, blocks: Int, entries, first, last, synced: UInt64,
              torn: String
          }
          let row = Row(
            log: directory, partition: Int(scan.last.header.partition.rawValue),
            segments: scan.segments.count, blocks: counts.blocks, entries: counts.entries,
            first: first.rawValue, last: scan.last.next.rawValue - 1, synced: scan.last.synced.rawValue,
            torn: torn)
          let encoder = JSONEncoder()
          encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
          Terminal.print(String(decoding: try encoder.encode(row), as: UTF8.self))
        } else {
          Terminal.print(
            "\(directory): partition \(scan.last.header.partition.rawValue), \(scan.segments.count) segments, "
              + "\(Terminal.grouped(counts.blocks)) blocks, entries \(first) to \(scan.last.next.rawValue - 1), "
              + (torn.isEmpty ? "sound" : torn))
        }
      }
    }
  }

  struct Dump: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints a log's entries as JSON lines, requests decoded.",
      discussion: """
        {"sn":7,"time":1795302277387,"epoch":1,"request":{…}} or {…,"expire":[3,4]} or
        {…,"seal":"…"}, the id of a request that was given up, or {…,"rules":2}, the version of the rules that
        holds from the next block on; the request is proto3 JSON, as laris submit takes it, and ids are base64.

          laris log dump laris-data/worker-1/partitions/0000/log --from 100 --to 120
        """)

    @Argument(help: "A segment, or a log's folder.") var path: String
    @Option(help: "First entry.") var from: UInt64 = 1
    @Option(help: "Last entry.") var to: UInt64 = .max

    func run() throws {
      do {
        _ = try LogCommand.scan(path) { block, _, _, entries in
          guard block.count > 0, block.last.rawValue >= from, block.first.rawValue <= to else { return }
          var reader = ByteReader(entries)
          for offset in 0..<UInt64(block.count) {
            let number = block.first.rawValue + offset
            let entry = try LogEntry(&reader)
            guard number >= from, number <= to else { continue }
            Terminal.print(
              "{\"sn\":\(number),\"time\":\(block.time),\"epoch\":\(block.tag.rawValue),\(try Self.text(entry))}"
            )
          }
        }
      } catch  where error is LogError || error is FileError {
        throw NodeError(.no, "\(error)")
      }
    }

    private static func text(_ entry: LogEntry) throws -> String {
      switch entry {
      case .expire(let orders): "\"expire\":[\(orders.map(String.init).joined(separator: ","))]"
      case .seal(let id): "\"seal\":\"\(Data(id.bytes).base64EncodedString())\""
      case .rules(let version): "\"rules\":\(version)"
      case .request(let bytes): "\"request\":\(try Laris_Request(serializedBytes: Data(bytes)).jsonString())"
      }
    }
  }
}
