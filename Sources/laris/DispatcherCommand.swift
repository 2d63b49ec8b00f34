import ArgumentParser
import DispatcherNode
import Foundation
import NodeSupport

struct DispatcherCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dispatcher",
    abstract: "Run a dispatcher: services submit to it, workers join it.",
    discussion: """
      Its data folder holds the cluster's configuration (laris cluster init makes it), unless that is in
      etcd: then the folder may be empty. SIGTERM answers what is under way and exits 0.

        laris dispatcher --data /var/lib/laris/dispatcher
        laris dispatcher --data /var/lib/laris/dispatcher --etcd https://etcd-1:2379 --etcd-ca ca.pem
      """)

  @Option(help: "Data folder of the cluster's dispatcher.")
  var data: String

  @Option(help: "Where services connect.")
  var listen: String = "tcp://127.0.0.1:12120"

  @Option(help: "Where workers connect.")
  var workerListen: String = "tcp://127.0.0.1:12121"

  @Option(help: "This node's name, in status and logs.")
  var node: String = "dispatcher-1"

  @Option(
    help: ArgumentHelp(
      "Requests a second that are let in; what is beyond is answered BUSY at once. 0: as many as come.",
      discussion: "Channels share it evenly. New orders and reads wait behind settlements and order steps."))
  var admit: Int = 0

  @Option(
    help: ArgumentHelp(
      "Seconds that a partition is left in peace before its primary moves, so that workers lead as many "
        + "partitions each. 0: it never does.",
      discussion: "The same for all dispatchers of a cluster: one of them is the controller."))
  var rebalanceAfter: Int = 30

  @OptionGroup var etcd: EtcdArguments
  @OptionGroup var nodeOptions: NodeOptions

  func validate() throws {
    try validateNode(node)
    guard admit >= 0, admit <= 10_000_000 else {
      throw ValidationError("--admit \(admit): a rate is 0 (no limit) to 10000000 requests a second")
    }
    guard rebalanceAfter >= 0, rebalanceAfter <= 86_400 else {
      throw ValidationError("--rebalance-after \(rebalanceAfter): it is 0 (never) to 86400 seconds")
    }
    try validateEndpoint(listen, flag: "--listen")
    try validateEndpoint(workerListen, flag: "--worker-listen")
  }

  func run() throws {
    let stop = nodeOptions.start()
    let dispatcher = try DispatcherNode(
      .init(
        data: data, node: node, listen: listen, workerListen: workerListen, admittedPerSecond: admit,
        etcd: try etcd.options(),
        rebalanceMilliseconds: rebalanceAfter == 0 ? nil : Int64(rebalanceAfter) * 1_000), until: stop)
    try dispatcher.run(until: stop)
  }
}
