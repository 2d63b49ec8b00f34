import Foundation

/// A TCP connection that speaks ZMTP by hand, and badly where a test wants it so.
///
/// Source: ZMTP 3.0, rfc.zeromq.org/spec/23.
final class RawPeer {
  private let descriptor: Int32

  init(_ endpoint: String) throws {
    guard let port = endpoint.split(separator: ":").last.flatMap({ UInt16($0) }) else {
      throw Problem("\(endpoint) has no port")
    }
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    // Who is not read from must not wait for ever.
    var patience = timeval(tv_sec: 2, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard isConnected else { throw Problem("\(endpoint): \(String(cString: strerror(errno)))") }
  }

  deinit { close(descriptor) }

  /// Sends what it can: the other side may close the connection at any time, and should.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Foundation.send(descriptor, $0.baseAddress! + done, $0.count - done, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      done += count
    }
    return true
  }

  /// Greets as NULL mechanism, and says which type of socket it is.
  func greet(as type: String) {
    var greeting: [UInt8] = [0xFF] + [UInt8](repeating: 0, count: 8) + [0x7F, 3, 0]
    greeting += Array("NULL".utf8) + [UInt8](repeating: 0, count: 16)
    greeting += [UInt8](repeating: 0, count: 64 - greeting.count)
    let name = Array("Socket-Type".utf8)
    var ready: [UInt8] = [5] + Array("READY".utf8) + [UInt8(name.count)] + name
    ready += [0, 0, 0, UInt8(type.utf8.count)] + Array(type.utf8)
    send(greeting + [0x04, UInt8(ready.count)] + ready)
  }

  /// A frame of a message.
  static func frame(_ bytes: [UInt8], more: Bool = false) -> [UInt8] {
    let flag: UInt8 = more ? 1 : 0
    if bytes.count < 256 { return [flag, UInt8(bytes.count)] + bytes }
    return header(length: UInt64(bytes.count), flag) + bytes
  }

  /// The beginning of a frame that claims this length.
  static func header(length: UInt64, _ flags: UInt8 = 0) -> [UInt8] {
    [flags | 2] + withUnsafeBytes(of: length.bigEndian) { Array($0) }
  }

  static func message(_ frames: [[UInt8]]) -> [UInt8] {
    frames.indices.flatMap { frame(frames[$0], more: $0 + 1 < frames.count) }
  }
}
