import Foundation

/// Writes a trace. The file appears under its name when it is complete: until then it is written beside
/// it as `path.partial`, which stays if something fails and may be removed.
package struct TraceWriter: ~Copyable, Sendable {
  private let path: String
  private let eventsExpected: Int
  private var eventsWritten = 0
  private let descriptor: Int32
  private var buffer: [UInt8] = []

  package init(path: String, header: TraceHeader) throws(TraceError) {
    self.path = path
    eventsExpected = header.events
    descriptor = try TraceWriter.opened(path)
    append(header.json)
  }

  deinit {
    _ = close(descriptor)
  }

  package mutating func write(_ event: TraceEvent) throws(TraceError) {
    let line = event.json
    guard line.count <= Trace.lineBytesMax else {
      throw TraceError(
        kind: .lineTooLong, file: path, line: eventsWritten + 2,
        problem: "the event is longer than \(Trace.lineBytesMax) bytes", hint: "Split the order")
    }
    append(line)
    eventsWritten += 1
    if buffer.count >= 1 << 20 { try flush() }
  }

  /// Names the file. As many events as the header says must have been written, otherwise it traps.
  package consuming func finish() throws(TraceError) {
    precondition(eventsWritten == eventsExpected, "the header counts other events")
    try flush()
    guard rename(path + ".partial", path) == 0 else {
      throw TraceWriter.unwritable(path, "rename")
    }
  }

  private static func opened(_ path: String) throws(TraceError) -> Int32 {
    let descriptor = open(path + ".partial", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw unwritable(path, "create") }
    return descriptor
  }

  private mutating func append(_ line: [UInt8]) {
    buffer += line
    buffer.append(UInt8(ascii: "\n"))
  }

  private mutating func flush() throws(TraceError) {
    var written = 0
    while written < buffer.count {
      let count = buffer[written...].withUnsafeBytes {
        Foundation.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw TraceWriter.unwritable(path, "write") }
      written += count
    }
    buffer.removeAll(keepingCapacity: true)
  }

  private static func unwritable(_ path: String, _ operation: String) -> TraceError {
    TraceError(
      kind: .unwritable, file: path, line: 0,
      problem: "cannot \(operation) it: \(String(cString: strerror(errno)))",
      hint: "Check the folder, its permissions and the space left")
  }
}
