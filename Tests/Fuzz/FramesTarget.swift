import Bytes
import Cluster
import NodeProtocol
import TestMarketplace
import TestSupport
import Wire

/// A frame between nodes: what is read is written again as the same bytes.
struct FramesTarget: FuzzTarget {
  let name = "frames"
  let about = "frames between nodes: hello, stale, batch and answers with their items, questions to the store"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var hello = ByteWriter()
    HelloFrame(
      partition: PartitionID(3), epoch: Epoch(7), incarnation: Incarnation(9), credit: 4, node: "worker-1"
    ).write(into: &hello)
    var stale = ByteWriter()
    StaleFrame(partition: PartitionID(3), epoch: Epoch(8)).write(into: &stale)
    var commands = RandomCommands(random)
    let batch = Frames.batch((0..<3).map { _ in commands.request() })
    var answers = ByteWriter()
    BatchHeader(partition: PartitionID(3), epoch: Epoch(7), dispatcher: Incarnation(1), number: 1)
      .write(.answers, into: &answers)
    for index in 0..<2 {
      let at = AnswerItem.beginWrite(index: UInt32(index), outcome: .done, into: &answers)
      answers.append([0x10, 0x01])
      AnswerItem.endWrite(at: at, into: &answers)
    }
    BatchHeader.setCount(2, in: &answers)
    let record = GroupRecord(
      partition: PartitionID(3), epoch: Epoch(7), primary: "worker-1", incarnation: Incarnation(2),
      secondaries: ["worker-2"], isOpened: true, proposal: .join("worker-3"))
    let question = ConfigurationQuestion(
      cluster: "c", node: "worker-1", incarnation: Incarnation(2), number: 9, partition: PartitionID(3),
      what: .change(record, why: "é", committed: SequenceNumber(5)))
    let answer = ConfigurationAnswer(number: 9, partition: PartitionID(3), outcome: .refused(record))
    return [
      Array(hello.bytes), Array(stale.bytes), batch, Array(answers.bytes), try question.frame(),
      try answer.frame(),
    ]
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var writer = ByteWriter()
    do {
      switch bytes.first.flatMap(FrameKind.init(rawValue:)) {
      case .hello:
        let hello = try HelloFrame(bytes)
        hello.write(into: &writer)
        let again = try HelloFrame(writer.bytes)
        try require(again == hello, "a hello changes on its way: \(hello)")
        return "hello \(size(hello.node.utf8.count))"
      case .stale:
        let stale = try StaleFrame(bytes)
        stale.write(into: &writer)
        try require(bytes.prefix(writer.count).elementsEqual(writer.bytes), "a stale changes on its way")
        return "stale"
      case .batch, .answers:
        let isBatch = bytes[0] == FrameKind.batch.rawValue
        let (header, count, reader) = try BatchHeader.read(bytes)
        try require(count <= BatchHeader.itemsMax, "\(count) items")
        header.write(isBatch ? .batch : .answers, into: &writer)
        BatchHeader.setCount(count, in: &writer)
        var items = reader
        for _ in 0..<count {
          if isBatch {
            let item = try BatchItem(&items)
            BatchItem.write(item.request, deadlineMilliseconds: item.deadlineMilliseconds, into: &writer)
          } else {
            let item = try AnswerItem(&items)
            guard let outcome = Outcome(rawValue: item.outcome) else { return "answers with an odd outcome" }
            let at = AnswerItem.beginWrite(index: item.index, outcome: outcome, into: &writer)
            writer.append(item.reply)
            AnswerItem.endWrite(at: at, into: &writer)
          }
        }
        try require(writer.count == items.offset, "items of another length")
        try require(bytes.prefix(writer.count).elementsEqual(writer.bytes), "a batch changes on its way")
        return "\(isBatch) \(size(count)) \(items.isAtEnd)"
      case .configurationRequest:
        guard let question = try? ConfigurationQuestion(bytes) else { return "no question" }
        let again = try question.frame().withUnsafeBytes { try ConfigurationQuestion($0) }
        try require(again == question, "a question changes on its way: \(question)")
        if case .change(let record, _, _) = question.what { return "change \(record.secondaries.count)" }
        return "read"
      case .configurationReply:
        guard let answer = try? ConfigurationAnswer(bytes) else { return "no answer" }
        let again = try answer.frame().withUnsafeBytes { try ConfigurationAnswer($0) }
        try require(again == answer, "an answer changes on its way: \(answer)")
        return "answer"
      case .beacon, .assignment, nil: return "another kind"
      }
    } catch let error as FrameError {
      return try outcome(of: error)
    }
  }
}

enum Frames {
  static func batch(
    _ requests: [[UInt8]], number: UInt64 = 1, after: UInt64 = 0, deadline: UInt32 = 1_000
  ) -> [UInt8] {
    Batches.frame(
      requests.map { ($0, deadline) }, partition: PartitionID(RandomCommands.partition), number: number,
      after: after)
  }
}
