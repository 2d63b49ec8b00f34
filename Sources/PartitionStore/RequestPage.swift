import Bytes
import Cluster
import SQLite
import WorkerCore

/// Answers that share a row of `request_pages`, in the order of their ids.
///
/// A row an answer was a fifth of all that an order cost. Pages don't overlap, so an id is in the last page that
/// begins at or before it, or nowhere.
struct RequestPage {
  static let entriesMax = 256
  static let bytesMax = 16 << 10
  static let columns = "page, ids, sns, fingerprints, codes, bounds, answers"

  let number: Int64
  let rows: [FrozenRequests.Row]
  let bodies: [UInt8]

  /// Of the row that `statement` has stepped to, which begins with ``columns``.
  ///
  /// - Throws: `StoreError.damaged`: no version of ours wrote it.
  init(_ statement: borrowing Statement, path: String) throws {
    let number = statement.int64(0)
    func damaged(_ what: String) -> StoreError {
      .damaged(path: path, what: "request page \(number): \(what)")
    }
    let ids = statement.blob(1)
    let count = ids.count / 16
    guard count > 0, ids.count % 16 == 0 else { throw damaged("its ids have \(ids.count) bytes") }
    let fingerprints = statement.blob(3)
    guard fingerprints.count == count * 8, let sns = NumbersText.read(statement.text(2)), sns.count == count,
      let codes = NumbersText.read(statement.text(4)), codes.count == count,
      let bounds = NumbersText.read(statement.text(5)), bounds.count == count + 1
    else { throw damaged("its columns are not of \(count) requests each") }
    let bodies = Array(statement.blob(6))
    guard bounds[0] == 0, bounds[count] == bodies.count else { throw damaged("the bounds of its answers") }
    var rows: [FrozenRequests.Row] = []
    rows.reserveCapacity(count)
    for place in 0..<count {
      let id = RequestID(high: ids.bigEndian(at: place * 16), low: ids.bigEndian(at: place * 16 + 8))
      guard rows.last.map({ $0.id < id }) ?? true else { throw damaged("its ids are not in order") }
      guard let code = UInt8(exactly: codes[place]) else { throw damaged("code \(codes[place])") }
      guard bounds[place] <= bounds[place + 1] else { throw damaged("the bounds of its answers") }
      rows.append(
        FrozenRequests.Row(
          id: id, sequenceNumber: UInt64(bitPattern: sns[place]),
          fingerprint: fingerprints.bigEndian(at: place * 8), code: code, bodyStart: Int(bounds[place]),
          bodyEnd: Int(bounds[place + 1])))
    }
    self.number = number
    self.rows = rows
    self.bodies = bodies
  }

