import Bytes
import Cluster
import DispatcherCore
import Foundation
import LarisProtocol
import SwiftProtobuf
import TestSupport
import Wire

/// Whole messages of clients and frames of workers through a dispatcher's core. An input is a script.
///
/// Whatever comes: each message gets one answer with a reply to each of its requests, and counters add up.
struct DispatcherTarget: FuzzTarget {
  let name = "dispatcher"
  let about = "client messages, worker frames and time through DispatcherCore: one reply to each request"

  var words: [[UInt8]] { Wires.words + (0..<12).map { [$0] } }

  enum Step: UInt8 {
    case message, time, hello, dispatch, answer, frame, corrupt, stale, unreachable, refuse, assign, stop
  }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var commands = RandomCommands(random)
    defer { random = commands.random }
    return (0..<12).map { seed in
      var script = ByteWriter()
      script.append(UInt8(seed % 5 == 4 ? 2 : 0))
      for partition in 0..<World.partitions {
        script.append(Step.assign.rawValue)
        script.append(UInt8(partition))
        if seed % 4 > 0 {
          script.append(Step.hello.rawValue)
          script.append([UInt8(partition), 1, 4])
        }
      }
      for _ in 0..<6 {
        let count = commands.random.pick([1, 1, 3])
        script.append(Step.message.rawValue)
        script.append(UInt8(count))
        for _ in 0..<count { script.append(counted: commands.request()) }
        script.append(Step.dispatch.rawValue)
        if commands.random.chance(60) {
          script.append(commands.random.pick([Step.answer, .corrupt, .answer]).rawValue)
          script.append([0, UInt8(commands.random.pick(0...60)), 1])
        }
        if commands.random.chance(40) {
          script.append(Step.time.rawValue)
          script.append(littleEndian: UInt16(commands.random.pick([20, 900, 6_000])))
        }
      }
      if seed % 3 == 0 {
        script.append(Step.frame.rawValue)
        script.append(counted: Frames.batch([commands.request()]))
      }
      return Array(script.bytes)
    }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var reader = ByteReader(bytes)
    let world = World(rate: Int((try? reader.number(UInt8.self)) ?? 0) % 4)
    do {
      while !reader.isAtEnd { try world.step(&reader) }
    } catch is ByteReader.Truncated {
      // The script ends inside a step.
    }
    return try world.finish()
  }

  private final class World {
    static let partitions = 3
    private var core: DispatcherCore
    private var now: Int64 = 1_000
    private var messages: UInt64 = 0
    /// How many requests each message has that was not answered yet.
    private var open: [UInt64: Int] = [:]
    private var sent: [[UInt8]] = []
    /// Workers sent what no honest one sends: their replies go on as they are.
    private var isHonest = true
    private var errors: Set<String> = []

    /// - Parameter rate: requests a second that are admitted; 0: all.
    init(rate: Int) {
      var limits = DispatcherCore.Limits()
      limits.admittedPerSecond = rate
      core = DispatcherCore(partitions: Self.partitions, incarnation: Incarnation(5), limits: limits)
    }

    private func envelope() -> Envelope {
      messages += 1
      let token = withUnsafeBytes(of: messages) { Array($0) }
      return Envelope(connection: token, prefix: [[], token])
    }

    func step(_ reader: inout ByteReader) throws {
      let code: UInt8 = try reader.number()
      switch Step(rawValue: code % 12) {
      case .message:
        let count = 1 + Int(try reader.number(UInt8.self)) % 8
        var frames: [UnsafeRawBufferPointer] = []
        for _ in 0..<count { frames.append(try reader.slice(Int(try reader.number(UInt16.self)))) }
        let envelope = envelope()
        open[messages] = count
        let message = core.begin(envelope, count: count)
        for (index, frame) in frames.enumerated() { core.add(frame, index: index, to: message, now: now) }
      case .time:
        now += Int64(try reader.number(UInt16.self))
        core.tick(now: now)
      case .hello:
        let hello = HelloFrame(
          partition: PartitionID(UInt16(try reader.number(UInt8.self)) % 4), epoch: Epoch(1),
          incarnation: Incarnation(UInt64(try reader.number(UInt8.self)) % 3),
          credit: UInt32(try reader.number(UInt8.self)), node: "w")
        core.hello(hello, connection: [1], now: now)
      case .dispatch: core.dispatch(now: now)
      case .answer:
        let place = Int(try reader.number(UInt8.self))
        let items = try reader.number(UInt8.self)
        _ = try reader.number(UInt8.self)
        guard !sent.isEmpty else { break }
        deliver(try answers(to: sent[place % sent.count], items: items))
      case .corrupt:
        let place = Int(try reader.number(UInt8.self))
        let (offset, value) = (Int(try reader.number(UInt8.self)), try reader.number(UInt8.self))
        guard !sent.isEmpty else { break }
        isHonest = false
        var frame = try answers(to: sent[place % sent.count], items: .max)
        frame[offset % frame.count] ^= value
        deliver(frame)
      case .frame:
        isHonest = false
        deliver(Array(try reader.slice(Int(try reader.number(UInt16.self)))))
      case .stale:
        core.stale(
          StaleFrame(partition: PartitionID(UInt16(try reader.number(UInt8.self)) % 4), epoch: Epoch(9)),
          connection: [1])
      case .unreachable: core.unreachable(PartitionID(UInt16(try reader.number(UInt8.self)) % 3))
      case .refuse:
        let envelope = envelope()
        open[messages] = 1
        core.refuse(envelope, .tooLarge)
      case .assign: core.assigned(PartitionID(UInt16(try reader.number(UInt8.self)) % 3), epoch: Epoch(1))
      case .stop, nil: if code > 200 { core.stop() }
      }
      try settle()
    }

    /// What a worker's frame becomes, as the dispatcher's shell does it.
    private func deliver(_ frame: [UInt8]) {
      frame.withUnsafeBytes { bytes in
        do {
          switch bytes.first.flatMap(FrameKind.init(rawValue:)) {
          case .answers: try core.answers(bytes, now: now)
          case .hello: core.hello(try HelloFrame(bytes), connection: [2], now: now)
          case .stale: core.stale(try StaleFrame(bytes), connection: [2])
          default: errors.insert("kind")
          }
        } catch { errors.insert("\(error)".prefix(9).description) }
      }
    }

    private func answers(to batch: [UInt8], items wanted: UInt8) throws -> [UInt8] {
      try batch.withUnsafeBytes { bytes in
        let (header, count, reader) = try BatchHeader.read(bytes)
        var items = reader
        var writer = ByteWriter()
        var answered = 0
        header.write(.answers, into: &writer)
        for index in 0..<count {
          let item = try BatchItem(&items)
          guard index < 8, wanted & 1 << UInt8(index) != 0 || wanted == .max else { continue }
          var id: RequestID?
          _ = try RequestPeek(item.request, id: &id)
          let at = AnswerItem.beginWrite(index: UInt32(index), outcome: .done, into: &writer)
          ReplyEncoder.write(id: id, .deadlinePassed, into: &writer)
          AnswerItem.endWrite(at: at, into: &writer)
          answered += 1
        }
        BatchHeader.setCount(answered, in: &writer)
        return Array(writer.bytes)
      }
    }

    /// Takes what the core wants sent, and checks it.
    private func settle() throws {
      for request in core.statusRequests {
        var reply = Laris_Reply()
        reply.requestID = Data(request.id.bytes)
        let bytes: [UInt8] = (try? reply.serializedBytes()) ?? []
        bytes.withUnsafeBytes { core.answerStatus(request, $0) }
      }
      core.clearStatusRequests()
      for request in core.operatorRequests {
        let (outcome, reply) = (Outcome.done, [0x10, 0x01] as [UInt8])
        core.answer(request, outcome, reply)
      }
      core.clearOperatorRequests()
      for departure in core.departures {
        let (header, count, reader) = try BatchHeader.read(departure.frame)
        try require(header.partition == departure.partition, "a batch of another partition")
        var items = reader
        for _ in 0..<count {
          let item = try BatchItem(&items)
          var id: RequestID?
          do { _ = try RequestPeek(item.request, id: &id) } catch {
            throw Finding("a partition gets what the dispatcher can't read: \(error.description)")
          }
        }
        try require(items.isAtEnd, "bytes are left over in a batch")
        if sent.count < 64 { sent.append(Array(departure.frame)) }
      }
      core.clearDepartures()
      for outgoing in core.outgoing {
        let token = outgoing.envelope.connection.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
        guard let count = open.removeValue(forKey: token) else {
          throw Finding("message \(token) was answered twice, or never asked")
        }
        try require(outgoing.frames.count == count, "\(count) requests got \(outgoing.frames.count) replies")
        for index in outgoing.frames where isHonest {
          let range = core.ranges[index]
          let bytes = UnsafeRawBufferPointer(rebasing: core.replyBytes.bytes[range])
          let reply = try? Laris_Reply(serializedBytes: Data(bytes))
          try require(reply != nil, "a reply can't be read")
          try require((reply?.message.utf8.count ?? 0) < 256, "a reply's message is long")
        }
      }
      core.clearOutgoing()
    }

    func finish() throws -> String {
      core.dispatch(now: now)
      try settle()
      // All deadlines are over by then.
      now += 2 * Int64(WireLimits.deadlineMillisecondsMax)
      core.tick(now: now)
      try settle()
      try require(core.isIdle && open.isEmpty, "\(open.count) messages were never answered")
      let counters = core.counters
      let answered = counters.done + counters.no + counters.notExecuted + counters.unknown
      try require(answered == counters.requests, "\(counters.requests) requests, \(answered) answers counted")
      return [
        size(counters.requests), size(counters.done), size(counters.notExecuted), size(counters.unknown),
        size(counters.dropped), size(counters.malformed), size(sent.count), "\(errors.sorted())",
      ].joined(separator: " ")
    }
  }
}
