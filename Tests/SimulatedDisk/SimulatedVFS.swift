import CSQLite
import Files
import Glibc
import Synchronization

/// SQLite's files on a ``SimulatedDisk``: a `sqlite3_vfs` with the locks and the shared memory that a WAL
/// needs, for connections of one process.
///
/// As SQLite's own for Unix, the first sync of a new WAL or journal syncs its directory too.
final class SimulatedVFS {
  let name: String
  private let vfs: UnsafeMutablePointer<sqlite3_vfs>

  private static let count = Atomic(0)

  init(_ disk: SimulatedDisk) {
    name = "simulated-\(Self.count.add(1, ordering: .relaxed).newValue)"
    // Never freed: a connection may look at it while it is closed.
    vfs = .allocate(capacity: 1)
    var methods = sqlite3_vfs()
    methods.iVersion = 2
    methods.szOsFile = Int32(MemoryLayout<OpenFile>.size)
    methods.mxPathname = 512
    methods.zName = UnsafePointer(strdup(name))
    methods.pAppData = Unmanaged.passUnretained(disk).toOpaque()
    methods.xOpen = { open($0, $1, $2, $3, $4) }
    methods.xDelete = { vfs, path, isDurable in
      let (disk, path) = (owner(vfs), String(cString: path!))
      do throws(FileError) {
        guard try disk.exists(path) else { return Code.deleteNoEntry }
        try disk.remove(path)
      } catch { return Code.delete }
      do throws(FileError) {
        if isDurable != 0 { try disk.syncDirectory(SimulatedDisk.directory(of: path)) }
      } catch { return Code.directorySync }
      return SQLITE_OK
    }
    methods.xAccess = { vfs, path, _, result in
      let (disk, path) = (owner(vfs), String(cString: path!))
      // An empty file is none, as in SQLite's own.
      let size = try? disk.open(path, .read).size()
      result!.pointee = (size ?? 0) > 0 ? 1 : 0
      return SQLITE_OK
    }
    methods.xFullPathname = { _, path, count, output in
      guard strlen(path!) < Int(count) else { return SQLITE_CANTOPEN }
      strcpy(output!, path!)
      return SQLITE_OK
    }
    methods.xRandomness = { _, count, output in
      for place in 0..<Int(count) { output![place] = CChar(truncatingIfNeeded: place &* 37 &+ 11) }
      return count
    }
    methods.xSleep = { _, microseconds in
      usleep(UInt32(microseconds))
      return microseconds
    }
    methods.xCurrentTime = { _, output in
      output!.pointee = 2_461_000.5
      return SQLITE_OK
    }
    methods.xCurrentTimeInt64 = { _, output in
      output!.pointee = 2_461_000 * 86_400_000
      return SQLITE_OK
    }
    methods.xGetLastError = { _, _, _ in 0 }
    vfs.initialize(to: methods)
    precondition(sqlite3_vfs_register(vfs, 0) == SQLITE_OK)
  }

  deinit { sqlite3_vfs_unregister(vfs) }
}

/// Extended result codes, whose macros do not come over from C.
private enum Code {
  static let read = SQLITE_IOERR | 1 << 8
  static let shortRead = SQLITE_IOERR | 2 << 8
  static let write = SQLITE_IOERR | 3 << 8
  static let sync = SQLITE_IOERR | 4 << 8
  static let directorySync = SQLITE_IOERR | 5 << 8
  static let truncate = SQLITE_IOERR | 6 << 8
  static let size = SQLITE_IOERR | 7 << 8
  static let delete = SQLITE_IOERR | 10 << 8
  static let deleteNoEntry = SQLITE_IOERR | 23 << 8
}

/// What SQLite has of an open file: it begins as its `sqlite3_file` does.
private struct OpenFile {
  var base = sqlite3_file()
  var handle: Unmanaged<Handle>
}

private final class Handle {
  let file: SimulatedFile
  let locks: SQLiteLocks
  /// A WAL or journal whose name is not durable yet.
  var isNewJournal: Bool

  init(_ file: SimulatedFile, isNewJournal: Bool) {
    self.file = file
    self.isNewJournal = isNewJournal
    locks = file.disk.locks.withLock { all in
      if let found = all[file.id] { return found }
      let new = SQLiteLocks()
      all[file.id] = new
      return new
    }
  }
}

