import Testing

import LoadTest

/// Source of the rules: RFC 4180, section 2.
struct CSVTests {
  private func rows(_ text: String, _ columns: [String] = ["a", "b"]) throws -> [[String]] {
    var reader = try CSVReader.open(name: "t.csv", bytes: Array(text.utf8), columns: columns)
    var rows: [[String]] = []
    while let row = try reader.next() { rows.append(row.fields) }
    return rows
  }

  private func error(_ bytes: [UInt8], _ columns: [String] = ["a", "b"]) throws -> CSVError {
    try #require(throws: CSVError.self) {
      var reader = try CSVReader.open(name: "t.csv", bytes: bytes, columns: columns)
      while try reader.next() != nil {}
    }
  }

  @Test(arguments: [
    ("plain", "a,b\n1,2\n3,4\n"),
    ("CRLF", "a,b\r\n1,2\r\n3,4\r\n"),
    ("no line end after the last row", "a,b\n1,2\n3,4"),
    ("a byte order mark", "\u{FEFF}a,b\n1,2\n3,4\n"),
    ("quotes that need not be", "\"a\",\"b\"\n\"1\",2\n3,\"4\"\n"),
    ("empty lines", "a,b\n\n1,2\r\n\r\n3,4\n\n\n"),
    ("another order, and columns that nobody asked for", "x,b,a\n0,2,1\n0,4,3\n"),
    ("a misspelt name of a column that nobody asked for", "a,lenght,b\n1,0,2\n3,0,4\n"),
  ])
  func `the same rows are read, whatever the file's habits`(_ habit: String, _ text: String) throws {
    #expect(try rows(text) == [["1", "2"], ["3", "4"]], "\(habit)")
  }

  @Test(arguments: [
    ("\"1,5\"", "1,5"), ("\"say \"\"hi\"\"\"", "say \"hi\""), ("\"\"\"\"", "\""), ("\"\"", ""), ("", ""),
    ("\"one\ntwo\"", "one\ntwo"), ("\"one\r\ntwo\"", "one\r\ntwo"), ("\"\n\"", "\n"), (" x ", " x "),
    ("\"ótimo, ´\"", "ótimo, ´"),
  ])
  func `a field is what stands between its quotes`(_ field: String, _ value: String) throws {
    #expect(try rows("a,b\n\(field),2\n3,\(field)\n") == [[value, "2"], ["3", value]])
    #expect(try rows("a,b\r\n3,\(field)") == [["3", value]])
  }

  @Test func `rows are numbered from 1, and their lines count the breaks inside quotes`() throws {
    var reader = try CSVReader.open(
      name: "t.csv", bytes: Array("a,b\n\"1\n\n1\",2\n\n3,4\n".utf8), columns: ["b"])
    #expect(try reader.next() == CSVRow(number: 1, line: 2, fields: ["2"]))
    #expect(try reader.next() == CSVRow(number: 2, line: 6, fields: ["4"]))
    #expect(try reader.next() == nil)
    #expect(try reader.next() == nil)
  }

  @Test func `one column may have empty rows, several may not`() throws {
    #expect(try rows("a\n1\n\n2\n", ["a"]) == [["1"], [""], ["2"]])
    #expect(try error(Array("a,b\n\"\"\n".utf8)).kind == .columnCount)
  }

  @Test func `a field as long as is allowed is read`() throws {
    let long = String(repeating: "x", count: CSVReader.fieldBytesMax)
    #expect(try rows("a,b\n\(long),\"\(long)\"\n") == [[long, long]])
  }

  private static let long = String(repeating: "x", count: CSVReader.fieldBytesMax + 1)

  @Test(
    arguments: [
      ("", CSVError.Kind.noHeader, 1),
      ("\n1,2\n", .noHeader, 1),
      ("a,c\n1,2\n", .columnMissing, 1),
      ("A,B\n1,2\n", .columnMissing, 1),
      ("a,b,a\n1,2,3\n", .columnTwice, 1),
      ("a,b\n1,2\n1,2,3\n", .columnCount, 3),
      ("a,b\n1,2\n1\n", .columnCount, 3),
      ("a,b\n1,\"2\n3,4\n", .quoteOpen, 2),
      ("a,b\n1,\"2\"3\n", .textAfterQuote, 2),
      ("a,b\n\"1\n\"x,2\n", .textAfterQuote, 3),
      ("a,b\n1,2\"\n", .quoteInText, 2),
      ("a,b\r1,2\r", .loneCarriageReturn, 1),
      ("a,b\n\"1\"\r,2\n", .loneCarriageReturn, 2),
      ("a,b\n1,\(long)\n", .fieldTooLong, 2),
      ("a,b\n1,\"\n\(long)\n", .fieldTooLong, 2),
      ("a,b\n" + String(repeating: ",", count: 300), .tooManyColumns, 2),
    ] as [(String, CSVError.Kind, Int)])
  func `what is no CSV is refused with its line`(_ text: String, _ kind: CSVError.Kind, _ line: Int) throws {
    let error = try error(Array(text.utf8))
    #expect(error.kind == kind)
    #expect(error.line == line)
    #expect(error.description.hasPrefix("t.csv:\(line): "))
    #expect(!error.hint.isEmpty)
  }

  @Test func `bytes that are not UTF-8 are refused in what is asked for, and only there`() throws {
    let bytes = Array("a,b,c\n1,2,3\n4,".utf8) + [0xFF, 0xFE] + Array(",5\n".utf8)
    #expect(try error(bytes).kind == .invalidUTF8)
    #expect(try error(bytes).line == 3)
    var reader = try CSVReader.open(name: "t.csv", bytes: bytes, columns: ["a", "c"])
    #expect(try reader.next()?.fields == ["1", "3"])
    #expect(try reader.next()?.fields == ["4", "5"])
    #expect(try error([0xEF, 0xBB, 0x41]).kind == .invalidUTF8)
  }

  @Test func `a file that is not there, and a folder, are refused by name`() throws {
    for path in ["/nowhere/at all.csv", "/"] {
      let error = try #require(throws: CSVError.self) {
        _ = try CSVReader.open(path: path, columns: ["a"])
      }
      #expect(error.kind == .unreadable)
      #expect(error.file == path)
    }
  }

  @Test func `random bytes never trap`() {
    var random = OddMarketplace.Random(seed: 1)
    let alphabet = Array("a,b\"\r\n\u{FEFF}1".utf8) + [0x00, 0xFF]
    for _ in 0..<20_000 {
      let head = random.below(2) == 0 ? Array("a,b\n".utf8) : []
      let bytes = head + (0..<random.below(24)).map { _ in alphabet[random.below(alphabet.count)] }
      _ = try? rows(bytes)
    }
  }

  private func rows(_ bytes: [UInt8]) throws {
    var reader = try CSVReader.open(name: "t.csv", bytes: bytes, columns: ["a", "b"])
    while try reader.next() != nil {}
  }
}
