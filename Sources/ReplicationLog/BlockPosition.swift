import Cluster

/// Where a block stands in a log's files, until it is cut or trimmed.
package struct BlockPosition: Equatable, Sendable {
  /// The first entry of its segment, which names the file.
  package let segment: SequenceNumber
  /// Of its header, in bytes.
  package let offset: Int
  /// Of header and frame.
  package let bytes: Int

  init(segment: SequenceNumber, offset: Int, bytes: Int) {
    self.segment = segment
    self.offset = offset
    self.bytes = bytes
  }
}
