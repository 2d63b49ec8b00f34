import DurablePartition
import Files
import Foundation
import Glibc
import PartitionStore
import ReplicationLog
import SQLite
import SimulatedDisk
import Synchronization
import TestSupport
import Testing
import Wire

/// Disks that fail or are full while a partition works: what ends it, what it refuses, what is there afterwards.
struct FailureTests {
  /// A worker after `groups` groups, the last few of them not in SQLite.
  private static func started(
    seed: UInt64, groups: Int = 30, reserveBytes: Int = 0
  ) throws -> (SimulatedDisk, Worker, Traffic, [(requests: [Traffic.Sent], answers: [[UInt8]])]) {
    let disk = SimulatedDisk()
    try disk.makeDirectory("/worker")
    let worker = try Worker(Worker.setup(disk, epoch: 1, mayCreate: true, reserveBytes: reserveBytes))
    var traffic = Traffic(seed: seed)
    var told: [(requests: [Traffic.Sent], answers: [[UInt8]])] = []
    for turn in 1...groups {
      let requests = traffic.group(8)
      let answers = try worker.tell(requests, at: traffic.now)
      try traffic.learn(answers)
      told.append((requests, answers))
      if turn % 12 == 0 { try worker.checkpoint() }
    }
    return (disk, worker, traffic, told)
  }

  private static func codes(_ answers: [[UInt8]]) throws -> [UInt32] {
    try answers.map { try $0.withUnsafeBytes { try ReplyPeek($0).code } }
  }

  /// Every group is answered as it was, and the books balance.
  private static func check(
    _ worker: Worker, _ disk: SimulatedDisk, _ told: [(requests: [Traffic.Sent], answers: [[UInt8]])],
    at now: Int64, _ what: String
  ) throws {
    // Later: what is executed again would be another order.
    for (index, group) in told.enumerated() {
      #expect(try worker.tell(group.requests, at: now + 7) == group.answers, "group \(index), \(what)")
    }
    try worker.checkpoint()
    #expect(try PartitionAudit(path: Worker.directory + "/partition.sqlite", files: disk).isClean, "\(what)")
  }

  // MARK: Syncs that fail

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func
    `after a failed sync of the log nothing is answered, and a start relies on nothing that only memory has`(
      _ seed: UInt64
    ) throws
  {
    let (disk, worker, begun, told) = try Self.started(seed: seed, groups: 20)
    var traffic = begun
    let before = worker.applied
    disk.setFault { $0.kind == .sync && $0.path.hasSuffix(".lz4") ? EIO : nil }
    // Over some pages: what shares a page with a later write would be saved by that.
    let lost = traffic.group(180)
    let error = #expect(throws: FileError.self) { try worker.tell(lost, at: traffic.now) }
    #expect(error?.operation == .sync)
    #expect(error?.path.hasSuffix(".lz4") == true, "the last word names the file")
    #expect(error?.description.contains("Input/output error") == true)
    disk.setFault(nil)

    // The process ends. The next one reads what memory still has, and tells its caller so.
    let disk1 = disk.snapshot.afterCrash(.keeping)
    let again = try Worker(Worker.setup(disk1, epoch: 2, mayCreate: false))
    #expect(again.recovered > before, "memory has what the disk has not")
    let answers = try again.tell(lost, at: traffic.now)
    #expect(try !Self.codes(answers).contains(DeliveryCode.diskFull.number))
    // Only now the power goes: what was told is there, although the first sync of it failed.
    let after = disk1.snapshot.afterCrash(.forgetting)
    let last = try Worker(Worker.setup(after, epoch: 3, mayCreate: false))
    try Self.check(last, after, told + [(lost, answers)], at: traffic.now, "seed \(seed)")
  }

