import Cluster
import Foundation

/// The configuration of a cluster in etcd v3, over its JSON gateway.
///
/// A group is one key, and its value holds the epoch. A change reads it and replaces it if it was not
/// modified since: so it replaces the epoch that it saw, and nothing else. Every transaction also
/// compares the cluster's own key, so that an etcd that was wiped or restored into another cluster is
/// never written to (rule 18), and a controller's the key that made it the controller.
///
/// Others' changes are polled, not watched: one bounded request asks for the groups that were modified
/// after a revision. A watch would be a stream to keep alive, to resume and to protect from compaction,
/// and nothing waits for it: who makes a change learns its outcome from the change.
package final class EtcdStore: ConfigurationManager {
  package let cluster: ClusterRecord
  /// The cluster's value, byte for byte.
  private let clusterValue: Data
  let gateway: EtcdGateway
  let keys: EtcdKeys
  /// A change that others' changes of the same group overtake so often is given up.
  private static let attemptsMax = 16

  /// Makes a new cluster, where there is none.
  ///
  /// - Throws: `exists`, or `unavailable`: then it may have been made, or not.
  package static func create(_ options: EtcdOptions, _ record: ClusterRecord) throws(ConfigurationError) {
    precondition(record.problem == nil, "\(record.problem!)")
    let keys = EtcdKeys(prefix: options.prefix)
    let gateway = EtcdGateway(options)
    let answer: Etcd.TransactionAnswer
    do {
      answer = try gateway.call(
        "/v3/kv/txn",
        Etcd.Transaction(
          compare: [.empty(keys.all, to: keys.end(of: keys.all))],
          success: [.put(keys.cluster, EtcdValues.encode(record))], failure: [.range(keys.cluster)]),
        by: gateway.deadline())
    } catch {
      throw translated(error)
    }
    if answer.succeeded == true { return }
    guard let found = answer.first(0) else {
      throw ConfigurationError(
        .notMade,
        "etcd has keys under \(options.prefix), but no cluster; choose another prefix, or delete them")
    }
    let existing = try sound(keys.cluster) { () throws(EtcdValues.Unsound) in
      try EtcdValues.cluster(found.value)
    }
    // An attempt that got no answer may have made it.
    guard existing.id == record.id else {
      throw ConfigurationError(
        .exists, "etcd holds the cluster \(existing.name) (\(existing.id)) under \(options.prefix) already")
    }
  }

  /// Opens the cluster that etcd holds.
  package init(_ options: EtcdOptions) throws(ConfigurationError) {
    gateway = EtcdGateway(options)
    keys = EtcdKeys(prefix: options.prefix)
    let answer: Etcd.RangeAnswer
    do {
      answer = try gateway.call("/v3/kv/range", Etcd.Range(key: keys.cluster), by: gateway.deadline())
    } catch {
      throw Self.translated(error)
    }
    guard let found = answer.kvs?.first else {
      throw ConfigurationError(
        .missing, "etcd holds no cluster under \(options.prefix) yet; run: laris cluster init --etcd URL")
    }
    clusterValue = found.value ?? Data()
    cluster = try Self.sound(keys.cluster) { () throws(EtcdValues.Unsound) in
      try EtcdValues.cluster(found.value)
    }
  }

  static func translated(_ failure: EtcdGateway.Failure) -> ConfigurationError {
    failure.isDenied
      ? ConfigurationError(.denied, "etcd does not let us in: \(failure.why)")
      : ConfigurationError(.unavailable, "etcd is out of reach: \(failure.why)")
  }

  static func sound<Value>(
    _ key: Data, _ read: () throws(EtcdValues.Unsound) -> Value
  ) throws(ConfigurationError) -> Value {
    do {
      return try read()
    } catch {
      let name = String(decoding: key, as: UTF8.self)
      throw error.isTooNew
        ? ConfigurationError(.tooNew, "etcd's key \(name): \(error.what); run a later one")
        : ConfigurationError(
          .damaged, "etcd's key \(name) is damaged: \(error.what). Restore etcd from a snapshot.")
    }
  }

  // MARK: Transactions

  /// Reads keys of this cluster, all at one moment.
  func read(
    _ ranges: [Etcd.Operation], by deadline: Int64
  ) throws(ConfigurationError) -> Etcd.TransactionAnswer {
    try transaction([], ranges, orElse: [], by: deadline)
  }

  /// - Throws: `otherCluster`, or there is no answer.
  func transaction(
    _ compare: [Etcd.Compare], _ success: [Etcd.Operation], orElse failure: [Etcd.Operation],
    by deadline: Int64
  ) throws(ConfigurationError) -> Etcd.TransactionAnswer {
    var answer: Etcd.TransactionAnswer
    do {
      answer = try gateway.call(
        "/v3/kv/txn",
        Etcd.Transaction(
          compare: [comparesCluster] + compare, success: success,
          failure: [.range(keys.cluster)] + failure), by: deadline)
    } catch {
      throw Self.translated(error)
    }
    if answer.succeeded == true { return answer }
    try checkCluster(answer.first(0))
    answer.responses?.removeFirst()
    return answer
  }

  var comparesCluster: Etcd.Compare { .equal(keys.cluster, clusterValue) }

  func checkCluster(_ found: Etcd.KeyValue?) throws(ConfigurationError) {
    guard found?.value == clusterValue else {
      throw ConfigurationError(
        .otherCluster,
        "etcd does not hold the cluster \(cluster.id) any more: it was wiped, or restored into another one")
    }
  }

  // MARK: Groups

  package func groups(since known: UInt64?) throws(ConfigurationError) -> GroupsView {
    let deadline = gateway.deadline()
    var range = Etcd.Range(key: keys.groups, range_end: keys.end(of: keys.groups))
    if let known { range.min_mod_revision = EtcdInt(Int64(clamping: known) + 1) }
    let answer = try read([Etcd.Operation(request_range: range)], by: deadline)
    let revision = UInt64(max(0, answer.header?.revision?.value ?? 0))
    // An etcd that was restored counts from before.
    if let known, revision < known { return try groups(since: nil) }
    var groups: [GroupRecord] = []
    if known == nil { groups = (0..<cluster.partitions).map { .unplaced(PartitionID(UInt16($0))) } }
    for found in answer.responses?.first?.response_range?.kvs ?? [] {
      guard let partition = keys.partition(of: found.key), Int(partition.rawValue) < cluster.partitions else {
        throw ConfigurationError(
          .damaged,
          "etcd's key \(String(decoding: found.key, as: UTF8.self)) is no partition's of this cluster")
      }
      let record = try Self.sound(found.key) { () throws(EtcdValues.Unsound) in
        try EtcdValues.group(found.value, of: partition)
      }
      if known == nil { groups[Int(partition.rawValue)] = record } else { groups.append(record) }
    }
    return GroupsView(groups: groups, revision: revision)
  }

  package func group(_ partition: PartitionID) throws(ConfigurationError) -> GroupRecord {
    let answer = try read([.range(keys.group(partition))], by: gateway.deadline())
    return try found(answer, partition).group
  }

  package func history(
    of partition: PartitionID, before epoch: Epoch?
  ) throws(ConfigurationError) -> [GroupChange] {
    let prefix = keys.history(partition)
    let latest = Etcd.Range(
      key: prefix, range_end: epoch.map { keys.history(partition, $0) } ?? keys.end(of: prefix),
      limit: EtcdInt(Int64(GroupChange.historyPage)), sort_order: "DESCEND", sort_target: "KEY")
    let answer = try read([Etcd.Operation(request_range: latest)], by: gateway.deadline())
    var changes: [GroupChange] = []
    for found in answer.responses?.first?.response_range?.kvs ?? [] {
      changes.append(
        try Self.sound(found.key) { () throws(EtcdValues.Unsound) in
          try EtcdValues.change(found.value, of: partition)
        })
    }
    return changes.reversed()
  }

  /// A group as a transaction found it.
  private struct Found {
    var group: GroupRecord
    /// 0: it has no key yet.
    var modified: Int64 = 0
    /// The change that led to the epoch that is wanted.
    var change: GroupChange?
    /// When the controller's key was made; 0: there is none.
    var controller: Int64 = 0
  }

  /// Of the ranges of a group, and of a change and the controller where they were asked for.
  private func found(
    _ answer: Etcd.TransactionAnswer, _ partition: PartitionID
  ) throws(ConfigurationError) -> Found {
    var found = Found(group: .unplaced(partition))
    if let value = answer.first(0) {
      found.group = try Self.sound(value.key) { () throws(EtcdValues.Unsound) in
        try EtcdValues.group(value.value, of: partition)
      }
      found.modified = value.mod_revision?.value ?? 0
    }
    if let value = answer.first(1) {
      found.change = try Self.sound(value.key) { () throws(EtcdValues.Unsound) in
        try EtcdValues.change(value.value, of: partition)
      }
    }
    found.controller = answer.first(2)?.create_revision?.value ?? 0
    return found
  }

  private enum Decision {
    case write(GroupRecord, and: [Etcd.Operation])
    case done(ChangeOutcome)
  }

  /// Reads a group, and replaces what was read.
  private func replace(
    _ partition: PartitionID, epoch: Epoch, as controller: Leadership?, _ decide: (Found) -> Decision
  ) -> ChangeOutcome {
    precondition(Int(partition.rawValue) < cluster.partitions, "\(partition) is not of this cluster")
    let deadline = gateway.deadline()
    let key = keys.group(partition)
    let ranges: [Etcd.Operation] = [
      .range(key), .range(keys.history(partition, epoch)), .range(keys.controller),
    ]
    do {
      var present = try found(try read(ranges, by: deadline), partition)
      for _ in 0..<Self.attemptsMax {
        let record: GroupRecord
        let others: [Etcd.Operation]
        switch decide(present) {
        case .done(let outcome): return outcome
        case .write(let wanted, and: let more): (record, others) = (wanted, more)
        }
        var compare = [Etcd.Compare.modified(key, at: present.modified)]
        if let controller {
          let made = Int64(clamping: controller.revision)
          guard present.controller == made else { return .deposed }
          compare.append(.created(keys.controller, at: made))
        }
        let answer = try transaction(
          compare, [.put(key, EtcdValues.encode(record))] + others, orElse: ranges, by: deadline)
        if answer.succeeded == true { return .accepted }
        present = try found(answer, partition)
      }
      return .unknown("\(partition) was changed by others all the time")
    } catch {
      return .unknown("\(error)")
    }
  }

  package func change(_ change: GroupChange, as controller: Leadership?) -> ChangeOutcome {
    precondition(change.problem == nil, "\(change.problem!)")
    let (partition, epoch) = (change.record.partition, change.record.epoch)
    return replace(partition, epoch: epoch, as: controller) { present in
      // An attempt that got no answer may have been carried out.
      if let known = present.change { return .done(known == change ? .accepted : .refused(present.group)) }
      guard present.group.epoch.next == epoch else { return .done(.refused(present.group)) }
      var record = change.record
      record.isOpened = present.group.isOpened
      return .write(record, and: [.put(keys.history(partition, epoch), EtcdValues.encode(change))])
    }
  }

  package func propose(
    _ proposal: GroupProposal?, why: String, to partition: PartitionID, ifEpoch epoch: Epoch,
    as controller: Leadership?
  ) -> ChangeOutcome {
    replace(partition, epoch: epoch, as: controller) { present in
      guard present.group.epoch == epoch else { return .done(.refused(present.group)) }
      var record = present.group
      record.proposal = proposal
      record.proposalWhy = proposal == nil ? "" : why
      return .write(record, and: [])
    }
  }

  package func markOpened(_ partition: PartitionID) throws(ConfigurationError) {
    let outcome = replace(partition, epoch: Epoch(0), as: nil) { present in
      guard !present.group.isOpened else { return .done(.accepted) }
      var record = present.group
      record.isOpened = true
      return .write(record, and: [])
    }
    if case .unknown(let why) = outcome { throw ConfigurationError(.unavailable, why) }
  }

  package func claim(node: String, folder: String) throws(ConfigurationError) -> Bool {
    let key = keys.worker(node)
    let answer = try transaction(
      [.created(key, at: 0)], [.put(key, EtcdValues.encode(folder: folder))], orElse: [.range(key)],
      by: gateway.deadline())
    if answer.succeeded == true { return true }
    guard let found = answer.first(0) else { return false }
    return try Self.sound(key) { () throws(EtcdValues.Unsound) in try EtcdValues.folder(found.value) }
      == folder
  }
}

