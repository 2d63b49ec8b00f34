import Foundation

/// Reads a trace event by event, in the memory of one line.
///
/// What it returns is within the limits of `TraceEvent`, in the order of time, and names only rows that
/// the header has. That an order's events follow its placing is for the replay to see.
package struct TraceReader: ~Copyable, Sendable {
  package let header: TraceHeader

  private let name: String
  private var input: InputBytes
  private var line = 0
  private var eventsRead = 0
  private var lastAt: Int64 = 0
  private let rowsByFile: [String: Int]
  private let decoder = JSONDecoder()

  package init(path: String) throws(TraceError) {
    var input = try TraceReader.opened(path)
    let header = try TraceReader.header(of: &input, path)
    self.init(path, input, header)
  }

  package init(name: String, bytes: [UInt8]) throws(TraceError) {
    var input = InputBytes(bytes: bytes)
    let header = try TraceReader.header(of: &input, name)
    self.init(name, input, header)
  }

  private init(_ name: String, _ input: consuming InputBytes, _ header: TraceHeader) {
    self.name = name
    self.input = input
    self.header = header
    line = 1
    rowsByFile = Dictionary(uniqueKeysWithValues: header.files.map { ($0.file, $0.rows) })
  }

  /// The next event; nil after the last.
  /// - Throws: `.cutOff` where events are missing at the end; after any error, ask no more.
  package mutating func next() throws(TraceError) -> TraceEvent? {
    guard let bytes = try TraceReader.readLine(&input, name, line: line + 1) else {
      guard eventsRead == header.events else {
        throw error(
          .cutOff, "the trace ends after \(eventsRead) of \(header.events) events",
          "It was cut off; copy or make it again")
      }
      return nil
    }
    line += 1
    guard eventsRead < header.events else {
      throw error(
        .invalid, "there are more events than the \(header.events) of the header",
        "Make the trace again")
    }
    let event: TraceEvent = try TraceReader.decode(bytes, decoder, name, line: line)
    guard event.at >= lastAt else {
      throw error(.invalid, "the event is earlier than the one before it", "Sort the events by at")
    }
    for part in event.rows { try check(part.file, part.numbers) }
    if case .refused(let refused) = event.action { try check(refused.file, [refused.row]) }
    lastAt = event.at
    eventsRead += 1
    return event
  }

  private func check(_ file: String, _ numbers: [Int]) throws(TraceError) {
    guard let rows = rowsByFile[file] else {
      throw error(.invalid, "it names a file that the header has not", "Make the trace again")
    }
    guard numbers.allSatisfy({ $0 >= 1 && $0 <= rows }) else {
      throw error(
        .invalid, "it names a row that its file, of \(rows) rows, has not", "Make the trace again")
    }
  }

  // MARK: Lines

  private static func opened(_ path: String) throws(TraceError) -> InputBytes {
    do throws(InputBytes.Failure) {
      return try InputBytes(path: path)
    } catch {
      throw unreadable(path, line: 0, error)
    }
  }

  private static func header(of input: inout InputBytes, _ name: String) throws(TraceError) -> TraceHeader {
    let hint = "Give a file that `import` has written"
    guard let bytes = try readLine(&input, name, line: 1) else {
      throw TraceError(kind: .notJSON, file: name, line: 1, problem: "the file is empty", hint: hint)
    }
    let decoder = JSONDecoder()
    let version: TraceHeader.Version = try decode(bytes, decoder, name, line: 1)
    guard version.trace == Trace.version else {
      throw TraceError(
        kind: .otherVersion, file: name, line: 1,
        problem: "the first line does not say that this is a \(Trace.version)", hint: hint)
    }
    return try decode(bytes, decoder, name, line: 1)
  }

  /// - Returns: the line without its end; nil at the end of the file.
  private static func readLine(
    _ input: inout InputBytes, _ name: String, line: Int
  ) throws(TraceError) -> [UInt8]? {
    var bytes: [UInt8] = []
    do throws(InputBytes.Failure) {
      guard try input.peek() != nil else { return nil }
      while let byte = try input.next(), byte != UInt8(ascii: "\n") {
        if bytes.count == Trace.lineBytesMax {
          throw InputBytes.Failure(operation: "", cause: "")
        }
        bytes.append(byte)
      }
    } catch {
      if error.operation.isEmpty {
        throw TraceError(
          kind: .lineTooLong, file: name, line: line,
          problem: "the line is longer than \(Trace.lineBytesMax) bytes",
          hint: "This is no trace, or its line ends were lost")
      }
      throw unreadable(name, line: line, error)
    }
    return bytes
  }

  private static func decode<Value: Decodable>(
    _ bytes: [UInt8], _ decoder: JSONDecoder, _ name: String, line: Int
  ) throws(TraceError) -> Value {
    // Before the decoder sees it: it would guess at UTF-16 and repair what is broken.
    guard String(validating: bytes, as: UTF8.self) != nil else {
      throw TraceError(
        kind: .invalidUTF8, file: name, line: line, problem: "the line is not UTF-8",
        hint: "The file was damaged or converted; copy or make it again")
    }
    do {
      return try decoder.decode(Value.self, from: Data(bytes))
    } catch let error as DecodingError {
      throw TraceError(error, name, line: line)
    } catch {
      throw TraceError(
        kind: .notJSON, file: name, line: line, problem: "the line cannot be decoded",
        hint: "Make the trace again")
    }
  }

  private func error(_ kind: TraceError.Kind, _ problem: String, _ hint: String) -> TraceError {
    TraceError(kind: kind, file: name, line: line, problem: problem, hint: hint)
  }

  private static func unreadable(_ name: String, line: Int, _ failure: InputBytes.Failure) -> TraceError {
    TraceError(
      kind: .unreadable, file: name, line: line,
      problem: "cannot \(failure.operation) it: \(failure.cause)",
      hint: "Check the path and the permissions")
  }
}

extension TraceError {
  /// Says where in the line, and what of it, without a word of what stands there.
  fileprivate init(_ error: DecodingError, _ file: String, line: Int) {
    func place(_ path: [any CodingKey]) -> String {
      path.map { $0.intValue.map { "[\($0)]" } ?? "\($0.stringValue)" }.joined(separator: ".")
    }
    var kind = Kind.invalid
    let problem: String
    switch error {
    case .keyNotFound(let key, let context):
      problem = "\(place(context.codingPath + [key])) is missing"
    case .valueNotFound(_, let context):
      problem = "\(place(context.codingPath)) is null"
    case .typeMismatch(let type, let context):
      let path = context.codingPath.isEmpty ? "the line" : place(context.codingPath)
      problem = "\(path) has another type than \(type)"
    case .dataCorrupted(let context) where context.codingPath.isEmpty:
      kind = .notJSON
      problem = "the line is not JSON"
    case .dataCorrupted(let context):
      // Ours begin with "is" or "has"; the decoder's may quote the value.
      let ours = context.debugDescription
      let isOurs = ours.hasPrefix("is ") || ours.hasPrefix("has ")
      problem = "\(place(context.codingPath)) \(isOurs ? ours : "does not fit its type")"
    @unknown default:
      problem = "the line cannot be decoded"
    }
    self.init(
      kind: kind, file: file, line: line, problem: problem,
      hint: "Make the trace again with `import`, or correct the line")
  }
}
