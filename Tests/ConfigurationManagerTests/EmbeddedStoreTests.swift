import Cluster
import ConfigurationManager
import Foundation
import SQLite
import TestSupport
import Testing

extension ConfigurationManagerContract {
  static let embedded = ConfigurationManagerContract(
    name: "embedded store",
    make: { record, folder in
      let path = folder.path + "/cluster.sqlite"
      try EmbeddedStore.create(path, record, exists: false)
      return { [folder] in try EmbeddedStore(folder.path + "/cluster.sqlite", exists: true) }
    },
    history: { folder in
      let database = try Database(folder.path + "/cluster.sqlite", mode: .readOnly)
      let read = try database.prepare(
        "SELECT partition, epoch, primary_node, at, why FROM history ORDER BY partition, epoch")
      var changes: [Change] = []
      while try read.step() {
        changes.append(
          Change(
            partition: UInt16(read.int64(0)), epoch: read.uint64(1),
            primary: read.isNull(2) ? nil : read.text(2), at: read.int64(3), why: read.text(4)))
      }
      return changes
    })
}

struct EmbeddedStoreTests {
  private static let record = ConfigurationManagerContract.record

  @Test func `a folder that holds a cluster gets no second one`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    let error = #expect(throws: EmbeddedStore.Failure.self) {
      try EmbeddedStore.create(path, Self.record, exists: true)
    }
    #expect(error?.description.hasPrefix("\(path) exists") == true)
    var other = Self.record
    other.id = "another"
    #expect(throws: EmbeddedStore.Failure.self) { try EmbeddedStore.create(path, other, exists: false) }
    #expect(try EmbeddedStore(path, exists: true).cluster() == Self.record, "the first one is untouched")
    #expect(try EmbeddedStore(path, exists: true).groups().count == 6)
  }

  @Test func `a folder without a cluster says how to make one`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    let error = #expect(throws: EmbeddedStore.Failure.self) { _ = try EmbeddedStore(path, exists: false) }
    #expect(error?.description.contains("laris cluster init") == true)
    #expect(!FileManager.default.fileExists(atPath: path), "nothing was made")
  }

  @Test(arguments: [
    "UPDATE cluster SET partitions = 0", "UPDATE cluster SET partitions = 4097",
    "UPDATE cluster SET partitions = -1",
    "UPDATE cluster SET partitions = 5", "UPDATE cluster SET replicas = -1",
    "UPDATE cluster SET initial_workers = 0",
    "UPDATE cluster SET reserve_milliseconds = -1", "UPDATE cluster SET request_window_milliseconds = -1",
    "UPDATE cluster SET fee_basis_points = 10001", "UPDATE cluster SET id = ''",
    "DELETE FROM groups WHERE partition = 2",
    "UPDATE groups SET partition = 6 WHERE partition = 0", "UPDATE groups SET epoch = -1 WHERE partition = 1",
    "UPDATE groups SET epoch = 9223372036854775807 WHERE partition = 1",
  ])
  func `a configuration that no program of ours writes is refused`(sql: String) throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try EmbeddedStore.create(path, Self.record, exists: false)
    do { try Database(path, mode: .readWrite).execute(sql) }
    let error = #expect(throws: EmbeddedStore.Failure.self) {
      _ = try EmbeddedStore(path, exists: true).groups()
    }
    #expect(error?.description.hasPrefix("\(path) is damaged") == true)
  }

  @Test func `a file of something else is refused`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try Data("this is no database, whatever its name says".utf8).write(to: URL(fileURLWithPath: path))
    #expect(throws: SQLiteError.self) {
      _ = try EmbeddedStore(path, exists: true).cluster()
    }
  }
}
