import Cluster
import Foundation
import Glibc
import SQLite

/// The tables of `cluster.sqlite`, as docs/FORMATS.md has them, and how they came to be.
enum EmbeddedSchema {
  /// In the file's `user_version`. The first, which knew no secondaries, stands there as 0; the second knew
  /// no plans, the third no lease, and not why a group is asked for something.
  static let version: Int64 = 4

  private static let tables = """
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

  private static let secondVersion = """
    ALTER TABLE groups ADD COLUMN secondaries TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE groups ADD COLUMN proposal TEXT;
    ALTER TABLE groups ADD COLUMN proposal_node TEXT;
    ALTER TABLE groups ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN secondaries TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE history ADD COLUMN proposal TEXT;
    ALTER TABLE history ADD COLUMN proposal_node TEXT;
    ALTER TABLE history ADD COLUMN author TEXT NOT NULL DEFAULT '';
    ALTER TABLE history ADD COLUMN commit_point INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE revision (value INTEGER NOT NULL);
    INSERT INTO revision VALUES (0);
    PRAGMA user_version = 2;
    """

  private static let thirdVersion = """
    ALTER TABLE cluster ADD COLUMN min_replicas INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE drains (node TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE moves (partition INTEGER PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL);
    PRAGMA user_version = 3;
    """

  private static let fourthVersion = """
    ALTER TABLE cluster ADD COLUMN lease_milliseconds INTEGER NOT NULL DEFAULT 160;
    ALTER TABLE groups ADD COLUMN proposal_why TEXT NOT NULL DEFAULT '';
    ALTER TABLE drains ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 4;
    """

  private static func version(_ database: borrowing Database) throws -> Int64 {
    let read = try database.prepare("PRAGMA user_version")
    let version = try read.step() ? read.int64(0) : 0
    guard (0...Self.version).contains(version) else {
      throw ConfigurationError(
        .tooNew,
        "\(database.path) has version \(version) and this program knows \(Self.version); run a later one")
    }
    return max(1, version)
  }

  static func bringUpToDate(_ database: borrowing Database) throws {
    let version = try version(database)
    guard version < Self.version else { return }
    let read = try database.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'groups'")
    guard try read.step(), read.int64(0) == 1 else {
      throw ConfigurationError(.damaged, "\(database.path) is damaged: it has no groups")
    }
    read.reset()
    try database.execute("BEGIN IMMEDIATE")
    do {
      if version < 2 { try database.execute(secondVersion) }
      if version < 3 { try database.execute(thirdVersion) }
      try database.execute(fourthVersion)
      try database.execute("COMMIT")
    } catch {
      try? database.execute("ROLLBACK")
      throw error
    }
  }

  /// Looks only.
  static func check(_ database: borrowing Database) throws {
    let version = try version(database)
    guard version == Self.version else {
      throw ConfigurationError(
        .damaged,
        "\(database.path) has version \(version); the next start of its dispatcher makes it \(Self.version)")
    }
  }

  static func fill(
    _ path: String, _ cluster: ClusterRecord, _ groups: [GroupChange], folders: [String: String]
  ) throws {
    let database = try Database(path, mode: .readWrite)
    try database.execute("PRAGMA synchronous=FULL")
    try database.transaction {
      try database.execute(tables)
      try database.execute(secondVersion)
      try database.execute(thirdVersion)
      try database.execute(fourthVersion)
      let insert = try database.prepare(
        "INSERT INTO cluster VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)")
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
      insert.bind(11, Int64(cluster.minReplicas))
      insert.bind(12, cluster.leaseMilliseconds)
      try insert.run()
      let group = try database.prepare(
        "INSERT INTO groups (partition, epoch, primary_node, incarnation, opened) VALUES (?1, 0, NULL, 0, 0)")
      for partition in 0..<cluster.partitions {
        group.bind(1, Int64(partition))
        try group.run()
      }
      let worker = try database.prepare("INSERT INTO workers VALUES (?1, ?2)")
      for (node, folder) in folders.sorted(by: { $0.key < $1.key }) {
        worker.bind(1, node)
        worker.bind(2, folder)
        try worker.run()
      }
      for change in groups {
        try EmbeddedStore.write(change, to: database, revision: 0)
      }
      try database.execute("UPDATE groups SET opened = 1 WHERE epoch > 0")
    }
  }
}

extension EmbeddedStore {
  /// Makes a new cluster's store at `path`.
  ///
  /// - Parameters:
  ///   - groups: of a cluster whose store was lost: what its groups are from now on. They have served.
  ///   - folders: to which its workers' names belong.
  /// - Throws: `exists`, or what SQLite says; no half of a store is left.
  package static func create(
    _ path: String, _ cluster: ClusterRecord, exists: Bool, groups: [GroupChange] = [],
    folders: [String: String] = [:]
  ) throws(ConfigurationError) {
    precondition(cluster.problem == nil, "\(cluster.problem!)")
    precondition(
      groups.allSatisfy { $0.problem == nil && Int($0.record.partition.rawValue) < cluster.partitions })
    let taken = ConfigurationError(.exists, "\(path) exists: this folder holds a cluster already")
    guard !exists else { throw taken }
    // Under another name until it is whole.
    let temporary = path + ".new"
    unlink(temporary)
    // A link, unlike a rename, never replaces what is there.
    defer { unlink(temporary) }
    do {
      try EmbeddedSchema.fill(temporary, cluster, groups, folders: folders)
    } catch {
      throw ConfigurationError(.notMade, "\(path) can't be made: \(error)")
    }
    guard link(temporary, path) == 0 else {
      throw errno == EEXIST
        ? taken : ConfigurationError(.notMade, "\(path) can't be made: \(String(cString: strerror(errno)))")
    }
  }
}

extension GroupProposal {
  /// As stores have it.
  var word: String {
    switch self {
    case .join: "join"
    case .switchover: "switchover"
    case .remove: "remove"
    }
  }

  init?(word: String, node: String) {
    switch word {
    case "join": self = .join(node)
    case "switchover": self = .switchover(node)
    case "remove": self = .remove(node)
    default: return nil
    }
  }
}
