import Bytes
import Cluster
import TestSupport
import Wire
import WorkerCore

/// The entries of a block that was logged, as a restart takes them: `count u32 | time i64 | entries`.
struct EntriesTarget: FuzzTarget {
  let name = "entries"
  let about = "entries of a block of the log: LogEntry, PartitionCore.takeLogged and replay"

  var words: [[UInt8]] { Wires.words }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var commands = RandomCommands(random)
    defer { random = commands.random }
    return (0..<16).map { place in
      var writer = ByteWriter()
      let count = commands.random.pick(1...6)
      let hasRules = place.isMultiple(of: 2)
      writer.append(littleEndian: UInt32(count + (hasRules ? 2 : 1)))
      writer.append(littleEndian: RandomCommands.start)
      LogEntry.write(expire: [1, 2, 3], into: &writer)
      for _ in 0..<count {
        commands.commandRequest().withUnsafeBytes { LogEntry.write(request: $0, into: &writer) }
      }
      if hasRules { LogEntry.write(rules: Partitions.rulesKnown, into: &writer) }
      return Array(writer.bytes)
    }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    var reader = ByteReader(bytes)
    guard let count = try? reader.number(UInt32.self), let time = try? reader.number(Int64.self) else {
      return "short"
    }
    let entries = UnsafeRawBufferPointer(rebasing: bytes[reader.offset...])
    let partition = Partitions.Live()
    // Shops and SKUs that the entries are about.
    let requests = Partitions.basics.enumerated().map { index, command in
      var writer = ByteWriter()
      RequestEncoder.write(
        id: RequestID(
          high: UInt64(RandomCommands.start) << 16 | 0x7000, low: 2 << 62 | 1 << 40 | UInt64(index)),
        channel: "", deadlineMilliseconds: 0, command, into: &writer)
      return Array(writer.bytes)
    }
    try Frames.batch(requests).withUnsafeBytes { try partition.group([$0], now: RandomCommands.start) }
    var core = Partitions.core()
    for block in partition.log {
      try block.bytes.withUnsafeBytes {
        try core.takeLogged($0, first: block.first, count: block.count, time: block.time)
      }
      core.replay()
    }
    let before = core.applied
    do {
      try core.takeLogged(entries, first: before.next, count: count, time: time)
    } catch {
      return try outcome(of: error)
    }
    _ = core.needsOfLogged()
    _ = core.needsOfLoggedOrders()
    core.replay()
    try require(core.applied == before.advanced(by: UInt64(count)), "\(count) entries moved it otherwise")
    let rows = core.makeCheckpoint()
    try Partitions.check(rows)
    return "ok \(size(count)) \(rows.orders.count) \(size(rows.transfers.count))"
  }
}
