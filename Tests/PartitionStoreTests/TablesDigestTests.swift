import Cluster
import PartitionStore
import SQLite
import TestSupport
import Testing

/// Rule 15: what the digests of a file say, and what they don't depend on.
struct TablesDigestTests {
  private static func digest(_ path: String, window: Int64 = TestPartition.window) throws -> TablesDigest {
    try TablesDigest(path: path, windowMilliseconds: window)
  }

  private static func execute(_ sql: String, _ path: String) throws {
    let database = try Database(path, mode: .readWrite)
    try database.execute(sql)
  }

  /// Every column of every table, but those that are a replica's own affair.
  private static func columns(_ path: String) throws -> [(table: String, column: String)] {
    let database = try Database(path, mode: .readOnly)
    let tables = try database.prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    var found: [(String, String)] = []
    while try tables.step() {
      let table = tables.text(0)
      let columns = try database.prepare("SELECT name FROM pragma_table_info('\(table)')")
      while try columns.step() { found.append((table, columns.text(0))) }
    }
    return found
  }

  @Test func `the digest of what entries changed is written with the rows, and goes on from there`() throws {
    let (test, _) = try TestPartition.busy()
    let state = try PartitionReader(path: test.path).state()
    let digest = test.withCore { $0.digest }
    #expect(state.digest == digest && digest != 0)
    #expect(try Self.digest(test.path).appliedDigest == digest)
    let copy = test.folder.path + "/copy.sqlite"
    #expect(try PartitionSnapshot.make(of: test.path, at: copy) == state.applied)
    #expect(try PartitionReader(path: copy).state() == state)
    #expect(try Self.digest(copy) == Self.digest(test.path))
    // One that forgot everything and one that did not.
    try test.send(TestPartition.shop(77))
    let next = test.withCore { $0.digest }
    try test.restart()
    #expect(test.withCore { $0.digest } == digest)
    try test.send(TestPartition.shop(77))
    #expect(test.withCore { $0.digest } != next, "it is another request")
  }

