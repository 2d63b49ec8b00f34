/// What Laris asks of a disk. ``SystemFiles`` is the system's; the one of the tests fails on purpose.
///
/// A write is seen at once, and is durable when ``File/sync()`` has returned. A name that was made, changed
/// or removed is seen at once, and is durable when ``syncDirectory(_:)`` has returned.
package protocol FileSystem: Sendable {
  /// - Throws: the file is not there (unless `mode` creates it), or may not be opened.
  func open(_ path: String, _ mode: FileMode) throws(FileError) -> any File

  func exists(_ path: String) throws(FileError) -> Bool

  /// Gives a file another name, in the same directory; whoever had that name is gone.
  func rename(_ old: String, to new: String) throws(FileError)

  func remove(_ path: String) throws(FileError)

  /// Names in `directory`, sorted.
  func names(in directory: String) throws(FileError) -> [String]

  /// Makes `directory` and all above it that are missing, each durable.
  func makeDirectory(_ directory: String) throws(FileError)

  /// Makes names in `directory` durable.
  func syncDirectory(_ directory: String) throws(FileError)

  /// Bytes that this process may still write where `path` is.
  func freeBytes(at path: String) throws(FileError) -> Int

  /// The SQLite VFS whose files are these; nil: SQLite's own.
  var sqliteVFS: String? { get }
}

package enum FileMode: Sendable {
  case read
  /// To read and to write; must exist.
  case update
  /// To read and to write; made if missing, emptied if not.
  case create
}

/// An open file; closed when its last user lets go of it.
package protocol File: AnyObject, Sendable {
  var path: String { get }

  /// - Returns: bytes that were read; fewer than asked for only where the file ends.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) -> Int

  /// - Throws: some of it may have been written.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError)

  /// Cuts the file, or lengthens it with zeros.
  func truncate(to size: Int) throws(FileError)

  func size() throws(FileError) -> Int

  /// Makes what was written durable.
  ///
  /// - Throws: nobody knows what is on disk, and another call that returns says nothing about it: the
  ///   system may have dropped what it could not write. End the process.
  func sync() throws(FileError)

  /// Waits until the disk has what was written from `offset` on, so that a long file does not go there all at
  /// once, with what others sync behind it. Nothing is durable by that.
  func writeOut(from offset: Int) throws(FileError)
}

extension FileSystem {
  /// Replaces what is at `path` as a whole; durable when it returns. At any moment the old or the new is there.
  package func replace(_ path: String, with bytes: UnsafeRawBufferPointer) throws(FileError) {
    let temporary = path + ".new"
    let file = try open(temporary, .create)
    try file.write(bytes, at: 0)
    try file.sync()
    try rename(temporary, to: path)
    try syncDirectory(Self.directory(of: path))
  }

  package func replace(_ path: String, with text: String) throws(FileError) {
    var failure: FileError?
    var text = text
    text.withUTF8 { utf8 in
      do throws(FileError) { try replace(path, with: UnsafeRawBufferPointer(utf8)) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Writes what `path` holds over itself and syncs it, so that all that is read of it is durable.
  ///
  /// After a failed sync, memory may hold what the disk does not, and no later sync would write it.
  package func refresh(_ path: String) throws(FileError) {
    let file = try open(path, .update)
    try file.refresh(from: 0, to: try file.size())
    try file.sync()
  }

  /// Removes a long file piece by piece, from its end on: the system takes its time to forget gigabytes, and who
  /// syncs meanwhile, or closes the file, waits for it.
  ///
  /// - Parameter pause: between two pieces. What it throws leaves the rest there.
  package func removeInPieces(
    _ path: String, bytes: Int, pause: () throws -> Void
  ) throws {
    let file = try open(path, .update)
    var size = try file.size()
    while size > bytes {
      size -= bytes
      try file.truncate(to: size)
      try pause()
    }
    try remove(path)
  }

  package static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

extension File {
  /// The bytes from `start` on, up to `end` or the end of the file.
  package func contents(from start: Int = 0, to end: Int = .max) throws(FileError) -> [UInt8] {
    let count = max(0, min(try size(), end) - start)
    var failure: FileError?
    let contents = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(FileError) {
        initialized = try read(into: UnsafeMutableRawBufferPointer(buffer), at: start)
      } catch { failure = error }
    }
    if let failure { throw failure }
    return contents
  }

  /// Writes what is there over itself, so that the next ``sync()`` covers it whatever became of earlier ones.
  package func refresh(from start: Int, to end: Int) throws(FileError) {
    var offset = start
    while offset < end {
      let piece = try contents(from: offset, to: min(end, offset + (1 << 20)))
      guard !piece.isEmpty else { return }
      var failure: FileError?
      piece.withUnsafeBytes { bytes in
        do throws(FileError) { try write(bytes, at: offset) } catch { failure = error }
      }
      if let failure { throw failure }
      offset += piece.count
    }
  }
}
