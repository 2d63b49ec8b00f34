import Cluster
import Replication

/// Whom a replica talks to besides its disk. Every call returns at once; what comes back comes through
/// ``DurablePartition/tell(_:_:)``.
package protocol Surroundings: AnyObject {
  /// Milliseconds of a clock that counts suspend and never runs back.
  var now: Int64 { get }

  /// Tells the replica of something: together with whoever answers beacons in its place.
  func step<Result: Sendable>(_ replica: inout Replica, _ body: (inout Replica) -> Result) -> Result

  /// To another replica; may be lost.
  func send(_ message: UnsafeRawBufferPointer, to node: String)
  /// ``Replica/configurationWasRead(_:now:)`` follows, or nothing.
  func readConfiguration()
  /// ``Replica/compareAndSwapEnded(_:_:now:)`` follows, or nothing.
  func compareAndSwap(_ record: GroupRecord, why: String, committed: SequenceNumber)
  func activityChanged(_ activity: Replica.Activity)
  func alarm(_ alarm: Replica.Alarm)
  func offerSnapshot(to node: String)
  func wantSnapshot(from node: String)
}

extension Surroundings {
  package func step<Result: Sendable>(_ replica: inout Replica, _ body: (inout Replica) -> Result) -> Result {
    body(&replica)
  }
}
