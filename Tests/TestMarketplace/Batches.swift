import Bytes
import Cluster
import Wire

/// Batches as a dispatcher makes them, for tests.
package enum Batches {
  /// - Parameters:
  ///   - requests: bytes, and the milliseconds that their callers still wait.
  ///   - after: the batch that was in flight before, or 0.
  package static func frame(
    _ requests: [(bytes: [UInt8], deadlineMilliseconds: UInt32)], partition: PartitionID, number: UInt64,
    after: UInt64 = 0, epoch: Epoch = Epoch(1), dispatcher: Incarnation = Incarnation(5)
  ) -> [UInt8] {
    var writer = ByteWriter()
    var header = BatchHeader(
      partition: partition, epoch: epoch, dispatcher: dispatcher, number: number)
    header.after = after
    header.write(.batch, into: &writer)
    for request in requests {
      request.bytes.withUnsafeBytes {
        BatchItem.write($0, deadlineMilliseconds: request.deadlineMilliseconds, into: &writer)
      }
    }
    BatchHeader.setCount(requests.count, in: &writer)
    return Array(writer.bytes)
  }
}
