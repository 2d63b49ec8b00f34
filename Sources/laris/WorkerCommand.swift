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

  @Option(help: "Where the dispatcher listens for workers.")
  var dispatcher: String = "tcp://127.0.0.1:12121"

  @Option(help: "Rows of one table that a partition keeps in memory.")
  var rowsMax: Int = 400_000

  @Option(help: "MiB that stay free on its disk: with less, writes are refused and reads go on.")
  var diskReserve: Int = 256

  @OptionGroup var nodeOptions: NodeOptions

  func validate() throws {
    try validateNode(node)
    try validateEndpoint(dispatcher, flag: "--dispatcher")
    guard rowsMax >= 1_000, rowsMax <= 100_000_000 else {
      throw ValidationError("--rows-max must be 1000 to 100000000")
    }
    try validateDiskReserve(diskReserve)
  }

  func run() throws {
    let stop = nodeOptions.start()
    let worker = try WorkerNode(
      .init(
        data: data, node: node, dispatcher: dispatcher, rowsMax: rowsMax, diskReserveBytes: diskReserve << 20)
    )
    try worker.run(until: stop)
  }
}
