import Bytes
import Cluster
import Testing
import WorkerCore

struct LogEntryTests {
  private func entries(_ bytes: [UInt8]) throws -> [String] {
    try bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      var seen: [String] = []
      while !reader.isAtEnd {
        switch try LogEntry(&reader) {
        case .request(let request): seen.append("request \(Array(request))")
        case .expire(let orders): seen.append("expire \(orders)")
        case .rules(let version): seen.append("rules \(version)")
        case .seal(let id): seen.append("seal \(id.high) \(id.low)")
        }
      }
      return seen
    }
  }

  private var block: [UInt8] {
    var writer = ByteWriter()
    LogEntry.write(expire: [7, .max], into: &writer)
    [1, 2, 3].withUnsafeBytes { LogEntry.write(request: $0, into: &writer) }
    LogEntry.write(request: UnsafeRawBufferPointer(start: nil, count: 0), into: &writer)
    LogEntry.write(expire: [], into: &writer)
    LogEntry.write(seal: RequestID(high: 7, low: 8), into: &writer)
    LogEntry.write(rules: 0x102, into: &writer)
    return Array(writer.bytes)
  }

  @Test func `entries come back as they were written`() throws {
    // `[1, 2, 3]` are words of eight bytes here.
    #expect(
      try entries(block).map { String($0.prefix(9)) } == [
        "expire [7", "request [", "request [", "expire []", "seal 7 8", "rules 258",
      ])
    #expect(block.count == 6 * LogEntry.overhead + 16 + 24 + 16 + 2)
  }

  @Test func `an entry that is cut anywhere is truncated`() throws {
    let whole = block
    let ends = [0, 21, 21 + 29, 21 + 29 + 5, 21 + 29 + 5 + 5, 21 + 29 + 5 + 5 + 21, whole.count]
    for length in 0..<whole.count where !ends.contains(length) {
      #expect(throws: LogEntry.DecodingError.truncated) { try entries(Array(whole[..<length])) }
    }
  }

  @Test func `what no program wrote is refused by name`() {
    #expect(throws: LogEntry.DecodingError.unknownKind(5)) { try entries([0, 0, 0, 0, 5]) }
    #expect(throws: LogEntry.DecodingError.truncated) { try entries([1, 0, 0, 0, 3, 9]) }
    for payload in [[], [2], [2, 0, 0]] as [[UInt8]] {
      #expect(throws: LogEntry.DecodingError.truncated) {
        try entries([UInt8(payload.count), 0, 0, 0, 4] + payload)
      }
    }
    #expect(throws: LogEntry.DecodingError.truncated) { try entries([7, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7]) }
  }
}
