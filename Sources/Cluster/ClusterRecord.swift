/// What a cluster is, agreed on when it was made.
package struct ClusterRecord: Codable, Equatable, Sendable {
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
  /// Rule 5's L. All members of a group must have the same, so it is here and nowhere else; grace, drift and
  /// the beacons' pace follow from it.
  package var leaseMilliseconds: Int64

  package init(
    id: String, name: String, currency: String, partitions: Int, replicas: Int, minReplicas: Int,
    initialWorkers: Int, reserveMilliseconds: UInt64, feeBasisPoints: UInt32,
    requestWindowMilliseconds: Int64, createdAt: Int64, leaseMilliseconds: Int64 = Self.leaseDefault
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
    self.leaseMilliseconds = leaseMilliseconds
  }

  /// Milliseconds; of machines in one rack.
  package static let leaseDefault: Int64 = 160
  package static let leases: ClosedRange<Int64> = 80...60_000

  /// Where nobody says otherwise: a group of three outlives the loss of one of them, and loses nothing.
  package static func minReplicas(of replicas: Int) -> Int { replicas >= 3 ? 2 : 1 }
}

extension ClusterRecord {
  /// What no program of ours writes; nil: it is sound.
  package var problem: String? {
    let isSound =
      !id.isEmpty && id.utf8.count <= 64 && name.utf8.count <= 256 && currency.utf8.count <= 64
      && (1...Routing.partitionsMax).contains(partitions) && (1...255).contains(replicas)
      && (1...replicas).contains(minReplicas)
      && (1...65_535).contains(initialWorkers) && reserveMilliseconds <= Self.millisecondsMax
      && feeBasisPoints <= 10_000
      && (1...Int64(Self.millisecondsMax)).contains(requestWindowMilliseconds)
      && Self.leases.contains(leaseMilliseconds)
    return isSound ? nil : "the cluster's terms are out of range"
  }

  /// A hundred years.
  private static let millisecondsMax: UInt64 = 3_155_760_000_000
}