/// Our keys in etcd: docs/FORMATS.md.
struct EtcdKeys {
  private let prefix: String

  init(prefix: String) { self.prefix = prefix }

  var all: Data { Data(prefix.utf8) }
  var cluster: Data { key("cluster") }
  var groups: Data { key("groups/") }
  func group(_ partition: PartitionID) -> Data { key("groups/\(digits(UInt64(partition.rawValue), 4))") }
  func history(_ partition: PartitionID) -> Data {
    key("history/\(digits(UInt64(partition.rawValue), 4))/")
  }
  func history(_ partition: PartitionID, _ epoch: Epoch) -> Data {
    history(partition) + Data(digits(epoch.rawValue, 20).utf8)
  }
  func worker(_ node: String) -> Data { key("workers/\(node)") }
  var drains: Data { key("drains/") }
  func drain(_ node: String) -> Data { key("drains/\(node)") }
  var moves: Data { key("moves/") }
  func move(_ partition: PartitionID) -> Data { key("moves/\(digits(UInt64(partition.rawValue), 4))") }
  var nodes: Data { key("nodes/") }
  func node(_ record: NodeRecord) -> Data { key("nodes/\(record.kind.rawValue)/\(record.node)") }
  var controller: Data { key("controller") }

  private func key(_ rest: String) -> Data { Data((prefix + rest).utf8) }

  /// Names sort as numbers do.
  private func digits(_ number: UInt64, _ count: Int) -> String {
    let text = "\(number)"
    return String(repeating: "0", count: max(0, count - text.count)) + text
  }

  /// The first key that does not begin with `prefix`, which ends with a slash.
  func end(of prefix: Data) -> Data { prefix.dropLast() + [UInt8(ascii: "/") + 1] }

  func partition(of key: Data) -> PartitionID? {
    guard key.starts(with: groups), key.count == groups.count + 4,
      let number = UInt16(String(decoding: key.dropFirst(groups.count), as: UTF8.self))
    else { return nil }
    return PartitionID(number)
  }
}
