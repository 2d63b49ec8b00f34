import Files
import Glibc
import SQLite
import SimulatedDisk
import TestSupport
import Testing

/// Both file systems do the same, as long as nothing fails.
struct FilesTests {
  private static func text(_ file: any File) throws -> String {
    String(decoding: try file.contents(), as: UTF8.self)
  }

  private static func write(_ text: String, to file: any File, at offset: Int = 0) throws {
    try Array(text.utf8).withUnsafeBytes { try file.write($0, at: offset) }
  }

  /// Who has the file open, and closes it last, waits for no more than a piece.
  private static func checkRemovalInPieces(_ files: any FileSystem, in folder: String) throws {
    struct Ended: Error {}
    let path = folder + "/long"
    let file = try files.open(path, .create)
    try file.truncate(to: 100_000)
    #expect(throws: Ended.self) {
      try files.removeInPieces(path, bytes: 30_000) {
        if try file.size() < 50_000 { throw Ended() }
      }
    }
    #expect(try file.size() == 40_000, "what is left waits for another try")
    var sizes: [Int] = []
    try files.removeInPieces(path, bytes: 15_000) { sizes.append(try file.size()) }
    #expect(sizes == [25_000, 10_000])
    #expect(try !files.exists(path))
    #expect(throws: FileError(.open, path, code: ENOENT)) {
      try files.removeInPieces(path, bytes: 15_000) {}
    }
  }

  private static func check(_ files: any FileSystem, in root: String) throws {
    let folder = root + "/a/b/c"
    #expect(try !files.exists(folder))
    try files.makeDirectory(folder)
    try files.makeDirectory(folder)
    #expect(try files.exists(folder))
    #expect(try files.names(in: folder) == [])

    let path = folder + "/one"
    #expect(throws: FileError(.open, path, code: ENOENT)) { try files.open(path, .update) }
    #expect(throws: FileError(.open, path, code: ENOENT)) { try files.open(path, .read) }
    #expect(throws: FileError(.rename, path, code: ENOENT)) { try files.rename(path, to: folder + "/two") }
    #expect(throws: FileError(.remove, path, code: ENOENT)) { try files.remove(path) }
    #expect(throws: FileError(.open, root + "/no/one", code: ENOENT)) {
      try files.open(root + "/no/one", .create)
    }
    #expect(throws: FileError(.open, root + "/no", code: ENOENT)) { try files.names(in: root + "/no") }

    let file = try files.open(path, .create)
    try write("hello", to: file)
    try write("HELLO", to: file, at: 8_190)
    #expect(try file.size() == 8_195)
    #expect(try file.contents(from: 8_188, to: 8_192) == [0, 0, 72, 69])
    #expect(try file.contents(from: 8_193) == Array("LO".utf8))
    #expect(try file.contents(from: 9_000) == [])
    try file.truncate(to: 3)
    #expect(try text(file) == "hel")
    try file.truncate(to: 5)
    #expect(try file.contents() == Array("hel".utf8) + [0, 0])
    try file.sync()
    try files.rename(path, to: folder + "/two")
    try files.replace(folder + "/three", with: "3\n")
    try files.replace(folder + "/three", with: "33\n")
    #expect(try files.names(in: folder) == ["three", "two"])
    #expect(try text(try files.open(folder + "/three", .read)) == "33\n")
    #expect(try text(file).hasPrefix("hel"), "an open file keeps its own through a rename")
    try files.rename(folder + "/three", to: folder + "/two")
    #expect(try text(try files.open(folder + "/two", .read)) == "33\n")
    #expect(try text(file).hasPrefix("hel"), "and through being replaced")
    #expect(try text(try files.open(folder + "/two", .create)) == "")
    try Self.checkRemovalInPieces(files, in: folder)
    try files.remove(folder + "/two")
    #expect(try files.names(in: folder) == [])
    try files.syncDirectory(folder)
    #expect(try files.freeBytes(at: folder) > 0)
  }

  @Test func `the system's files`() throws { try Self.check(SystemFiles(), in: try TestFolder().path) }

  @Test func `a simulated disk's files`() throws { try Self.check(SimulatedDisk(), in: "/root") }

  @Test func `a disk without room says so, with the path`() throws {
    let error = #expect(throws: FileError.self) {
      try Self.write("x", to: SystemFiles().open("/dev/full", .update))
    }
    #expect(error?.isDiskFull == true)
    #expect(error?.description.hasPrefix("write /dev/full: No space left on device") == true)
  }

  // MARK: What the simulated disk forgets

  private static func disk(_ body: (SimulatedDisk, any File) throws -> Void) throws -> SimulatedDisk {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/d")
    let file = try disk.open("/d/f", .create)
    try write(String(repeating: "a", count: 5_000), to: file)
    try file.sync()
    try disk.syncDirectory("/d")
    try body(disk, file)
    return disk
  }

  private static func content(_ disk: SimulatedDisk, _ path: String = "/d/f") throws -> String {
    try text(try disk.open(path, .read))
  }

  @Test func `a power cut forgets what was not synced, a killed process nothing`() throws {
    let old = String(repeating: "a", count: 5_000)
    let disk = try Self.disk { _, file in
      try Self.write("bbb", to: file, at: 4_999)
      try file.truncate(to: 6_000)
    }
    #expect(try Self.content(disk.snapshot.afterCrash(.forgetting)) == old)
    #expect(try Self.content(disk.snapshot.afterCrash(.keeping)) == Self.content(disk))
    try disk.open("/d/f", .update).sync()
    #expect(try Self.content(disk.snapshot.afterCrash(.forgetting)) == Self.content(disk))
  }

  @Test func `names last when their directory was synced, and in their order`() throws {
    let disk = try Self.disk { disk, _ in
      try disk.rename("/d/f", to: "/d/g")
      _ = try disk.open("/d/h", .create)
      try disk.remove("/d/g")
    }
    #expect(try disk.names(in: "/d") == ["h"])
    #expect(try disk.snapshot.afterCrash(.forgetting).names(in: "/d") == ["f"])
    var found: Set<[String]> = []
    for seed in 0..<64 {
      found.insert(try disk.snapshot.afterCrash(.tearing(seed: UInt64(seed))).names(in: "/d"))
    }
    #expect(found == [["f"], ["g"], ["g", "h"], ["h"]])
    try disk.syncDirectory("/d")
    #expect(try disk.snapshot.afterCrash(.forgetting).names(in: "/d") == ["h"])
  }

  @Test func `a torn write is there in any sectors, and only in whole ones`() throws {
    let disk = try Self.disk { _, file in
      try Self.write(String(repeating: "b", count: 2_048), to: file)
      try Self.write(String(repeating: "c", count: 512), to: file, at: 512)
    }
    var found: Set<String> = []
    for seed in 0..<4_000 {
      let content = Array(try Self.content(disk.snapshot.afterCrash(.tearing(seed: UInt64(seed)))))
      var sectors = ""
      for sector in 0..<4 {
        let bytes = Set(content[sector * 512..<(sector + 1) * 512])
        #expect(bytes.count == 1, "seed \(seed)")
        sectors.append(bytes.first!)
      }
      found.insert(sectors)
    }
    // Each sector old or new; the second may also be what was written there first.
    #expect(found.count == 24)
    #expect(found.isSuperset(of: ["aaaa", "aaab", "acaa", "baaa", "bcbb", "bbbb"]))
  }

  @Test func `what a failed sync lost is read, and no later sync saves it`() throws {
    let old = String(repeating: "a", count: 5_000)
    let disk = try Self.disk { disk, file in
      disk.setFault { $0.kind == .sync ? EIO : nil }
      try Self.write("bbb", to: file)
      #expect(throws: FileError(.sync, "/d/f", code: EIO)) { try file.sync() }
      disk.setFault(nil)
      try file.sync()
    }
    #expect(try Self.content(disk).hasPrefix("bbb"))
    #expect(try Self.content(disk.snapshot.afterCrash(.forgetting)) == old)
    // Unless it is written again.
    try disk.refresh("/d/f")
    #expect(try Self.content(disk.snapshot.afterCrash(.forgetting)).hasPrefix("bbb"))
  }

  @Test func `a full disk writes what fits`() throws {
    let disk = try Self.disk { disk, file in
      disk.setCapacity(5_010)
      #expect(throws: FileError(.write, "/d/f", code: ENOSPC)) {
        try Self.write(String(repeating: "b", count: 100), to: file, at: 4_990)
      }
      #expect(try file.size() == 5_010)
      try Self.write("what is there may be overwritten", to: file)
    }
    #expect(try disk.freeBytes(at: "/d") == 0)
  }

  @Test func `every operation is seen once, while it is under way`() throws {
    let disk = SimulatedDisk()
    let seen = Seen()
    disk.setObserver { operation, _ in seen.add(operation) }
    try disk.makeDirectory("/d")
    let file = try disk.open("/d/f", .create)
    try Self.write("x", to: file)
    try file.sync()
    try file.truncate(to: 0)
    try disk.rename("/d/f", to: "/d/g")
    try disk.syncDirectory("/d")
    try disk.remove("/d/g")
    #expect(seen.all.map(\.index) == Array(0..<9))
    #expect(
      seen.all.map(\.kind) == [
        .makeDirectory, .syncDirectory, .open, .write, .sync, .truncate, .rename, .syncDirectory, .remove,
      ])
    #expect(disk.operations == 9)
  }

  // MARK: SQLite on it

  @Test func `SQLite runs on it with a writer, a reader, a WAL and checkpoints`() throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/d")
    func count(_ disk: SimulatedDisk) throws -> Int64 {
      let database = try Database("/d/s", mode: .readOnly, vfs: disk.sqliteVFS)
      let statement = try database.prepare("SELECT count(*), (SELECT * FROM pragma_integrity_check) FROM t")
      _ = try statement.step()
      #expect(statement.text(1) == "ok")
      return statement.int64(0)
    }
    let writer = try Database("/d/s", mode: .readWrite, vfs: disk.sqliteVFS)
    try writer.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0")
    try writer.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for round in 1...20 {
      try writer.transaction {
        for _ in 0..<50 { try writer.execute("INSERT INTO t (b) VALUES (hex(randomblob(50)))") }
      }
      #expect(try count(disk) == Int64(round * 50))
      if round % 5 == 0 { #expect(try writer.checkpoint()) }
    }
    try writer.execute("INSERT INTO t (b) VALUES (1)")
    #expect(try disk.names(in: "/d") == ["s", "s-wal"], "its shared memory is no file")
    #expect(try count(disk.snapshot.afterCrash(.keeping)) == 1_001)
    #expect(try count(disk.snapshot.afterCrash(.forgetting)) == 1_000, "what was checkpointed was synced")
    // A reader's snapshot stays while the writer goes on; a second writer waits.
    let reader = try Database("/d/s", mode: .readOnly, vfs: disk.sqliteVFS)
    try reader.execute("BEGIN; SELECT count(*) FROM t")
    try writer.execute("INSERT INTO t (b) VALUES (2)")
    let seen = try reader.prepare("SELECT count(*) FROM t")
    _ = try seen.step()
    #expect(seen.int64(0) == 1_001)
    #expect(try !writer.checkpoint(), "a reader holds it up")
    let second = try Database("/d/s", mode: .readWrite, busyMilliseconds: 0, vfs: disk.sqliteVFS)
    try writer.execute("BEGIN IMMEDIATE")
    let error = #expect(throws: SQLiteError.self) { try second.execute("BEGIN IMMEDIATE") }
    #expect(error?.isBusy == true)
    try writer.execute("COMMIT")
  }

  @Test func `SQLite tells a full disk from a failed sync`() throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/d")
    let writer = try Database("/d/s", mode: .readWrite, vfs: disk.sqliteVFS)
    try writer.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE t (a)")
    disk.setCapacity(disk.bytesUsed + 1_000)
    let full = #expect(throws: SQLiteError.self) {
      try writer.execute("INSERT INTO t VALUES (hex(randomblob(5000)))")
    }
    #expect(full?.isDiskFull == true)
    #expect(full?.isDiskFailure == false)
    disk.setCapacity(.max)
    try writer.execute("INSERT INTO t VALUES (1)")
    disk.setFault { $0.kind == .sync ? EIO : nil }
    let failed = #expect(throws: SQLiteError.self) { _ = try writer.checkpoint() }
    #expect(failed?.isDiskFailure == true)
    #expect(failed?.isDiskFull == false)
    disk.setFault(nil)
  }
}

private final class Seen: @unchecked Sendable {
  private(set) var all: [SimulatedDisk.Operation] = []
  func add(_ operation: SimulatedDisk.Operation) { all.append(operation) }
}
