import Cluster
import Wire

/// Which batches a dispatcher has sent, so that none is executed before one that was lost.
package struct ReceivedBatches: Sendable {
  private var dispatcher = Incarnation(0)
  private var last: UInt64 = 0

  package init() {}

  /// - Returns: false: one that it comes after is missing; the dispatcher sends both again.
  package mutating func accepts(_ header: BatchHeader) -> Bool {
    if header.dispatcher != dispatcher {
      dispatcher = header.dispatcher
      last = 0
    }
    if header.number & BatchHeader.unordered != 0 { return true }
    guard header.after <= last else { return false }
    last = max(last, header.number)
    return true
  }
}
