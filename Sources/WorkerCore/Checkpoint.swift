import Cluster
import Marketplace

/// Every row that changed since the checkpoint before, as of one sequence number.
package struct Checkpoint: Sendable {
  package struct Intervals: Equatable, Sendable {
    package let shops, skus, orders, payments, accounts: UInt64
  }

  package var applied: SequenceNumber
  package var time: Milliseconds
  package var ordersPlaced: UInt64
  /// ``PartitionCore/digest`` at `applied`.
  package var digest: UInt64
  /// ``PartitionCore/rules`` at `applied`.
  package var rules: UInt16
  package var shops: [Shop]
  package var skus: [SKU]
  package var orders: [Order]
  package var payments: [Payment]
  package var accounts: [Account]
  package var transfers: [Transfer]
  package var requests: FrozenRequests
  /// Ids before this one are outside the window for ever, so their rows may go.
  package var forgetRequestsBefore: RequestID
  /// No order of the checkpoint waits for payment until an earlier time.
  package var forgetReservationsBefore: Milliseconds
  package var intervals: Intervals

  /// What is left to say of it once it is written.
  package struct Receipt: Equatable, Sendable {
    package let applied: SequenceNumber
    package let intervals: Intervals
  }

  package var receipt: Receipt { Receipt(applied: applied, intervals: intervals) }
}
