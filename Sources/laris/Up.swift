import ArgumentParser
import Cluster
import ConfigurationManager
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Up: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A whole cluster on this machine, until Ctrl-C.",
    discussion: """
      Starts a dispatcher and workers as processes of their own, and starts again what dies.
      The first time it makes the cluster; later it goes on with the data that is there.
      Logs are in DATA/NODE.log.

        laris up --workers 3
        laris up --workers 3 --replicas 2       what a worker served goes on elsewhere when it dies
        laris up --workers 3 --partitions 6 --data /tmp/try --listen tcp://127.0.0.1:13120
      """)

  @Option(help: "Folder of all the nodes' data; made if missing.")
  var data: String = "laris-data"

  @Option(help: "Where services connect.")
  var listen: String = "tcp://127.0.0.1:12120"

  @Option(help: "Where workers connect.")
  var workerListen: String = "tcp://127.0.0.1:12121"

  @Option(help: "Requests a second that the dispatcher lets in; 0: as many as come.")
  var admit: Int = 0

  @Option(help: "Log for people or for machines: readable or json.")
  var logFormat: NodeOptions.LogFormat = .readable

  @Option(help: "MiB that stay free on the workers' disk: with less, writes are refused and reads go on.")
  var diskReserve: Int = 256

  @OptionGroup var tail: LogTailOptions

  @OptionGroup var shape: ClusterShape

  func validate() throws {
    try validateEndpoint(listen, flag: "--listen")
    try validateEndpoint(workerListen, flag: "--worker-listen")
    try validateDiskReserve(diskReserve)
  }

  func run() throws {
    Signals.block()
    let stop = StopFlag()
    Signals.stop(stop)
    let workers = shape.workers ?? 3
    let dispatcherData = data + "/dispatcher"
    let path = dispatcherData + "/cluster.sqlite"
    if !FileManager.default.fileExists(atPath: path) {
      try ClusterCommand.Init.create(
        try shape.record(defaultPartitions: 6, defaultWorkers: workers), in: dispatcherData)
    }
    let cluster = try ClusterCommand.Init.cluster(at: path)
    if let wanted = shape.partitions, wanted != cluster.partitions {
      throw NodeError(
        .usage,
        "the cluster in \(data) has \(cluster.partitions) partitions, and that never changes; "
          + "leave out --partitions \(wanted), or name another folder with --data")
    }
    if let wanted = shape.replicas, wanted != cluster.replicas {
      throw NodeError(
        .usage,
        "the cluster in \(data) keeps \(cluster.replicas) replicas of a partition; leave out --replicas "
          + "\(wanted), or name another folder with --data")
    }
    if let wanted = shape.lease, wanted != cluster.leaseMilliseconds {
      throw NodeError(
        .usage,
        "the cluster in \(data) has a lease of \(cluster.leaseMilliseconds) ms, and that never changes; leave "
          + "out --lease \(wanted), or name another folder with --data")
    }
    guard workers >= cluster.replicas else {
      throw NodeError(
        .usage,
        "the cluster in \(data) keeps \(cluster.replicas) replicas of a partition, each on a worker of its own: "
          + "--workers \(workers) are too few")
    }
    Terminal.print(
      "cluster \(cluster.name) in \(data): \(cluster.partitions) partitions, \(workers) workers, "
        + "\(cluster.replicas) \(cluster.replicas == 1 ? "replica" : "replicas") each")

    var supervisor = Supervisor(logs: data)
    defer { supervisor.stopAll() }
    let common = ["--log-format", logFormat.rawValue, "--parent", "\(getpid())"]
    supervisor.add(
      "dispatcher",
      [
        "dispatcher", "--data", dispatcherData, "--listen", listen, "--worker-listen", workerListen,
        "--admit", "\(admit)",
      ] + common)
    for number in 1...workers {
      supervisor.add(
        "worker-\(number)",
        [
          "worker", "--data", data + "/worker-\(number)", "--node", "worker-\(number)", "--dispatcher",
          workerListen, "--disk-reserve", "\(diskReserve)",
        ] + tail.words + common)
    }
    try supervisor.startAll()
    try waitUntilReady(cluster.id, &supervisor, stop)
    if !stop.isSet {
      Terminal.print("ready: services connect to \(listen); Ctrl-C stops it")
    }
    while !stop.isSet {
      usleep(20_000)
      try supervisor.restartDead(unless: stop)
    }
    Terminal.print("stopping: every node drains and writes a last checkpoint")
    let isClean = supervisor.stopAll()
    Terminal.print("stopped")
    if !isClean { throw NodeError(.no, "not every node stopped in good order; see the logs in \(data)") }
  }

  private func waitUntilReady(_ id: String, _ supervisor: inout Supervisor, _ stop: StopFlag) throws {
    let client: LarisClient
    do { client = try LarisClient(dispatcher: listen, budgetMilliseconds: 500) } catch {
      throw NodeError(.usage, "--listen \(error)")
    }
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    let began = Clock.steadyMilliseconds()
    var said: Set<String> = []
    while !stop.isSet {
      try supervisor.failIfDead()
      request.requestID = LarisClient.newRequestID()
      if case .done(let reply) = try client.call(request), reply.status.clusterID == id {
        if reply.status.isHealthy { return }
        // What takes longer than a start should has a reason that a person must see.
        if Clock.steadyMilliseconds() - began > 2_000 {
          for partition in reply.status.partitions where !partition.active {
            let line = "waiting for partition \(partition.partition): \(partition.note)"
            if said.insert(line).inserted { Terminal.print(line) }
          }
        }
      }
      usleep(20_000)
    }
  }
}
