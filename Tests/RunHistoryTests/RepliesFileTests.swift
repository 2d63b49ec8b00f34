import Bytes
import Foundation
import RunHistory
import TestSupport
import Testing

struct RepliesFileTests {
  private static func write(_ parts: [[[UInt8]]], to path: String) throws {
    var random = SplitMix64(seed: 9)
    let writer = try HistoryWriter(path: path, header: Histories.header, keepsReplies: true)
    for part in parts {
      var records = ByteWriter()
      var replies = ByteWriter()
      for reply in part {
        Histories.random(&random).write(into: &records)
        HistoryRecord.write(reply: reply, into: &replies)
      }
      writer.append(records.bytes, replies: replies.bytes)
    }
    try writer.finish(endedAt: 1_700_000_060_000)
  }

  private static func read(_ path: String) throws -> (replies: [[UInt8]], end: HistoryEnd?, cut: String?) {
    let reader = try RepliesReader(path: path)
    var replies: [[UInt8]] = []
    while let reply = try reader.next() { replies.append(Array(reply)) }
    return (replies, reader.end, reader.cut)
  }

  private static func replies(_ count: Int, upTo bytes: Int, _ random: inout SplitMix64) -> [[UInt8]] {
    (0..<count).map { _ in (0..<random.pick(0...bytes)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }
  }

  @Test func `replies are read back in order, whatever was handed over together`() throws {
    var random = SplitMix64(seed: 5)
    let folder = try TestFolder()
    let parts =
      [1, 300, 0, 20_000, 2].map { Self.replies($0, upTo: 100, &random) } + [
        [[UInt8](repeating: 3, count: HistoryFormat.replyBytesMax)], Self.replies(20, upTo: 200_000, &random),
      ]
    try Self.write(parts, to: folder.path + "/h")
    let read = try Self.read(HistoryFormat.repliesPath(of: folder.path + "/h"))
    #expect(read.replies == Array(parts.joined()))
    #expect(read.end?.records == UInt64(read.replies.count))
    #expect(read.cut == nil)
    #expect(try Histories.read(folder.path + "/h").records.count == read.replies.count)
  }

  @Test
  func `a file of replies that was cut off anywhere says so, and one that was changed is never read wrongly`()
    throws
  {
    var random = SplitMix64(seed: 6)
    let folder = try TestFolder()
    let replies = Self.replies(60, upTo: 40, &random)
    try Self.write([Array(replies[..<30]), Array(replies[30...])], to: folder.path + "/h")
    let path = HistoryFormat.repliesPath(of: folder.path + "/h")
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    for length in stride(from: 0, to: bytes.count, by: 5) {
      try bytes.prefix(length).write(to: URL(fileURLWithPath: path))
      guard let read = try? Self.read(path) else {
        #expect(length < bytes.count / 2, "\(length) bytes")
        continue
      }
      #expect(read.end == nil && read.cut != nil, "\(length) bytes")
      #expect(read.replies == Array(replies.prefix(read.replies.count)), "\(length) bytes")
    }
    for place in 0..<bytes.count {
      var changed = bytes
      changed[place] ^= UInt8(random.pick(1...255))
      try changed.write(to: URL(fileURLWithPath: path))
      guard let read = try? Self.read(path) else { continue }
      #expect(read.replies == Array(replies.prefix(read.replies.count)), "byte \(place)")
    }
  }

  @Test func `a history is no file of replies, and the other way round`() throws {
    let folder = try TestFolder()
    try Self.write([], to: folder.path + "/h")
    for (file, reads) in [
      ("/h", { _ = try RepliesReader(path: $0) }), ("/h.replies", { _ = try HistoryReader(path: $0) }),
    ] as [(String, (String) throws -> Void)] {
      #expect { try reads(folder.path + file) } throws: { ($0 as? HistoryError)?.kind == .noHistory }
    }
    #expect(throws: HistoryError.self, "neither is made where one is there") {
      try FileManager.default.removeItem(atPath: folder.path + "/h")
      _ = try HistoryWriter(path: folder.path + "/h", header: Histories.header, keepsReplies: true)
    }
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/h"))
  }

  @Test func `a history whose file of replies can't be made leaves nothing behind, and may be tried again`()
    throws
  {
    let folder = try TestFolder()
    // So long a name that nothing fits behind it.
    let path = folder.path + "/" + String(repeating: "h", count: 250)
    for _ in 0..<3 {
      #expect {
        _ = try HistoryWriter(path: path, header: Histories.header, keepsReplies: true)
      } throws: {
        ($0 as? HistoryError)?.file == HistoryFormat.repliesPath(of: path)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
    }
    try Histories.write([], to: path)
    #expect(try Histories.read(path).end != nil)
  }
}
