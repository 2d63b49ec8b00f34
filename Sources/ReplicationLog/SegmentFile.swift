import Glibc

/// A segment's file, owned. Every failure names the operation and the path.
struct SegmentFile: ~Copyable {
  let path: String
  private let descriptor: Int32

  enum Mode { case read, update, create }

  init(_ path: String, _ mode: Mode) throws(LogError) {
    let flags: Int32
    switch mode {
    case .read: flags = O_RDONLY | O_CLOEXEC
    case .update: flags = O_RDWR | O_CLOEXEC
    case .create: flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC
    }
    let descriptor = Glibc.open(path, flags, 0o644)
    guard descriptor >= 0 else { throw Self.failure("open", path) }
    self.path = path
    self.descriptor = descriptor
  }

  deinit { Glibc.close(descriptor) }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(LogError) {
    var done = 0
    while done < bytes.count {
      let count = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw Self.failure("write", path) }
      done += count
    }
  }

  /// Makes what was written durable. A failure must end the process: nobody knows what is on disk.
  func sync() throws(LogError) {
    guard fdatasync(descriptor) == 0 else { throw Self.failure("sync", path) }
  }

  func size() throws(LogError) -> Int {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw Self.failure("stat", path) }
    return Int(status.st_size)
  }

  /// The whole file.
  func contents() throws(LogError) -> [UInt8] {
    let size = try size()
    var failed = false
    let contents = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      while count < size {
        let got = pread(descriptor, buffer.baseAddress! + count, size - count, off_t(count))
        if got < 0 && errno == EINTR { continue }
        if got <= 0 {
          failed = got < 0
          return
        }
        count += got
      }
    }
    guard !failed else { throw Self.failure("read", path) }
    return contents
  }

  static func failure(_ operation: String, _ path: String) -> LogError {
    let code = errno
    return .io(operation: operation, path: path, code: code, message: String(cString: strerror(code)))
  }

  static func rename(_ old: String, to new: String) throws(LogError) {
    guard Glibc.rename(old, new) == 0 else { throw failure("rename", old) }
  }

  static func remove(_ path: String) throws(LogError) {
    guard unlink(path) == 0 else { throw failure("remove", path) }
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// Makes names in `directory` durable.
  static func syncDirectory(_ directory: String) throws(LogError) {
    let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("open", directory) }
    defer { Glibc.close(descriptor) }
    guard fsync(descriptor) == 0 else { throw failure("sync", directory) }
  }

  /// Names in `directory` that end in `suffix`, sorted.
  static func names(in directory: String, suffix: String) throws(LogError) -> [String] {
    guard let stream = opendir(directory) else { throw failure("open", directory) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(suffix) { names.append(name) }
    }
    return names.sorted()
  }
}
