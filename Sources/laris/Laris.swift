import ArgumentParser
import Foundation
import NodeSupport

@main
struct Laris: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "laris",
    abstract: "The order core of a marketplace: executes each order exactly once, and keeps it.",
    discussion: """
      Start a cluster on this machine and look at it:

        laris up --workers 3
        laris status --watch            (in another terminal)

      Submit requests as proto3 JSON, one a line (docs/PROTOCOL.md):

        echo '{"registerShop": {"shopId": "42", "name": "Toko Sari"}}' | laris submit

      Exit codes: 0 done; 1 the answer is no, or unhealthy; 3 unknown: ask again with the same id;
      64 wrong usage; 69 nobody could be reached; 75 not executed: try again.
      """,
    version: "0.1.0",
    subcommands: [
      Up.self, ClusterCommand.self, DispatcherCommand.self, WorkerCommands.self, PartitionCommand.self,
      Submit.self, Resolve.self,
      Get.self,
      Status.self, Audit.self, Inspect.self, LogCommand.self,
    ])

  static func main() {
    // Output that goes nowhere ends the command, quietly.
    signal(SIGPIPE, SIG_DFL)
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let error as NodeError {
      Terminal.error("laris: \(error)")
      Foundation.exit(error.exit.rawValue)
    } catch {
      exit(withError: error)
    }
  }
}
