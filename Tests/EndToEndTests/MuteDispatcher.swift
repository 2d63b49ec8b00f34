import Bytes
import Cluster
import Foundation
import LarisProtocol
import Wire
import ZeroMQ

/// What workers take for one more dispatcher: it hears what partitions say, sends them what a test wants, and
/// answers nothing.
final class MuteDispatcher {
  let endpoint: String
  private let socket: Socket
  private let incarnation = Incarnation.random()
  private var batches: UInt64 = 0
  /// Connections of partitions, by their last hello.
  private var hellos: [[UInt8]: HelloFrame] = [:]
  /// What came besides hellos, and from which connection.
  private(set) var heard: [(connection: [UInt8], kind: FrameKind, frame: [UInt8])] = []

  init() throws {
    endpoint = "tcp://127.0.0.1:\(try freePort())"
    socket = try Socket(.router, in: ZeroMQContext())
    socket.setRouterMandatory()
    try socket.bind(endpoint)
  }

  /// Takes what came until it is so.
  func listen(until what: String, _ isSo: () throws -> Bool) throws {
    let end = Date() + 30
    while try !isSo() {
      guard Date() < end else { throw Problem("within 30 s it did not come about that \(what)") }
      _ = socket.wait(milliseconds: 10)
      try take()
    }
  }

  private func take() throws {
    var message = Message()
    while try socket.receive(into: &message) {
      let connection = Array(message.bytes)
      while message.hasMore, try socket.receive(into: &message) {}
      let frame = Array(message.bytes)
      guard let kind = frame.first.flatMap(FrameKind.init) else { throw Problem("\(frame) is no frame") }
      if kind == .hello {
        hellos[connection] = try frame.withUnsafeBytes { try HelloFrame($0) }
      } else {
        heard.append((connection, kind, frame))
      }
    }
  }

  /// Of a partition's replica that says that it serves.
  func connection(of partition: UInt16, on node: String, in epoch: UInt64) -> [UInt8]? {
    hellos.first {
      $1.partition == PartitionID(partition) && $1.node == node && $1.epoch == Epoch(epoch)
    }?.key
  }

  func heard(_ kind: FrameKind, from connection: [UInt8]) -> [[UInt8]] {
    heard.filter { $0.connection == connection && $0.kind == kind }.map(\.frame)
  }

  /// A batch of one request, in the order of those before.
  func send(_ request: Laris_Request, to connection: [UInt8], _ partition: UInt16, epoch: UInt64) throws {
    var header = BatchHeader(
      partition: PartitionID(partition), epoch: Epoch(epoch), dispatcher: incarnation, number: batches + 1)
    header.after = batches
    batches += 1
    var writer = ByteWriter(capacity: 256)
    header.write(.batch, into: &writer)
    let bytes: [UInt8] = try request.serializedBytes()
    bytes.withUnsafeBytes { BatchItem.write($0, deadlineMilliseconds: 60_000, into: &writer) }
    BatchHeader.setCount(1, in: &writer)
    try socket.send(connection, more: true)
    try socket.send(writer.bytes)
  }
}
