import Bytes
import Cluster
import PartitionStore
import TestSupport
import Testing
import WorkerNode

struct AuditRoundTests {
  private static func digest(_ sn: UInt64, _ value: UInt64 = 1) -> TablesDigest {
    TablesDigest(
      applied: SequenceNumber(sn), appliedDigest: value,
      tables: TablesDigest.names.map { _ in .init(rows: 3, digest: value) })
  }

  private static func nodes(_ asks: [(node: String, message: AuditMessage)]) -> [String] { asks.map(\.node) }

  @Test func `all hold still before an entry is named, and each is asked until it has said what it found`() {
    var round = AuditRound(number: 7, members: ["b", "c"], now: 0)
    #expect(Self.nodes(round.asks(now: 0)) == ["b", "c"])
    #expect(round.asks(now: 50).isEmpty, "not at once again")
    #expect(Self.nodes(round.asks(now: 100)) == ["b", "c"])
    round.hear(.holds(round: 7), from: "b", now: 110)
    round.hear(.holds(round: 6), from: "c", now: 110)
    round.hear(.holds(round: 7), from: "d", now: 110)
    #expect(!round.isGathered)
    round.hear(.holds(round: 7), from: "c", now: 120)
    #expect(round.isGathered && !round.isOver)
    round.stop(at: SequenceNumber(40), now: 130)
    let asks = round.asks(now: 130)
    #expect(
      asks.map(\.message) == [AuditMessage](repeating: .compare(round: 7, at: SequenceNumber(40)), count: 2))
    round.hear(.told(round: 7, .working), from: "b", now: 140)
    round.hear(.told(round: 7, .found(Self.digest(40))), from: "c", now: 150)
    #expect(Self.nodes(round.asks(now: 430)) == ["b"])
    #expect(!round.isOver)
    round.hear(.told(round: 7, .found(Self.digest(40, 2))), from: "b", now: 500)
    // A late word changes nothing.
    round.hear(.told(round: 7, .missed), from: "c", now: 510)
    #expect(round.isOver && !round.isMissed)
    #expect(round.members.map(\.told) == [.found(Self.digest(40, 2)), .found(Self.digest(40))])
  }

  @Test func `who says nothing is given up, and the others are compared`() {
    var round = AuditRound(number: 1, members: ["b", "c"], now: 0)
    round.hear(.holds(round: 1), from: "b", now: 10)
    var now: Int64 = 0
    while !round.isGathered, now < 60_000 {
      now += 100
      _ = round.asks(now: now)
    }
    #expect(now == AuditRound.silenceMilliseconds)
    #expect(round.members[1].failure == "it said nothing for 5 s" && round.members[0].failure.isEmpty)
    round.stop(at: SequenceNumber(9), now: now)
    #expect(Self.nodes(round.asks(now: now)) == ["b"])
    round.hear(.told(round: 1, .missed), from: "b", now: now)
    #expect(round.isOver && round.isMissed)
  }

  @Test func `one whose checkpoint takes long is waited for, as long as it answers`() {
    var round = AuditRound(number: 1, members: ["b"], now: 0)
    round.hear(.holds(round: 1), from: "b", now: 0)
    round.stop(at: SequenceNumber(9), now: 0)
    for now in stride(from: 300, to: 120_000, by: 300) as StrideTo<Int64> {
      #expect(!round.asks(now: now).isEmpty && !round.isOver)
      round.hear(.told(round: 1, .working), from: "b", now: now)
    }
    _ = round.asks(now: 200_000)
    #expect(round.isOver && !round.members[0].failure.isEmpty)
  }

  @Test func `a group of one has nobody to wait for`() {
    var round = AuditRound(number: 1, members: [], now: 0)
    #expect(round.isGathered && round.asks(now: 0).isEmpty)
    round.stop(at: SequenceNumber(9), now: 0)
    #expect(round.isOver)
  }

  // MARK: Messages

  private static let messages: [AuditMessage] = [
    .hold(round: 1), .holds(round: .max), .compare(round: 3, at: SequenceNumber(1 << 45)),
    .told(round: 4, .working), .told(round: 4, .missed), .told(round: 4, .failed),
    .told(round: 4, .found(digest(12, .max))),
  ]

  private static func bytes(_ message: AuditMessage) -> [UInt8] {
    var writer = ByteWriter()
    message.write(cluster: 77, partition: PartitionID(513), node: "worker-1", into: &writer)
    return Array(writer.bytes)
  }

  @Test func `messages are read as they were written`() throws {
    for message in Self.messages {
      let bytes = Self.bytes(message)
      let decoded = try bytes.withUnsafeBytes { bytes in
        #expect(AuditMessage.isOne(bytes))
        return try AuditMessage.read(bytes)
      }
      #expect(decoded.message == message)
      #expect(
        decoded.head
          == PeerHead(kind: bytes[0], partition: PartitionID(513), cluster: 77, node: "worker-1"))
    }
  }

  @Test(arguments: 1...200 as ClosedRange<UInt64>)
  func `what is cut, longer or garbage is refused, and nothing else happens`(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var bytes = Self.bytes(random.pick(Self.messages))
    switch random.pick(0...2) {
    case 0: bytes.removeLast(random.pick(1...bytes.count))
    case 1: bytes += random.bytes(random.pick(1...20))
    default:
      bytes[0] = UInt8(random.pick(0...255))
      for _ in 0..<random.pick(1...8) {
        bytes[random.pick(0...bytes.count - 1)] = UInt8(random.pick(0...255))
      }
    }
    let decoded = bytes.withUnsafeBytes { try? AuditMessage.read($0) }
    if let decoded {
      // Another number is a message too; its bytes say the same then.
      var writer = ByteWriter()
      decoded.message.write(
        cluster: decoded.head.cluster, partition: decoded.head.partition, node: decoded.head.node,
        into: &writer)
      #expect(Array(writer.bytes) == bytes, "seed \(seed)")
    }
  }
}
