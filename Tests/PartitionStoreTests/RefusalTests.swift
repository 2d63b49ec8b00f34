import Cluster
import Files
import Foundation
import Marketplace
import PartitionStore
import SQLite
import TestSupport
import Testing
import WorkerCore

/// Files that do not belong here, and rows that no version of Laris writes.
struct RefusalTests {
  private static func open(_ path: String, cluster: String = TestPartition.cluster, partition: UInt16 = 3)
    throws
  {
    _ = try PartitionWriter(path: path, cluster: cluster, partition: PartitionID(partition))
  }

  private static func execute(_ sql: String, _ path: String) throws {
    let database = try Database(path, mode: .readWrite)
    try database.execute(sql)
  }

  @Test func `a file of another cluster is refused`() throws {
    let test = try TestPartition()
    let error = #expect(throws: StoreError.self) { try Self.open(test.path, cluster: "another") }
    guard case .foreign(test.path, "it is of cluster \(TestPartition.cluster), not of another") = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    try Self.open(test.path)
  }

  @Test func `a file of another partition is refused`() throws {
    let test = try TestPartition()
    let error = #expect(throws: StoreError.self) { try Self.open(test.path, partition: 4) }
    guard case .foreign(test.path, "it is of partition 3, not of 4") = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    try Self.open(test.path)
  }

  @Test(arguments: [4, 99, Int64.max])
  func `a file of a newer format is refused by its format, and stays as it is`(_ format: Int64) throws {
    let test = try TestPartition()
    try Self.execute(
      "UPDATE meta SET value = \(format) WHERE key = 'format'; DROP TABLE transfers", test.path)
    let error = #expect(throws: StoreError.self) { try Self.open(test.path) }
    guard case .unsupportedVersion(test.path, format) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(error?.description.contains("format \(format), which is newer") == true)
    let database = try Database(test.path, mode: .readOnly)
    #expect(throws: SQLiteError.self) { _ = try database.prepare("SELECT * FROM transfers") }
  }

  @Test(arguments: [2, 1, 0, -1] as [Int64])
  func `a file of an older format is refused by its format, and stays as it is`(_ format: Int64) throws {
    let test = try TestPartition()
    try Self.execute(
      "UPDATE meta SET value = \(format) WHERE key = 'format'; DROP VIEW requests; DROP TABLE request_pages",
      test.path)
    let error = #expect(throws: StoreError.self) { try Self.open(test.path) }
    guard case .outdatedVersion(test.path, format) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    let sentence = "format \(format), which this program does not read any more"
    #expect(error?.description.contains(sentence) == true)
    let database = try Database(test.path, mode: .readOnly)
    #expect(throws: SQLiteError.self) { _ = try database.prepare("SELECT * FROM request_pages") }
  }

