import Cluster
import Files

/// The highest epoch that a replica accepted, in a file of its own: durable before it acts on it.
package enum EpochFile {
  /// 0 where there is no file yet.
  ///
  /// - Throws: ``StoreError`` or `FileError`.
  package static func read(_ path: String, files: any FileSystem = SystemFiles()) throws -> Epoch {
    guard try files.exists(path) else { return Epoch(0) }
    let text = String(decoding: try files.open(path, .read).contents(to: 64), as: UTF8.self)
    guard let value = UInt64(text.hasSuffix("\n") ? text.dropLast() : text[...]) else {
      throw StoreError.damaged(path: path, what: "it should hold a number, and holds '\(text.prefix(20))'")
    }
    return Epoch(value)
  }

  /// Replaces the file; durable when it returns.
  package static func write(
    _ epoch: Epoch, to path: String, files: any FileSystem = SystemFiles()
  ) throws(FileError) {
    try files.replace(path, with: "\(epoch.rawValue)\n")
  }
}
