import Bytes
import Cluster
import Foundation

/// The values of our keys in etcd: JSON with a version, checked when read. docs/FORMATS.md has them.
enum EtcdValues {
  static let version = 1

  /// What is wrong with a value.
  struct Unsound: Error {
    var isTooNew = false
    let what: String
  }

  private struct Versioned: Decodable { let version: Int }

  private static func decode<Value: Decodable>(_ data: Data?) throws(Unsound) -> Value {
    guard let data, let versioned = try? JSONDecoder().decode(Versioned.self, from: data) else {
      throw Unsound(what: "it is no JSON of ours")
    }
    guard versioned.version == version else {
      throw Unsound(
        isTooNew: versioned.version > version,
        what: "it has version \(versioned.version), and this program knows \(version)")
    }
    do {
      return try JSONDecoder().decode(Value.self, from: data)
    } catch {
      throw Unsound(what: "it lacks what it should have")
    }
  }

  private static func encode(_ value: some Encodable) -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Strings, numbers and arrays of them can always be encoded.
    return (try? encoder.encode(value)) ?? Data()
  }

  // MARK: The cluster

  private struct ClusterValue: Codable {
    var version = EtcdValues.version
    let id, name, currency: String
    let partitions, replicas: Int
    /// A cluster that was made before there were secondaries has none.
    let minReplicas: Int?
    let initialWorkers: Int
    let reserveMilliseconds: UInt64
    let feeBasisPoints: UInt32
    let requestWindowMilliseconds, createdAt: Int64
    /// A cluster that was made when every worker had its own has none.
    let leaseMilliseconds: Int64?
  }

  static func encode(_ record: ClusterRecord) -> Data {
    encode(
      ClusterValue(
        id: record.id, name: record.name, currency: record.currency, partitions: record.partitions,
        replicas: record.replicas, minReplicas: record.minReplicas, initialWorkers: record.initialWorkers,
        reserveMilliseconds: record.reserveMilliseconds, feeBasisPoints: record.feeBasisPoints,
        requestWindowMilliseconds: record.requestWindowMilliseconds, createdAt: record.createdAt,
        leaseMilliseconds: record.leaseMilliseconds))
  }

  static func cluster(_ data: Data?) throws(Unsound) -> ClusterRecord {
    let value: ClusterValue = try decode(data)
    let record = ClusterRecord(
      id: value.id, name: value.name, currency: value.currency, partitions: value.partitions,
      replicas: value.replicas, minReplicas: value.minReplicas ?? 1, initialWorkers: value.initialWorkers,
      reserveMilliseconds: value.reserveMilliseconds, feeBasisPoints: value.feeBasisPoints,
      requestWindowMilliseconds: value.requestWindowMilliseconds, createdAt: value.createdAt,
      leaseMilliseconds: value.leaseMilliseconds ?? ClusterRecord.leaseDefault)
    if let problem = record.problem { throw Unsound(what: problem) }
    return record
  }

  // MARK: Groups

  private struct ProposalValue: Codable {
    let what, node: String
    init(_ proposal: GroupProposal) { (what, node) = (proposal.word, proposal.node) }
    func proposal() throws(Unsound) -> GroupProposal {
      guard let proposal = GroupProposal(word: what, node: node) else {
        throw Unsound(what: "it has a proposal that is none")
      }
      return proposal
    }
  }

  private struct GroupValue: Codable {
    var version = EtcdValues.version
    let partition: UInt16
    let epoch: UInt64
    let primary: String?
    /// In hexadecimal: JSON's numbers are not made for 64 bits.
    let incarnation: String
    let secondaries: [String]
    let opened: Bool
    let proposal: ProposalValue?
    let proposalWhy: String?

    init(_ record: GroupRecord) {
      partition = record.partition.rawValue
      epoch = record.epoch.rawValue
      primary = record.primary
      incarnation = record.incarnation.description
      secondaries = record.secondaries
      opened = record.isOpened
      proposal = record.proposal.map { ProposalValue($0) }
      proposalWhy = record.proposalWhy.isEmpty ? nil : record.proposalWhy
    }

    func record() throws(Unsound) -> GroupRecord {
      guard let life = UInt64(incarnation, radix: 16) else { throw Unsound(what: "its incarnation is none") }
      let record = GroupRecord(
        partition: PartitionID(partition), epoch: Epoch(epoch), primary: primary,
        incarnation: Incarnation(life), secondaries: secondaries, isOpened: opened,
        proposal: try proposal?.proposal(), proposalWhy: proposalWhy ?? "")
      if let problem = record.problem { throw Unsound(what: problem) }
      return record
    }
  }

  static func encode(_ record: GroupRecord) -> Data { encode(GroupValue(record)) }

  static func group(_ data: Data?, of partition: PartitionID) throws(Unsound) -> GroupRecord {
    let value: GroupValue = try decode(data)
    let record = try value.record()
    guard record.partition == partition else { throw Unsound(what: "it is of \(record.partition)") }
    return record
  }

  private struct ChangeValue: Codable {
    var version = EtcdValues.version
    let group: GroupValue
    let why, by: String
    let commitPoint: UInt64
    let at: Int64
  }

  static func encode(_ change: GroupChange) -> Data {
    encode(
      ChangeValue(
        group: GroupValue(change.record), why: change.why, by: change.by,
        commitPoint: change.commitPoint.rawValue, at: change.at))
  }

  static func change(_ data: Data?, of partition: PartitionID) throws(Unsound) -> GroupChange {
    let value: ChangeValue = try decode(data)
    let change = GroupChange(
      try value.group.record(), why: value.why, by: value.by,
      commitPoint: SequenceNumber(value.commitPoint), at: value.at)
    if let problem = change.problem { throw Unsound(what: problem) }
    guard change.record.partition == partition else {
      throw Unsound(what: "it is of \(change.record.partition)")
    }
    return change
  }

  // MARK: Plans

  private struct DrainValue: Codable {
    var version = EtcdValues.version
    let node: String
    let removed: Bool?
  }

  static func encode(_ plan: Plans.Worker, for node: String) -> Data {
    encode(DrainValue(node: node, removed: plan == .removed ? true : nil))
  }

  static func drain(_ data: Data?) throws(Unsound) -> (node: String, plan: Plans.Worker) {
    let value: DrainValue = try decode(data)
    guard NodeRecord.isName(value.node) else { throw Unsound(what: "it names no worker") }
    return (value.node, value.removed == true ? .removed : .draining)
  }

  private struct MoveValue: Codable {
    var version = EtcdValues.version
    let partition: UInt16
    let source, target: String
  }

  static func encode(_ move: Move) -> Data {
    encode(MoveValue(partition: move.partition.rawValue, source: move.source, target: move.target))
  }

  static func move(_ data: Data?, partitions: Int) throws(Unsound) -> Move {
    let value: MoveValue = try decode(data)
    let move = Move(partition: PartitionID(value.partition), source: value.source, target: value.target)
    if let problem = move.problem { throw Unsound(what: problem) }
    guard Int(value.partition) < partitions else { throw Unsound(what: "\(move.partition) is no partition") }
    return move
  }

  // MARK: Nodes

  private struct WorkerValue: Codable {
    var version = EtcdValues.version
    let folder: String
  }

  static func encode(folder: String) -> Data { encode(WorkerValue(folder: folder)) }

  static func folder(_ data: Data?) throws(Unsound) -> String {
    let value: WorkerValue = try decode(data)
    guard value.folder.utf8.count <= NodeRecord.addressBytesMax else {
      throw Unsound(what: "its folder is too long")
    }
    return value.folder
  }

  private struct NodeValue: Codable {
    var version = EtcdValues.version
    let kind, node, incarnation: String
    let addresses: [String: String]
    let zone: String?
  }

  static func encode(_ node: NodeRecord) -> Data {
    encode(
      NodeValue(
        kind: node.kind.rawValue, node: node.node, incarnation: node.incarnation.description,
        addresses: node.addresses, zone: node.zone))
  }

  static func node(_ data: Data?) throws(Unsound) -> NodeRecord {
    let value: NodeValue = try decode(data)
    guard let kind = NodeRecord.Kind(rawValue: value.kind), let life = UInt64(value.incarnation, radix: 16)
    else { throw Unsound(what: "its kind or its incarnation is none") }
    let node = NodeRecord(
      kind: kind, node: value.node, incarnation: Incarnation(life), addresses: value.addresses,
      zone: value.zone)
    if let problem = node.problem { throw Unsound(what: problem) }
    return node
  }

  private struct ControllerValue: Codable {
    var version = EtcdValues.version
    let life, session: String
  }

  static func encode(controller life: String, session: UInt64) -> Data {
    encode(ControllerValue(life: life, session: String(session, radix: 16)))
  }

  static func controller(_ data: Data?) throws(Unsound) -> (life: String, session: UInt64) {
    let value: ControllerValue = try decode(data)
    guard value.life.utf8.count <= GroupChange.textBytesMax, let session = UInt64(value.session, radix: 16)
    else { throw Unsound(what: "its session is none") }
    return (value.life, session)
  }
}
