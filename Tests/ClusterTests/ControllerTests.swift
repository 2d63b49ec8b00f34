import Cluster
import Testing

struct ControllerTests {
  private static func group(
    _ partition: UInt16, epoch: UInt64 = 0, on primary: String? = nil, _ incarnation: UInt64 = 0,
    isOpened: Bool = false
  ) -> GroupRecord {
    GroupRecord(
      partition: PartitionID(partition), epoch: Epoch(epoch), primary: primary,
      incarnation: Incarnation(incarnation), isOpened: isOpened)
  }

  private static func worker(_ node: String, _ incarnation: UInt64 = 1) -> Controller.Worker {
    Controller.Worker(node: node, incarnation: Incarnation(incarnation))
  }

  /// What the configuration manager would have after all proposals were accepted.
  private static func applied(
    _ proposals: [Controller.Proposal], to groups: [GroupRecord]
  ) -> [GroupRecord] {
    groups.map { group in proposals.last { $0.record.partition == group.partition }?.record ?? group }
  }

  private static let six = (0..<6).map { group(UInt16($0)) }

  @Test(arguments: 0...2)
  func `the first placement waits until all initial workers are there`(_ alive: Int) {
    let workers = (0..<alive).map { Self.worker("w\($0)") }
    #expect(Controller(initialWorkers: 3).proposals(groups: Self.six, workers: workers).isEmpty)
  }

  @Test func `without workers nothing is placed, even if none is waited for`() {
    #expect(Controller(initialWorkers: 0).proposals(groups: Self.six, workers: []).isEmpty)
  }

  @Test(arguments: [(1, 6), (2, 6), (3, 6), (4, 6), (5, 64), (7, 64), (64, 64), (3, 1)])
  func `partitions are spread evenly over the workers`(_ count: Int, _ partitions: Int) throws {
    let groups = (0..<partitions).map { Self.group(UInt16($0)) }
    let workers = (0..<count).map { Self.worker("w\($0)", UInt64(100 + $0)) }
    let proposals = Controller(initialWorkers: count).proposals(groups: groups, workers: workers)
    #expect(proposals.map(\.record.partition) == groups.map(\.partition))
    var load: [String: Int] = [:]
    for proposal in proposals {
      let primary = try #require(proposal.record.primary)
      load[primary, default: 0] += 1
      #expect(proposal.record.epoch == Epoch(1))
      #expect(proposal.why == "placed on \(primary)")
      let worker = try #require(workers.first { $0.node == primary })
      #expect(proposal.record.incarnation == worker.incarnation)
    }
    let counts = workers.map { load[$0.node, default: 0] }
    #expect(counts.max()! - counts.min()! <= 1, "\(counts)")
  }

  @Test func `the order in which workers are named does not matter`() {
    let workers = ["a", "b", "c"].map { Self.worker($0) }
    let controller = Controller(initialWorkers: 3)
    #expect(
      controller.proposals(groups: Self.six, workers: workers)
        == controller.proposals(groups: Self.six, workers: workers.reversed()))
  }

  @Test func `a worker that started again takes its partitions under the next epoch`() {
    let groups = [
      Self.group(0, epoch: 4, on: "a", 1, isOpened: true), Self.group(1, epoch: 9, on: "b", 1),
      Self.group(2, epoch: 7, on: "a", 1),
    ]
    let proposals = Controller(initialWorkers: 2).proposals(
      groups: groups, workers: [Self.worker("a", 2), Self.worker("b", 1)])
    #expect(
      proposals.map(\.record) == [
        Self.group(0, epoch: 5, on: "a", 2, isOpened: true), Self.group(2, epoch: 8, on: "a", 2),
      ])
    #expect(proposals.allSatisfy { $0.why == "a started again" })
  }

  @Test func `a partition whose worker is away stays with it`() {
    let groups = [
      Self.group(0, epoch: 1, on: "a", 1, isOpened: true), Self.group(1, epoch: 1, on: "b", 1),
    ]
    #expect(Controller(initialWorkers: 2).proposals(groups: groups, workers: [Self.worker("b")]).isEmpty)
  }

  @Test func `a worker that joins later gets nothing that is placed`() {
    let groups = (0..<6).map { Self.group(UInt16($0), epoch: 1, on: $0 < 3 ? "a" : "b", 1) }
    let workers = ["a", "b", "c"].map { Self.worker($0) }
    #expect(Controller(initialWorkers: 2).proposals(groups: groups, workers: workers).isEmpty)
  }

  @Test func `what was left unplaced goes to who has least, without waiting again`() {
    var groups = (0..<6).map { Self.group(UInt16($0), epoch: 1, on: $0 < 3 ? "a" : "b", 1) }
    groups.append(Self.group(6))
    groups.append(Self.group(7))
    let proposals = Controller(initialWorkers: 9).proposals(
      groups: groups, workers: [Self.worker("b"), Self.worker("c")])
    #expect(proposals.map(\.record.primary) == ["c", "c"])
  }

  @Test func `a restart before the first placement is complete is seen at once`() {
    let groups = [Self.group(0, epoch: 1, on: "a", 1), Self.group(1)]
    let proposals = Controller(initialWorkers: 2).proposals(groups: groups, workers: [Self.worker("a", 2)])
    #expect(
      proposals.map(\.record) == [Self.group(0, epoch: 2, on: "a", 2), Self.group(1, epoch: 1, on: "a", 2)])
  }

  @Test func `nothing more is proposed once all proposals were accepted`() {
    let controller = Controller(initialWorkers: 3)
    let workers = ["a", "b", "c"].map { Self.worker($0) }
    let groups = Self.applied(controller.proposals(groups: Self.six, workers: workers), to: Self.six)
    #expect(groups.allSatisfy { $0.primary != nil })
    #expect(controller.proposals(groups: groups, workers: workers).isEmpty)
  }
}
