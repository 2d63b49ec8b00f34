import Files
import Foundation
import PartitionStore
import SQLite
import TestSupport
import Testing

struct WALTests {
  private static func size(_ path: String) throws -> Int { try SystemFiles().open(path, .read).size() }

  /// The bytes of `path` that a start would write again.
  private static func end(_ path: String) throws -> Int {
    try WAL.end(of: SystemFiles().open(path, .read))
  }

  @Test(arguments: [512, 4_096, 65_536]) func `what counts of a WAL ends where its salt does`(
    _ pageBytes: Int
  ) throws {
    let folder = try TestFolder()
    let path = folder.path + "/x.sqlite"
    let database = try Database(path, mode: .readWrite)
    try database.execute(
      "PRAGMA page_size=\(pageBytes); PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0")
    try database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    try database.execute(
      """
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
      INSERT INTO t SELECT i, randomblob(1000) FROM n
      """)
    let wal = path + "-wal"
    let large = try Self.size(wal)
    #expect(large > 400_000)
    #expect(try Self.end(wal) == large, "all of it counts")
    // All of it is moved, so the next transaction goes over its beginning.
    #expect(try database.checkpoint())
    try database.execute("UPDATE t SET b = 'x' WHERE a = 7")
    #expect(try Self.size(wal) == large)
    let end = try Self.end(wal)
    #expect(end >= 32 + 24 + pageBytes)
    #expect(end <= 32 + 4 * (24 + pageBytes), "\(end)")
    // Nothing but what counts is needed.
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: wal)))
    let copy = folder.path + "/copy.sqlite"
    try FileManager.default.copyItem(atPath: path, toPath: copy)
    try Data(bytes[..<end]).write(to: URL(filePath: copy + "-wal"))
    let read = try Database(copy, mode: .readWrite).prepare("SELECT b FROM t WHERE a = 7")
    #expect(try read.step())
    #expect(read.text(0) == "x")
  }

  @Test func `of what is no WAL all is taken`() throws {
    let folder = try TestFolder()
    var random = SplitMix64(seed: 4)
    for size in [0, 1, 31, 32, 33, 5_000] {
      let path = folder.path + "/\(size)"
      var bytes = random.bytes(size)
      if size > 11 { bytes[8] = 1 }
      try Data(bytes).write(to: URL(filePath: path))
      #expect(try Self.end(path) == size)
    }
  }
}
