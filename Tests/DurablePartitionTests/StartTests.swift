import DurablePartition
import Files
import SimulatedDisk
import Synchronization
import Testing

/// What a start writes of what is on disk already.
struct StartTests {
  private static let path = Worker.directory + "/partition.sqlite"

  private static func walBytes(_ disk: SimulatedDisk) throws -> Int {
    try disk.exists(path + "-wal") ? disk.open(path + "-wal", .read).size() : 0
  }

  /// Writes to the file and to the WAL of a start.
  private static func writes(_ disk: SimulatedDisk, epoch: UInt64) throws -> (file: Int, wal: Int) {
    let file = Atomic(0)
    let wal = Atomic(0)
    disk.setObserver { operation, _ in
      guard operation.kind == .write else { return }
      if operation.path == path { file.add(1, ordering: .relaxed) }
      if operation.path == path + "-wal" { wal.add(1, ordering: .relaxed) }
    }
    defer { disk.setObserver(nil) }
    _ = try Worker(Worker.setup(disk, epoch: epoch, mayCreate: false))
    return (file.load(ordering: .relaxed), wal.load(ordering: .relaxed))
  }

  @Test func `a start after a kill writes the last checkpoint again, once, and the next one nothing`() throws
  {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/worker")
    let worker = try Worker(Worker.setup(disk, epoch: 1, mayCreate: true))
    var traffic = Traffic(seed: 3)
    for turn in 1...200 {
      try traffic.learn(worker.tell(traffic.group(40), at: traffic.now))
      // One that is large, and small ones that go over its beginning.
      if turn == 150 || turn > 150 && turn % 10 == 0 { try worker.checkpoint() }
    }
    let killed = disk.snapshot.afterCrash(.keeping)
    #expect(try Self.walBytes(killed) > 500_000, "of the large one")
    let first = try Self.writes(killed, epoch: 2)
    #expect(first.wal == 1, "in one piece")
    #expect((1...60).contains(first.file), "\(first.file) pages")
    #expect(try Self.walBytes(killed) == 0)
    let second = try Self.writes(killed, epoch: 3)
    #expect(second == (0, 0))
    // The worker is still there, so that nothing was closed.
    #expect(worker.applied > 0)
  }
}
