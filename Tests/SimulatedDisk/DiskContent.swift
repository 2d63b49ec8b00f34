import Files
import TestSupport

/// What is on a disk and in memory above it: a value, so that a copy is a snapshot.
struct DiskContent: Sendable {
  /// By number. Files that have no name any more stay: somebody may have them open.
  var files: [Int: FileContent] = [:]
  private var directories: [String: Directory] = ["/": Directory()]
  private var nextFile = 1
  private var directoryVersion = 0

  /// Names of a directory, as seen, as durable, and what made the one from the other.
  private struct Directory: Sendable {
    var current: [String: Int] = [:]
    var durable: [String: Int] = [:]
    var pending: [Change] = []

    enum Change: Sendable {
      case link(String, Int)
      case unlink(String)
      case rename(String, String)
    }

    static func apply(_ change: Change, to names: inout [String: Int]) {
      switch change {
      case .link(let name, let file): names[name] = file
      case .unlink(let name): names[name] = nil
      case .rename(let old, let new): names[new] = names.removeValue(forKey: old)
      }
    }

    mutating func change(_ change: Change) {
      Self.apply(change, to: &current)
      pending.append(change)
    }
  }

  private static func split(_ path: String) -> (directory: String, name: String) {
    (SimulatedDisk.directory(of: path), String(path[path.index(after: path.lastIndex(of: "/")!)...]))
  }

  var bytesUsed: Int {
    var ids: Set<Int> = []
    for directory in directories.values { ids.formUnion(directory.current.values) }
    return ids.reduce(0) { $0 + (files[$1]?.current.size ?? 0) }
  }

  var durableVersion: Int { files.values.reduce(directoryVersion) { $0 + $1.durableVersion } }

  func find(_ path: String) -> Int? {
    let (directory, name) = Self.split(path)
    guard let id = directories[directory]?.current[name], id > 0 else { return nil }
    return id
  }

  func hasDirectory(_ path: String) -> Bool { directories[path] != nil }

  func names(in directory: String) -> [String]? { directories[directory]?.current.keys.sorted() }

  mutating func create(_ path: String) -> Int {
    let (directory, name) = Self.split(path)
    let id = nextFile
    nextFile += 1
    files[id] = FileContent()
    directories[directory]!.change(.link(name, id))
    return id
  }

  mutating func rename(_ old: String, to new: String) {
    let (directory, name) = Self.split(old)
    directories[directory]!.change(.rename(name, Self.split(new).name))
  }

  mutating func remove(_ path: String) {
    let (directory, name) = Self.split(path)
    directories[directory]!.change(.unlink(name))
  }

  mutating func makeDirectory(_ path: String) {
    let (directory, name) = Self.split(path)
    directories[path] = Directory()
    // 0: a directory, which is known by its path.
    directories[directory]!.change(.link(name, 0))
  }

  mutating func syncDirectory(_ path: String) {
    guard var directory = directories[path], !directory.pending.isEmpty else { return }
    directory.durable = directory.current
    directory.pending = []
    directories[path] = directory
    directoryVersion += 1
  }

  func afterCrash(_ crash: Snapshot.Crash) -> DiskContent {
    if crash == .keeping { return self }
    var after = self
    var random = SplitMix64(seed: 0)
    var isTorn = false
    if case .tearing(let seed) = crash {
      random = SplitMix64(seed: seed)
      isTorn = true
    }
    // How much is kept differs from crash to crash, not only from sector to sector.
    let percent = isTorn ? random.pick([2, 20, 50, 80, 98]) : 0
    for path in directories.keys.sorted() {
      var directory = directories[path]!
      // File systems keep the order of a directory's changes.
      let kept = isTorn ? random.pick(0...directory.pending.count) : 0
      var names = directory.durable
      for change in directory.pending[..<kept] { Directory.apply(change, to: &names) }
      directory = Directory(current: names, durable: names)
      after.directories[path] = directory
    }
    after.dropDirectoriesWithoutName()
    var named: Set<Int> = []
    for directory in after.directories.values { named.formUnion(directory.current.values) }
    after.files = [:]
    for id in named.sorted() where id > 0 {
      var file = files[id]!
      file.crash { isTorn && random.chance(percent) }
      after.files[id] = file
    }
    return after
  }

