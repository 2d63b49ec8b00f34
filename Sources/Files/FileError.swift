import Glibc

/// A file operation failed. After one that changes something nobody knows what is on disk: what relied on
/// it must end, and read again what is there.
package struct FileError: Error, Equatable, CustomStringConvertible {
  package enum Operation: String, Sendable {
    case open
    case read
    case look = "look at"
    case write
    case truncate
    case sync
    case rename
    case remove
    case makeDirectory = "make directory"
    case syncDirectory = "sync directory"

    /// What is on disk is the same whether or not it fails.
    package var changesNothing: Bool { self == .open || self == .read || self == .look }
  }

  package let operation: Operation
  package let path: String
  /// `errno`.
  package let code: Int32

  package init(_ operation: Operation, _ path: String, code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  /// There is no room, on the disk or in a quota.
  package var isDiskFull: Bool { code == ENOSPC || code == EDQUOT }

  package var description: String {
    "\(operation.rawValue) \(path): \(String(cString: strerror(code))) (errno \(code))"
  }
}
