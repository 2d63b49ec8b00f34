import CLinux
import Files
import Glibc
import SQLite
import TestSupport
import Testing

struct WritePaceTests {
  private static func unwritten(_ path: String) -> Int64 {
    let descriptor = open(path, O_RDONLY)
    defer { close(descriptor) }
    return laris_unwritten_bytes(descriptor)
  }

  @Test func `the disk keeps step with what SQLite writes, so that its sync is not of all of it`() throws {
    let folder = try TestFolder()
    let probe = folder.path + "/probe"
    let file = try SystemFiles().open(probe, .create)
    try [UInt8](repeating: 1, count: 8 << 20).withUnsafeBytes { try file.write($0, at: 0) }
    let before = Self.unwritten(probe)
    try file.writeOut(from: 0)
    guard before > 0, Self.unwritten(probe) == 0 else {
      return print("SKIPPED: no disk is under the folder, or this kernel does not say what it lacks")
    }
    let path = folder.path + "/long.sqlite"
    let database = try Database(path, mode: .readWrite)
    try database.execute(
      """
      PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE rows (bytes BLOB);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 64)
      INSERT INTO rows SELECT randomblob(1 << 20) FROM n;
      """)
    #expect(try SystemFiles().open(path, .read).size() > 64 << 20)
    let unwritten = Self.unwritten(path)
    #expect(unwritten >= 0 && unwritten < 8 << 20, "\(unwritten) bytes wait for a sync")
  }
}
