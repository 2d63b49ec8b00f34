import CLinux
import Cluster
import Glibc

/// Proof that a process of this machine does not run any more.
///
/// A process keeps one byte of its data folder's `lock` file locked until it ends: the one at the place that
/// its incarnation says. The kernel lets go of it after the last of its threads can't act any more. Looking
/// takes nothing, so it never stands in the way of a process that starts; and one that does locks another
/// byte. A process that is merely stopped keeps its lock.
package enum LifeLock {
  /// Where a process's lock is, for others on its machine: `DEVICE:INODE:PATH`. With device and inode, a file
  /// that was put in the place of the locked one proves nothing.
  package struct Place: Equatable, Sendable {
    package let device: UInt64
    package let inode: UInt64
    package let path: String

    package var text: String { "\(device):\(inode):\(path)" }

    /// nil: no place's text.
    package init?(_ text: String) {
      let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, let device = UInt64(parts[0]), let inode = UInt64(parts[1]),
        parts[2].hasPrefix("/"), !parts[2].utf8.contains(0)
      else { return nil }
      self.device = device
      self.inode = inode
      path = String(parts[2])
    }

    fileprivate init(_ descriptor: Int32, _ path: String) throws(NodeError) {
      var status = stat()
      guard fstat(descriptor, &status) == 0, let absolute = realpath(path, nil) else {
        throw NodeError(.no, "\(path) can't be looked at: \(String(cString: strerror(errno)))")
      }
      defer { free(absolute) }
      device = UInt64(status.st_dev)
      inode = UInt64(status.st_ino)
      self.path = String(cString: absolute)
    }
  }

  /// Byte 0 stays free, for whoever wants the whole.
  private static func offset(_ incarnation: Incarnation) -> Int64 {
    Int64(incarnation.rawValue % UInt64(Int64.max - 2)) + 1
  }

  /// Locks this process's byte until it ends: `descriptor` must stay open until then.
  ///
  /// - Throws: ``NodeError``: the file system has no such locks.
  static func take(_ descriptor: Int32, _ path: String, _ incarnation: Incarnation) throws(NodeError) -> Place
  {
    let code = laris_lock_byte(descriptor, offset(incarnation))
    guard code == 0 else {
      throw NodeError(.no, "\(path) can't be locked: \(String(cString: strerror(code)))")
    }
    return try Place(descriptor, path)
  }

  package enum Finding: Equatable, Sendable {
    /// It runs, or is stopped.
    case held
    /// Proven: no thread of that incarnation will ever act again.
    case free
    /// The file is not there, is another one, or can't be read: that proves nothing.
    case unknown
  }

  /// Whether `incarnation`, which had told `place`, still holds its lock. A few microseconds.
  package static func look(_ place: Place, _ incarnation: Incarnation) -> Finding {
    let descriptor = open(place.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    guard descriptor >= 0 else { return .unknown }
    defer { close(descriptor) }
    var status = stat()
    // The inode can't be another file's as long as that process has it open.
    guard fstat(descriptor, &status) == 0, UInt64(status.st_dev) == place.device,
      UInt64(status.st_ino) == place.inode
    else { return .unknown }
    switch laris_is_byte_locked(descriptor, offset(incarnation)) {
    case 0: return .free
    case 1: return .held
    default: return .unknown
    }
  }
}

/// This machine, since it was started: what processes under one kernel share.
package enum Machine {
  /// Empty: the system does not tell.
  package static let bootID: String = {
    let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = read(descriptor, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)).prefix { $0 > 32 }, as: UTF8.self)
  }()
}
