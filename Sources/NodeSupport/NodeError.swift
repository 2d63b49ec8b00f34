/// Why a node can't start or go on: one clear sentence for a person, and the process's exit code.
package struct NodeError: Error, CustomStringConvertible {
  /// docs/OPERATIONS.md, "Exit codes".
  package enum Exit: Int32, Sendable {
    case no = 1
    case unknown = 3
    case usage = 64
    case unreachable = 69
    case notExecuted = 75
    /// What it needs to start is not there, or is another's: the command line may well be right.
    case notSetUp = 78
  }

  package let exit: Exit
  package let description: String

  package init(_ exit: Exit = .no, _ description: String) {
    self.exit = exit
    self.description = description
  }
}