  @Test func `a value that is another in any column of any row shows in its table's digest`() throws {
    let (test, _) = try TestPartition.busy()
    let sound = try Self.digest(test.path)
    #expect(sound.tables.allSatisfy { $0.rows > 0 })
    var tried = 0
    for (table, column) in try Self.columns(test.path) {
      // How answers share pages, and how far they are summed up, is nobody's content.
      if table == "request_pages", ["page", "first", "last", "bounds"].contains(column) { continue }
      if table == "reservations", column == "sn" { continue }
      if table == "meta", column == "key" { continue }
      let copy = try TestFolder()
      let path = copy.path + "/p.sqlite"
      _ = try PartitionSnapshot.make(of: test.path, at: path)
      // One row of it, by another value of the same kind.
      let value =
        switch (table, column) {
        case ("request_pages", "sns"), ("request_pages", "codes"):
          "json_set(\(column), '$[0]', json_extract(\(column), '$[0]') + 1)"
        case ("reservations", "sns"): "json_remove(\(column), '$[0]')"
        case ("request_pages", "ids"): "zeroblob(1) || substr(ids, 2)"
        case ("request_pages", "answers"): "CAST(x'7f' || substr(answers, 2) AS BLOB)"
        case ("request_pages", "fingerprints"): "CAST(x'7f7f' || substr(fingerprints, 3) AS BLOB)"
        default:
          "CASE typeof(\(column)) WHEN 'integer' THEN \(column) + 1000 WHEN 'text' THEN \(column) || 'x' "
            + "ELSE CAST(x'7f7f' || coalesce(substr(\(column), 3), '') AS BLOB) END"
        }
      let database = try Database(path, mode: .readWrite)
      let key = table == "meta" ? "key = 'time'" : "TRUE"
      try database.execute(
        """
        UPDATE \(table) SET \(column) = \(value) WHERE \(key) AND (SELECT count(*) FROM \(table)) > 0
          AND \(Self.first(table))
        """)
      #expect(database.changes == 1, "\(table).\(column)")
      let broken = try Self.digest(path, window: .max)
      let place = try #require(
        TablesDigest.names.firstIndex(of: table == "request_pages" ? "requests" : table))
      #expect(broken.tables[place] != sound.tables[place], "\(table).\(column)")
      #expect(broken.differences(from: sound).contains { $0.hasPrefix(TablesDigest.names[place]) })
      tried += 1
    }
    #expect(tried > 60)
  }

  /// One row that can be told from others.
  private static func first(_ table: String) -> String {
    switch table {
    case "skus": "shop_id = 42 AND sku_id = 1"
    case "payments": "reference = 'r2'"
    case "accounts": "kind = 'fees'"
    case "transfers": "number = 0 AND sn = (SELECT min(sn) FROM transfers)"
    case "orders": "sn = (SELECT max(sn) FROM orders)"
    case "reservations": "expires_at = (SELECT max(expires_at) FROM reservations)"
    case "request_pages": "page = (SELECT min(page) FROM request_pages)"
    case "shops": "shop_id = 42"
    default: "TRUE"
    }
  }

  @Test func `a row that is missing, twice, or too many is counted`() throws {
    let (test, _) = try TestPartition.busy()
    let sound = try Self.digest(test.path)
    try Self.execute("DELETE FROM orders WHERE sn = 12", test.path)
    let differences = try Self.digest(test.path).differences(from: sound)
    #expect(differences == ["orders (11 rows, not 12)"])
    #expect(sound.differences(from: sound).isEmpty)
  }

  @Test func `how rows were grouped by checkpoints makes no difference`() throws {
    let (often, seldom) = (try TestPartition(), try TestPartition())
    for step in 0..<40 as Range<UInt64> {
      for test in [often, seldom] {
        try test.send([TestPartition.shop(step + 1), TestPartition.sku(step + 1, 1, price: 10, onHand: 9)])
        let order = try test.place(step + 1, buyer: 7, [(1, 1)])
        if step % 3 == 0 { try test.send(TestPartition.pay(order, 10, "p\(step)")) }
        test.wait(2_000)
        if step % 5 == 0 { try test.expire() }
      }
      try often.checkpoint()
    }
    try seldom.checkpoint()
    let pages = try [often, seldom].map { test in
      let count = try Database(test.path, mode: .readOnly).prepare("SELECT count(*) FROM reservations")
      _ = try count.step()
      return count.int64(0)
    }
    #expect(pages.allSatisfy { $0 > 0 })
    #expect(try Self.digest(often.path) == Self.digest(seldom.path))
  }

  @Test func `answers whose time is over count no more, whether they are gone or not`() throws {
    let (kept, gone) = (try TestPartition(), try TestPartition())
    for test in [kept, gone] {
      // A page goes as a whole, and what comes later is not added to one that is half full.
      try test.send((1...130).map { TestPartition.shop($0) })
      if test === gone { try test.checkpoint() }
      test.wait(TestPartition.window + 1)
      try test.send(TestPartition.shop(999))
      try test.checkpoint()
    }
    let rows = try [kept, gone].map { test in
      let count = try Database(test.path, mode: .readOnly).prepare("SELECT count(*) FROM requests")
      _ = try count.step()
      return count.int64(0)
    }
    #expect(rows == [131, 1])
    let (digest, other) = (try Self.digest(kept.path), try Self.digest(gone.path))
    #expect(digest == other && digest.tables.last?.rows == 1)
  }

  @Test func `it is of one moment, whatever is written meanwhile`() throws {
    let (test, _) = try TestPartition.busy()
    let before = try Self.digest(test.path)
    let during = try TablesDigest(path: test.path, windowMilliseconds: TestPartition.window) {
      try? test.send(TestPartition.shop(99))
      _ = try? test.checkpoint()
    }
    #expect(during == before)
    #expect(try Self.digest(test.path).applied > before.applied)
    var isBegun = false
    let audit = try PartitionAudit(path: test.path, windowMilliseconds: TestPartition.window) {
      isBegun = true
    }
    #expect(try isBegun && audit.digest == Self.digest(test.path))
  }

  @Test func `who reads it is asked now and then whether it may go on, and ends where it may not`() throws {
    let (test, _) = try TestPartition.busy()
    var questions = 0
    func audit(mayGoOn: Bool) throws -> PartitionAudit {
      questions = 0
      return try PartitionAudit(
        path: test.path, windowMilliseconds: TestPartition.window,
        mayGoOn: {
          questions += 1
          return mayGoOn
        })
    }
    #expect(try audit(mayGoOn: true).digest == Self.digest(test.path))
    #expect(questions > 0)
    #expect(throws: SQLiteError.self) { try audit(mayGoOn: false) }
    #expect(questions == 1)
  }
}
