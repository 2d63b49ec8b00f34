import Files

/// SQLite's write-ahead log, as far as a start must know it: a header of 32 bytes, then frames of a header of 24
/// and a page. It is written from its beginning again and again; frames count that have the header's salt.
package enum WAL {
  private static let headerBytes = 32
  private static let frameHeaderBytes = 24
  /// Where the page's size and the salt stand in the header, and the salt in a frame's.
  private static let pageSize = 8..<12
  private static let salt = 16..<24
  private static let frameSalt = 8..<16

  /// Writes what counts of the file at `path` over itself and syncs it, so that all that SQLite may read of it
  /// is durable.
  static func refresh(_ path: String, files: any FileSystem) throws(FileError) {
    let file = try files.open(path, .update)
    try file.refresh(from: 0, to: try end(of: file))
    try file.sync()
  }

  /// Behind the last frame that has the header's salt; the file's end where the header is not SQLite's.
  package static func end(of file: any File) throws(FileError) -> Int {
    let size = try file.size()
    let header = try file.contents(to: headerBytes)
    guard header.count == headerBytes else { return size }
    let pageBytes = header[pageSize].reduce(0) { $0 << 8 | Int($1) }
    guard (512...65_536).contains(pageBytes), pageBytes & (pageBytes - 1) == 0 else { return size }
    var end = headerBytes
    while end < size {
      let frame = try file.contents(from: end, to: end + frameHeaderBytes)
      guard frame.count == frameHeaderBytes, frame[frameSalt] == header[salt] else { break }
      end += frameHeaderBytes + pageBytes
    }
    return min(end, size)
  }
}
