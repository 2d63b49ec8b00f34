import Foundation

/// Bytes of a file, or of memory, one after the other, through a buffer of 64 KiB.
///
/// Owns its descriptor and closes it when it goes.
package struct InputBytes: ~Copyable, Sendable {
  /// What the system said when a file could not be opened or read.
  package struct Failure: Error, Equatable, Sendable {
    package let operation: String
    package let cause: String
  }

  /// -1: the bytes are in memory.
  private let descriptor: Int32
  private var buffer: [UInt8]
  /// position <= end <= buffer.count
  private var position = 0
  private var end: Int

  package init(path: String) throws(Failure) {
    descriptor = try InputBytes.opened(path)
    buffer = [UInt8](repeating: 0, count: 64 << 10)
    end = 0
  }

  package init(bytes: [UInt8]) {
    descriptor = -1
    buffer = bytes
    end = bytes.count
  }

  deinit {
    if descriptor >= 0 { _ = close(descriptor) }
  }

  private static func opened(_ path: String) throws(Failure) -> Int32 {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw Failure(operation: "open", cause: String(cString: strerror(errno)))
    }
    return descriptor
  }

  /// The next byte without taking it; nil at the end.
  @inline(__always)
  package mutating func peek() throws(Failure) -> UInt8? {
    if position == end {
      guard try fill() else { return nil }
    }
    return buffer[position]
  }

  /// Takes the next byte; nil at the end.
  @inline(__always)
  package mutating func next() throws(Failure) -> UInt8? {
    guard let byte = try peek() else { return nil }
    position += 1
    return byte
  }

  private mutating func fill() throws(Failure) -> Bool {
    guard descriptor >= 0 else { return false }
    while true {
      let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        throw Failure(operation: "read", cause: String(cString: strerror(errno)))
      }
      position = 0
      end = count
      return count > 0
    }
  }
}
