import ArgumentParser
import Cluster
import ConfigurationManager
import Foundation
import NodeSupport

struct ClusterCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster", abstract: "Make a cluster, or recover one whose configuration was lost.",
    subcommands: [Init.self, ClusterRecover.self])

  struct Init: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "init",
      abstract: "A new cluster, in its dispatcher's data folder, or in etcd.",
      discussion: """
        Partitions are for ever: 4 times the workers that you will ever have is a good number.

          laris cluster init --data /var/lib/laris/dispatcher --name pasar --partitions 64 --workers 3
          laris dispatcher --data /var/lib/laris/dispatcher
          laris worker --data /var/lib/laris/worker-1 --node worker-1 --dispatcher tcp://HOST:12121

        With its configuration in etcd, over several machines:

          laris cluster init --etcd https://etcd-1:2379,https://etcd-2:2379 --etcd-ca ca.pem --name pasar
        """)

    @Option(help: "The dispatcher's data folder; made if missing. Not with --etcd.")
    var data: String?

    @Flag(help: "Print JSON: {id, name, partitions, currency}.")
    var json = false

    @OptionGroup var options: ClusterShape
    @OptionGroup var etcd: EtcdArguments

    func validate() throws {
      guard (data == nil) == etcd.isGiven else {
        throw ValidationError(
          "a cluster's configuration is in a folder (--data) or in etcd (--etcd): name one")
      }
    }

    func run() throws {
      let record = try options.record()
      let place: String
      if let options = try etcd.options() {
        do {
          try EtcdStore.create(options, record)
        } catch {
          throw NodeError(
            error.kind == .unavailable ? .unknown : .no,
            error.kind == .unavailable
              ? "\(error); whether the cluster was made is unknown: the same command tells" : "\(error)")
        }
        place = "etcd, under \(options.prefix)"
      } else {
        try Self.create(record, in: data!)
        place = data!
      }
      if json {
        struct Made: Encodable { let id, name, currency: String, partitions: Int }
        let made = Made(
          id: record.id, name: record.name, currency: record.currency, partitions: record.partitions)
        Terminal.print(String(decoding: try JSONEncoder().encode(made), as: UTF8.self))
        return
      }
      Terminal.print(
        "cluster \(record.name) (\(record.id)): \(record.partitions) partitions, \(record.currency), in \(place)"
      )
      Terminal.print(
        "next: laris dispatcher --data \(data ?? "FOLDER --etcd \(etcd.etcd.joined(separator: ","))")")
    }

    static func create(_ record: ClusterRecord, in data: String) throws {
      let folder = try DataFolder(data, create: true)
      let path = data + "/cluster.sqlite"
      do {
        try EmbeddedStore.create(path, record, exists: FileManager.default.fileExists(atPath: path))
      } catch {
        throw NodeError(.no, "\(error)")
      }
      try folder.setIdentity(.init(kind: "dispatcher", cluster: record.id, node: "dispatcher-1"))
    }

    static func cluster(at path: String) throws -> ClusterRecord {
      do {
        return try EmbeddedStore(path, exists: true).cluster
      } catch {
        throw NodeError(.no, "\(error)")
      }
    }
  }
}

/// What a cluster is made with, and keeps.
struct ClusterShape: ParsableArguments {
  @Option(help: "The cluster's name.")
  var name: String = "laris"

  @Option(help: "Partitions, 1 to 4096. Never changes.")
  var partitions: Int?

  @Option(help: "Replicas of a partition, 1 to 7, each on a worker of its own; 1 unless named.")
  var replicas: Int?

  @Option(
    help: ArgumentHelp(
      "On how many replicas a command is durable before it is answered; with fewer, a partition refuses writes.",
      discussion: "Default: 2 where there are 3 replicas or more, else 1."))
  var minReplicas: Int?

  @Option(
    help: ArgumentHelp(
      "Milliseconds for which a member's word lets a primary serve, 80 to 60000; a silent one is replaced a "
        + "quarter later. Never changes.",
      discussion: "Longer for machines that stall, shorter to see a loss sooner. 160 unless named."))
  var lease: Int64?

  @Option(help: "Workers that must have joined before partitions are placed, so that they spread evenly.")
  var workers: Int?

  @Option(help: "The one currency, three letters. Amounts are in its minor units (rupiah: 1 = Rp 1).")
  var currency: String = "IDR"

  @Option(help: "How long a reservation waits for payment, in minutes.")
  var reserveMinutes: UInt64 = 1_440

  @Option(help: "The platform's fee on completed orders' goods, in 1/100 of a per cent.")
  var feeBasisPoints: UInt32 = 250

  func validate() throws {
    let replicas = replicas ?? 1
    if let partitions, partitions < 1 || partitions > Routing.partitionsMax {
      throw ValidationError("--partitions must be 1 to \(Routing.partitionsMax), not \(partitions)")
    }
    guard (1...Self.replicasMax).contains(replicas) else {
      throw ValidationError("--replicas must be 1 to \(Self.replicasMax), not \(replicas)")
    }
    if let minReplicas, minReplicas < 1 || minReplicas > replicas {
      throw ValidationError(
        "--min-replicas \(minReplicas): it is 1 to the number of replicas, which is \(replicas)")
    }
    if let workers, workers < 1 || workers > 1_000 {
      throw ValidationError("--workers must be 1 to 1000, not \(workers)")
    }
    if let lease, !ClusterRecord.leases.contains(lease) {
      throw ValidationError(
        "--lease must be \(ClusterRecord.leases.lowerBound) to \(ClusterRecord.leases.upperBound) milliseconds, "
          + "not \(lease)")
    }
    guard currency.utf8.count == 3, currency.utf8.allSatisfy({ (65...90).contains($0) }) else {
      throw ValidationError("--currency '\(currency)' must be three capital letters, like IDR")
    }
    guard !name.isEmpty, name.utf8.count <= 64 else {
      throw ValidationError("--name must have 1 to 64 bytes")
    }
    guard reserveMinutes >= 1, reserveMinutes <= 43_200 else {
      throw ValidationError("--reserve-minutes must be 1 to 43200 (30 days)")
    }
    guard feeBasisPoints <= 10_000 else {
      throw ValidationError("--fee-basis-points must be at most 10000 (100 %)")
    }
  }

  static let replicasMax = 7

  func record(defaultPartitions: Int = 64, defaultWorkers: Int? = nil) throws -> ClusterRecord {
    let replicas = replicas ?? 1
    let workers = workers ?? defaultWorkers ?? replicas
    guard replicas <= workers else {
      throw ValidationError(
        "--replicas \(replicas) with --workers \(workers): each replica of a partition is on a worker of its "
          + "own, so there must be as many workers")
    }
    return ClusterRecord(
      id: UUID().uuidString.lowercased(), name: name, currency: currency,
      partitions: partitions ?? defaultPartitions, replicas: replicas,
      minReplicas: minReplicas ?? ClusterRecord.minReplicas(of: replicas), initialWorkers: workers,
      reserveMilliseconds: reserveMinutes * 60_000, feeBasisPoints: feeBasisPoints,
      requestWindowMilliseconds: 24 * 3_600_000,
      createdAt: Clock.wallMilliseconds(), leaseMilliseconds: lease ?? ClusterRecord.leaseDefault)
  }
}
