import Foundation

/// Lines of a file descriptor, and whether another one is there without waiting for it.
struct LineReader {
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var start = 0
  private var isAtEnd = false

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// The next line without its newline; nil: there is none, or with `waits` false: none yet.
  mutating func next(waits: Bool) -> String? {
    var searched = start
    while true {
      if let newline = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        defer { start = newline + 1 }
        return String(decoding: buffer[start..<newline], as: UTF8.self)
      }
      if isAtEnd {
        guard start < buffer.count else { return nil }
        defer { start = buffer.count }
        return String(decoding: buffer[start...], as: UTF8.self)
      }
      guard waits || hasInput else { return nil }
      buffer.removeFirst(start)
      start = 0
      searched = buffer.count
      read()
    }
  }

  private var hasInput: Bool {
    var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&item, 1, 0) > 0
  }

  private mutating func read() {
    let size = 1 << 16
    var chunk = [UInt8](repeating: 0, count: size)
    let count = Foundation.read(descriptor, &chunk, size)
    if count > 0 {
      buffer += chunk[..<count]
    } else if count == 0 || errno != EINTR {
      isAtEnd = true
    }
  }
}
