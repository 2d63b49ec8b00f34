import CZeroMQ
import Glibc
import Synchronization

/// Bytes that were handed to a socket for one peer and have not left it: what a peer that does not
/// read costs. libzmq bounds messages only.
package final class OutstandingBytes: Sendable {
  private let bytes = Atomic<Int>(0)

  package init() {}

  /// Each message counts with what libzmq needs for it besides.
  package var count: Int { bytes.load(ordering: .relaxed) }

  private static let overhead = 128

  /// Makes a message of a copy of `bytes` that is counted until libzmq lets go of it.
  func fill(_ message: inout zmq_msg_t, _ bytes: UnsafeRawBufferPointer) {
    // The length stands before the copy, because libzmq gives back the address alone.
    guard let block = malloc(8 + bytes.count) else { fatalError("out of memory") }
    block.storeBytes(of: bytes.count, as: Int.self)
    if let source = bytes.baseAddress { memcpy(block + 8, source, bytes.count) }
    self.bytes.add(bytes.count + Self.overhead, ordering: .relaxed)
    let code = zmq_msg_init_data(
      &message, block + 8, bytes.count,
      { data, hint in
        let block = data! - 8
        let outstanding = Unmanaged<OutstandingBytes>.fromOpaque(hint!).takeRetainedValue()
        outstanding.bytes.subtract(block.load(as: Int.self) + OutstandingBytes.overhead, ordering: .relaxed)
        free(block)
      }, Unmanaged.passRetained(self).toOpaque())
    precondition(code == 0, "zmq_msg_init_data: out of memory")
  }
}
