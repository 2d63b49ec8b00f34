import Cluster
import ConfigurationManager
import TestSupport
import Testing

/// What every configuration manager must do. An implementation joins by being one of ``all``.
struct ConfigurationManagerContract: Sendable, CustomTestStringConvertible {
  let name: String
  /// Makes a new, empty one of a cluster. What it returns opens it once more, as another process would.
  let make: @Sendable (ClusterRecord, TestFolder) throws -> (@Sendable () throws -> any ConfigurationManager)
  /// What was noted of changes, oldest first of each partition.
  let history: @Sendable (TestFolder) throws -> [Change]

  struct Change: Equatable, Sendable {
    var partition: UInt16
    var epoch: UInt64
    var primary: String?
    var at: Int64
    var why: String
  }

  var testDescription: String { name }

  static let all = [embedded]

  static let record = ClusterRecord(
    id: "0190a6c2-0000-7000-8000-000000000001", name: "pasar malam 'é'", currency: "IDR", partitions: 6,
    replicas: 1, initialWorkers: 3, reserveMilliseconds: 86_400_000, feeBasisPoints: 250,
    requestWindowMilliseconds: 86_400_000, createdAt: 1_763_323_200_000)

  static func group(
    _ partition: UInt16, _ epoch: UInt64, _ primary: String?, _ incarnation: UInt64, isOpened: Bool = false
  ) -> GroupRecord {
    GroupRecord(
      partition: PartitionID(partition), epoch: Epoch(epoch), primary: primary,
      incarnation: Incarnation(incarnation), isOpened: isOpened)
  }
}

struct ConfigurationManagerTests {
  typealias Contract = ConfigurationManagerContract

  @Test(arguments: Contract.all)
  func `a new cluster is what it was made as, with no partition placed`(_ contract: Contract) throws {
    let folder = try TestFolder()
    let store = try contract.make(Contract.record, folder)()
    #expect(try store.cluster() == Contract.record)
    #expect(try store.groups() == (0..<6).map { Contract.group($0, 0, nil, 0) })
    #expect(try contract.history(folder).isEmpty)
  }

  @Test(arguments: Contract.all)
  func `extreme terms come back as they are`(_ contract: Contract) throws {
    var record = Contract.record
    record.name = ""
    record.currency = "\u{0}'\";--漢字🛵"
    record.partitions = 4_096
    record.reserveMilliseconds = 3_155_760_000_000
    record.feeBasisPoints = 10_000
    record.requestWindowMilliseconds = 3_155_760_000_000
    record.createdAt = .min
    let folder = try TestFolder()
    let store = try contract.make(record, folder)()
    #expect(try store.cluster() == record)
    let groups = try store.groups()
    #expect(groups.map(\.partition.rawValue) == Array(0..<4_096))
  }

  @Test(arguments: Contract.all)
  func `a change is accepted from the epoch before it only`(_ contract: Contract) throws {
    let folder = try TestFolder()
    defer { withExtendedLifetime(folder) {} }
    let store = try contract.make(Contract.record, folder)()
    for wrong: UInt64 in [2, 3, 1 << 40] {
      #expect(try !store.change(Contract.group(1, wrong, "a", 1), why: "too far", at: 1))
    }
    #expect(try store.groups()[1] == Contract.group(1, 0, nil, 0))

    #expect(try store.change(Contract.group(1, 1, "a", 1), why: "placed", at: 1))
    #expect(try !store.change(Contract.group(1, 1, "b", 2), why: "lost the race", at: 1))
    #expect(try store.groups()[1] == Contract.group(1, 1, "a", 1))

    #expect(try store.change(Contract.group(1, 2, "a", .max), why: "started again", at: 2))
    #expect(try !store.change(Contract.group(1, 1, "a", 1), why: "long ago", at: 3))
    #expect(try store.groups()[1] == Contract.group(1, 2, "a", .max))
  }

  @Test(arguments: Contract.all)
  func `a change touches its own partition only`(_ contract: Contract) throws {
    let folder = try TestFolder()
    defer { withExtendedLifetime(folder) {} }
    let store = try contract.make(Contract.record, folder)()
    #expect(try store.change(Contract.group(4, 1, "w'4", 77), why: "placed", at: 5))
    var expected = (0..<6).map { Contract.group($0, 0, nil, 0) }
    expected[4] = Contract.group(4, 1, "w'4", 77)
    #expect(try store.groups() == expected)
  }

