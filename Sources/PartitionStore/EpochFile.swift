import Cluster
import Glibc

/// The highest epoch that a replica accepted, in a file of its own: durable before it acts on it.
package enum EpochFile {
  /// 0 where there is no file yet.
  package static func read(_ path: String) throws(StoreError) -> Epoch {
    guard access(path, F_OK) == 0 else { return Epoch(0) }
    guard let file = fopen(path, "r") else { throw failure("open", path) }
    defer { fclose(file) }
    var buffer = [CChar](repeating: 0, count: 64)
    let count = fread(&buffer, 1, 63, file)
    let text = String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let value = UInt64(text.hasSuffix("\n") ? text.dropLast() : text[...]) else {
      throw .damaged(path: path, what: "it should hold a number, and holds '\(text.prefix(20))'")
    }
    return Epoch(value)
  }

  /// Replaces the file; durable when it returns.
  package static func write(_ epoch: Epoch, to path: String) throws(StoreError) {
    let temporary = path + ".new"
    guard let file = fopen(temporary, "w") else { throw failure("open", temporary) }
    let text = "\(epoch.rawValue)\n"
    let written = fputs(text, file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0
    let closed = fclose(file) == 0
    guard written, closed else { throw failure("write", temporary) }
    guard rename(temporary, path) == 0 else { throw failure("rename", temporary) }
    let slash = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    let directory = open(slash, O_RDONLY | O_DIRECTORY)
    guard directory >= 0 else { throw failure("open", slash) }
    defer { close(directory) }
    guard fsync(directory) == 0 else { throw failure("sync", slash) }
  }

  private static func failure(_ operation: String, _ path: String) -> StoreError {
    .io(path: path, operation: operation, message: String(cString: strerror(errno)))
  }
}
