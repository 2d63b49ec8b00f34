import Glibc

/// An input that ends where memory ends: a read of one byte beyond it is a signal, in every build.
package struct GuardedInput: ~Copyable {
  private let base: UnsafeMutableRawPointer
  private let room: Int
  private let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))

  /// - Parameter count: the longest input.
  package init(count: Int) {
    room = (count / pageSize + 1) * pageSize
    let map = mmap(
      nil, room + pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let map, map != MAP_FAILED, mprotect(map + room, pageSize, PROT_NONE) == 0 else {
      fatalError("no memory for inputs: \(String(cString: strerror(errno)))")
    }
    base = map
  }

  deinit { munmap(base, room + pageSize) }

  package func with<Result>(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    precondition(bytes.count <= room)
    let start = base + (room - bytes.count)
    bytes.withUnsafeBytes { bytes in
      if let from = bytes.baseAddress { start.copyMemory(from: from, byteCount: bytes.count) }
    }
    return try body(UnsafeRawBufferPointer(start: start, count: bytes.count))
  }
}