private func owner(_ vfs: UnsafeMutablePointer<sqlite3_vfs>?) -> SimulatedDisk {
  Unmanaged<SimulatedDisk>.fromOpaque(vfs!.pointee.pAppData).takeUnretainedValue()
}

private func opened(_ file: UnsafeMutablePointer<sqlite3_file>?) -> Handle {
  UnsafeMutableRawPointer(file!).assumingMemoryBound(to: OpenFile.self).pointee.handle.takeUnretainedValue()
}

private func open(
  _ vfs: UnsafeMutablePointer<sqlite3_vfs>?, _ name: UnsafePointer<CChar>?,
  _ file: UnsafeMutablePointer<sqlite3_file>?, _ flags: Int32, _ outFlags: UnsafeMutablePointer<Int32>?
) -> Int32 {
  file!.pointee.pMethods = nil
  guard let name else { return SQLITE_CANTOPEN }
  let path = String(cString: name)
  let disk = owner(vfs)
  do throws(FileError) {
    let isThere = try disk.exists(path)
    guard isThere || flags & SQLITE_OPEN_CREATE != 0 else { return SQLITE_CANTOPEN }
    let simulated = try disk.openFile(path, isThere ? .update : .create)
    let isJournal = flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL) != 0
    UnsafeMutableRawPointer(file!).initializeMemory(
      as: OpenFile.self,
      to: OpenFile(
        base: sqlite3_file(pMethods: Methods.pointer),
        handle: .passRetained(Handle(simulated, isNewJournal: isJournal && !isThere))))
  } catch {
    return error.isDiskFull ? SQLITE_FULL : SQLITE_CANTOPEN
  }
  outFlags?.pointee = flags
  return SQLITE_OK
}

private enum Methods {
  nonisolated(unsafe) static let pointer: UnsafePointer<sqlite3_io_methods> = {
    let methods = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
    methods.initialize(to: all)
    return UnsafePointer(methods)
  }()

  private static var all: sqlite3_io_methods {
    var all = sqlite3_io_methods()
    all.iVersion = 2
    all.xClose = { file in
      let handle = opened(file)
      handle.locks.release(ObjectIdentifier(handle))
      UnsafeMutableRawPointer(file!).assumingMemoryBound(to: OpenFile.self).pointee.handle.release()
      return SQLITE_OK
    }
    all.xRead = { file, buffer, count, offset in
      let buffer = UnsafeMutableRawBufferPointer(start: buffer, count: Int(count))
      do throws(FileError) {
        let got = try opened(file).file.read(into: buffer, at: Int(offset))
        guard got < buffer.count else { return SQLITE_OK }
        UnsafeMutableRawBufferPointer(rebasing: buffer[got...]).initializeMemory(as: UInt8.self, repeating: 0)
        return Code.shortRead
      } catch { return Code.read }
    }
    all.xWrite = { file, bytes, count, offset in
      do throws(FileError) {
        try opened(file).file.write(UnsafeRawBufferPointer(start: bytes, count: Int(count)), at: Int(offset))
        return SQLITE_OK
      } catch { return error.isDiskFull ? SQLITE_FULL : Code.write }
    }
    all.xTruncate = { file, size in
      do throws(FileError) {
        try opened(file).file.truncate(to: Int(size))
        return SQLITE_OK
      } catch { return Code.truncate }
    }
    all.xSync = { file, _ in
      let handle = opened(file)
      do throws(FileError) { try handle.file.sync() } catch { return Code.sync }
      guard handle.isNewJournal else { return SQLITE_OK }
      do throws(FileError) {
        try handle.file.disk.syncDirectory(SimulatedDisk.directory(of: handle.file.path))
      } catch { return Code.directorySync }
      handle.isNewJournal = false
      return SQLITE_OK
    }
    all.xFileSize = { file, output in
      do throws(FileError) {
        output!.pointee = Int64(try opened(file).file.size())
        return SQLITE_OK
      } catch { return Code.size }
    }
    all.xLock = { file, level in
      let handle = opened(file)
      return handle.locks.lock(ObjectIdentifier(handle), level) ? SQLITE_OK : SQLITE_BUSY
    }
    all.xUnlock = { file, level in
      let handle = opened(file)
      handle.locks.unlock(ObjectIdentifier(handle), level)
      return SQLITE_OK
    }
    all.xCheckReservedLock = { file, output in
      output!.pointee = opened(file).locks.isReserved ? 1 : 0
      return SQLITE_OK
    }
    all.xFileControl = { _, _, _ in SQLITE_NOTFOUND }
    all.xSectorSize = { _ in 4096 }
    all.xDeviceCharacteristics = { _ in SQLITE_IOCAP_POWERSAFE_OVERWRITE }
    all.xShmMap = { file, region, size, mayExtend, output in
      output!.pointee = opened(file).locks.region(Int(region), bytes: Int(size), mayExtend: mayExtend != 0)
      return SQLITE_OK
    }
    all.xShmLock = { file, offset, count, flags in
      let handle = opened(file)
      return handle.locks.lockShared(ObjectIdentifier(handle), Int(offset), Int(count), flags)
        ? SQLITE_OK : SQLITE_BUSY
    }
    all.xShmBarrier = { _ in atomicMemoryFence(ordering: .sequentiallyConsistent) }
    all.xShmUnmap = { file, _ in
      let handle = opened(file)
      handle.locks.unmap(ObjectIdentifier(handle))
      return SQLITE_OK
    }
    return all
  }
}

