import Foundation

/// A folder in memory where there is one, for targets that read files. One a process.
package enum ScratchFolder {
  static let path: String = {
    let shared = "/dev/shm"
    let base = access(shared, W_OK) == 0 ? shared : FileManager.default.temporaryDirectory.path
    let path = "\(base)/laris-fuzz-\(getpid())"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
  }()

  /// Removes it, with all in it.
  package static func remove() { try? FileManager.default.removeItem(atPath: path) }

  /// An empty folder in it.
  static func fresh(_ name: String) throws -> String {
    let folder = path + "/" + name
    try? FileManager.default.removeItem(atPath: folder)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    return folder
  }

  static func write(_ bytes: UnsafeRawBufferPointer, to path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Finding("no scratch file: \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
      let count = Foundation.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
      guard count > 0 else { throw Finding("scratch: \(String(cString: strerror(errno)))") }
      done += count
    }
  }

  static func read(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: path))) }
}
