import Cluster
import ConfigurationManager
import Foundation
import SQLite
import TestSupport
import Testing

struct EmbeddedStoreTests {
  private static let record = ConfigurationManagerContract.record

  @Test func `a folder that holds a cluster gets no second one`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    let error = #expect(throws: ConfigurationError.self) {
      try EmbeddedStore.create(path, Self.record, exists: true)
    }
    #expect(error?.description.hasPrefix("\(path) exists") == true)
    var other = Self.record
    other.id = "another"
    #expect(throws: ConfigurationError.self) { try EmbeddedStore.create(path, other, exists: false) }
    #expect(try EmbeddedStore(path, exists: true).cluster == Self.record, "the first one is untouched")
    #expect(try EmbeddedStore(path, exists: true).groups().count == 6)
  }

  @Test func `a folder without a cluster says how to make one`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    let error = #expect(throws: ConfigurationError.self) { _ = try EmbeddedStore(path, exists: false) }
    #expect(error?.description.contains("laris cluster init") == true)
    #expect(!FileManager.default.fileExists(atPath: path), "nothing was made")
  }

  @Test(arguments: [
    "UPDATE cluster SET partitions = 0", "UPDATE cluster SET partitions = 4097",
    "UPDATE cluster SET partitions = -1",
    "UPDATE cluster SET partitions = 5", "UPDATE cluster SET replicas = -1",
    "UPDATE cluster SET min_replicas = 0", "UPDATE cluster SET min_replicas = replicas + 1",
    "UPDATE cluster SET initial_workers = 0",
    "UPDATE cluster SET reserve_milliseconds = -1", "UPDATE cluster SET request_window_milliseconds = -1",
    "UPDATE cluster SET fee_basis_points = 10001", "UPDATE cluster SET id = ''",
    "DELETE FROM groups WHERE partition = 2",
    "UPDATE groups SET partition = 6 WHERE partition = 0", "UPDATE groups SET epoch = -1 WHERE partition = 1",
    "UPDATE groups SET epoch = 9223372036854775807 WHERE partition = 1",
    "UPDATE groups SET epoch = 1 WHERE partition = 1",
    "UPDATE groups SET primary_node = 'a' WHERE partition = 1",
    "UPDATE groups SET primary_node = '', epoch = 1 WHERE partition = 1",
    "UPDATE groups SET primary_node = 'a', epoch = 1, secondaries = '[\"a\"]' WHERE partition = 1",
    "UPDATE groups SET secondaries = '{' WHERE partition = 1",
    "UPDATE groups SET proposal = 'dance', proposal_node = 'a' WHERE partition = 1",
    "UPDATE groups SET proposal = 'join' WHERE partition = 1",
  ])
  func `a configuration that no program of ours writes is refused`(sql: String) throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    do { try Database(path, mode: .readWrite).execute(sql) }
    let error = #expect(throws: ConfigurationError.self) {
      _ = try EmbeddedStore(path, exists: true).groups()
    }
    #expect(error?.description.hasPrefix("\(path) is damaged") == true)
  }

  @Test func `a file of something else is refused`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try Data("this is no database, whatever its name says".utf8).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: ConfigurationError.self) { _ = try EmbeddedStore(path, exists: true) }
    #expect(error?.kind == .damaged)
  }

  /// As the first version made it.
  private static let firstVersion = """
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
    INSERT INTO cluster VALUES ('id-1', 'pasar', 'IDR', 2, 1, 3, 1000, 250, 1000, 7);
    INSERT INTO groups VALUES (0, 2, 'a', 9, 1), (1, 0, NULL, 0, 0);
    INSERT INTO workers VALUES ('a', 'one');
    INSERT INTO history VALUES (0, 1, 'a', 5, 'placed on a'), (0, 2, 'a', 6, 'a started again');
    """

  @Test func `a file of the first version is brought up to date, and loses nothing`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    do { try Database(path, mode: .readWrite).execute(Self.firstVersion) }
    let early = #expect(throws: ConfigurationError.self) {
      _ = try EmbeddedStore(path, exists: true, mode: .readOnly)
    }
    #expect(early?.description.contains("the next start of its dispatcher") == true, "a look changes nothing")
    for _ in 0..<2 {
      let store = try EmbeddedStore(path, exists: true)
      #expect(store.cluster.id == "id-1")
      #expect(
        try store.groups() == [
          ConfigurationManagerContract.group(0, 2, "a", 9, isOpened: true),
          ConfigurationManagerContract.group(1, 0, nil, 0),
        ])
      #expect(try store.claim(node: "a", folder: "one"))
      #expect(try store.history(of: PartitionID(0)).map(\.why) == ["placed on a", "a started again"])
    }
    let store = try EmbeddedStore(path, exists: true)
    let next = ConfigurationManagerContract.group(0, 3, "a", 10, secondaries: ["b"])
    #expect(store.change(ConfigurationManagerContract.change(next), as: nil) == .accepted)
  }

  /// What the second version added.
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
    UPDATE groups SET secondaries = '["b"]' WHERE partition = 0;
    """

  @Test func `a file of the second version is brought up to date, and loses nothing`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    do { try Database(path, mode: .readWrite).execute(Self.firstVersion + Self.secondVersion) }
    for _ in 0..<2 {
      let store = try EmbeddedStore(path, exists: true)
      #expect(store.cluster.replicas == 1 && store.cluster.minReplicas == 1)
      #expect(store.cluster.leaseMilliseconds == 160)
      #expect(
        try store.group(PartitionID(0))
          == ConfigurationManagerContract.group(0, 2, "a", 9, secondaries: ["b"], isOpened: true))
      #expect(try store.plans().draining.isSubset(of: ["b"]))
      try store.setPlan(.draining, for: "b")
    }
    #expect(try EmbeddedStore(path, exists: true).plans() == Plans(draining: ["b"]))
  }

  /// What the third version added.
  private static let thirdVersion = """
    ALTER TABLE cluster ADD COLUMN min_replicas INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE drains (node TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE moves (partition INTEGER PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL);
    PRAGMA user_version = 3;
    INSERT INTO drains VALUES ('b');
    UPDATE groups SET proposal = 'join', proposal_node = 'c' WHERE partition = 0;
    """

  @Test func `a file of the third version gets the lease that its workers had`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    do {
      try Database(path, mode: .readWrite).execute(
        Self.firstVersion + Self.secondVersion + Self.thirdVersion)
    }
    for _ in 0..<2 {
      let store = try EmbeddedStore(path, exists: true)
      #expect(store.cluster.leaseMilliseconds == 160)
      #expect(try store.plans() == Plans(draining: ["b"]))
      #expect(
        try store.group(PartitionID(0))
          == ConfigurationManagerContract.group(
            0, 2, "a", 9, secondaries: ["b"], isOpened: true, proposal: .join("c")))
    }
  }

  @Test(arguments: [
    "UPDATE cluster SET lease_milliseconds = 79", "UPDATE cluster SET lease_milliseconds = 60001",
    "UPDATE cluster SET lease_milliseconds = 'long'",
  ])
  func `a lease that no program of ours writes is refused`(sql: String) throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    do { try Database(path, mode: .readWrite).execute(sql) }
    let error = #expect(throws: ConfigurationError.self) { _ = try EmbeddedStore(path, exists: true) }
    #expect(error?.kind == .damaged)
  }

  @Test(arguments: [
    "INSERT INTO drains VALUES ('', 0)", "INSERT INTO moves VALUES (6, 'a', 'b')",
    "INSERT INTO moves VALUES (-1, 'a', 'b')", "INSERT INTO moves VALUES (0, 'a', 'a')",
    "INSERT INTO moves VALUES (0, '', 'b')",
  ])
  func `plans that no program of ours writes are refused`(sql: String) throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    do { try Database(path, mode: .readWrite).execute(sql) }
    let store = try EmbeddedStore(path, exists: true)
    let error = #expect(throws: ConfigurationError.self) { _ = try store.plans() }
    #expect(error?.description.hasPrefix("\(path) is damaged") == true)
  }

  @Test func `a file of a later version is refused by name`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    do { try Database(path, mode: .readWrite).execute("PRAGMA user_version = 5") }
    let error = #expect(throws: ConfigurationError.self) { _ = try EmbeddedStore(path, exists: true) }
    #expect(error?.kind == .tooNew)
    #expect(error?.description == "\(path) has version 5 and this program knows 4; run a later one")
  }

  @Test func `a file that another has locked is an unknown outcome, soon`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    let store = try EmbeddedStore(path, exists: true)
    let other = try Database(path, mode: .readWrite)
    try other.execute("BEGIN EXCLUSIVE")
    let change = ConfigurationManagerContract.change(ConfigurationManagerContract.group(0, 1, "a", 1))
    let began = SteadyClock.milliseconds()
    guard case .unknown(let why) = store.change(change, as: nil) else {
      Issue.record("it is not unknown")
      return
    }
    #expect(why.contains("locked"), "\(why)")
    #expect(SteadyClock.milliseconds() - began < 5_000)
    try other.execute("ROLLBACK")
    #expect(store.change(change, as: nil) == .accepted)
  }

  @Test func `the controller's revision grows over restarts`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    var last: UInt64 = 0
    for life: UInt64 in 1...3 {
      let store = try EmbeddedStore(path, exists: true)
      let node = NodeRecord(kind: .dispatcher, node: "d", incarnation: Incarnation(life))
      let session = store.register(node, milliseconds: 1_000)
      let leadership = try #require(try store.campaign(session, life: node.life))
      #expect(leadership.revision > last)
      last = leadership.revision
    }
  }
}
