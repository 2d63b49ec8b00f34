/// Whether a disk has room for writes: below a reserve it has none, so that what is under way, checkpoints
/// and the log's last segments always find some. It has again when an eighth more is free, so that it
/// does not change with every file.
package struct DiskRoom: Equatable, Sendable {
  package let reserveBytes: Int
  package private(set) var isFull = false
  package private(set) var freeBytes = Int.max

  package init(reserveBytes: Int) { self.reserveBytes = reserveBytes }

  /// What must be free before writes are taken again.
  package var resumeBytes: Int { reserveBytes + reserveBytes / 8 }

  /// It may soon be full: what is not needed should go at once.
  package var isScarce: Bool { isFull || freeBytes < 2 * reserveBytes }

  package mutating func look(freeBytes: Int) {
    self.freeBytes = freeBytes
    isFull = freeBytes < (isFull ? resumeBytes : reserveBytes)
  }

  /// A file could not be made, whatever the disk says is free: there may be a quota.
  package mutating func ranOut() { isFull = true }
}
