import Cluster
import LarisProtocol
import NodeProtocol
import SwiftProtobuf
import TestSupport
import Testing
import Wire

struct ConfigurationFramesTests {
  private static let record = GroupRecord(
    partition: PartitionID(3), epoch: Epoch(7), primary: "worker-1",
    incarnation: Incarnation(0xDEAD_BEEF_0000_0001),
    secondaries: ["worker-2", "worker-3"], isOpened: true, proposal: .join("worker-4"))

  private static func question(_ what: ConfigurationQuestion.What) -> ConfigurationQuestion {
    ConfigurationQuestion(
      cluster: "c-1", node: "worker-1", incarnation: Incarnation(1), number: .max, partition: PartitionID(3),
      what: what)
  }

  private func readBack(_ question: ConfigurationQuestion) throws -> ConfigurationQuestion {
    try question.frame().withUnsafeBytes { bytes in try ConfigurationQuestion(bytes) }
  }

  private func readBack(_ answer: ConfigurationAnswer) throws -> ConfigurationAnswer {
    try answer.frame().withUnsafeBytes { bytes in try ConfigurationAnswer(bytes) }
  }

  @Test func `a record comes back as it was`() throws {
    var proposals: [GroupProposal?] = [nil, .join("w"), .switchover("worker-2"), .remove("worker-3")]
    proposals.append(.join(String(repeating: "n", count: NodeRecord.nameBytesMax)))
    for proposal in proposals {
      for isOpened in [false, true] {
        var record = Self.record
        record.proposal = proposal
        record.isOpened = isOpened
        #expect(try GroupRecord(record.message) == record)
        let bytes: [UInt8] = try record.message.serializedBytes()
        #expect(try GroupRecord(Laris_Group(serializedBytes: bytes)) == record)
      }
    }
    let unplaced = GroupRecord.unplaced(PartitionID(4_095))
    #expect(try GroupRecord(unplaced.message) == unplaced)
  }

  @Test func `records that no program of ours writes are refused`() throws {
    let long = String(repeating: "n", count: NodeRecord.nameBytesMax + 1)
    let faults: [(String, (inout Laris_Group) -> Void)] = [
      ("a partition beyond 16 bits", { $0.partition = 65_536 + 3 }),
      ("a partition that no cluster has", { $0.partition = 4_096 }),
      ("an epoch without a next one", { $0.epoch = .max }),
      ("an epoch without a primary", { $0.primary = "" }),
      ("a primary before the first epoch", { $0.epoch = 0 }),
      ("a primary with too long a name", { $0.primary = long }),
      ("a secondary without a name", { $0.secondaries = [""] }),
      ("a secondary with too long a name", { $0.secondaries = [long] }),
      ("a member twice", { $0.secondaries = ["worker-1"] }),
      ("a secondary twice", { $0.secondaries = ["worker-2", "worker-2"] }),
      ("too many members", { $0.secondaries = (0..<255).map { "w\($0)" } }),
      ("a proposal of no kind", { $0.proposal.kind = .unspecified }),
      ("a proposal of a later kind", { $0.proposal.kind = .UNRECOGNIZED(9) }),
      ("a proposal of nobody", { $0.proposal.node = "" }),
      ("a proposal with too long a name", { $0.proposal.node = long }),
    ]
    for (what, spoil) in faults {
      var group = Self.record.message
      spoil(&group)
      #expect(throws: NodeProtocolError.self, "\(what)") { try GroupRecord(group) }
    }
  }

  @Test func `questions and answers come back as they were`() throws {
    let change = ConfigurationQuestion.What.change(
      Self.record, why: "worker-2 is silent", committed: SequenceNumber(UInt64(Int64.max)))
    for what in [.read, change] { #expect(try readBack(Self.question(what)) == Self.question(what)) }
    let outcomes: [ConfigurationAnswer.Outcome] = [
      .read(Self.record), .read(.unplaced(PartitionID(3))), .accepted(Self.record), .refused(Self.record),
      .refused(nil), .unknown, .notAsked,
    ]
    for outcome in outcomes {
      let answer = ConfigurationAnswer(number: 5, partition: PartitionID(3), outcome: outcome)
      #expect(try readBack(answer) == answer)
    }
  }

  @Test func `questions that can't be asked are refused`() throws {
    var others = Self.record
    others.partition = PartitionID(4)
    let faults: [(String, ConfigurationQuestion)] = [
      ("nobody", with { $0.node = "" }),
      ("no process", with { $0.incarnation = Incarnation(0) }),
      ("no cluster", with { $0.cluster = "" }),
      ("no partition of any cluster", with { $0.partition = PartitionID(4_096) }),
      ("another partition's record", with { $0.what = .change(others, why: "", committed: .zero) }),
      (
        "a commit point out of range",
        with { $0.what = .change(Self.record, why: "", committed: SequenceNumber(.max)) }
      ),
      (
        "a long story",
        with {
          $0.what = .change(Self.record, why: String(repeating: "y", count: 257), committed: .zero)
        }
      ),
    ]
    for (what, question) in faults {
      #expect(throws: NodeProtocolError.self, "\(what)") { try readBack(question) }
    }
  }

  private func with(_ change: (inout ConfigurationQuestion) -> Void) -> ConfigurationQuestion {
    var question = Self.question(.read)
    change(&question)
    return question
  }

  @Test func `answers that contradict themselves are refused`() throws {
    let faults: [(inout Laris_ConfigurationReply) -> Void] = [
      { $0.clearGroup() }, { $0.outcome = .unspecified }, { $0.outcome = .UNRECOGNIZED(77) },
      { $0.partition = 4 }, { $0.partition = 1 << 20 }, { $0.group.epoch = 0 },
    ]
    for (index, spoil) in faults.enumerated() {
      var reply = Laris_ConfigurationReply()
      reply.outcome = .accepted
      reply.partition = 3
      reply.group = Self.record.message
      spoil(&reply)
      let bytes: [UInt8] = try reply.serializedBytes()
      #expect(throws: NodeProtocolError.self, "fault \(index)") {
        try ([FrameKind.configurationReply.rawValue, FrameKind.version] + bytes)
          .withUnsafeBytes { bytes in try ConfigurationAnswer(bytes) }
      }
    }
  }

  @Test func `whatever bytes come, they are read or refused`() throws {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SplitMix64(seed: seed)
    let change = ConfigurationQuestion.What.change(Self.record, why: "why", committed: SequenceNumber(9))
    let frames = [
      try Self.question(change).frame(), try Self.question(.read).frame(),
      try ConfigurationAnswer(number: 1, partition: PartitionID(3), outcome: .refused(Self.record)).frame(),
    ]
    var read = 0
    for _ in 0..<20_000 {
      var bytes = frames.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0 ... .max, using: &random)
      }
      if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0...bytes.count, using: &random)) }
      bytes.withUnsafeBytes { bytes in
        if let question = try? ConfigurationQuestion(bytes) {
          read += 1
          if case .change(let record, _, _) = question.what {
            #expect(record.problem == nil && record.partition == question.partition, "seed \(seed)")
          }
        }
        if let answer = try? ConfigurationAnswer(bytes), case .refused(let record?) = answer.outcome {
          read += 1
          #expect(record.problem == nil && record.partition == answer.partition, "seed \(seed)")
        }
      }
    }
    #expect(read > 100, "seed \(seed)")
  }
}
