import Bytes
import Cluster
import Replication
import TestReplication
import TestSupport

/// Messages that nobody sent, in the middle of a living group: whatever a peer says, no replica traps, takes a block
/// that does not follow, or cuts what it knows to be committed.
///
/// Input: `to u8, length u16, message`, again and again. To 0, 1, 2: that replica; 3: time passes, as much as the
/// length says, and the group writes.
struct ReplicasTarget: FuzzTarget {
  let name = "replicas"
  let about = "forged messages among three living replicas, through MessageCodec"

  private static let names = ["worker-1", "worker-2", "worker-3"]

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    let said = PeerMessages.ofALife()
    var seeds: [[UInt8]] = []
    // Where they were sent, and in another order.
    for begin in stride(from: 0, to: said.count, by: 8) {
      var writer = ByteWriter()
      for (to, bytes) in said[begin..<min(said.count, begin + 8)] {
        Self.append(UInt8(Self.names.firstIndex(of: to) ?? 0), bytes, to: &writer)
        if random.chance(30) { Self.append(3, [], length: UInt16(random.pick(0...300)), to: &writer) }
      }
      seeds.append(Array(writer.bytes))
    }
    return seeds
  }

  private static func append(
    _ to: UInt8, _ bytes: [UInt8], length: UInt16? = nil, to writer: inout ByteWriter
  ) {
    writer.append(to)
    writer.append(littleEndian: length ?? UInt16(bytes.count))
    bytes.withUnsafeBytes { writer.append($0) }
  }

  func repair(_ bytes: inout [UInt8], _ random: inout SplitMix64) {
    guard random.chance(80) else { return }
    var at = 0
    while bytes.count - at > 3 {
      let to = bytes[at] & 3
      let length = to == 3 ? 0 : Int(bytes[at + 1]) | Int(bytes[at + 2]) << 8
      let end = min(bytes.count, at + 3 + length)
      PeerMessages.repair(&bytes[(at + 3)..<end])
      at = end
    }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let group = Group(Self.names)
    group.write("worker-1")
    var reader = ByteReader(bytes)
    var heard = 0
    while reader.remaining >= 3, heard < 64 {
      guard let to: UInt8 = try? reader.number(), let length: UInt16 = try? reader.number() else { break }
      if to & 3 == 3 {
        group.run(Int64(length & 0x1FF))
        for name in Self.names { group.write(name) }
        continue
      }
      guard let message = try? reader.slice(min(Int(length), reader.remaining)),
        let decoded = try? MessageCodec.read(message)
      else { continue }
      heard += 1
      group.deliver(decoded.message, decoded.envelope, to: Self.names[Int(to & 3)])
    }
    // It goes on by itself, and nobody is asked for what nobody can do.
    group.run(300)
    for name in Self.names { group.write(name) }
    var outcome = size(heard)
    for name in Self.names {
      guard let replica = group.replicas[name] else { continue }
      try require(
        group.heads[name]?.last?.mark ?? .empty == replica.last, "\(name)'s log is not its replica's")
      outcome += " \("\(replica.activity)".prefix(24)) \(group.alarms[name, default: []].count)"
    }
    return outcome
  }
}
