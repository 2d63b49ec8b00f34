import Cluster
import DurablePartition
import SimulatedDisk
import Testing

/// A start that has much to replay.
struct LongReplayTests {
  @Test(arguments: [1, 30, 100] as [UInt64])
  func `a start that is killed again and again gets on every time`(_ step: UInt64) throws {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/worker")
    var worker = try Worker(Worker.setup(disk, epoch: 1, mayCreate: true))
    var traffic = Traffic(seed: 20_261_122)
    var told: [(at: Int64, requests: [Traffic.Sent], answers: [[UInt8]])] = []
    for _ in 1...60 {
      let requests = traffic.group(8)
      let answers = try worker.tell(requests, at: traffic.now)
      try traffic.learn(answers)
      told.append((traffic.now, requests, answers))
    }
    // Killed before any checkpoint was written.
    let applied = worker.applied
    #expect(worker.durable.checkpointed == .zero)
    var setup = Worker.setup(disk, epoch: 2, mayCreate: false)
    setup.replayCheckpointEntries = step
    worker = try Worker(setup)
    #expect(worker.recovered == applied)
    // But for what nobody says was committed: the last block.
    #expect(worker.durable.replayed < applied && worker.durable.replayed + 9 > applied)
    // All but the last of it is in SQLite now, though nobody asked for a checkpoint: a kill here costs little.
    #expect(worker.durable.checkpointed.rawValue + step + 8 > applied)
    setup.incarnation = Incarnation(3)
    worker = try Worker(setup)
    #expect(worker.recovered == applied + 1)
    #expect(worker.durable.replayed < step + 8)
    // And it is what a replay without any of this makes of the same log.
    try worker.checkpoint()
    let other = SimulatedDisk()
    try other.makeDirectory("/worker")
    let plain = try Worker(Worker.setup(other, epoch: 1, mayCreate: true))
    for group in told { try plain.tell(group.requests, at: group.at) }
    try plain.checkpoint()
    let path = Worker.directory + "/partition.sqlite"
    #expect(try TablesDigest.of(path, files: disk) == TablesDigest.of(path, files: other))
    for (index, group) in told.enumerated() {
      #expect(try worker.tell(group.requests, at: traffic.now + 7) == group.answers, "group \(index)")
    }
  }
}
