import Bytes
import Cluster
import Marketplace
import WorkerCore

/// A block of a log that a test keeps in memory.
package struct LoggedBlock: Sendable {
  package let first: SequenceNumber
  package let count: UInt32
  package let time: Milliseconds
  package let bytes: [UInt8]

  /// What a sealed group logs; nil: nothing.
  package init?(sealedBy core: borrowing PartitionCore) {
    guard core.entryCount > 0 else { return nil }
    first = core.applied.next
    count = core.entryCount
    time = core.groupTime
    bytes = Array(core.entries.bytes)
  }

  /// Replays it on a partition.
  ///
  /// - Parameter load: called with what must be in memory, twice.
  /// - Throws: it can't be read; the partition is as it was.
  package func replay(
    on core: inout PartitionCore, load: (Needs, inout PartitionCore) -> Void = { _, _ in }
  ) throws(PartitionCore.ReplayError) {
    // Its bytes must stay until the end of the replay.
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    try core.takeLogged(UnsafeRawBufferPointer(copy), first: first, count: count, time: time)
    load(core.needsOfLogged(), &core)
    load(core.needsOfLoggedOrders(), &core)
    core.replay()
  }
}
