import Bytes
import Cluster
import TestSupport
import Testing
import Wire

struct FrameTests {
  private func written(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter(capacity: 1)
    write(&writer)
    return Array(writer.bytes)
  }

  private let header: BatchHeader = {
    var header = BatchHeader(
      partition: PartitionID(0x0201), epoch: Epoch(0x1112_1314_1516_1718), dispatcher: Incarnation(.max),
      number: 7)
    header.after = 6
    return header
  }()

  private let requests: [[UInt8]] = [[], [1], Array(repeating: 9, count: 300)]

  private var batch: [UInt8] {
    written { writer in
      header.write(.batch, into: &writer)
      for (index, request) in requests.enumerated() {
        request.withUnsafeBytes {
          BatchItem.write($0, deadlineMilliseconds: UInt32(index) * 1_000, into: &writer)
        }
      }
      BatchHeader.setCount(requests.count, in: &writer)
    }
  }

  private func readBatch(_ bytes: [UInt8]) throws -> (BatchHeader, [[UInt8]], [UInt32]) {
    try bytes.withUnsafeBytes { bytes in
      var (header, count, items) = try BatchHeader.read(bytes)
      var requests: [[UInt8]] = []
      var deadlines: [UInt32] = []
      for _ in 0..<count {
        let item = try BatchItem(&items)
        requests.append(Array(item.request))
        deadlines.append(item.deadlineMilliseconds)
      }
      #expect(items.isAtEnd)
      return (header, requests, deadlines)
    }
  }

  @Test func `a batch comes back as it was written`() throws {
    let (header, requests, deadlines) = try readBatch(batch)
    #expect(header == self.header)
    #expect(requests == self.requests)
    #expect(deadlines == [0, 1_000, 2_000])
    #expect(batch.count == BatchHeader.size + 3 * BatchItem.overhead + 301)
    // kind, version, partition, count, epoch: little endian.
    #expect(
      Array(batch[..<16]) == [1, 1, 1, 2, 3, 0, 0, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11])
  }

  @Test func `a batch that is sent again in a later epoch changes there only`() throws {
    let bytes = written { writer in
      batch.withUnsafeBytes { writer.append($0) }
      BatchHeader.set(Epoch(5), after: 99, in: &writer)
    }
    let (header, requests, _) = try readBatch(bytes)
    #expect(header.epoch == Epoch(5))
    #expect(header.after == 99)
    #expect(header.number == 7)
    #expect(header.partition == self.header.partition)
    #expect(requests == self.requests)
  }

  @Test func `a batch that is cut anywhere is truncated`() {
    let whole = batch
    for length in 0..<whole.count {
      #expect(throws: FrameError.truncated) { try readBatch(Array(whole[..<length])) }
    }
  }

  @Test func `answers come back as they were written, and are truncated where they are cut`() throws {
    let bodies: [[UInt8]] = [[1, 2, 3], [], Array(repeating: 7, count: 200)]
    let outcomes: [Outcome] = [.done, .no, .unknown]
    let whole = written { writer in
      header.write(.answers, into: &writer)
      for (index, body) in bodies.enumerated() {
        let at = AnswerItem.beginWrite(
          index: UInt32(10 * index), outcome: outcomes[index], into: &writer)
        writer.append(body)
        AnswerItem.endWrite(at: at, into: &writer)
      }
      BatchHeader.setCount(bodies.count, in: &writer)
    }
    func read(_ bytes: [UInt8]) throws {
      try bytes.withUnsafeBytes { bytes in
        var (header, count, items) = try BatchHeader.read(bytes)
        #expect(header == self.header)
        #expect(count == 3)
        for index in 0..<count {
          let item = try AnswerItem(&items)
          #expect(item.index == UInt32(10 * index))
          #expect(item.outcome == outcomes[index].rawValue)
          #expect(Array(item.reply) == bodies[index])
        }
        #expect(items.isAtEnd)
      }
    }
    try read(whole)
    for length in 0..<whole.count {
      #expect(throws: FrameError.truncated) { try read(Array(whole[..<length])) }
    }
  }

  @Test func `hello and stale come back as they were written, and are truncated where they are cut`() throws {
    let hello = HelloFrame(
      partition: PartitionID(9), epoch: Epoch(3), incarnation: Incarnation(77), credit: 4, node: "pekerja-é")
    let stale = StaleFrame(partition: PartitionID(.max), epoch: Epoch(.max))
    let helloBytes = written { hello.write(into: &$0) }
    let staleBytes = written { stale.write(into: &$0) }
    #expect(try helloBytes.withUnsafeBytes { try HelloFrame($0) } == hello)
    #expect(try staleBytes.withUnsafeBytes { try StaleFrame($0) } == stale)
    for length in 0..<helloBytes.count {
      #expect(throws: FrameError.truncated) {
        try helloBytes[..<length].withUnsafeBytes { try HelloFrame($0) }
      }
    }
    for length in 0..<staleBytes.count {
      #expect(throws: FrameError.truncated) {
        try staleBytes[..<length].withUnsafeBytes { try StaleFrame($0) }
      }
    }
  }

  @Test func `a frame of another version is refused by name`() {
    var bytes = batch
    bytes[1] = 2
    #expect(throws: FrameError.unsupportedVersion(2)) { try readBatch(bytes) }
    var hello = written {
      HelloFrame(partition: PartitionID(1), epoch: Epoch(1), incarnation: Incarnation(1), credit: 1, node: "")
        .write(into: &$0)
    }
    hello[1] = 0
    #expect(throws: FrameError.unsupportedVersion(0)) {
      try hello.withUnsafeBytes { try HelloFrame($0) }
    }
  }

  @Test func `a count that no batch has is refused before anything is read`() {
    var bytes = batch
    bytes.replaceSubrange(4..<8, with: [1, 0, 1, 0])
    #expect(throws: FrameError.countTooLarge(65_537)) { try readBatch(bytes) }
    bytes.replaceSubrange(4..<8, with: [0, 0, 1, 0])
    #expect(throws: FrameError.truncated) { try readBatch(bytes) }
  }

  @Test func `a length that reaches beyond the end is refused`() {
    var bytes = batch
    for length in [[0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0x80], [0xFF, 0xFF, 0xFF, 0x7F]] as [[UInt8]] {
      bytes.replaceSubrange(BatchHeader.size..<BatchHeader.size + 4, with: length)
      #expect(throws: FrameError.truncated) { try readBatch(bytes) }
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func `noise crashes no frame`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    for _ in 0..<20_000 {
      var bytes = random.chance(50) ? batch : []
      if bytes.isEmpty {
        bytes = (0..<random.pick(0...90)).map { _ in UInt8(random.pick(0...255)) }
        if bytes.count > 1 { bytes[1] = 1 }
      } else {
        for _ in 0..<random.pick(1...4) { bytes[random.pick(2...60)] = UInt8(random.pick(0...255)) }
      }
      bytes.withUnsafeBytes { bytes in
        _ = try? HelloFrame(bytes)
        _ = try? StaleFrame(bytes)
        guard var (_, count, items) = try? BatchHeader.read(bytes) else { return }
        while count > 0, (try? BatchItem(&items)) != nil { count -= 1 }
      }
    }
  }
}
