/// Why a CSV file could not be read on. The rows before it were read whole.
package struct CSVError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Kind: Equatable, Sendable {
    case unreadable, noHeader, columnMissing, columnTwice, quoteOpen, textAfterQuote, quoteInText
    case loneCarriageReturn, fieldTooLong, tooManyColumns, tooManyRows, columnCount, invalidUTF8
  }
  package let kind: Kind
  package let file: String
  /// From 1; where a record has several lines, the one that the problem is in or began in.
  package let line: Int
  /// What is wrong, and what to do. Never quotes the file's text: it may be personal data.
  package let problem: String
  package let hint: String

  package var description: String { "\(file):\(line): \(problem). \(hint)" }
}

/// One row, with the fields that were asked for, in the order that they were asked for.
package struct CSVRow: Equatable, Sendable {
  /// From 1; the header does not count.
  package let number: Int
  /// Where it begins, from 1; the header does.
  package let line: Int
  package let fields: [String]

  package init(number: Int, line: Int, fields: [String]) {
    self.number = number
    self.line = line
    self.fields = fields
  }
}

/// Reads CSV as RFC 4180 has it, with what real files add: a byte order mark before the header, lines
/// that end with LF, no line end after the last row, empty lines (skipped, they hold no row).
///
/// Columns are found by the header's names. Only those asked for must be there, once; the others may be
/// called anything, and their text is not looked at but for its quotes.
///
/// Why strict elsewhere: a quote that is taken for text can swallow a thousand rows without a word.
/// Source: RFC 4180, section 2.
package struct CSVReader: ~Copyable, Sendable {
  package static let fieldBytesMax = 64 << 10
  package static let columnsMax = 256
  package static let rowsMax = 5_000_000

  private let name: String
  private var input: InputBytes
  private var line = 1
  private var rowNumber = 0
  /// How many columns the header has.
  private var width = 0
  /// The place of each column asked for.
  private var places: [Int] = []
  /// The record read last: its fields' bytes without quotes and commas, where each field ends, where
  /// the record and the fields begin.
  private var bytes: [UInt8] = []
  private var ends: [Int] = []
  private var fieldLines: [Int] = []
  private var recordLine = 1
  /// Whether the record read last is a line with nothing in it, not even quotes.
  private var isEmptyLine = false

  /// Opens the file and reads its header.
  /// - Parameter columns: the names of the columns wanted.
  package static func open(path: String, columns: [String]) throws(CSVError) -> CSVReader {
    try afterHeader(path, opened(path), columns)
  }

  /// The same over bytes in memory; `name` is what errors call them.
  package static func open(
    name: String, bytes: [UInt8], columns: [String]
  ) throws(CSVError) -> CSVReader {
    try afterHeader(name, InputBytes(bytes: bytes), columns)
  }

  private init(name: String, input: consuming InputBytes) {
    self.name = name
    self.input = input
  }

  private static func afterHeader(
    _ name: String, _ input: consuming InputBytes, _ columns: [String]
  ) throws(CSVError) -> CSVReader {
    var reader = CSVReader(name: name, input: input)
    try reader.readHeader(columns)
    return reader
  }

  /// The next row; nil after the last.
  package mutating func next() throws(CSVError) -> CSVRow? {
    repeat {
      guard try readRecord() else { return nil }
    } while isEmptyLine && width > 1
    guard ends.count == width else {
      throw error(
        .columnCount, line: recordLine, "the row has \(ends.count) fields, the header has \(width)",
        "A quote or a comma is probably missing in it or before it; correct the file")
    }
    guard rowNumber < CSVReader.rowsMax else {
      throw error(
        .tooManyRows, line: recordLine, "more than \(CSVReader.rowsMax) rows", "Split the file")
    }
    rowNumber += 1
    var fields: [String] = []
    fields.reserveCapacity(places.count)
    for place in places { fields.append(try text(of: place)) }
    return CSVRow(number: rowNumber, line: recordLine, fields: fields)
  }

  // MARK: Header

  private mutating func readHeader(_ columns: [String]) throws(CSVError) {
    try skipByteOrderMark()
    guard try readRecord(), !isEmptyLine else {
      throw error(
        .noHeader, line: 1, "there is no header", "The first line must hold the columns' names")
    }
    width = ends.count
    var names: [String] = []
    // A name that nobody asks for may be misspelt, or be no text at all.
    for place in 0..<width { names.append(String(decoding: fieldBytes(place), as: UTF8.self)) }
    for column in columns {
      guard let place = names.firstIndex(of: column) else {
        throw error(
          .columnMissing, line: 1, "there is no column \(column)",
          "Check that this is the right file and that its header was not edited")
      }
      guard names.lastIndex(of: column) == place else {
        throw error(
          .columnTwice, line: 1, "there are two columns \(column)", "Rename or remove one of them")
      }
      places.append(place)
    }
  }

  private mutating func skipByteOrderMark() throws(CSVError) {
    // A header can't begin with 0xEF otherwise: no column of ours does, and half a mark is no UTF-8.
    guard try peek() == 0xEF else { return }
    for expected: UInt8 in [0xEF, 0xBB, 0xBF] {
      guard try take() == expected else {
        throw error(
          .invalidUTF8, line: 1, "the file begins with half a byte order mark", "Save it as UTF-8")
      }
    }
  }

  // MARK: Records

  /// - Returns: false at the end of the file.
  private mutating func readRecord() throws(CSVError) -> Bool {
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    fieldLines.removeAll(keepingCapacity: true)
    recordLine = line
    guard let first = try peek() else { return false }
    isEmptyLine = first == .lineFeed || first == .carriageReturn
    var isLast = false
    while !isLast {
      guard ends.count < CSVReader.columnsMax else {
        throw error(
          .tooManyColumns, line: line, "more than \(CSVReader.columnsMax) fields in a row",
          "Check that the file is separated by commas, and its quotes")
      }
      fieldLines.append(line)
      isLast = try peek() == .quote ? readQuoted() : readPlain()
      ends.append(bytes.count)
    }
    return true
  }

  /// - Returns: whether the record ends with this field.
  private mutating func readPlain() throws(CSVError) -> Bool {
    let start = bytes.count
    while let byte = try take() {
      switch byte {
      case .comma: return false
      case .lineFeed, .carriageReturn: return try endLine(byte)
      case .quote:
        throw error(
          .quoteInText, line: line, "a quote inside a field that does not begin with one",
          "Quote the whole field and double the quotes inside it")
      default: try append(byte, fieldStart: start)
      }
    }
    return true
  }

  private mutating func readQuoted() throws(CSVError) -> Bool {
    let start = bytes.count
    let openedLine = line
    _ = try take()
    while true {
      guard let byte = try take() else {
        throw error(
          .quoteOpen, line: openedLine, "the quote that opens here is never closed",
          "Close it; the file may also be cut off")
      }
      if byte == .quote {
        guard try peek() == .quote else { break }
        _ = try take()
      }
      if byte == .lineFeed { line += 1 }
      try append(byte, fieldStart: start)
    }
    switch try take() {
    case nil: return true
    case .comma: return false
    case .lineFeed?: return try endLine(.lineFeed)
    case .carriageReturn?: return try endLine(.carriageReturn)
    default:
      throw error(
        .textAfterQuote, line: line, "text after a closing quote",
        "Double the quotes that belong to the text")
    }
  }

  private mutating func endLine(_ byte: UInt8) throws(CSVError) -> Bool {
    if byte == .carriageReturn {
      guard try peek() == .lineFeed else {
        throw error(
          .loneCarriageReturn, line: line, "a carriage return without a line feed",
          "End the lines with LF or CRLF, and quote the fields that have line breaks")
      }
      _ = try take()
    }
    line += 1
    return true
  }

  @inline(__always)
  private mutating func append(_ byte: UInt8, fieldStart: Int) throws(CSVError) {
    guard bytes.count - fieldStart < CSVReader.fieldBytesMax else {
      throw error(
        .fieldTooLong, line: fieldLines.last ?? line,
        "a field of more than \(CSVReader.fieldBytesMax) bytes begins here",
        "Its closing quote is probably missing")
    }
    bytes.append(byte)
  }

  // MARK: Fields

  private func fieldBytes(_ place: Int) -> ArraySlice<UInt8> {
    bytes[(place == 0 ? 0 : ends[place - 1])..<ends[place]]
  }

  private func text(of place: Int) throws(CSVError) -> String {
    guard let text = String(validating: fieldBytes(place), as: UTF8.self) else {
      throw error(
        .invalidUTF8, line: fieldLines[place], "field \(place + 1) is not UTF-8",
        "Save the file as UTF-8")
    }
    return text
  }

  // MARK: Bytes

  private static func opened(_ path: String) throws(CSVError) -> InputBytes {
    do throws(InputBytes.Failure) {
      return try InputBytes(path: path)
    } catch {
      throw unreadable(path, line: 1, error)
    }
  }

  @inline(__always)
  private mutating func peek() throws(CSVError) -> UInt8? {
    do throws(InputBytes.Failure) {
      return try input.peek()
    } catch {
      throw CSVReader.unreadable(name, line: line, error)
    }
  }

  @inline(__always)
  private mutating func take() throws(CSVError) -> UInt8? {
    do throws(InputBytes.Failure) {
      return try input.next()
    } catch {
      throw CSVReader.unreadable(name, line: line, error)
    }
  }

  private func error(_ kind: CSVError.Kind, line: Int, _ problem: String, _ hint: String) -> CSVError {
    CSVError(kind: kind, file: name, line: line, problem: problem, hint: hint)
  }

  private static func unreadable(_ name: String, line: Int, _ failure: InputBytes.Failure) -> CSVError {
    CSVError(
      kind: .unreadable, file: name, line: line,
      problem: "cannot \(failure.operation) it: \(failure.cause)",
      hint: "Check the path and the permissions")
  }
}

extension UInt8 {
  fileprivate static let comma = UInt8(ascii: ",")
  fileprivate static let quote = UInt8(ascii: "\"")
  fileprivate static let lineFeed = UInt8(ascii: "\n")
  fileprivate static let carriageReturn = UInt8(ascii: "\r")
}
