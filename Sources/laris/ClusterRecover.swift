import ArgumentParser
import Bytes
import Cluster
import ConfigurationManager
import Files
import Foundation
import NodeSupport
import PartitionStore
import ReplicationLog
import SQLite

struct ClusterRecover: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover",
    abstract: "Makes a lost cluster.sqlite anew, by what its workers have on their disks.",
    discussion: """
      Stop all workers first. Give the data folders of all of them, or copies of them on this machine; they
      are only read. A partition goes on from any clean member of its last configuration, so nothing that was
      answered is missing. Where that can't be known, nothing is made, and it says what it needs to know.

        laris cluster recover --data /var/lib/laris/dispatcher \\
          --worker /var/lib/laris/worker-1 --worker /var/lib/laris/worker-2 --worker /var/lib/laris/worker-3

      Then start the dispatcher and the workers as ever. Epochs go on far above the old ones. History, drains
      and moves begin anew.
      """)

  @Option(help: "The dispatcher's data folder; made if missing. It must hold no cluster.")
  var data: String

  @Option(help: "The data folder of a worker; again for every other one.")
  var worker: [String] = []

  @Option(help: "The name of a worker whose folder is lost; again for every other one.")
  var without: [String] = []

  @Option(
    help: ArgumentHelp(
      "A partition and the worker whose replica it goes on with, whatever may be missing there.",
      valueName: "partition=worker"))
  var restart: [String] = []

  @Option(help: "A partition that never served, and begins empty; again for every other one.")
  var begin: [UInt16] = []

  @Flag(help: "Only say what would be done.")
  var dryRun = false

  private var choices: [(partition: UInt16, node: String)]? {
    let parsed = restart.compactMap { text -> (UInt16, String)? in
      guard let mark = text.firstIndex(of: "="), let partition = UInt16(text[..<mark]) else { return nil }
      return (partition, String(text[text.index(after: mark)...]))
    }
    return parsed.count == restart.count ? parsed : nil
  }

  func validate() throws {
    guard !worker.isEmpty else { throw ValidationError("name the workers' data folders with --worker") }
    guard let choices else {
      throw ValidationError("--restart takes a partition and a worker, like 3=worker-2")
    }
    for choice in choices { try validateNode(choice.node, flag: "--restart") }
    guard Set(choices.map(\.partition) + begin).count == choices.count + begin.count else {
      throw ValidationError("a partition stands twice in --restart and --begin")
    }
  }

  func run() throws {
    let path = data + "/cluster.sqlite"
    guard !FileManager.default.fileExists(atPath: path) else {
      throw NodeError(.no, "\(path) exists: this folder holds a cluster already")
    }
    let folders = try worker.map { try WorkerFolder($0) }
    let terms = try terms(of: folders)
    try checkCompleteness(folders)
    let decided = try decide(folders, terms)
    guard decided.isClear else {
      throw NodeError(.no, "nothing was made; the lines above say what must be known first")
    }
    let names = folders.map(\.node).joined(separator: ", ")
    if dryRun {
      return Terminal.print("nothing was made (--dry-run); the cluster would be recovered from \(names)")
    }
    let folder = try DataFolder(data, create: true)
    if let owner = try folder.identity(), owner.kind != "dispatcher" || owner.cluster != terms.id {
      throw NodeError(
        .no, "\(data) is the folder of \(owner.node) of cluster \(owner.cluster); name another with --data")
    }
    do {
      try EmbeddedStore.create(
        path, terms, exists: false, groups: decided.changes,
        folders: Dictionary(
          folders.map { ($0.node, $0.identity.folder) }, uniquingKeysWith: { first, _ in first }))
    } catch {
      throw NodeError(.no, "\(error)")
    }
    try folder.setIdentity(.init(kind: "dispatcher", cluster: terms.id, node: "dispatcher-1"))
    Terminal.print("cluster \(terms.name) (\(terms.id)) is recovered from \(names), in \(data)")
    Terminal.print("next: laris dispatcher --data \(data), and the workers; then laris audit")
  }

  /// What the cluster was made with: all that tell say the same.
  private func terms(of folders: [WorkerFolder]) throws -> ClusterRecord {
    for folder in folders where folder.identity.cluster != folders[0].identity.cluster {
      throw NodeError(
        .no,
        "\(folder.path) is of cluster \(folder.identity.cluster), and \(folders[0].path) of "
          + folders[0].identity.cluster)
    }
    var nodes: Set<String> = []
    for folder in folders where !nodes.insert(folder.node).inserted {
      throw NodeError(.usage, "\(folder.node) is given twice: \(folder.path)")
    }
    let told = folders.filter { $0.identity.terms != nil }
    guard let terms = told.first?.identity.terms, terms.problem == nil, terms.id == told[0].identity.cluster
    else {
      throw NodeError(
        .no, "no worker's laris.json says what the cluster was made with; an earlier version wrote them")
    }
    for folder in told where folder.identity.terms != terms {
      throw NodeError(
        .no,
        "\(folder.path) and \(told[0].path) do not agree on what the cluster was made with: see laris.json")
    }
    return terms
  }

  /// A worker that is not at hand may have been a partition's last one.
  private func checkCompleteness(_ folders: [WorkerFolder]) throws {
    let given = Set(folders.map(\.node))
    if let both = without.first(where: given.contains) {
      throw NodeError(.usage, "\(both) is given, and stands in --without")
    }
    let known = folders.reduce(into: Set<String>()) { names, folder in
      names.formUnion(folder.identity.peers ?? [])
      names.formUnion(folder.replicas.values.flatMap { $0.accepted?.members ?? [] })
    }
    let missing = known.subtracting(given).subtracting(without).sorted()
    guard missing.isEmpty else {
      throw NodeError(
        .no,
        "the cluster had \(missing.joined(separator: ", ")) too: give the folder with --worker, or, if it is lost, "
          + missing.map { "--without \($0)" }.joined(separator: " "))
    }
  }

  private func decide(
    _ folders: [WorkerFolder], _ terms: ClusterRecord
  ) throws -> (changes: [GroupChange], isClear: Bool) {
    let recovery = Recovery(workers: Set(folders.map(\.node)))
    let choices = Dictionary(
      (self.choices ?? []).map { ($0.partition, $0.node) }, uniquingKeysWith: { first, _ in first })
    for number in choices.keys.sorted() + begin where Int(number) >= terms.partitions {
      throw NodeError(.usage, "there is no partition \(number); the cluster has \(terms.partitions), from 0")
    }
    var (changes, rows, isClear): ([GroupChange], [[String]], Bool) = ([], [], true)
    let now = Clock.wallMilliseconds()
    for number in 0..<UInt16(terms.partitions) {
      let partition = PartitionID(number)
      let replicas = folders.compactMap { $0.replicas[partition] }
      guard replicas.contains(where: { $0.accepted != nil || $0.last > .zero }) || !begin.contains(number)
      else {
        rows.append(["\(number)", "-", "-", "-", "it begins empty, as chosen"])
        continue
      }
      guard !begin.contains(number) else {
        isClear = false
        rows.append(["\(number)", "-", "-", "-", "REFUSED: --begin, but \(replicas[0].node) has it"])
        continue
      }
      switch recovery.decide(partition, replicas, choice: choices[number]) {
      case .restart(let record, let why):
        var reason = "recovered \(why)"
        while reason.utf8.count > GroupChange.textBytesMax { reason.removeLast() }
        changes.append(GroupChange(record, why: reason, by: "laris cluster recover", at: now))
        rows.append([
          "\(number)", record.primary ?? "-",
          record.secondaries.isEmpty ? "-" : record.secondaries.joined(separator: " "),
          "\(record.epoch.rawValue)", why,
        ])
      case .refused(let why):
        isClear = false
        let hint = replicas.isEmpty ? "--begin \(number)" : "--restart \(number)=WORKER"
        rows.append(["\(number)", "-", "-", "-", "REFUSED: \(why); or choose with \(hint)"])
      }
    }
    Terminal.print(
      Terminal.table(["PARTITION", "PRIMARY", "SECONDARIES", "EPOCH", "HOW"], rows, right: [0, 3]))
    return (changes, isClear)
  }
}

