import Bytes
import LZ4
import TestSupport

/// An LZ4 frame: `bytes that it should hold u32 | frame`.
struct LZ4Target: FuzzTarget {
  let name = "lz4"
  let about = "LZ4 frames: LZ4Frame.decompress, and back"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    try [0, 1, 100, 3_000].flatMap { count in
      try [random.bytes(count), [UInt8](repeating: 7, count: count)].map { content in
        var writer = ByteWriter()
        writer.append(littleEndian: UInt32(count))
        writer.append(try Self.compress(content))
        return Array(writer.bytes)
      }
    }
  }

  static func compress(_ content: [UInt8]) throws -> [UInt8] {
    var frame = [UInt8](repeating: 0, count: LZ4Frame.bound(content.count))
    let count = try content.withUnsafeBytes { input in
      try frame.withUnsafeMutableBytes { try LZ4Frame.compress(input, into: $0) }
    }
    return Array(frame[..<count])
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var reader = ByteReader(bytes)
    guard let count = try? reader.number(UInt32.self) else { return "short" }
    // As the block header's own limit.
    guard count <= 12 << 20 else { return "too much" }
    let frame = UnsafeRawBufferPointer(rebasing: bytes[reader.offset...])
    var content = [UInt8](repeating: 0xAA, count: Int(count))
    do {
      try content.withUnsafeMutableBytes { try LZ4Frame.decompress(frame, into: $0) }
    } catch {
      return try outcome(of: error)
    }
    var again = [UInt8](repeating: 0, count: Int(count))
    let second = try Self.compress(content)
    try second.withUnsafeBytes { frame in
      try again.withUnsafeMutableBytes { try LZ4Frame.decompress(frame, into: $0) }
    }
    try require(again == content, "what was decompressed changes on its way")
    return "ok \(size(count))"
  }
}
