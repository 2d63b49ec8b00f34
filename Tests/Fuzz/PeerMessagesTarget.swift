import Bytes
import Cluster
import PartitionStore
import Replication
import TestReplication
import TestSupport
import WorkerNode

/// A message between workers: what is read is written again as the same bytes.
struct PeerMessagesTarget: FuzzTarget {
  let name = "peer-messages"
  let about = "messages between workers: replicas', snapshots in pieces, comparisons of tables"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    let mark = LogMark(sn: SequenceNumber(7), tag: Epoch(2), hash: 9)
    var seeds = PeerMessages.ofALife().map(\.bytes)
    func add(_ write: (inout ByteWriter) -> Void) {
      var writer = ByteWriter()
      write(&writer)
      seeds.append(Array(writer.bytes))
    }
    let bytes = random.bytes(40)
    bytes.withUnsafeBytes { bytes in
      for message in [
        SnapshotMessage.request(snapshot: 0, offset: 0), .request(snapshot: 3, offset: 1 << 20),
        .piece(.init(snapshot: 3, mark: mark, total: 100, offset: 60, bytes: bytes)),
      ] {
        add { message.write(cluster: 1, partition: PartitionID(2), node: "worker-1", into: &$0) }
      }
    }
    let tables = TablesDigest(
      applied: SequenceNumber(7), appliedDigest: 3,
      tables: TablesDigest.names.map { _ in .init(rows: random.next(), digest: random.next()) })
    for message in [
      AuditMessage.hold(round: 1), .holds(round: 2), .compare(round: 3, at: SequenceNumber(7)),
      .told(round: 4, .working), .told(round: 5, .missed), .told(round: 6, .failed),
      .told(round: 7, .found(tables)),
    ] {
      add { message.write(cluster: 1, partition: PartitionID(2), node: "worker-1", into: &$0) }
    }
    return seeds
  }

  func repair(_ bytes: inout [UInt8], _ random: inout SplitMix64) {
    if random.chance(50) { PeerMessages.repair(&bytes[...]) }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var writer = ByteWriter()
    let outcome: String
    do {
      if SnapshotMessage.isOne(bytes) {
        let decoded = try SnapshotMessage.read(bytes)
        guard let partition = PeerMessages.partition(bytes) else { throw Finding("it has no partition") }
        decoded.message.write(
          cluster: decoded.cluster, partition: partition, node: decoded.node, into: &writer)
        switch decoded.message {
        case .request: outcome = "request"
        case .piece(let piece):
          try require(piece.offset + UInt64(piece.bytes.count) <= piece.total, "a piece beyond the end")
          outcome = "piece \(size(piece.bytes.count))"
        }
      } else if AuditMessage.isOne(bytes) {
        let decoded = try AuditMessage.read(bytes)
        decoded.message.write(
          cluster: decoded.head.cluster, partition: decoded.head.partition, node: decoded.head.node,
          into: &writer)
        outcome = "audit \(decoded.head.kind)"
      } else {
        let decoded = try MessageCodec.read(bytes)
        MessageCodec.write(decoded.message, decoded.envelope, entries: decoded.entries, into: &writer)
        outcome = "\("\(decoded.message)".prefix(8)) \(size(decoded.entries.count))"
      }
    } catch let finding as Finding {
      throw finding
    } catch {
      return try Fuzz.outcome(of: error)
    }
    try require(bytes.elementsEqual(writer.bytes), "a message changes on its way")
    return outcome
  }
}

/// Replicas' messages as bytes.
enum PeerMessages {
  /// What replicas of a ``Group`` say in a short life: one is joined late, writes, a primary dies.
  static func ofALife() -> [(to: String, bytes: [UInt8])] {
    let group = Group(["worker-1", "worker-2", "worker-3"])
    var said: [(to: String, bytes: [UInt8])] = []
    group.onPost = { to, envelope, message in
      var entries: [UInt8] = []
      if case .prepare(let head, _) = message { entries = group.entries[head.entriesHash] ?? [] }
      var writer = ByteWriter()
      entries.withUnsafeBytes { MessageCodec.write(message, envelope, entries: $0, into: &writer) }
      said.append((to, Array(writer.bytes)))
    }
    group.write("worker-1")
    group.run(20)
    group.cut = ["worker-1worker-3"]
    group.write("worker-1")
    group.cut = []
    group.run(40)
    group.crash("worker-1")
    group.run(600)
    group.write("worker-2")
    group.start("worker-1", incarnation: 2)
    group.run(40)
    return said
  }

  static func partition(_ bytes: UnsafeRawBufferPointer) -> PartitionID? {
    guard bytes.count >= 4 else { return nil }
    return PartitionID(UInt16(bytes[2]) | UInt16(bytes[3]) << 8)
  }

  /// Makes a prepare's length and hash those of its entries, as docs/PROTOCOL.md has them.
  static func repair(_ bytes: inout ArraySlice<UInt8>) {
    let start = bytes.startIndex
    guard bytes.count > 29, bytes[start] == 33 else { return }
    let body = start + 29 + Int(bytes[start + 28])
    guard bytes.endIndex >= body + 72 else { return }
    let hash = bytes[(body + 72)...].withUnsafeBytes { XXH64.hash($0) }
    put(UInt32(bytes.endIndex - body - 72), at: body + 44)
    put(hash, at: body + 56)

    func put<Number: FixedWidthInteger>(_ number: Number, at offset: Int) {
      withUnsafeBytes(of: number.littleEndian) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
  }
}
