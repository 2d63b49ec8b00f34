import Files
import Glibc
import Synchronization

/// A disk in memory that fails as real ones do, and tells when it is about to.
///
/// What is written is seen at once and durable after a sync, of the file for what is in it, of the directory
/// for names. ``Snapshot/afterCrash(_:)`` gives the disk that a power cut leaves.
///
/// A sync that fails leaves what it did not write marked as clean, as Linux does: it is read as before, it is
/// lost by a power cut, and no later sync writes it.
package final class SimulatedDisk: FileSystem {
  /// Something that changes what is on disk, or would.
  package struct Operation: Equatable, Sendable {
    /// Place among all of this disk's operations, from 0.
    package let index: Int
    package let kind: FileError.Operation
    package let path: String
  }

  struct Hooks {
    var fault: (@Sendable (Operation) -> Int32?)?
    var observer: (@Sendable (Operation, Snapshot) -> Void)?
  }

  struct State {
    var content: DiskContent
    var operations = 0
    var hooks = Hooks()
    /// Bytes that all files together may have.
    var capacity = Int.max
  }

  private let state: Mutex<State>
  private let vfs = Mutex<SimulatedVFS?>(nil)
  /// Shared memory and locks of SQLite's files. They are the process's, not the disk's.
  let locks = Mutex<[Int: SQLiteLocks]>([:])

  package convenience init() { self.init(DiskContent()) }

  init(_ content: DiskContent) { state = Mutex(State(content: content)) }

  // MARK: What tests set

  /// Asked before each operation, and before each read with the index of the operation to come: a code makes
  /// it fail with that, without effect.
  package func setFault(_ fault: (@Sendable (Operation) -> Int32?)?) {
    state.withLock { $0.hooks.fault = fault }
  }

  /// Called while an operation is under way: a write, a rename or a removal was made and is not durable;
  /// of a sync nothing has happened yet.
  package func setObserver(_ observer: (@Sendable (Operation, Snapshot) -> Void)?) {
    state.withLock { $0.hooks.observer = observer }
  }

  /// Beyond so many bytes in all files a write writes what fits, and fails.
  package func setCapacity(_ bytes: Int) { state.withLock { $0.capacity = bytes } }

  package var operations: Int { state.withLock { $0.operations } }

  /// What is on it, and in memory.
  package var snapshot: Snapshot { state.withLock { Snapshot(content: $0.content) } }

  /// Bytes of all files.
  package var bytesUsed: Int { state.withLock { $0.content.bytesUsed } }

  /// Changes bits of one byte, in memory and on disk.
  package func flip(_ path: String, at offset: Int, mask: UInt8) {
    state.withLock { state in
      guard let id = state.content.find(path) else { preconditionFailure("\(path) is not there") }
      state.content.files[id]!.flip(at: offset, mask: mask)
    }
  }

  // MARK: FileSystem

  package func open(_ path: String, _ mode: FileMode) throws(FileError) -> any File {
    try openFile(path, mode)
  }

  func openFile(_ path: String, _ mode: FileMode) throws(FileError) -> SimulatedFile {
    let found = state.withLock { state in
      (id: state.content.find(path), hasDirectory: state.content.hasDirectory(Self.directory(of: path)))
    }
    if let id = found.id {
      let file = SimulatedFile(self, id, path)
      if mode == .create { try change(.open, path) { $0.content.files[id]!.truncate(to: 0) } }
      return file
    }
    guard mode == .create, found.hasDirectory else { throw FileError(.open, path, code: ENOENT) }
    var id = 0
    try change(.open, path) { id = $0.content.create(path) }
    return SimulatedFile(self, id, path)
  }

  package func exists(_ path: String) throws(FileError) -> Bool {
    state.withLock { $0.content.find(path) != nil || $0.content.hasDirectory(path) }
  }

  package func rename(_ old: String, to new: String) throws(FileError) {
    guard try exists(old) else { throw FileError(.rename, old, code: ENOENT) }
    precondition(Self.directory(of: old) == Self.directory(of: new))
    try change(.rename, old) { $0.content.rename(old, to: new) }
  }

  package func remove(_ path: String) throws(FileError) {
    guard try exists(path) else { throw FileError(.remove, path, code: ENOENT) }
    try change(.remove, path) { $0.content.remove(path) }
  }

  package func names(in directory: String) throws(FileError) -> [String] {
    let names = state.withLock { $0.content.names(in: directory) }
    guard let names else { throw FileError(.open, directory, code: ENOENT) }
    return names
  }

  package func makeDirectory(_ directory: String) throws(FileError) {
    if try exists(directory) { return }
    let parent = Self.directory(of: directory)
    try makeDirectory(parent)
    try change(.makeDirectory, directory) { $0.content.makeDirectory(directory) }
    try syncDirectory(parent)
  }

  package func syncDirectory(_ directory: String) throws(FileError) {
    guard try exists(directory) else { throw FileError(.syncDirectory, directory, code: ENOENT) }
    try sync(.syncDirectory, directory) { $0.content.syncDirectory(directory) }
  }

  package func freeBytes(at path: String) throws(FileError) -> Int {
    state.withLock { $0.capacity == .max ? .max : max(0, $0.capacity - $0.content.bytesUsed) }
  }

  package var sqliteVFS: String? {
    vfs.withLock { vfs in
      if vfs == nil { vfs = SimulatedVFS(self) }
      return vfs!.name
    }
  }

  // MARK: Operations

  private func begin(_ kind: FileError.Operation, _ path: String) throws(FileError) -> (Operation, Hooks) {
    let (operation, hooks) = state.withLock { state in
      defer { state.operations += 1 }
      return (Operation(index: state.operations, kind: kind, path: path), state.hooks)
    }
    if let code = hooks.fault?(operation) { throw FileError(kind, path, code: code) }
    return (operation, hooks)
  }

  private func change(
    _ kind: FileError.Operation, _ path: String, _ body: (inout State) -> Void
  ) throws(FileError) {
    let (operation, hooks) = try begin(kind, path)
    let snapshot = state.withLock { state in
      body(&state)
      return hooks.observer == nil ? nil : Snapshot(content: state.content)
    }
    if let snapshot { hooks.observer?(operation, snapshot) }
  }

  private func sync(
    _ kind: FileError.Operation, _ path: String, failed: ((inout State) -> Void)? = nil,
    _ body: (inout State) -> Void
  ) throws(FileError) {
    let operation: Operation
    let hooks: Hooks
    do throws(FileError) {
      (operation, hooks) = try begin(kind, path)
    } catch {
      state.withLock { failed?(&$0) }
      throw error
    }
    if let observer = hooks.observer { observer(operation, snapshot) }
    state.withLock { body(&$0) }
  }

  // MARK: Of files

  func read(
    _ id: Int, _ path: String, _ buffer: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(FileError) -> Int {
    let (next, fault) = state.withLock { ($0.operations, $0.hooks.fault) }
    if let code = fault?(Operation(index: next, kind: .read, path: path)) {
      throw FileError(.read, path, code: code)
    }
    return state.withLock { $0.content.files[id]!.current.read(into: buffer, at: offset) }
  }

  func size(_ id: Int) -> Int { state.withLock { $0.content.files[id]!.current.size } }

  func write(_ id: Int, _ path: String, _ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
    let fits = state.withLock { state -> Int in
      let grows = max(0, offset + bytes.count - state.content.files[id]!.current.size)
      let free = state.capacity == .max ? .max : max(0, state.capacity - state.content.bytesUsed)
      return bytes.count - max(0, grows - free)
    }
    let part = UnsafeRawBufferPointer(rebasing: bytes[..<max(0, fits)])
    if !part.isEmpty || bytes.isEmpty {
      try change(.write, path) { $0.content.files[id]!.write(part, at: offset) }
    }
    guard part.count == bytes.count else { throw FileError(.write, path, code: ENOSPC) }
  }

  func truncate(_ id: Int, _ path: String, to size: Int) throws(FileError) {
    try change(.truncate, path) { $0.content.files[id]!.truncate(to: size) }
  }

  func sync(_ id: Int, _ path: String) throws(FileError) {
    try sync(.sync, path, failed: { $0.content.files[id]!.loseUnsynced() }) {
      $0.content.files[id]!.sync()
    }
  }
}

/// A file of a ``SimulatedDisk``.
final class SimulatedFile: File {
  let disk: SimulatedDisk
  let id: Int
  let path: String

  init(_ disk: SimulatedDisk, _ id: Int, _ path: String) {
    self.disk = disk
    self.id = id
    self.path = path
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) -> Int {
    try disk.read(id, path, buffer, at: offset)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
    try disk.write(id, path, bytes, at: offset)
  }
  func truncate(to size: Int) throws(FileError) { try disk.truncate(id, path, to: size) }
  func size() throws(FileError) -> Int { disk.size(id) }
  func sync() throws(FileError) { try disk.sync(id, path) }
  func writeOut(from offset: Int) {}
}

/// A disk at one moment, to be crashed as often as one likes.
package struct Snapshot: Sendable {
  let content: DiskContent

  /// What a power cut leaves of what was not synced.
  package enum Crash: Equatable, Sendable {
    /// Nothing: the worst that can be forgotten.
    case forgetting
    /// All: the process was killed, the machine goes on.
    case keeping
    /// Sectors of it, here and there; of names, those made first.
    case tearing(seed: UInt64)
  }

  package func afterCrash(_ crash: Crash) -> SimulatedDisk { SimulatedDisk(content.afterCrash(crash)) }

  /// Two snapshots with the same number have the same on disk.
  package var durableVersion: Int { content.durableVersion }
}