  /// The n-th sync of SQLite's files fails, each in turn, until a checkpoint needs no more.
  @Test func `after a failed sync of a checkpoint the log keeps all of it, whatever a power cut leaves then`()
    throws
  {
    var failures = 0
    for number in 0... {
      let (disk, worker, traffic, told) = try Self.started(seed: 7)
      let count = Atomic(0)
      disk.setFault { operation in
        guard operation.kind == .sync || operation.kind == .syncDirectory,
          operation.path.contains("partition.sqlite")
        else { return nil }
        return count.add(1, ordering: .relaxed).oldValue == number ? EIO : nil
      }
      let segments = try disk.names(in: Worker.directory + "/log")
      do {
        try worker.checkpoint()
        break
      } catch let error as SQLiteError {
        #expect(error.isDiskFailure, "\(error)")
        #expect(error.code == 1_034, "SQLITE_IOERR_FSYNC: \(error)")
      }
      failures += 1
      #expect(try disk.names(in: Worker.directory + "/log") == segments, "nothing was trimmed")
      disk.setFault(nil)
      // The process ends; another one starts, and the power goes at each moment of its start and first
      // checkpoint.
      let disk2 = disk.snapshot.afterCrash(.keeping)
      let moments = Mutex<[Snapshot]>([disk2.snapshot])
      disk2.setObserver { _, snapshot in moments.withLock { $0.append(snapshot) } }
      let again = try Worker(Worker.setup(disk2, epoch: 2, mayCreate: false))
      try again.checkpoint()
      disk2.setObserver(nil)
      let all = moments.withLock { $0 }
      #expect(all.count > 10)
      for (index, moment) in all.enumerated() {
        for crash in [
          Snapshot.Crash.forgetting, .tearing(seed: UInt64(index)), .tearing(seed: UInt64(index + 5_000)),
        ] {
          let after = moment.afterCrash(crash)
          let last = try Worker(Worker.setup(after, epoch: 3, mayCreate: false))
          try Self.check(last, after, told, at: traffic.now, "sync \(number), moment \(index), \(crash)")
        }
      }
    }
    #expect(failures >= 2, "of the WAL and of the file")
  }

  // MARK: Errors of other operations

  @Test func `an operation of the log that fails is named by the last word, with its file`() throws {
    for kind in [FileError.Operation.write, .sync, .rename, .open, .syncDirectory] {
      let (disk, worker, begun, told) = try Self.started(seed: 11)
      var traffic = begun
      disk.setFault { $0.kind == kind && $0.path.contains("/log") ? EIO : nil }
      var failure: FileError?
      for _ in 0..<60 {
        do {
          try worker.tell(traffic.group(8), at: traffic.now)
        } catch let error as FileError {
          failure = error
          break
        }
      }
      let error = try #require(failure, "\(kind) never came")
      #expect(error.operation == kind)
      #expect(error.path.contains("/worker/partitions/0003/log"))
      disk.setFault(nil)
      let after = disk.snapshot.afterCrash(.forgetting)
      let again = try Worker(Worker.setup(after, epoch: 2, mayCreate: false))
      try Self.check(again, after, told, at: traffic.now, "\(kind)")
    }
  }

  @Test func `a start that can't read says which file, and changes nothing`() throws {
    let (disk, _, traffic, told) = try Self.started(seed: 12)
    for part in ["/epoch", ".lz4", "partition.sqlite"] {
      let broken = disk.snapshot.afterCrash(.keeping)
      broken.setFault { $0.kind == .read && $0.path.hasSuffix(part) ? EIO : nil }
      do {
        _ = try Worker(Worker.setup(broken, epoch: 1, mayCreate: false))
        Issue.record("\(part) was not read")
      } catch let error as FileError {
        #expect(error.operation == .read)
        #expect(error.path.hasSuffix(part))
        #expect(error.operation.changesNothing)
      } catch let error as SQLiteError {
        #expect(part == "partition.sqlite")
        #expect(error.isDiskFailure, "\(error)")
      }
      broken.setFault(nil)
      let again = try Worker(Worker.setup(broken, epoch: 2, mayCreate: false))
      try Self.check(again, broken, told, at: traffic.now, part)
    }
  }

  // MARK: Full disks

