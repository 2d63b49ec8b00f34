import Cluster
import Glibc
import SQLite

/// The configuration of a cluster on one machine: a SQLite file in its dispatcher's data folder.
package final class EmbeddedStore: ConfigurationManager {
  package enum Failure: Error, CustomStringConvertible {
    case exists(String)
    case missing(String)
    case notMade(String, String)
    case damaged(String, String)
    package var description: String {
      switch self {
      case .exists(let path): "\(path) exists: this folder holds a cluster already"
      case .notMade(let path, let why): "\(path) can't be made: \(why)"
      case .damaged(let path, let what):
        "\(path) is damaged: \(what). Keep the file, and restore it from a copy."
      case .missing(let path):
        "\(path) does not exist: this folder holds no cluster yet; run: laris cluster init --data FOLDER"
      }
    }
  }

  private let database: Database
  /// Claims that were read; they never change.
  private var folders: [String: String] = [:]

  private static let schema = """
    CREATE TABLE cluster (
      id TEXT NOT NULL, name TEXT NOT NULL, currency TEXT NOT NULL, partitions INTEGER NOT NULL,
      replicas INTEGER NOT NULL, initial_workers INTEGER NOT NULL, reserve_milliseconds INTEGER NOT NULL,
      fee_basis_points INTEGER NOT NULL, request_window_milliseconds INTEGER NOT NULL,
      created_at INTEGER NOT NULL
    );
    CREATE TABLE groups (
      partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, primary_node TEXT, incarnation INTEGER NOT NULL,
      opened INTEGER NOT NULL
    );
    CREATE TABLE workers (node TEXT PRIMARY KEY, folder TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE history (
      partition INTEGER NOT NULL, epoch INTEGER NOT NULL, primary_node TEXT, at INTEGER NOT NULL,
      why TEXT NOT NULL, PRIMARY KEY (partition, epoch)
    ) WITHOUT ROWID;
    """

  /// Makes a new cluster's store at `path`.
  ///
  /// - Throws: `exists`, or what SQLite says; no half of a store is left.
  package static func create(_ path: String, _ cluster: ClusterRecord, exists: Bool) throws {
    guard !exists else { throw Failure.exists(path) }
    // Under another name until it is whole.
    let temporary = path + ".new"
    unlink(temporary)
    try fill(temporary, cluster)
    // A link, unlike a rename, never replaces what is there.
    defer { unlink(temporary) }
    guard link(temporary, path) == 0 else {
      throw errno == EEXIST ? Failure.exists(path) : Failure.notMade(path, String(cString: strerror(errno)))
    }
  }

  private static func fill(_ path: String, _ cluster: ClusterRecord) throws {
    let database = try Database(path, mode: .readWrite)
    try database.execute("PRAGMA synchronous=FULL")
    try database.transaction {
      try database.execute(schema)
      let insert = try database.prepare("INSERT INTO cluster VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")
      insert.bind(1, cluster.id)
      insert.bind(2, cluster.name)
      insert.bind(3, cluster.currency)
      insert.bind(4, Int64(cluster.partitions))
      insert.bind(5, Int64(cluster.replicas))
      insert.bind(6, Int64(cluster.initialWorkers))
      insert.bind(7, cluster.reserveMilliseconds)
      insert.bind(8, Int64(cluster.feeBasisPoints))
      insert.bind(9, cluster.requestWindowMilliseconds)
      insert.bind(10, cluster.createdAt)
      try insert.run()
      let group = try database.prepare("INSERT INTO groups VALUES (?1, 0, NULL, 0, 0)")
      for partition in 0..<cluster.partitions {
        group.bind(1, Int64(partition))
        try group.run()
      }
    }
  }

  /// Opens the store at `path`.
  package init(_ path: String, exists: Bool) throws {
    guard exists else { throw Failure.missing(path) }
    // It is asked on the dispatcher's own thread, which must not wait for strangers.
    database = try Database(path, mode: .readWrite, busyMilliseconds: 100)
    try database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
  }

  package func cluster() throws -> ClusterRecord {
    let read = try database.prepare("SELECT * FROM cluster")
    guard try read.step() else { throw Failure.missing(database.path) }
    let record = ClusterRecord(
      id: read.text(0), name: read.text(1), currency: read.text(2), partitions: Int(read.int64(3)),
      replicas: Int(read.int64(4)), initialWorkers: Int(read.int64(5)), reserveMilliseconds: read.uint64(6),
      feeBasisPoints: UInt32(truncatingIfNeeded: read.int64(7)), requestWindowMilliseconds: read.int64(8),
      createdAt: read.int64(9))
    let isSound =
      !record.id.isEmpty && (1...Routing.partitionsMax).contains(record.partitions)
      && (1...255).contains(record.replicas) && (1...65_535).contains(record.initialWorkers)
      && record.reserveMilliseconds <= Self.millisecondsMax
      && (0...10_000).contains(read.int64(7)) && (1...Int64(Self.millisecondsMax)).contains(read.int64(8))
    guard isSound else { throw Failure.damaged(database.path, "the cluster's row is out of range") }
    return record
  }

  /// A hundred years.
  private static let millisecondsMax: UInt64 = 3_155_760_000_000

  package func groups() throws -> [GroupRecord] {
    let read = try database.prepare(
      "SELECT partition, epoch, primary_node, incarnation, opened FROM groups ORDER BY partition")
    var groups: [GroupRecord] = []
    while try read.step() {
      // They are found by their place. An epoch has a next one.
      guard read.int64(0) == groups.count, groups.count < Routing.partitionsMax, read.int64(1) >= 0,
        read.int64(1) < .max
      else { throw Failure.damaged(database.path, "group \(groups.count) is missing, or out of range") }
      groups.append(
        GroupRecord(
          partition: PartitionID(UInt16(truncatingIfNeeded: read.int64(0))), epoch: Epoch(read.uint64(1)),
          primary: read.isNull(2) ? nil : read.text(2), incarnation: Incarnation(read.uint64(3)),
          isOpened: read.int64(4) != 0))
    }
    let cluster = try cluster()
    guard groups.count == cluster.partitions else {
      throw Failure.damaged(
        database.path, "it has \(groups.count) groups for \(cluster.partitions) partitions")
    }
    return groups
  }

  package func change(_ record: GroupRecord, why: String, at time: Int64) throws -> Bool {
    precondition(record.epoch.rawValue > 0)
    var changed = false
    try database.transaction {
      let update = try database.prepare(
        """
        UPDATE groups SET epoch = ?2, primary_node = ?3, incarnation = ?4
        WHERE partition = ?1 AND epoch = ?2 - 1
        """)
      update.bind(1, Int64(record.partition.rawValue))
      update.bind(2, record.epoch.rawValue)
      if let primary = record.primary { update.bind(3, primary) } else { update.bindNull(3) }
      update.bind(4, record.incarnation.rawValue)
      try update.run()
      changed = database.changes == 1
      guard changed else { return }
      let note = try database.prepare("INSERT INTO history VALUES (?1,?2,?3,?4,?5)")
      note.bind(1, Int64(record.partition.rawValue))
      note.bind(2, record.epoch.rawValue)
      if let primary = record.primary { note.bind(3, primary) } else { note.bindNull(3) }
      note.bind(4, time)
      note.bind(5, why)
      try note.run()
    }
    return changed
  }

  package func claim(node: String, folder: String) throws -> Bool {
    if let known = folders[node] { return known == folder }
    let read = try database.prepare("SELECT folder FROM workers WHERE node = ?1")
    read.bind(1, node)
    if try read.step() {
      folders[node] = read.text(0)
    } else {
      let insert = try database.prepare("INSERT INTO workers VALUES (?1, ?2)")
      insert.bind(1, node)
      insert.bind(2, folder)
      try insert.run()
      folders[node] = folder
    }
    return folders[node] == folder
  }

  package func markOpened(_ partition: PartitionID) throws {
    let update = try database.prepare("UPDATE groups SET opened = 1 WHERE partition = ?1")
    update.bind(1, Int64(partition.rawValue))
    try update.run()
  }
}
