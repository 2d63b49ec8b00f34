import Cluster
import DurablePartition
import Files
import Logging
import Marketplace
import NodeSupport
import TestSupport
import Testing
import WorkerNode

struct RemoverTests {
  private let folder: TestFolder
  private let setup: DurablePartition.Setup
  private let files = SystemFiles()
  private let logger = Logger(label: "remover")

  init() throws {
    folder = try TestFolder()
    setup = DurablePartition.Setup(
      directory: folder.path, cluster: "", partition: PartitionID(3), node: "worker-1",
      incarnation: Incarnation(1), mayCreate: true,
      terms: Terms(reserveMilliseconds: 60_000, feeBasisPoints: 250), windowMilliseconds: 1, rowsMax: 1)
  }

  /// A gigabyte of nothing.
  private func make(_ path: String) throws { try files.open(path, .create).truncate(to: 1 << 30) }

  private func bytesGivenUp() throws -> Int {
    try setup.givenUp().reduce(0) { $0 + (try files.open($1, .read).size()) }
  }

  @Test
  func `a long file is not there any more at once, and its room comes back slowly, or fast if it is needed`()
    throws
  {
    try make(setup.snapshotPath)
    let remover = Remover(setup, logger: logger)
    remover.remove(setup.snapshotPath, setup.incomingPath)
    #expect(try !files.exists(setup.snapshotPath))
    try until("the first piece is gone") { try bytesGivenUp() < 1 << 30 }
    #expect(try bytesGivenUp() > 1 << 29)
    // Another one under the same name.
    try make(setup.snapshotPath)
    remover.remove(setup.snapshotPath)
    #expect(try bytesGivenUp() > 3 << 29)
    let began = Clock.steadyMilliseconds()
    remover.hurry(true)
    try until("both are gone") { try setup.givenUp().isEmpty }
    #expect(Clock.steadyMilliseconds() - began < 15_000, "at 32 MB a second they take a minute")
    remover.close()
  }

  @Test func `a remover that is closed leaves the rest to the next one`() throws {
    try make(setup.incomingPath)
    let remover = Remover(setup, logger: logger)
    remover.remove(setup.incomingPath)
    try until("the first piece is gone") { try bytesGivenUp() < 1 << 30 }
    remover.close()
    let left = try bytesGivenUp()
    #expect(left > 1 << 29)
    // All of it would be gone when the thread that this begins has ended.
    remover.hurry(true)
    remover.remove()
    remover.close()
    #expect(try bytesGivenUp() == left)
    let next = Remover(setup, logger: logger)
    next.remove()
    try until("it goes on") { try bytesGivenUp() < left }
    next.close()
  }

  @Test func `what can't be removed is told of, and keeps nothing else from being removed`() throws {
    try files.makeDirectory(folder.path + "/removed-0")
    try make(folder.path + "/removed-1")
    let remover = Remover(setup, logger: logger)
    remover.hurry(true)
    remover.remove()
    try until("the other one is gone") { try setup.givenUp() == [folder.path + "/removed-0"] }
    remover.close()
  }
}
