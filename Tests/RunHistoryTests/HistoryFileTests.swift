import Bytes
import Foundation
import RunHistory
import TestSupport
import Testing

struct HistoryFileTests {
  @Test func `what was recorded is read back, in order, whatever was handed over together`() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SplitMix64(seed: seed)
    let folder = try TestFolder()
    let parts = [1, 3, 1_024, 40_000, 2].map { count in (0..<count).map { _ in Histories.random(&random) } }
    try Histories.write(parts, to: folder.path + "/h")
    let reader = try HistoryReader(path: folder.path + "/h")
    #expect(reader.header == Histories.header)
    var position = 0
    for record in parts.joined() {
      position += 1
      #expect(try reader.next() == record, "seed \(seed), record \(position)")
      #expect(reader.position == UInt64(position))
    }
    #expect(try reader.next() == nil)
    #expect(reader.end == HistoryEnd(endedAt: 1_700_000_060_000, records: UInt64(position)))
    #expect(reader.cut == nil)
    let head = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/h")).prefix(16)
    #expect(HistoryReader.isHistory([UInt8](head)))
  }

  @Test func `a record has 64 bytes where FORMATS has them`() throws {
    var record = HistoryRecord(.settle, .no, request: .init(high: 1, low: 2), key: .order(Histories.order(9)))
    record.code = 0x1234
    record.attempts = 3
    record.connection = 4
    record.isRepeated = true
    record.plannedAt = 5
    record.sentAfter = 6
    record.endedAfter = 7
    record.replyHash = 8
    var writer = ByteWriter()
    record.write(into: &writer)
    let bytes = Array(writer.bytes)
    #expect(bytes.count == HistoryRecord.size)
    #expect(Array(bytes[..<8]) == [2, 2, 0x34, 0x12, 3, 0, 6, 4])
    #expect(Array(bytes[8..<24]) == [5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0])
    #expect(Array(bytes[24..<40]) == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2])
    #expect(bytes[55] == 9)
    #expect(Array(bytes[56...]) == [8, 0, 0, 0, 0, 0, 0, 0])
  }

  @Test func `a history that was cut off anywhere says so, and gives what was whole`() throws {
    var random = SplitMix64(seed: 3)
    let folder = try TestFolder()
    let records = (0..<200).map { _ in Histories.random(&random) }
    try Histories.write([Array(records[..<100]), Array(records[100...])], to: folder.path + "/h")
    let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/h"))
    for length in stride(from: 0, to: bytes.count, by: 7) {
      let path = folder.path + "/cut"
      try bytes.prefix(length).write(to: URL(fileURLWithPath: path))
      do {
        let read = try Histories.read(path)
        #expect(read.end == nil, "\(length) bytes")
        #expect(read.cut != nil, "\(length) bytes")
        #expect(read.records == Array(records.prefix(read.records.count)), "\(length) bytes")
      } catch let error as HistoryError {
        // Without a whole header there is nothing to tell.
        #expect(length < bytes.count / 2, "\(length) bytes: \(error)")
      }
    }
  }

  @Test func `a changed byte is never read as something else`() throws {
    var random = SplitMix64(seed: 4)
    let folder = try TestFolder()
    let records = (0..<50).map { _ in Histories.random(&random) }
    try Histories.write([records], to: folder.path + "/h")
    let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/h"))
    for place in 0..<bytes.count {
      var changed = bytes
      changed[place] ^= UInt8(random.pick(1...255))
      try changed.write(to: URL(fileURLWithPath: folder.path + "/changed"))
      guard let read = try? Histories.read(folder.path + "/changed") else { continue }
      // Some bytes of an LZ4 frame mean nothing to what it holds.
      #expect(read.end == nil || read.records == records, "byte \(place)")
      #expect(read.records == Array(records.prefix(read.records.count)), "byte \(place)")
    }
  }

  @Test func `a file that is there already is left alone`() throws {
    let folder = try TestFolder()
    try "precious".write(toFile: folder.path + "/h", atomically: true, encoding: .utf8)
    #expect(throws: HistoryError.self) {
      _ = try HistoryWriter(path: folder.path + "/h", header: Histories.header)
    }
    #expect(try String(contentsOfFile: folder.path + "/h", encoding: .utf8) == "precious")
  }

  @Test func `what is no history, and one of a later version, is refused by name`() throws {
    let folder = try TestFolder()
    try Data(repeating: 7, count: 100).write(to: URL(fileURLWithPath: folder.path + "/x"))
    #expect { _ = try HistoryReader(path: folder.path + "/x") } throws: { error in
      (error as? HistoryError)?.kind == .noHistory
    }
    try Histories.write([], to: folder.path + "/h")
    var bytes = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/h"))
    bytes[16] = 2
    try bytes.write(to: URL(fileURLWithPath: folder.path + "/later"))
    #expect { _ = try HistoryReader(path: folder.path + "/later") } throws: { error in
      (error as? HistoryError)?.kind == .otherVersion
    }
  }
}