  /// A page of requests that none of ours wrote: what is asked for, what is written beside it, both refuse it.
  @Test(arguments: [
    Damage("UPDATE request_pages SET ids = x''", "its ids have 0 bytes"),
    Damage("UPDATE request_pages SET ids = x'0102'", "its ids have 2 bytes"),
    Damage("UPDATE request_pages SET ids = substr(ids, 17)", "its columns are not of 3 requests each"),
    Damage("UPDATE request_pages SET ids = ids || ids", "its columns are not of 8 requests each"),
    Damage("UPDATE request_pages SET sns = '[1,2,3]'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET sns = '1,2,3,4'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET sns = '[1,2,,4]'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET sns = '[1,2,3,x]'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET fingerprints = x'00'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET codes = '[]'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET codes = '[0,0,0,256]'", "code 256"),
    Damage("UPDATE request_pages SET codes = '[0,0,0,-1]'", "code -1"),
    Damage("UPDATE request_pages SET bounds = '[0,0,0,0]'", "its columns are not of 4 requests each"),
    Damage("UPDATE request_pages SET bounds = '[0,9999,1,2,3]'", "the bounds of its answers"),
    Damage(
      "UPDATE request_pages SET bounds = '[0,5,4,4,' || length(answers) || ']'", "the bounds of its answers"),
    Damage("UPDATE request_pages SET answers = x''", "the bounds of its answers"),
    Damage(
      "UPDATE request_pages SET ids = substr(ids, 17, 16) || substr(ids, 1, 16) || substr(ids, 33)",
      "its ids are not in order"),
  ])
  func `a page of requests that Laris never writes is refused, and said what is wrong`(
    _ damage: Damage
  ) throws {
    let test = try TestPartition()
    let ids = (0..<4).map { _ in test.requestID() }
    let commands = [
      TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5),
      TestPartition.order(1, buyer: 2, [(1, 2)]), TestPartition.order(1, buyer: 3, [(1, 1)]),
    ]
    try test.send(commands, ids: ids)
    try test.checkpoint()
    try Self.execute(damage.sql, test.path)
    try test.restart()
    test.wait(1)
    let asked = #expect(throws: StoreError.self) { try test.send(commands, ids: ids) }
    #expect(asked?.description.contains("request page 1: \(damage.what)") == true)
    try test.restart()
    try test.send(TestPartition.shop(2))
    let written = #expect(throws: StoreError.self) { try test.checkpoint() }
    #expect(written?.description.contains("request page 1: \(damage.what)") == true)
  }

  @Test func `a file of something else is refused`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/partition.sqlite"
    try Data("this is no database, whatever its name says".utf8).write(to: URL(fileURLWithPath: path))
    #expect(throws: SQLiteError.self) { try Self.open(path) }
  }

  @Test func `a reader makes no file`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/partition.sqlite"
    #expect(throws: SQLiteError.self) { _ = try PartitionReader(path: path) }
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  struct Damage: Sendable, CustomTestStringConvertible {
    let sql: String
    let what: String
    var testDescription: String { sql }
    init(_ sql: String, _ what: String) {
      self.sql = sql
      self.what = what
    }
  }

  static let damages = [
    Damage("UPDATE shops SET origin = 'moon'", "origin is 'moon'"),
    Damage("UPDATE shops SET status = ''", "status is ''"),
    Damage("UPDATE orders SET state = 'Placed'", "state is 'Placed'"),
    Damage("UPDATE orders SET state = 'cancelled', cancelled_by = 'nobody'", "cancelled_by is 'nobody'"),
    Damage("UPDATE orders SET order_id = x'0102'", "an order_id has 2 bytes"),
    Damage("UPDATE orders SET lines = '[[1,2]]'", "lines of order sn 3 are '[[1,2]]'"),
    Damage("UPDATE orders SET lines = ''", "lines of order sn 3 are ''"),
    Damage("UPDATE orders SET lines = '[[1,2,3]'||'x]'", "lines of order sn 3 are '[[1,2,3]x]'"),
    Damage("UPDATE orders SET lines = '[[1,-2,3]]'", "lines of order sn 3"),
    Damage("UPDATE orders SET lines = '[[1,4294967296,3]]'", "lines of order sn 3"),
    Damage("UPDATE orders SET lines = '[[9223372036854775808,1,3]]'", "lines of order sn 3"),
    Damage("UPDATE orders SET lines = '[[-9223372036854775809,1,3]]'", "lines of order sn 3"),
    Damage("UPDATE orders SET lines = '[[1-,1,3]]'", "lines of order sn 3"),
    Damage("UPDATE orders SET lines = '[[--1,1,3]]'", "lines of order sn 3"),
    Damage("UPDATE orders SET lines = '[]'", "order sn 3: its lines"),
    Damage("UPDATE orders SET lines = '[[1,0,10]]'", "order sn 3: its lines"),
    Damage("UPDATE orders SET total = total + 1", "order sn 3: goods 20, shipping_fee 0, total 21"),
    Damage(
      "UPDATE orders SET held = 9223372036854775807", "order sn 3: received 5, held 9223372036854775807"),
    Damage(
      "UPDATE orders SET received = total + 1, held = total + 1", "order sn 3: received 21, held 21, total 20"
    ),
    Damage(
      "UPDATE orders SET order_id = zeroblob(16)", "its order_id is of sn 0"
    ),
    Damage("UPDATE skus SET on_hand = -1", "SKU 1/1: on hand -1"),
    Damage("UPDATE skus SET on_hand = 9223372036854775807", "SKU 1/1: on hand 9223372036854775807"),
    Damage("UPDATE skus SET price = -1", "SKU 1/1: price -1"),
    Damage("UPDATE accounts SET balance = -balance", "account escrow of 1: balance -5"),
    Damage("UPDATE payments SET method = 'gold'", "method is 'gold'"),
    Damage("UPDATE payments SET settlement = 'maybe'", "settlement is 'maybe'"),
    Damage("UPDATE payments SET state_after = 'x'", "state_after is 'x'"),
    Damage("UPDATE payments SET order_id = x''", "an order_id has 0 bytes"),
    Damage("UPDATE request_pages SET last = x'00'", "a request_id has 1 bytes"),
  ]

  @Test(arguments: damages)
  func `a row that Laris never writes is refused, and said what is wrong`(_ damage: Damage) throws {
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5)])
    let order = try test.place(1, buyer: 2, [(1, 2)])
    try test.send(TestPartition.pay(order, 5, "r"))
    try test.checkpoint()
    try Self.execute(damage.sql, test.path)
    let error = #expect(throws: StoreError.self) {
      let reader = try PartitionReader(path: test.path)
      var core = PartitionCore(
        partition: TestPartition.partition, terms: TestPartition.terms, windowMilliseconds: 1,
        applied: .zero, time: 0, ordersPlaced: 0, horizon: try reader.requestHorizon(), rowsExpected: 16)
      var needs = Needs()
      needs.shops = [ShopID(1)]
      needs.orders = [OrderKey(order.sequenceNumber)]
      needs.skus = [SKUKey(shop: 1, sku: 1)]
      needs.accounts = [AccountKey(.escrow, owner: 1)]
      needs.payments = [PaymentKey(provider: "bank", reference: "r")]
      try reader.load(needs, into: &core)
    }
    guard case .damaged(test.path, let what) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(what.contains(damage.what), "\(what)")
    #expect(error?.description.contains("Keep the file") == true)
  }
}

