/// What a cluster is, agreed on when it was made.
package struct ClusterRecord: Equatable, Sendable {
  /// A UUID. A new configuration store is a new cluster.
  package var id: String
  package var name: String
  package var currency: String
  /// Never changes: keys are hashed over it.
  package var partitions: Int
  package var replicas: Int
  /// On how many of them a command is durable before it is answered; below it a group refuses writes.
  package var minReplicas: Int
  /// Partitions are placed once so many workers have joined.
  package var initialWorkers: Int
  package var reserveMilliseconds: UInt64
  package var feeBasisPoints: UInt32
  /// How long request ids are remembered.
  package var requestWindowMilliseconds: Int64
  package var createdAt: Int64

  package init(
    id: String, name: String, currency: String, partitions: Int, replicas: Int, minReplicas: Int,
    initialWorkers: Int, reserveMilliseconds: UInt64, feeBasisPoints: UInt32,
    requestWindowMilliseconds: Int64, createdAt: Int64
  ) {
    self.id = id
    self.name = name
    self.currency = currency
    self.partitions = partitions
    self.replicas = replicas
    self.minReplicas = minReplicas
    self.initialWorkers = initialWorkers
    self.reserveMilliseconds = reserveMilliseconds
    self.feeBasisPoints = feeBasisPoints
    self.requestWindowMilliseconds = requestWindowMilliseconds
    self.createdAt = createdAt
  }

  /// Where nobody says otherwise: a group of three outlives the loss of one of them, and loses nothing.
  package static func minReplicas(of replicas: Int) -> Int { replicas >= 3 ? 2 : 1 }
}