  @Test func `below the reserve what is new is refused, what is known is answered, and reads go on`() throws {
    let reserve = 1 << 20
    let (disk, worker, begun, told) = try Self.started(seed: 21, reserveBytes: reserve)
    var traffic = begun
    disk.setCapacity(disk.bytesUsed + reserve - 1)
    try worker.durable.lookForRoom()
    let before = worker.applied
    let refused = traffic.group(20)
    let answers = try worker.tell(refused, at: traffic.now)
    #expect(try Self.codes(answers).allSatisfy { $0 == DeliveryCode.diskFull.number || $0 == 0 })
    #expect(try Self.codes(answers).filter { $0 == DeliveryCode.diskFull.number }.count > 15)
    #expect(worker.applied == before, "nothing was executed")
    #expect(try worker.tell(told[20].requests, at: traffic.now) == told[20].answers)
    // Reservations run out meanwhile, and wait.
    try worker.tell([], at: traffic.now + 1_000_000)
    #expect(worker.applied == before)
    // Checkpoints go on: they may give room back.
    try worker.checkpoint()

    disk.setCapacity(.max)
    try worker.durable.lookForRoom()
    try worker.tell([], at: traffic.now + 1_000_000)
    #expect(worker.applied > before, "they run out now")
    let executed = try worker.tell(refused, at: traffic.now)
    #expect(try !Self.codes(executed).contains(DeliveryCode.diskFull.number))
    let after = disk.snapshot.afterCrash(.forgetting)
    let again = try Worker(Worker.setup(after, epoch: 2, mayCreate: false))
    try Self.check(again, after, told + [(refused, executed)], at: traffic.now, "after the disk was full")
  }

  /// Without a reserve, at every number of bytes that may be left.
  @Test func `however few bytes are left, a write is executed or refused, and never half`() throws {
    let (whole, _, begun, told) = try Self.started(seed: 22)
    var refusals = 0
    for free in stride(from: 0, to: 60_000, by: 2_531) {
      let disk = whole.snapshot.afterCrash(.keeping)
      let worker = try Worker(Worker.setup(disk, epoch: 2, mayCreate: false))
      disk.setCapacity(disk.bytesUsed + free)
      var traffic = begun
      var done: [(requests: [Traffic.Sent], answers: [[UInt8]])] = []
      for _ in 0..<120 {
        let group = traffic.group(8)
        let answers = try worker.tell(group, at: traffic.now)
        if try Self.codes(answers).contains(DeliveryCode.diskFull.number) {
          refusals += 1
        } else {
          done.append((group, answers))
        }
        try worker.durable.rest()
      }
      do { try worker.checkpoint() } catch let error as SQLiteError { #expect(error.isDiskFull, "\(error)") }
      for name in try disk.names(in: Worker.directory + "/log")
      where !name.hasSuffix(".lz4") && name != "synced" {
        let size = try disk.open(Worker.directory + "/log/" + name, .read).size()
        #expect(size >= 16 << 10, "\(free) bytes: \(name) could not be made whole and takes room")
      }

      // Room comes back, and it goes on by itself: the same partition, and what a power cut leaves of it.
      let cut = disk.snapshot.afterCrash(.forgetting)
      disk.setCapacity(.max)
      try worker.durable.lookForRoom()
      let group = traffic.group(8)
      let answers = try worker.tell(group, at: traffic.now)
      #expect(try !Self.codes(answers).contains(DeliveryCode.diskFull.number))
      try Self.check(worker, disk, told + done + [(group, answers)], at: traffic.now, "\(free) bytes")
      let again = try Worker(Worker.setup(cut, epoch: 3, mayCreate: false))
      try Self.check(again, cut, told + done, at: traffic.now, "\(free) bytes, cut")
    }
    #expect(refusals > 100)
  }

  @Test func `a start on a full disk serves reads`() throws {
    let (whole, _, traffic, told) = try Self.started(seed: 23)
    let disk = whole.snapshot.afterCrash(.keeping)
    disk.setCapacity(disk.bytesUsed)
    let worker = try Worker(Worker.setup(disk, epoch: 1, mayCreate: false, reserveBytes: 1 << 20))
    for group in told { #expect(try worker.tell(group.requests, at: traffic.now) == group.answers) }
  }
}

extension DeliveryCode {
  var number: UInt32 { UInt32(rawValue) }
}
