import Cluster
import Files
import Foundation

/// A node's folder: one process at a time, of one node of one cluster.
package final class DataFolder {
  package let path: String
  private let lock: Int32

  /// What the folder is, in `laris.json`.
  package struct Identity: Codable, Equatable, Sendable {
    /// "dispatcher" or "worker".
    package var kind: String
    /// Empty: it has not joined one yet.
    package var cluster: String
    package var node: String
    /// A UUID of the folder's own.
    package var folder = UUID().uuidString.lowercased()
    /// What a worker's cluster was made with, should its configuration be lost (rule 18); nil: not told yet.
    package var terms: ClusterRecord?
    /// Workers that a worker was ever told of: what is to be recovered may be theirs.
    package var peers: [String]?
    package init(kind: String, cluster: String, node: String) {
      self.kind = kind
      self.cluster = cluster
      self.node = node
    }
  }

  /// Takes the folder for this process.
  ///
  /// - Parameter create: make the folder if it is missing.
  /// - Throws: ``NodeError``: it is missing, can't be written, or another process has it.
  package init(_ path: String, create: Bool) throws {
    var isDirectory: ObjCBool = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) {
      guard isDirectory.boolValue else {
        throw NodeError(.usage, "\(path) is not a folder; name a folder with --data")
      }
    } else if create {
      do {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      } catch {
        throw NodeError(.no, "the data folder \(path) can't be made: \(error.localizedDescription)")
      }
    } else {
      throw NodeError(
        .notSetUp,
        "the data folder \(path) does not exist; make a cluster with: laris cluster init --data \(path)")
    }
    let lockPath = path + "/lock"
    let lock = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard lock >= 0 else {
      throw NodeError(.no, "\(lockPath) can't be opened: \(String(cString: strerror(errno)))")
    }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      let holder = (try? String(contentsOfFile: lockPath, encoding: .utf8))?
        .trimmingCharacters(in: .whitespacesAndNewlines)
      close(lock)
      throw NodeError(
        .no, "the data folder \(path) is in use by another process\(holder.map { " (pid \($0))" } ?? "")")
    }
    let pid = Array("\(getpid())\n".utf8)
    guard ftruncate(lock, 0) == 0, pwrite(lock, pid, pid.count, 0) == pid.count else {
      close(lock)
      throw NodeError(.no, "\(lockPath) can't be written: \(String(cString: strerror(errno)))")
    }
    self.path = path
    self.lock = lock
  }

  deinit { close(lock) }

  /// Keeps the folder until the process ends, whatever becomes of this object, so that nobody takes it, or
  /// takes this process for dead, while a thread of it still acts.
  ///
  /// - Returns: where others on this machine see whether this process lives.
  /// - Throws: ``NodeError``: the file system can't lock.
  package func keepUntilExit(as incarnation: Incarnation) throws -> LifeLock.Place {
    _ = Unmanaged.passRetained(self)
    return try LifeLock.take(lock, path + "/lock", incarnation)
  }

  private static func identityPath(in folder: String) -> String { folder + "/laris.json" }

  /// nil: the folder is new.
  package func identity() throws -> Identity? { try Self.identity(in: path) }

  /// Of a folder that another process may have; nil: it says nothing.
  package static func identity(in folder: String) throws -> Identity? {
    let path = identityPath(in: folder)
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    do {
      return try JSONDecoder().decode(Identity.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      throw NodeError(.no, "\(path) can't be read: \(error)")
    }
  }

  /// Notes what the folder is from now on.
  package func setIdentity(_ identity: Identity) throws {
    let identityPath = Self.identityPath(in: path)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    do {
      // The folder's own name must last as long as what is in it.
      let files = SystemFiles()
      try files.syncDirectory(SystemFiles.directory(of: path))
      try files.replace(identityPath, with: String(decoding: encoder.encode(identity), as: UTF8.self))
    } catch {
      throw NodeError(.no, "\(identityPath) can't be written: \(error)")
    }
  }
}