/// A stopped worker's folder, and what it has of each partition. Kept locked, so that nothing changes.
private final class WorkerFolder {
  let path: String
  let identity: DataFolder.Identity
  var node: String { identity.node }
  private(set) var replicas: [PartitionID: Recovery.Replica] = [:]
  private let lock: DataFolder

  init(_ path: String) throws {
    guard FileManager.default.fileExists(atPath: path + "/laris.json") else {
      throw NodeError(.usage, "\(path) is no worker's data folder: it has no laris.json")
    }
    self.path = path
    do {
      lock = try DataFolder(path, create: false)
    } catch let error as NodeError {
      throw NodeError(error.exit, "\(error); stop all workers first: a recovery is of what does not change")
    }
    guard let identity = try lock.identity(), identity.kind == "worker", !identity.cluster.isEmpty,
      NodeRecord.isName(identity.node)
    else { throw NodeError(.usage, "\(path) is no folder of a worker that has joined a cluster") }
    self.identity = identity
    let names = (try? FileManager.default.contentsOfDirectory(atPath: path + "/partitions")) ?? []
    for name in names.sorted() {
      guard let number = UInt16(name) else { continue }
      let partition = PartitionID(number)
      replicas[partition] = Self.read(partition, "\(path)/partitions/\(name)", identity)
    }
  }

  private static func read(
    _ partition: PartitionID, _ directory: String, _ identity: DataFolder.Identity
  ) -> Recovery.Replica {
    var replica = Recovery.Replica(node: identity.node, accepted: nil, last: .zero, tag: Epoch(0))
    do {
      let accepted = try EpochFile.read(directory + "/epoch")
      replica.accepted = accepted.epoch.rawValue > 0 ? accepted : nil
      if FileManager.default.fileExists(atPath: directory + "/unclean") {
        replica.fault = "it was damaged, or never complete"
      }
      let log = directory + "/log"
      let marked = try SyncedMark.read(in: log)
      let names = try LogScan.names(in: log)
      guard !names.isEmpty else {
        replica.fault = replica.fault ?? "it has no log"
        return replica
      }
      var tag = Epoch(0)
      let owner = ReplicationLog.Identity(cluster: XXH64.hash(identity.cluster), partition: partition)
      let scan = try LogScan(directory: log, names: names, identity: owner, marked: marked) {
        block, _, _, _ in
        tag = block.tag
      }
      replica.last = SequenceNumber(scan.last.next.rawValue - 1)
      replica.tag = tag
      let applied = try PartitionSnapshot.check(
        directory + "/partition.sqlite", cluster: identity.cluster, partition: partition)
      if applied > replica.last {
        replica.fault = "its tables have entry \(applied), and its log ends at \(replica.last)"
      }
    } catch {
      replica.fault = "\(error)"
    }
    return replica
  }
}
