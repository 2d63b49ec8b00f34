/// What operators want to become of workers and replicas. It outlives the controller that carries it out.
package struct Plans: Equatable, Sendable {
  /// Names of workers that get nothing new, and give away what they have.
  package var draining: Set<String>
  /// Names of workers that will never come back. Who comes under one is refused.
  package var removed: Set<String>
  /// By partition, at most one of each.
  package var moves: [Move]

  /// Of one worker.
  package enum Worker: Equatable, Sendable { case draining, removed }

  package init(draining: Set<String> = [], removed: Set<String> = [], moves: [Move] = []) {
    self.draining = draining
    self.removed = removed
    self.moves = moves
  }

  package subscript(partition: PartitionID) -> Move? { moves.first { $0.partition == partition } }
}
