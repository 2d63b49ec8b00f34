import Files
import ReplicationLog
import SimulatedDisk
import Testing

struct LogTailTests {
  /// Some 30 seconds of commands with checkpoints; then the log's segments.
  private static func segments(keeping tail: LogTail) throws -> [String] {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/worker")
    var setup = Worker.setup(disk, epoch: 1, mayCreate: true)
    setup.logTail = tail
    let worker = try Worker(setup)
    var traffic = Traffic(seed: 3)
    for turn in 1...300 {
      try traffic.learn(worker.tell(traffic.group(20), at: traffic.now))
      if turn % 10 == 0 { try worker.checkpoint() }
    }
    return try disk.names(in: Worker.directory + "/log").filter { $0.hasSuffix(".lz4") }
  }

  @Test func `a partition keeps of its log what it was told to, by time and by bytes`() throws {
    let whole = try Self.segments(keeping: LogTail(milliseconds: .max, bytes: .max))
    #expect(whole.first == "00000000000000000001.lz4")
    #expect(whole.count > 10)
    let none = try Self.segments(keeping: .none)
    #expect(none.count <= 2)
    #expect(Array(whole.suffix(none.count)) == none)
    let bytes = try Self.segments(keeping: LogTail(milliseconds: .max, bytes: 3 * (16 << 10)))
    #expect(Array(whole.suffix(none.count + 3)) == bytes)
    let time = try Self.segments(keeping: LogTail(milliseconds: 10_000, bytes: .max))
    #expect(Array(whole.suffix(time.count)) == time)
    #expect(time.count > none.count && time.count < whole.count)
  }
}
