import Bytes
import Cluster
import Wire

/// Asks what became of another request, where that went: `GetRequest` only asks, `Resolve` seals what
/// was not executed.
package enum FateRequest {
  package static func bytes(
    id: RequestID, channel: String, of target: RequestID, at key: HistoryRecord.Key, sealing: Bool
  ) -> [UInt8] {
    let place: RequestEncoder.Place =
      switch key {
      case .shop(let shop): .shop(shop)
      case .order(let order): .order(order)
      }
    var writer = ByteWriter(capacity: 96)
    RequestEncoder.write(
      id: id, channel: channel, deadlineMilliseconds: 0, fateOf: target, at: place, sealing: sealing,
      into: &writer)
    return Array(writer.bytes)
  }
}