  /// The request with this id, if it is here.
  func find(_ id: RequestID) -> FrozenRequests.Row? {
    var (low, high) = (0, rows.count)
    while low < high {
      let middle = (low + high) / 2
      if rows[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < rows.count && rows[low].id == id ? rows[low] : nil
  }

  /// Whether an id that is not here is nowhere.
  func spans(_ id: RequestID) -> Bool { !(id < rows[0].id) && !(rows[rows.count - 1].id < id) }

  /// What a request takes of a page, more or less.
  fileprivate static func bytes(_ row: FrozenRequests.Row) -> Int { 40 + row.bodyEnd - row.bodyStart }

  fileprivate var isHalfFull: Bool {
    rows.count * 2 >= Self.entriesMax || rows.reduce(0) { $0 + Self.bytes($1) } * 2 >= Self.bytesMax
  }
}

/// Writes answers into pages, and forgets them by the page.
struct RequestPageWriter: ~Copyable {
  private let page, next, insert, replace, forget: Statement
  private let path: String

  init(_ database: borrowing Database) throws {
    let page = try database.prepare(
      "SELECT \(RequestPage.columns) FROM request_pages WHERE first <= ?1 ORDER BY first DESC LIMIT 1")
    let next = try database.prepare("SELECT first FROM request_pages WHERE first > ?1 ORDER BY first LIMIT 1")
    let insert = try database.prepare(
      """
      INSERT INTO request_pages (first, last, ids, sns, fingerprints, codes, bounds, answers)
      VALUES (?2,?3,?4,?5,?6,?7,?8,?9)
      """)
    let replace = try database.prepare(
      """
      UPDATE request_pages SET last = ?3, ids = ?4, sns = ?5, fingerprints = ?6, codes = ?7, bounds = ?8,
        answers = ?9
      WHERE page = ?1
      """)
    let forget = try database.prepare(
      """
      DELETE FROM request_pages WHERE page IN
        (SELECT page FROM request_pages WHERE first < ?1 AND last < ?1 ORDER BY first LIMIT 1000)
      """)
    path = database.path
    self.page = page
    self.next = next
    self.insert = insert
    self.replace = replace
    self.forget = forget
  }

  /// Where an answer's body is: in the page that it was in, or in the checkpoint.
  private struct Entry {
    let row: FrozenRequests.Row
    let isStored: Bool
  }

  func write(_ requests: FrozenRequests) throws {
    let order = PartitionWriter.inOrder(requests.rows) { $0.id }
    var start = 0
    while start < order.count {
      let id = requests.rows[order[start]].id
      let page = try page(of: id)
      let next = try firstPage(after: id)
      var end = start + 1
      while end < order.count, next.map({ requests.rows[order[end]].id < $0 }) ?? true { end += 1 }
      let added = order[start..<end].map { Entry(row: requests.rows[$0], isStored: false) }
      start = end
      // What comes behind a page that is half full at least leaves it as it is.
      if let page, !page.isHalfFull || page.spans(id) {
        try write(Self.merge(page.rows, added), stored: page.bodies, requests.bodies, over: page.number)
      } else {
        try write(added, stored: [], requests.bodies, over: nil)
      }
    }
  }

  /// Forgets whole pages of ids before `id`.
  func forget(before id: RequestID) throws {
    forget.bind(1, high: id.high, low: id.low)
    try forget.run()
  }

  private func page(of id: RequestID) throws -> RequestPage? {
    page.bind(1, high: id.high, low: id.low)
    defer { page.reset() }
    return try page.step() ? try RequestPage(page, path: path) : nil
  }

  private func firstPage(after id: RequestID) throws -> RequestID? {
    next.bind(1, high: id.high, low: id.low)
    defer { next.reset() }
    return try next.step() ? try RequestID(next.blob(0), path: path) : nil
  }

  /// Both in the order of ids; an id that is in both is the added one.
  private static func merge(_ stored: [FrozenRequests.Row], _ added: [Entry]) -> [Entry] {
    var merged: [Entry] = []
    merged.reserveCapacity(stored.count + added.count)
    var place = 0
    for entry in added {
      while place < stored.count, stored[place].id < entry.row.id {
        merged.append(Entry(row: stored[place], isStored: true))
        place += 1
      }
      if place < stored.count, stored[place].id == entry.row.id { place += 1 }
      merged.append(entry)
    }
    while place < stored.count {
      merged.append(Entry(row: stored[place], isStored: true))
      place += 1
    }
    return merged
  }

  /// Writes pages of about one size. The first takes the place of `number`, if there is one.
  private func write(_ entries: [Entry], stored: [UInt8], _ frozen: [UInt8], over number: Int64?) throws {
    let total = entries.reduce(0) { $0 + RequestPage.bytes($1.row) }
    let pages = max(total / RequestPage.bytesMax, entries.count / RequestPage.entriesMax) + 1
    var replaced = number
    var start = 0
    while start < entries.count {
      var (end, bytes) = (start, 0)
      while end < entries.count, end - start < RequestPage.entriesMax, bytes < total / pages + 1 {
        bytes += RequestPage.bytes(entries[end].row)
        end += 1
      }
      try write(entries[start..<end], stored, frozen, over: replaced)
      replaced = nil
      start = end
    }
  }

  private func write(
    _ entries: ArraySlice<Entry>, _ stored: [UInt8], _ frozen: [UInt8], over number: Int64?
  ) throws {
    var ids = ByteWriter(capacity: entries.count * 16)
    var fingerprints = ByteWriter(capacity: entries.count * 8)
    var answers = ByteWriter(capacity: RequestPage.bytesMax)
    var (sns, codes, bounds) = (NumbersText(), NumbersText(), NumbersText())
    bounds.append(0)
    for entry in entries {
      let row = entry.row
      ids.append(littleEndian: row.id.high.byteSwapped)
      ids.append(littleEndian: row.id.low.byteSwapped)
      fingerprints.append(littleEndian: row.fingerprint.byteSwapped)
      sns.append(Int64(bitPattern: row.sequenceNumber))
      codes.append(Int64(row.code))
      (entry.isStored ? stored : frozen).withUnsafeBytes {
        answers.append(UnsafeRawBufferPointer(rebasing: $0[row.bodyStart..<row.bodyEnd]))
      }
      bounds.append(Int64(answers.count))
    }
    guard let first = entries.first?.row.id, let last = entries.last?.row.id else { return }
    func run(_ statement: borrowing Statement) throws(SQLiteError) {
      statement.bind(3, high: last.high, low: last.low)
      statement.bind(4, blob: ids.bytes)
      statement.bind(5, sns.text())
      statement.bind(6, blob: fingerprints.bytes)
      statement.bind(7, codes.text())
      statement.bind(8, bounds.text())
      statement.bind(9, blob: answers.bytes)
      try statement.run()
    }
    if let number {
      replace.bind(1, number)
      try run(replace)
    } else {
      insert.bind(2, high: first.high, low: first.low)
      try run(insert)
    }
  }
}

extension RequestID {
  init(_ blob: UnsafeRawBufferPointer, path: String) throws {
    guard blob.count == 16 else {
      throw StoreError.damaged(path: path, what: "a request_id has \(blob.count) bytes")
    }
    self.init(high: blob.bigEndian(at: 0), low: blob.bigEndian(at: 8))
  }
}

extension UnsafeRawBufferPointer {
  func bigEndian(at offset: Int) -> UInt64 {
    UInt64(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}
