import Bytes
import Cluster
import Marketplace
import Wire

/// A reply as a partition keeps it.
package func replyBytes(_ id: RequestID, _ answer: Answer) -> [UInt8] {
  // So small that they grow.
  var body = ByteWriter(capacity: 1)
  let code = ReplyEncoder.writeBody(answer, into: &body)
  var writer = ByteWriter(capacity: 1)
  ReplyEncoder.write(id: id, code: code, body: body.bytes, into: &writer)
  return Array(writer.bytes)
}
