import CLinux
import Glibc

/// The system's files.
package struct SystemFiles: FileSystem {
  package init() {}

  package func open(_ path: String, _ mode: FileMode) throws(FileError) -> any File {
    let flags: Int32
    switch mode {
    case .read: flags = O_RDONLY | O_CLOEXEC
    case .update: flags = O_RDWR | O_CLOEXEC
    case .create: flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC
    }
    let descriptor = Glibc.open(path, flags, 0o644)
    guard descriptor >= 0 else { throw FileError(.open, path, code: errno) }
    return SystemFile(path, descriptor)
  }

  package func exists(_ path: String) throws(FileError) -> Bool {
    if access(path, F_OK) == 0 { return true }
    guard errno == ENOENT else { throw FileError(.look, path, code: errno) }
    return false
  }

  package func rename(_ old: String, to new: String) throws(FileError) {
    guard Glibc.rename(old, new) == 0 else { throw FileError(.rename, old, code: errno) }
  }

  package func remove(_ path: String) throws(FileError) {
    guard unlink(path) == 0 else { throw FileError(.remove, path, code: errno) }
  }

  package func names(in directory: String) throws(FileError) -> [String] {
    guard let stream = opendir(directory) else { throw FileError(.open, directory, code: errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        guard errno == 0 else { throw FileError(.read, directory, code: errno) }
        return names.sorted()
      }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
  }

  package func makeDirectory(_ directory: String) throws(FileError) {
    if try exists(directory) { return }
    let parent = Self.directory(of: directory)
    try makeDirectory(parent)
    guard mkdir(directory, 0o755) == 0 || errno == EEXIST else {
      throw FileError(.makeDirectory, directory, code: errno)
    }
    try syncDirectory(parent)
  }

  package func syncDirectory(_ directory: String) throws(FileError) {
    let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError(.open, directory, code: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw FileError(.syncDirectory, directory, code: errno) }
  }

  package func freeBytes(at path: String) throws(FileError) -> Int {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { throw FileError(.look, path, code: errno) }
    return Int(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).0)
  }

  package var sqliteVFS: String? { nil }
}

private final class SystemFile: File {
  let path: String
  private let descriptor: Int32

  init(_ path: String, _ descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) -> Int {
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw FileError(.read, path, code: errno) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
    var done = 0
    while done < bytes.count {
      let count = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw FileError(.write, path, code: errno) }
      // A disk that takes nothing and says nothing has no room.
      guard count > 0 else { throw FileError(.write, path, code: ENOSPC) }
      done += count
    }
  }

  func truncate(to size: Int) throws(FileError) {
    guard ftruncate(descriptor, off_t(size)) == 0 else { throw FileError(.truncate, path, code: errno) }
  }

  func size() throws(FileError) -> Int {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileError(.look, path, code: errno) }
    return Int(status.st_size)
  }

  func sync() throws(FileError) {
    guard fdatasync(descriptor) == 0 else { throw FileError(.sync, path, code: errno) }
  }

  func writeOut(from offset: Int) throws(FileError) {
    let code = laris_write_out(descriptor, Int64(offset))
    guard code == 0 else { throw FileError(.sync, path, code: code) }
  }
}
