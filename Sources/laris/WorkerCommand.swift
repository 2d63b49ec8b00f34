import ArgumentParser
import Foundation
import NodeSupport
import WorkerNode

struct WorkerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a worker: it serves the partitions that it is given.",
    discussion: """
      It only needs a dispatcher's address to join. Its data folder is its own: with it, it comes back
      as the same worker after any stop. SIGTERM writes a last checkpoint and exits 0.

        laris worker --data /var/lib/laris/worker-1 --node worker-1 --dispatcher tcp://127.0.0.1:12121
      """)

  @Option(help: "Data folder of this worker; made if missing.")
  var data: String

  @Option(help: "This worker's name, unique in the cluster.")
  var node: String

  @Option(help: "Where a dispatcher listens for workers; again for every other one.")
  var dispatcher: [String] = ["tcp://127.0.0.1:12121"]

  @Option(
    help: ArgumentHelp(
      "Where other workers reach this one, by an address that they can use.",
      discussion: "Not named: on 127.0.0.1, at the first port from 12122 on that is free."))
  var replicationListen: String?

  @Option(help: "Where it stands, like a rack or a hall: replicas are spread over zones.")
  var zone: String = ""

  @Option(help: "Rows of one table that a partition keeps in memory.")
  var rowsMax: Int = 400_000

  @Option(help: "MiB that stay free on its disk: with less, writes are refused and reads go on.")
  var diskReserve: Int = 256

  @OptionGroup var tail: LogTailOptions

  @OptionGroup var nodeOptions: NodeOptions

  func validate() throws {
    try validateNode(node)
    for endpoint in dispatcher { try validateEndpoint(endpoint, flag: "--dispatcher") }
    guard !dispatcher.isEmpty, dispatcher.count <= 16 else {
      throw ValidationError("name 1 to 16 dispatchers with --dispatcher")
    }
    if let replicationListen {
      try validateEndpoint(replicationListen, flag: "--replication-listen")
      guard !replicationListen.contains("0.0.0.0"), !replicationListen.contains("//*") else {
        throw ValidationError("--replication-listen must be an address that the other workers can reach")
      }
    }
    guard rowsMax >= 1_000, rowsMax <= 100_000_000 else {
      throw ValidationError("--rows-max must be 1000 to 100000000")
    }
    try validateDiskReserve(diskReserve)
  }

  func run() throws {
    let stop = nodeOptions.start()
    // What an audit sorts is on the disk that has room for it, unless somebody says where.
    setenv("SQLITE_TMPDIR", data, 0)
    let worker = try WorkerNode(
      .init(
        data: data, node: node, dispatchers: dispatcher, replicationListen: replicationListen, zone: zone,
        rowsMax: rowsMax, diskReserveBytes: diskReserve << 20, logTail: tail.tail)
    )
    try worker.run(until: stop)
  }
}