  @Test(arguments: Contract.all)
  func `a partition that does not exist can't be changed`(_ contract: Contract) throws {
    let folder = try TestFolder()
    let store = try contract.make(Contract.record, folder)()
    #expect(try !store.change(Contract.group(6, 1, "a", 1), why: "nowhere", at: 1))
    #expect(try store.groups().count == 6)
    #expect(try contract.history(folder).isEmpty)
  }

  @Test(arguments: Contract.all)
  func `a primary may be taken away`(_ contract: Contract) throws {
    let folder = try TestFolder()
    defer { withExtendedLifetime(folder) {} }
    let store = try contract.make(Contract.record, folder)()
    #expect(try store.change(Contract.group(0, 1, "a", 1), why: "placed", at: 1))
    #expect(try store.change(Contract.group(0, 2, nil, 0), why: "drained", at: 2))
    #expect(try store.groups()[0] == Contract.group(0, 2, nil, 0))
  }

  @Test(arguments: Contract.all)
  func `of two that change at once one wins`(_ contract: Contract) throws {
    let open = try contract.make(Contract.record, TestFolder())
    let a = try open()
    let b = try open()
    let won = try [
      a.change(Contract.group(2, 1, "a", 1), why: "a", at: 1),
      b.change(Contract.group(2, 1, "b", 2), why: "b", at: 1),
    ]
    #expect(won == [true, false])
    #expect(try b.groups()[2].primary == "a")
    #expect(try b.groups() == a.groups())
  }

  @Test(arguments: Contract.all)
  func `every accepted change is kept in history, and no refused one`(_ contract: Contract) throws {
    let folder = try TestFolder()
    let store = try contract.make(Contract.record, folder)()
    #expect(try store.change(Contract.group(3, 1, "a", 1), why: "placed on a", at: 10))
    #expect(try !store.change(Contract.group(3, 1, "b", 1), why: "placed on b", at: 11))
    #expect(try store.change(Contract.group(3, 2, nil, 0), why: "drained", at: 12))
    #expect(
      try contract.history(folder) == [
        .init(partition: 3, epoch: 1, primary: "a", at: 10, why: "placed on a"),
        .init(partition: 3, epoch: 2, primary: nil, at: 12, why: "drained"),
      ])
  }

  @Test(arguments: Contract.all)
  func `what was opened stays opened, whatever changes later`(_ contract: Contract) throws {
    let folder = try TestFolder()
    defer { withExtendedLifetime(folder) {} }
    let store = try contract.make(Contract.record, folder)()
    #expect(try store.change(Contract.group(5, 1, "a", 1), why: "placed", at: 1))
    try store.markOpened(PartitionID(5))
    try store.markOpened(PartitionID(5))
    #expect(try store.groups()[5] == Contract.group(5, 1, "a", 1, isOpened: true))
    #expect(try store.groups().filter(\.isOpened).count == 1)
    // The record of a change does not decide it.
    #expect(try store.change(Contract.group(5, 2, "a", 2, isOpened: false), why: "again", at: 2))
    #expect(try store.groups()[5] == Contract.group(5, 2, "a", 2, isOpened: true))
    #expect(try store.change(Contract.group(4, 1, "a", 2, isOpened: true), why: "placed", at: 2))
    #expect(try store.groups()[4] == Contract.group(4, 1, "a", 2, isOpened: false))
  }

  @Test(arguments: Contract.all)
  func `all of it is there for the next process`(_ contract: Contract) throws {
    let open = try contract.make(Contract.record, TestFolder())
    do {
      let store = try open()
      #expect(try store.change(Contract.group(0, 1, "a", .max), why: "placed", at: 1))
      try store.markOpened(PartitionID(0))
    }
    let store = try open()
    #expect(try store.cluster() == Contract.record)
    #expect(try store.groups()[0] == Contract.group(0, 1, "a", .max, isOpened: true))
  }

  @Test(arguments: Contract.all)
  func `a node's name belongs to the folder that came with it first`(_ contract: Contract) throws {
    let folder = try TestFolder()
    defer { withExtendedLifetime(folder) {} }
    let open = try contract.make(Contract.record, folder)
    let store = try open()
    #expect(try store.claim(node: "worker-1", folder: "one"))
    #expect(try store.claim(node: "worker-1", folder: "one"))
    #expect(try !store.claim(node: "worker-1", folder: "two"))
    #expect(try store.claim(node: "worker-2", folder: "two"))
    let again = try open()
    #expect(try !again.claim(node: "worker-1", folder: "two"))
    #expect(try again.claim(node: "worker-1", folder: "one"))
  }
}