extension RefusalTests {
  @Test func `an order whose SKU has no row is refused, before the rules look for it`() throws {
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5)])
    let order = try test.place(1, buyer: 2, [(1, 2)])
    try test.checkpoint()
    try Self.execute("DELETE FROM skus", test.path)
    try test.restart()
    let error = #expect(throws: StoreError.self) { try test.send(TestPartition.cancel(order, by: .shop)) }
    #expect(error?.description.contains("an order is about SKU 1/1, which has no row") == true)
  }

  @Test(arguments: [
    ("UPDATE reservations SET sns = '[3'", "sns '[3'"),
    ("UPDATE reservations SET sns = '[4]'", "expires_at of order sn 4"),
    ("UPDATE reservations SET expires_at = expires_at + 1", "expires_at of order sn 3"),
    ("UPDATE reservations SET sns = '[3,3]'", "expires_at of order sn 3"),
  ])
  func `a reservation that Laris never writes is refused`(sql: String, what: String) throws {
    let test = try TestPartition()
    try test.send([TestPartition.shop(1), TestPartition.sku(1, 1, price: 10, onHand: 5)])
    _ = try test.place(1, buyer: 2, [(1, 2)])
    try test.send(TestPartition.shop(2))
    try test.checkpoint()
    try Self.execute(sql, test.path)
    try test.restart()
    let error = #expect(throws: StoreError.self) { try test.expire() }
    #expect(error?.description.contains(what) == true, "\(String(describing: error))")
  }

  @Test(arguments: [
    ("applied_sn", "-1"), ("applied_sn", "9223372036854775807"), ("time", "-1"), ("time", "140737488355328"),
    ("orders_placed", "99"), ("rules", "0"), ("rules", "65536"), ("rules", "'two'"),
  ])
  func `a state that no log can go on from is refused`(key: String, value: String) throws {
    let test = try TestPartition()
    try test.send(TestPartition.shop(1))
    try test.checkpoint()
    try Self.execute("UPDATE meta SET value = \(value) WHERE key = '\(key)'", test.path)
    let error = #expect(throws: StoreError.self) { try PartitionReader(path: test.path).state() }
    #expect(error?.description.contains("meta: \(key) is") == true)
  }
}

struct EpochFileTests {
  @Test func `without a file the epoch is 0`() throws {
    let folder = try TestFolder()
    #expect(try EpochFile.read(folder.path + "/epoch") == AcceptedEpoch(Epoch(0)))
  }

  @Test(arguments: [0, 1, 41, 1 << 63, .max] as [UInt64])
  func `what was written is read, and replaced by the next`(_ epoch: UInt64) throws {
    let folder = try TestFolder()
    let path = folder.path + "/epoch"
    try EpochFile.write(AcceptedEpoch(Epoch(epoch)), to: path)
    #expect(try EpochFile.read(path) == AcceptedEpoch(Epoch(epoch)))
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "\(epoch)\n")
    let names = ["worker-1", "é \"\n", String(repeating: "\u{1}", count: 64)]
    let accepted = try #require(
      AcceptedEpoch(Epoch(7), primary: names[1], secondaries: [names[0], names[2]]))
    try EpochFile.write(accepted, to: path)
    #expect(try EpochFile.read(path) == accepted)
    try EpochFile.write(AcceptedEpoch(Epoch(8)), to: path)
    #expect(try EpochFile.read(path) == AcceptedEpoch(Epoch(8)))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["epoch"])
  }

  @Test func `the largest group there can be fits`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/epoch"
    let names = (0..<GroupRecord.membersMax).map { number in
      String(repeating: "\u{1}", count: 61) + String(1_000 + number).dropFirst()
    }
    let accepted = try #require(
      AcceptedEpoch(Epoch(7), primary: names[0], secondaries: Array(names.dropFirst())))
    try EpochFile.write(accepted, to: path)
    #expect(try EpochFile.read(path) == accepted)
  }

  @Test(arguments: [
    "", "\n", "seven", "-1", "18446744073709551616", "1 2", "0x10", "7\n7", "7\n{}",
    "7\n{\"primary\":\"\",\"secondaries\":[]}", "7\n{\"primary\":\"a\",\"secondaries\":[\"a\"]}",
    "0\n{\"primary\":\"a\",\"secondaries\":[]}", "7\n{\"primary\":\"a\",\"secondaries\":[]}\n\n8",
  ])
  func `what is no epoch is refused, with what is there`(_ text: String) throws {
    let folder = try TestFolder()
    let path = folder.path + "/epoch"
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    let error = #expect(throws: StoreError.self) { try EpochFile.read(path) }
    guard case .damaged(path, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func `a folder that is not there is an error that names it`() throws {
    let folder = try TestFolder()
    let path = folder.path + "/no/epoch"
    let error = #expect(throws: FileError.self) { try EpochFile.write(AcceptedEpoch(Epoch(1)), to: path) }
    #expect(error?.description.contains(path) == true)
  }
}