  private mutating func dropDirectoriesWithoutName() {
    for path in directories.keys.sorted() where path != "/" {
      let (parent, name) = Self.split(path)
      if directories[parent]?.current[name] == nil { directories[path] = nil }
    }
  }
}

/// A file: what is read of it, and what a power cut would leave.
struct FileContent: Sendable {
  /// The unit that a disk writes whole or not at all.
  static let sector = 512

  private(set) var current = PagedBytes()
  private(set) var durable = PagedBytes()
  private(set) var durableVersion = 0
  private var pending: [Change] = []

  private enum Change: Sendable {
    case write(offset: Int, [UInt8])
    case truncate(Int)
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    current.write(bytes, at: offset)
    pending.append(.write(offset: offset, Array(bytes)))
  }

  mutating func truncate(to size: Int) {
    current.truncate(to: size)
    pending.append(.truncate(size))
  }

  /// Writes the pages that are dirty, as they are now.
  mutating func sync() {
    guard !pending.isEmpty else { return }
    durable.truncate(to: current.size)
    for change in pending {
      guard case .write(let offset, let bytes) = change else { continue }
      durable.copyPages(of: current, from: offset, to: min(offset + bytes.count, current.size))
    }
    // Growth without writing: zeros.
    durable.truncate(to: current.size)
    pending = []
    durableVersion += 1
  }

  mutating func loseUnsynced() { pending = [] }

  mutating func flip(at offset: Int, mask: UInt8) {
    for path in [\FileContent.current, \FileContent.durable] {
      var byte: [UInt8] = [0]
      byte.withUnsafeMutableBytes { _ = self[keyPath: path].read(into: $0, at: offset) }
      byte[0] ^= mask
      if path == \FileContent.current {
        byte.withUnsafeBytes { current.write($0, at: offset) }
      } else if offset < durable.size {
        byte.withUnsafeBytes { durable.write($0, at: offset) }
      }
    }
  }

  /// Keeps of what was not synced each sector for which `keeps` says so, and the sizes up to some moment.
  mutating func crash(_ keeps: () -> Bool) {
    var after = durable
    for change in pending {
      switch change {
      case .truncate(let size):
        if keeps() { after.truncate(to: size) }
      case .write(let offset, let bytes):
        var start = offset
        while start < offset + bytes.count {
          let end = min(offset + bytes.count, (start / Self.sector + 1) * Self.sector)
          if keeps() {
            bytes[(start - offset)..<(end - offset)].withUnsafeBytes { after.write($0, at: start) }
          }
          start = end
        }
      }
    }
    current = after
    durable = after
    pending = []
  }
}

/// Bytes in pages that copies share until one of them writes.
struct PagedBytes: Sendable {
  static let pageSize = 4096
  private var pages: [[UInt8]] = []
  private(set) var size = 0

  private static let zeros = [UInt8](repeating: 0, count: pageSize)

  mutating func truncate(to newSize: Int) {
    let count = (newSize + Self.pageSize - 1) / Self.pageSize
    if newSize < size {
      pages.removeLast(pages.count - count)
      let kept = newSize % Self.pageSize
      if kept > 0 { for place in kept..<Self.pageSize { pages[count - 1][place] = 0 } }
    } else {
      while pages.count < count { pages.append(Self.zeros) }
    }
    size = newSize
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    guard bytes.count > 0 else { return }
    if offset + bytes.count > size { truncate(to: offset + bytes.count) }
    var done = 0
    while done < bytes.count {
      let (page, start) = (offset + done).quotientAndRemainder(dividingBy: Self.pageSize)
      let count = min(bytes.count - done, Self.pageSize - start)
      pages[page].withUnsafeMutableBytes { page in
        UnsafeMutableRawBufferPointer(rebasing: page[start..<start + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]))
      }
      done += count
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
    let total = max(0, min(buffer.count, size - offset))
    var done = 0
    while done < total {
      let (page, start) = (offset + done).quotientAndRemainder(dividingBy: Self.pageSize)
      let count = min(total - done, Self.pageSize - start)
      pages[page].withUnsafeBytes { page in
        UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: page[start..<start + count]))
      }
      done += count
    }
    return total
  }

  /// Takes every page that holds one of the bytes; both have the same size.
  mutating func copyPages(of other: PagedBytes, from start: Int, to end: Int) {
    guard start < end else { return }
    for page in start / Self.pageSize...(end - 1) / Self.pageSize { pages[page] = other.pages[page] }
  }
}
