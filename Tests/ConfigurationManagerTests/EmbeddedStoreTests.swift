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

  @Test func `a file of something else is refused`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/cluster.sqlite"
    try Data("this is no database, whatever its name says".utf8).write(to: URL(fileURLWithPath: path))
    #expect(throws: SQLiteError.self) {
      _ = try EmbeddedStore(path, exists: true).cluster()
    }
  }
}
