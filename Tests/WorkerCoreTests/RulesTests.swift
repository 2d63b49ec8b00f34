import Bytes
import Cluster
import Marketplace
import TestMarketplace
import Testing
import WorkerCore

/// Rule 17: how a partition comes to go by another version of the rules.
struct RulesTests {
  private static let now = Worker.start

  /// The versions that a block's entries ask for, each with its place.
  private static func switches(in block: LoggedBlock) throws -> [UInt32: UInt16] {
    try block.bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      var found: [UInt32: UInt16] = [:]
      for place in 0..<block.count {
        if case .rules(let version) = try LogEntry(&reader) { found[place] = version }
      }
      return found
    }
  }

  @Test func `a partition switches once, by the last entry of a group`() throws {
    var caller = Caller()
    let worker = Worker(rulesKnown: 3)
    worker.core.switchRules(to: 2)
    #expect(worker.hasWork(at: Self.now) && worker.core.rules == 1)
    let answers = worker.tell(
      [.register(1), .register(2)].map { Sent(bytes: caller.request($0, at: Self.now)) }, at: Self.now)
    #expect(answers.allSatisfy { $0.code == 0 })
    #expect(worker.core.rules == 2 && worker.core.applied == SequenceNumber(3))
    #expect(try Self.switches(in: try #require(worker.log.last)) == [2: 2])
    #expect(!worker.hasWork(at: Self.now))
    // What was known before all know more.
    for version in [2, 1, 0] as [UInt16] {
      worker.core.switchRules(to: version)
      #expect(!worker.hasWork(at: Self.now))
    }
    worker.core.switchRules(to: 3)
    _ = worker.tell(batches: [], at: Self.now)
    #expect(worker.core.rules == 3 && worker.core.applied == SequenceNumber(4), "a group of its own")
  }

  @Test func `nothing is switched that this program does not know, or while writes are refused`() {
    let worker = Worker(rulesKnown: 1)
    worker.core.switchRules(to: 2)
    #expect(!worker.hasWork(at: Self.now))
    let other = Worker(rulesKnown: 2)
    other.core.switchRules(to: 2)
    other.core.refuseWrites(.tooFewReplicas)
    #expect(!other.hasWork(at: Self.now))
    _ = other.tell(batches: [], at: Self.now)
    #expect(other.log.isEmpty && other.core.rules == 1)
    other.core.refuseWrites(nil)
    #expect(other.hasWork(at: Self.now))
  }

  @Test func `a replay, a checkpoint and a start from either go by the same rules`() {
    var caller = Caller()
    let worker = Worker(rulesKnown: 2)
    _ = worker.tell(caller.request(.register(1), at: Self.now), at: Self.now)
    let before = worker.core.digest
    #expect(before == Worker(log: worker.log).core.digest)
    worker.core.switchRules(to: 2)
    _ = worker.tell(caller.request(.register(2), at: Self.now), at: Self.now)
    worker.checkpoint()
    _ = worker.tell(caller.request(.register(3), at: Self.now), at: Self.now)
    #expect(worker.store.rules == 2)
    for store in [FakeStore(), worker.store] {
      let other = Worker(store: store, log: worker.log, rulesKnown: 2)
      #expect(other.core.rules == 2 && other.core.digest == worker.core.digest)
    }
  }

  @Test func `the digest says by which rules a block left the partition`() {
    var caller = Caller()
    let request = caller.request(.register(1), at: Self.now)
    let (one, two) = (Worker(rulesKnown: 3), Worker(rulesKnown: 3))
    for (worker, version) in [(one, 2), (two, 3)] as [(Worker, UInt16)] {
      worker.core.switchRules(to: version)
      _ = worker.tell(request, at: Self.now)
    }
    #expect(one.core.applied == two.core.applied && one.core.digest != two.core.digest)
  }

  @Test func `a log that asks for rules that this program does not know is refused, and nothing is changed`()
    throws
  {
    var caller = Caller()
    let worker = Worker(rulesKnown: 2)
    worker.core.switchRules(to: 2)
    _ = worker.tell(caller.request(.register(1), at: Self.now), at: Self.now)
    let block = try #require(worker.log.first)
    let older = Worker()
    let error = #expect(throws: PartitionCore.ReplayError.self) { try block.replay(on: &older.core) }
    #expect(error == .rulesUnknown(SequenceNumber(2), asked: 2, known: 1))
    #expect(
      error?.description == """
        entry 2 of the log asks for version 2 of the rules, and this program knows 1. Start a newer laris; \
        nothing is lost.
        """)
    #expect(older.core.applied == .zero && older.core.rules == 1 && older.core.digest == 0)
  }

  @Test(arguments: [2, 1, 0] as [UInt16])
  func `a log that goes back to earlier rules, or switches to those that hold, is refused`(version: UInt16)
    throws
  {
    let worker = Worker(rulesKnown: 2)
    worker.core.switchRules(to: 2)
    _ = worker.tell(batches: [], at: Self.now)
    var writer = ByteWriter()
    LogEntry.write(rules: version, into: &writer)
    let bytes = Array(writer.bytes)
    let error = #expect(throws: PartitionCore.ReplayError.self) {
      try bytes.withUnsafeBytes {
        try worker.core.takeLogged($0, first: SequenceNumber(2), count: 1, time: Self.now)
      }
    }
    #expect(
      error == .entry(SequenceNumber(2), "it asks for version \(version) of the rules, and 2 holds"))
  }
}