/// Locks and shared memory of one file.
final class SQLiteLocks: @unchecked Sendable {
  private let mutex = Mutex(())
  // All under the mutex.
  private var shared: Set<ObjectIdentifier> = []
  private var reserved: ObjectIdentifier?
  private var exclusive: ObjectIdentifier?
  private var isPending = false
  private var regions: [UnsafeMutableRawPointer] = []
  private var slots: [ObjectIdentifier: (shared: UInt32, exclusive: UInt32)] = [:]

  deinit { for region in regions { region.deallocate() } }

  var isReserved: Bool { mutex.withLock { _ in reserved != nil } }

  func lock(_ owner: ObjectIdentifier, _ level: Int32) -> Bool {
    mutex.withLock { _ in
      switch level {
      case SQLITE_LOCK_SHARED:
        guard !isPending || exclusive == owner || reserved == owner else { return false }
        shared.insert(owner)
        return true
      case SQLITE_LOCK_RESERVED:
        guard reserved == nil || reserved == owner else { return false }
        reserved = owner
        return true
      default:
        guard reserved == nil || reserved == owner, exclusive == nil || exclusive == owner else {
          return false
        }
        reserved = owner
        isPending = true
        guard shared.subtracting([owner]).isEmpty else { return false }
        exclusive = owner
        return true
      }
    }
  }

  func unlock(_ owner: ObjectIdentifier, _ level: Int32) {
    mutex.withLock { _ in
      if reserved == owner {
        reserved = nil
        exclusive = nil
        isPending = false
      }
      if level == SQLITE_LOCK_NONE { shared.remove(owner) }
    }
  }

  func release(_ owner: ObjectIdentifier) {
    unlock(owner, SQLITE_LOCK_NONE)
    unmap(owner)
  }

  /// nil: it does not exist, and may not be made.
  func region(_ index: Int, bytes: Int, mayExtend: Bool) -> UnsafeMutableRawPointer? {
    mutex.withLock { _ in
      while regions.count <= index {
        guard mayExtend else { return nil }
        let region = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 4096)
        region.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        regions.append(region)
      }
      return regions[index]
    }
  }

  func lockShared(_ owner: ObjectIdentifier, _ offset: Int, _ count: Int, _ flags: Int32) -> Bool {
    mutex.withLock { _ in
      let mask = ((1 as UInt32) << count - 1) << offset
      var own = slots[owner] ?? (0, 0)
      let others = slots.filter { $0.key != owner }.values
      if flags & SQLITE_SHM_UNLOCK != 0 {
        own = (own.shared & ~mask, own.exclusive & ~mask)
      } else if flags & SQLITE_SHM_SHARED != 0 {
        guard !others.contains(where: { $0.exclusive & mask != 0 }) else { return false }
        own.shared |= mask
      } else {
        guard !others.contains(where: { ($0.shared | $0.exclusive) & mask != 0 }) else { return false }
        own.exclusive |= mask
      }
      slots[owner] = own
      return true
    }
  }

  /// The last user's going takes the memory with it: the next one recovers it from the WAL.
  func unmap(_ owner: ObjectIdentifier) {
    mutex.withLock { _ in
      slots[owner] = nil
      guard slots.isEmpty else { return }
      for region in regions { region.deallocate() }
      regions = []
    }
  }
}
