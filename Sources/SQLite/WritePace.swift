import CLinux
import CSQLite
import Glibc
import Synchronization

/// Has the disk keep step with what SQLite writes.
///
/// SQLite writes a checkpoint's pages to the system's memory, and syncs them in the end: the disk then gets hundreds of
/// megabytes at once where a reader had kept the WAL for a while, and every log's sync waits behind them. So
/// whoever has written some of a file waits until the disk has it. Nothing is durable by that; SQLite's syncs stay.
enum WritePace {
  static let bytes = 4 << 20

  /// What was written since the last wait, by descriptor. One that is closed leaves its count to the next, which
  /// waits a little sooner.
  private static let written = Mutex([Int](repeating: 0, count: 64))

  private typealias Write = @convention(c) (Int32, UnsafeRawPointer?, Int, off_t) -> Int

  private static let write: Write = { descriptor, bytes, count, offset in
    let done = pwrite(descriptor, bytes, count, offset)
    guard done > 0 else { return done }
    let isDue = WritePace.written.withLock { written in
      let place = Int(descriptor) & 63
      written[place] += done
      guard written[place] >= WritePace.bytes else { return false }
      written[place] = 0
      return true
    }
    guard isDue, laris_write_out(descriptor, 0) != 0 else { return done }
    // What is lost may be of earlier writes, and SQLite's sync would not be told of it again. Whatever the reason, so
    // that no full disk is seen in it, after which one goes on.
    errno = EIO
    return -1
  }

  /// For all of the process's files of SQLite's own VFS.
  static let kept: Void = {
    let vfs = sqlite3_vfs_find(nil)!
    for name in ["pwrite", "pwrite64"] {
      _ = vfs.pointee.xSetSystemCall?(
        vfs, name, unsafeBitCast(write, to: sqlite3_syscall_ptr.self))
    }
  }()
}
