import Bytes
import Cluster
import Foundation
import Marketplace
import PartitionStore
import SQLite
import TestSupport
import Wire
import WorkerCore

/// A partition's SQLite file with any bytes in it.
struct PartitionFileTarget: FuzzTarget {
  let name = "partition-file"
  let about = "bytes of partition.sqlite: PartitionWriter, PartitionReader, PartitionAudit, a group on top"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] { [try PartitionFiles.seed()] }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let path = try ScratchFolder.fresh("partition-file") + "/partition.sqlite"
    try ScratchFolder.write(bytes, to: path)
    return try PartitionFiles.use(path)
  }
}

/// A sound file whose rows hold what no version of ours writes: `table u8 | column u8 | row u8 | kind u8 |
/// value 8 bytes`, again and again.
struct PartitionRowsTarget: FuzzTarget {
  let name = "partition-rows"
  let about = "rows of partition.sqlite with any values: PartitionReader, PartitionAudit, a group on top"

  private static let tables = [
    "meta", "shops", "skus", "orders", "payments", "accounts", "request_pages", "transfers", "reservations",
  ]

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    (0..<64).map { _ in random.bytes(RowEdits.size * random.pick(1...3)) }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let path = try ScratchFolder.fresh("partition-rows") + "/partition.sqlite"
    try PartitionFiles.seed().withUnsafeBytes { try ScratchFolder.write($0, to: path) }
    try RowEdits.apply(bytes, to: path, tables: Self.tables)
    return try PartitionFiles.use(path)
  }
}

/// Changes to single values of a SQLite file.
enum RowEdits {
  static let size = 12
  private static let texts = [
    "", "placed", "ready", "cancelled", "escrow", "[]", "[[1,2,3]]", "[[1,-2,3]]",
    "[[1,4294967295,9223372036854775807]]",
    "[[9,1,1]]", "\u{0}", "[[1,2]", "buyer", "worker-9", "-1", "9223372036854775807",
  ]

  /// - Throws: ``Finding`` where the file itself can't be worked with.
  static func apply(_ bytes: UnsafeRawBufferPointer, to path: String, tables: [String]) throws {
    let database = try Database(path, mode: .readWrite)
    try database.execute("PRAGMA journal_mode=DELETE; PRAGMA synchronous=OFF; BEGIN")
    var reader = ByteReader(bytes)
    while let edit = try? reader.slice(size) {
      let table = tables[Int(edit[0]) % tables.count]
      let names = try columns(of: table, in: database)
      let column = names[Int(edit[1]) % names.count]
      let row = "(SELECT \(names[0]) FROM \(table) LIMIT 1 OFFSET \(edit[2] % 24))"
      if edit[3] % 16 == 0 {
        try? database.execute("DELETE FROM \(table) WHERE \(names[0]) = \(row)")
        continue
      }
      let statement = try database.prepare(
        "UPDATE OR IGNORE \(table) SET \(column) = ?1 WHERE \(names[0]) = \(row)")
      let number = edit.loadUnaligned(fromByteOffset: 4, as: UInt64.self)
      switch edit[3] % 8 {
      case 1: statement.bind(1, number)
      case 2: statement.bind(1, UInt64.max >> (number % 64))
      case 3: statement.bind(1, Int64.min >> (number % 64))
      case 4: statement.bind(1, blob: Array(edit[4..<Int(5 + number % 7)]))
      case 5: statement.bind(1, Int64(bitPattern: number % 50))
      case 6: statement.bindNull(1)
      default: statement.bind(1, texts[Int(number % UInt64(texts.count))])
      }
      // NOT NULL and the like say no to some.
      try? statement.run()
    }
    try database.execute("COMMIT")
  }

  private static func columns(of table: String, in database: borrowing Database) throws -> [String] {
    let statement = try database.prepare("SELECT * FROM \(table) LIMIT 0")
    return (0..<statement.columnCount).map { statement.columnName($0) }
  }
}

enum PartitionFiles {
  static let cluster = "0190a6c2-0000-7000-8000-00000000c1a5"
  private nonisolated(unsafe) static var made: [UInt8]?

  /// A file with rows of every kind. Made once a process.
  static func seed() throws -> [UInt8] {
    if let made { return made }
    let path = try ScratchFolder.fresh("partition-seed") + "/partition.sqlite"
    var writer: PartitionWriter? = try PartitionWriter(
      path: path, cluster: cluster, partition: PartitionID(RandomCommands.partition))
    var core = Partitions.core()
    var commands = RandomCommands(SplitMix64(seed: 5))
    for group in 0..<60 {
      let requests =
        group == 0 ? Partitions.basics.map { commands.request(of: $0) } : [commands.commandRequest()]
      try Frames.batch(requests).withUnsafeBytes {
        try core.take($0, dispatcher: 0, receivedAt: RandomCommands.start)
        _ = core.collectNeeds(now: RandomCommands.start)
        _ = core.collectNeedsOfOrders()
        core.seal(now: RandomCommands.start, steady: RandomCommands.start)
        core.apply()
      }
    }
    try writer!.write(core.makeCheckpoint())
    writer = nil
    let bytes = try ScratchFolder.read(path)
    made = bytes
    return bytes
  }

  /// What a worker's start does with the file, then a group of commands, a checkpoint and an audit.
  static func use(_ path: String) throws -> String {
    var stage = "open"
    do {
      var writer = try PartitionWriter(
        path: path, cluster: cluster, partition: PartitionID(RandomCommands.partition))
      let reader = try PartitionReader(path: path)
      stage = "state"
      let state = try reader.state()
      var core = Partitions.core(
        applied: state.applied, time: state.time, ordersPlaced: state.ordersPlaced, digest: state.digest,
        horizon: try reader.requestHorizon())
      stage = "group"
      var commands = RandomCommands(SplitMix64(seed: 11))
      // After every request of the file, and after some that may come again.
      commands.time += 1
      commands.sequenceNumbers = 9...70
      for _ in 0..<3 {
        let requests = (0..<12).map { _ in commands.request() }
        let frame = Frames.batch(requests)
        try frame.withUnsafeBytes { frame in
          try core.take(frame, dispatcher: 0, receivedAt: commands.time)
          try reader.loadReservations(into: &core, now: commands.time)
          let needs = core.collectNeeds(now: commands.time)
          try reader.load(needs.rows, into: &core)
          try reader.load(needs.requests, into: &core)
          try reader.load(core.collectNeedsOfOrders(), isOfOrders: true, into: &core)
          core.seal(now: commands.time, steady: commands.time)
          core.apply()
          core.clearAnswers()
        }
        commands.time += 40_000
      }
      stage = "checkpoint"
      try writer.write(core.makeCheckpoint())
    } catch let finding as Finding {
      throw finding
    } catch {
      stage += " " + (try outcome(of: error))
    }
    do {
      let audit = try PartitionAudit(path: path)
      try require(
        audit.checks.allSatisfy { $0.firstViolation.utf8.count < 64 << 10 },
        "an audit's words are not bounded")
      return "\(stage.prefix(120)) audit \(audit.checks.filter { $0.violations > 0 }.count)"
    } catch {
      return try "\(stage.prefix(80)) " + outcome(of: error).prefix(80)
    }
  }
}
