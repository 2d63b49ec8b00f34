/// Deliberate faults of the cores and their shell. Each must be caught: a simulation that finds nothing in
/// a broken program proves nothing of a sound one.
package enum DeliberateBug: String, CaseIterable, Sendable {
  case answerBeforeSync = "answer-before-sync"
  case ackBeforeSync = "ack-before-sync"
  case truncateByCommitPoint = "truncate-by-commit-point"
  case noEpochGate = "no-epoch-gate"
  case leaseFromReceipt = "lease-from-receipt"
  case promoteWithoutAck = "promote-without-ack"
  case unknownIsRefused = "unknown-is-refused"
  case restartInOldEpoch = "restart-in-old-epoch"
  case applyAboveCommit = "apply-above-commit"
  case ackAfterGrace = "ack-after-grace"
  case takeoverWithoutGrace = "takeover-without-grace"
  case commitByOne = "commit-by-one"
  case epochNotDurable = "epoch-not-durable"
  case noChainCheck = "no-chain-check"
  case noRebuild = "no-rebuild"
  case readWithoutLease = "read-without-lease"
  case damagedIsEligible = "damaged-is-eligible"
  case restartedMemberGoesOn = "restarted-member-goes-on"
  case switchBeforeAllKnow = "switch-before-all-know"
  /// Of the shell: a new primary knows no request that was answered before it.
  case dedupeLost = "dedupe-lost"
  /// Of the shell: an answer does not wait for the commit point.
  case answerBeforeCommit = "answer-before-commit"

  /// Of the shell: what the desk answers does not move the grace by which the replica decides.
  case twoGraces = "two-graces"
  /// Of the shell, and rule 9 to the letter: who had a sync error is ineligible from then on. A group whose members
  /// all had one stands still until an operator comes.
  case syncErrorIsRecorded = "sync-error-is-recorded"

  var mutation: Replica.Mutation {
    switch self {
    case .answerBeforeSync: .answerBeforeSync
    case .ackBeforeSync: .ackBeforeSync
    case .truncateByCommitPoint: .truncateByCommitPoint
    case .noEpochGate: .noEpochGate
    case .leaseFromReceipt: .leaseFromReceipt
    case .promoteWithoutAck: .promoteWithoutAck
    case .unknownIsRefused: .unknownIsRefused
    case .restartInOldEpoch: .restartInOldEpoch
    case .applyAboveCommit: .applyAboveCommit
    case .ackAfterGrace: .ackAfterGrace
    case .takeoverWithoutGrace: .takeoverWithoutGrace
    case .commitByOne: .commitByOne
    case .epochNotDurable: .epochNotDurable
    case .noChainCheck: .noChainCheck
    case .noRebuild: .noRebuild
    case .readWithoutLease: .readWithoutLease
    case .damagedIsEligible: .damagedIsEligible
    case .restartedMemberGoesOn: .restartedMemberGoesOn
    case .switchBeforeAllKnow: .switchBeforeAllKnow
    case .dedupeLost, .answerBeforeCommit, .twoGraces, .syncErrorIsRecorded: []
    }
  }
}
