import Bytes
import Cluster
import Replication
import TestSupport
import Testing

struct CodecTests {
  private func messages(_ random: inout SplitMix64) -> [(PeerMessage, [UInt8])] {
    func mark(_ random: inout SplitMix64) -> LogMark {
      LogMark(sn: SequenceNumber(random.next()), tag: Epoch(random.next()), hash: random.next())
    }
    let entries = random.bytes(random.pick(0...200))
    let head = BlockHead(
      tag: Epoch(UInt64(random.pick(0...7))), first: SequenceNumber(UInt64(random.pick(1...1_000))),
      count: UInt32(random.pick(1...9)), time: Int64(random.pick(0...1_000)),
      entriesHash: entries.withUnsafeBytes { XXH64.hash($0) }, previousHash: random.next())
    return [
      (.beacon(.init(sentAt: 5, committed: mark(&random), digest: nil, isProbe: true)), []),
      (
        .beacon(
          .init(
            sentAt: -5, committed: mark(&random), digest: .init(sn: SequenceNumber(4), digest: 9),
            isProbe: false)), []
      ),
      (.prepare(head, committed: mark(&random)), entries),
      (
        .ack(
          .init(
            sentAt: nil, durable: mark(&random), checkpointed: SequenceNumber(8), rules: 2,
            isClockBehind: true)), []
      ),
      (.nack((0..<random.pick(0...40)).map { _ in mark(&random) }), []),
      (.stale, []), (.snapshotNeeded(base: SequenceNumber(71)), []),
      (
        .snapshotNeeded(
          base: SequenceNumber(71), stranger: LogMark(sn: SequenceNumber(72), tag: Epoch(2), hash: 3)), []
      ), (.restarted, []),
    ]
  }

  private let envelope = PeerEnvelope(
    cluster: 3, partition: PartitionID(4), epoch: Epoch(7), node: "worker-é", incarnation: Incarnation(9))

  @Test func `what is written is read, and nothing shorter or changed passes for it`() throws {
    var random = SplitMix64(seed: 4)
    for _ in 0..<20 {
      for (message, entries) in messages(&random) {
        var writer = ByteWriter()
        entries.withUnsafeBytes {
          MessageCodec.write(message, envelope, entries: $0, into: &writer)
        }
        let bytes = Array(writer.bytes)
        try bytes.withUnsafeBytes { bytes in
          let decoded = try MessageCodec.read(bytes)
          #expect(decoded.message == message && decoded.envelope == envelope)
          #expect(Array(decoded.entries) == entries)
          for count in 0..<bytes.count {
            #expect(throws: MessageCodec.DecodingError.self) {
              try MessageCodec.read(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            }
          }
        }
        // Whatever the bytes are: an error, or a message that is written as it was read.
        for _ in 0..<50 {
          var changed = bytes
          changed[random.pick(0...changed.count - 1)] ^= UInt8(1 << random.pick(0...7))
          changed.withUnsafeBytes { bytes in
            guard let decoded = try? MessageCodec.read(bytes) else { return }
            var again = ByteWriter()
            MessageCodec.write(decoded.message, decoded.envelope, entries: decoded.entries, into: &again)
            #expect(Array(again.bytes) == changed)
          }
        }
      }
    }
  }
}
