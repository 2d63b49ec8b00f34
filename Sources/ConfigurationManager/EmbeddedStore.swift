import Cluster
import Foundation
import SQLite

/// The configuration of a cluster on one machine: a SQLite file in its dispatcher's data folder.
///
/// One dispatcher has the folder, so it is the controller, and who is there is what it knows itself:
/// leases are kept in memory. The fencing revision is in the file, so it grows over restarts.
package final class EmbeddedStore: ConfigurationManager {
  package let cluster: ClusterRecord
  private let database: Database
  private let now: () -> Int64
  private var liveness = Liveness()
  /// Claims that were read; they never change.
  private var folders: [String: String] = [:]

  /// Opens the store at `path`; one of an earlier version is brought up to date.
  ///
  /// - Parameters:
  ///   - mode: `readOnly` changes nothing.
  ///   - now: for leases; milliseconds of a clock that never runs back.
  package init(
    _ path: String, exists: Bool, mode: Database.Mode = .readWrite,
    now: @escaping () -> Int64 = SteadyClock.milliseconds
  ) throws(ConfigurationError) {
    guard exists else {
      throw ConfigurationError(
        .missing,
        "\(path) does not exist: this folder holds no cluster yet; run: laris cluster init --data FOLDER, or, if "
          + "the file was lost: laris cluster recover --help")
    }
    let database = try Self.open(path, mode)
    cluster = try Self.readCluster(database)
    self.database = database
    self.now = now
  }

  private static func open(_ path: String, _ mode: Database.Mode) throws(ConfigurationError) -> Database {
    do {
      // A configuration that is locked by a stranger is slow, and that is bounded.
      let database = try Database(path, mode: mode, busyMilliseconds: 100)
      switch mode {
      case .readWrite:
        try database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        try EmbeddedSchema.bringUpToDate(database)
      case .readOnly: try EmbeddedSchema.check(database)
      }
      return database
    } catch {
      throw Self.translated(error, path)
    }
  }

  private static func translated(_ error: any Error, _ path: String) -> ConfigurationError {
    switch error {
    case let error as ConfigurationError: error
    case let error as SQLiteError where error.isDamage:
      damaged(path, error.message)
    default: ConfigurationError(.unavailable, "\(path): \(error)")
    }
  }

  private static func damaged(_ path: String, _ what: String) -> ConfigurationError {
    ConfigurationError(.damaged, "\(path) is damaged: \(what). Keep the file, and restore it from a copy.")
  }

  private func reading<Value>(_ body: () throws -> Value) throws(ConfigurationError) -> Value {
    do { return try body() } catch { throw Self.translated(error, database.path) }
  }

  private static func readCluster(_ database: borrowing Database) throws(ConfigurationError) -> ClusterRecord
  {
    let record: ClusterRecord
    do {
      let read = try database.prepare("SELECT * FROM cluster")
      guard try read.step() else { throw damaged(database.path, "it holds no cluster") }
      record = ClusterRecord(
        id: read.text(0), name: read.text(1), currency: read.text(2), partitions: Int(read.int64(3)),
        replicas: Int(read.int64(4)), minReplicas: Int(read.int64(10)), initialWorkers: Int(read.int64(5)),
        reserveMilliseconds: read.uint64(6), feeBasisPoints: UInt32(exactly: read.int64(7)) ?? .max,
        requestWindowMilliseconds: read.int64(8),
        createdAt: read.int64(9), leaseMilliseconds: read.int64(11))
    } catch {
      throw translated(error, database.path)
    }
    if let problem = record.problem { throw damaged(database.path, problem) }
    return record
  }

  // MARK: Groups

  private static let columns =
    "partition, epoch, primary_node, incarnation, opened, secondaries, proposal, proposal_node, proposal_why"

  package func groups(since revision: UInt64?) throws(ConfigurationError) -> GroupsView {
    try reading {
      var view = GroupsView(groups: [], revision: 0)
      try database.transaction {
        let count = try database.prepare("SELECT count(*), (SELECT value FROM revision) FROM groups")
        _ = try count.step()
        view.revision = count.uint64(1)
        guard Int(count.int64(0)) == cluster.partitions else {
          throw Self.damaged(
            database.path, "it has \(count.int64(0)) groups for \(cluster.partitions) partitions")
        }
        let read = try database.prepare(
          "SELECT \(Self.columns) FROM groups WHERE revision > ?1 ORDER BY partition")
        read.bind(1, revision.map { Int64(clamping: $0) } ?? .min)
        while try read.step() { view.groups.append(try Self.group(read, why: 8, cluster, database.path)) }
        guard revision != nil || view.groups.count == cluster.partitions else {
          throw Self.damaged(database.path, "a group's revision is out of range")
        }
        // Pages that point at each other show one group again and again.
        for (one, next) in zip(view.groups, view.groups.dropFirst()) where one.partition >= next.partition {
          throw Self.damaged(
            database.path, "group \(next.partition.rawValue) comes after group \(one.partition.rawValue)")
        }
      }
      return view
    }
  }

  package func group(_ partition: PartitionID) throws(ConfigurationError) -> GroupRecord {
    try reading { try readGroup(partition) }
  }

  private func readGroup(_ partition: PartitionID) throws -> GroupRecord {
    precondition(Int(partition.rawValue) < cluster.partitions)
    let read = try database.prepare("SELECT \(Self.columns) FROM groups WHERE partition = ?1")
    read.bind(1, Int64(partition.rawValue))
    guard try read.step() else {
      throw Self.damaged(database.path, "group \(partition.rawValue) is missing, or out of range")
    }
    return try Self.group(read, why: 8, cluster, database.path)
  }

  /// - Parameter why: the column that says why the group is asked for something; nil: none does.
  private static func group(
    _ read: borrowing Statement, why: Int32? = nil, _ cluster: ClusterRecord, _ path: String
  ) throws -> GroupRecord {
    guard let partition = UInt16(exactly: read.int64(0)), Int(partition) < cluster.partitions,
      let secondaries = names(read.text(5)), let proposal = proposal(read, 6)
    else { throw damaged(path, "group \(read.int64(0)) is missing, or out of range") }
    let record = GroupRecord(
      partition: PartitionID(partition), epoch: Epoch(read.uint64(1)),
      primary: read.isNull(2) ? nil : read.text(2), incarnation: Incarnation(read.uint64(3)),
      secondaries: secondaries, isOpened: read.int64(4) != 0, proposal: proposal.value,
      proposalWhy: why.map { read.text($0) } ?? "")
    if let problem = record.problem { throw damaged(path, "group \(partition) is out of range: \(problem)") }
    return record
  }

  private static func names(_ text: String) -> [String]? {
    text == "[]" ? [] : try? JSONDecoder().decode([String].self, from: Data(text.utf8))
  }

  private static func text(_ names: [String]) -> String {
    // An array of strings can always be encoded.
    names.isEmpty ? "[]" : String(decoding: (try? JSONEncoder().encode(names)) ?? Data(), as: UTF8.self)
  }

  /// A column of what and one of whom.
  private static func proposal(
    _ read: borrowing Statement, _ column: Int32
  ) -> (value: GroupProposal?, Void)? {
    if read.isNull(column) { return (nil, ()) }
    guard let proposal = GroupProposal(word: read.text(column), node: read.text(column + 1)) else {
      return nil
    }
    return (proposal, ())
  }

  private static func bind(_ statement: borrowing Statement, _ index: Int32, _ proposal: GroupProposal?) {
    guard let proposal else {
      statement.bindNull(index)
      return statement.bindNull(index + 1)
    }
    statement.bind(index, proposal.word)
    statement.bind(index + 1, proposal.node)
  }

  /// In a transaction.
  private func nextRevision() throws -> UInt64 {
    try database.execute("UPDATE revision SET value = value + 1")
    let read = try database.prepare("SELECT value FROM revision")
    guard try read.step() else { throw Self.damaged(database.path, "it has no revision") }
    return read.uint64(0)
  }

  /// Runs a change in a transaction. Whatever SQLite says, from a lock that is not given to a sync that
  /// fails, nobody knows what it did.
  private func changing(_ body: () throws -> ChangeOutcome) -> ChangeOutcome {
    var outcome = ChangeOutcome.unknown("")
    do {
      try database.transaction { outcome = try body() }
      return outcome
    } catch {
      return .unknown("\(Self.translated(error, database.path))")
    }
  }

  package func change(_ change: GroupChange, as controller: Leadership?) -> ChangeOutcome {
    precondition(change.problem == nil, "\(change.problem!)")
    let record = change.record
    return changing {
      let group = try readGroup(record.partition)
      let epoch = Int64(clamping: record.epoch.rawValue)
      if let known = try readHistory(of: record.partition, from: epoch, through: epoch).first {
        return known == change ? .accepted : .refused(group)
      }
      guard group.epoch.next == record.epoch else { return .refused(group) }
      guard isController(controller) else { return .deposed }
      try Self.write(change, to: database, revision: try nextRevision())
      return .accepted
    }
  }

  /// In a transaction.
  static func write(_ change: GroupChange, to database: borrowing Database, revision: UInt64) throws {
    let update = try database.prepare(
      """
      UPDATE groups SET epoch = ?2, primary_node = ?3, incarnation = ?4, secondaries = ?5, proposal = ?6,
        proposal_node = ?7, revision = ?8, proposal_why = ''
      WHERE partition = ?1
      """)
    bind(update, change.record)
    update.bind(8, revision)
    try update.run()
    let note = try database.prepare(
      """
      INSERT INTO history (partition, epoch, primary_node, incarnation, secondaries, proposal,
        proposal_node, at, why, author, commit_point) VALUES (?1,?2,?3,?4,?5,?6,?7,?9,?10,?11,?12)
      """)
    bind(note, change.record)
    note.bind(9, change.at)
    note.bind(10, change.why)
    note.bind(11, change.by)
    note.bind(12, change.commitPoint.rawValue)
    try note.run()
  }

  private static func bind(_ statement: borrowing Statement, _ record: GroupRecord) {
    statement.bind(1, Int64(record.partition.rawValue))
    statement.bind(2, record.epoch.rawValue)
    if let primary = record.primary { statement.bind(3, primary) } else { statement.bindNull(3) }
    statement.bind(4, record.incarnation.rawValue)
    statement.bind(5, text(record.secondaries))
    bind(statement, 6, record.proposal)
  }

  package func propose(
    _ proposal: GroupProposal?, why: String, to partition: PartitionID, ifEpoch epoch: Epoch,
    as controller: Leadership?
  ) -> ChangeOutcome {
    changing {
      let group = try readGroup(partition)
      guard group.epoch == epoch else { return .refused(group) }
      guard isController(controller) else { return .deposed }
      let update = try database.prepare(
        """
        UPDATE groups SET proposal = ?2, proposal_node = ?3, revision = ?4, proposal_why = ?5
        WHERE partition = ?1
        """)
      update.bind(1, Int64(partition.rawValue))
      Self.bind(update, 2, proposal)
      update.bind(4, try nextRevision())
      update.bind(5, proposal == nil ? "" : why)
      try update.run()
      return .accepted
    }
  }

  package func history(
    of partition: PartitionID, before epoch: Epoch?
  ) throws(ConfigurationError) -> [GroupChange] {
    try reading {
      try readHistory(of: partition, through: epoch.map { Int64(clamping: $0.rawValue) - 1 } ?? .max)
    }
  }

  private func readHistory(
    of partition: PartitionID, from first: Int64 = 0, through last: Int64
  ) throws -> [GroupChange] {
    let read = try database.prepare(
      """
      SELECT partition, epoch, primary_node, incarnation, 0, secondaries, proposal, proposal_node, at, why,
        author, commit_point
      FROM history WHERE partition = ?1 AND epoch BETWEEN ?2 AND ?3 ORDER BY epoch DESC LIMIT ?4
      """)
    read.bind(1, Int64(partition.rawValue))
    read.bind(2, first)
    read.bind(3, last)
    read.bind(4, Int64(GroupChange.historyPage))
    var changes: [GroupChange] = []
    while try read.step() {
      let change = GroupChange(
        try Self.group(read, cluster, database.path), why: read.text(9), by: read.text(10),
        commitPoint: SequenceNumber(read.uint64(11)), at: read.int64(8))
      if let problem = change.problem { throw Self.damaged(database.path, "a change: \(problem)") }
      changes.append(change)
    }
    return changes.reversed()
  }

  package func markOpened(_ partition: PartitionID) throws(ConfigurationError) {
    try reading {
      try database.transaction {
        let revision = try nextRevision()
        let update = try database.prepare(
          "UPDATE groups SET opened = 1, revision = ?2 WHERE partition = ?1 AND opened = 0")
        update.bind(1, Int64(partition.rawValue))
        update.bind(2, revision)
        try update.run()
      }
    }
  }

  package func claim(node: String, folder: String) throws(ConfigurationError) -> Bool {
    if let known = folders[node] { return known == folder }
    return try reading {
      let read = try database.prepare("SELECT folder FROM workers WHERE node = ?1")
      read.bind(1, node)
      if try read.step() {
        folders[node] = read.text(0)
      } else {
        let insert = try database.prepare("INSERT INTO workers VALUES (?1, ?2)")
        insert.bind(1, node)
        insert.bind(2, folder)
        try insert.run()
        folders[node] = folder
      }
      return folders[node] == folder
    }
  }

  // MARK: What operators want

  package func plans() throws(ConfigurationError) -> Plans {
    try reading {
      var plans = Plans()
      try database.transaction {
        let drains = try database.prepare("SELECT node, removed FROM drains")
        while try drains.step() {
          guard NodeRecord.isName(drains.text(0)) else {
            throw Self.damaged(database.path, "a drain names no worker")
          }
          if drains.int64(1) == 0 {
            plans.draining.insert(drains.text(0))
          } else {
            plans.removed.insert(drains.text(0))
          }
        }
        let moves = try database.prepare("SELECT partition, source, target FROM moves ORDER BY partition")
        while try moves.step() { plans.moves.append(try Self.move(moves, cluster, database.path)) }
      }
      return plans
    }
  }

  private static func move(
    _ read: borrowing Statement, _ cluster: ClusterRecord, _ path: String
  ) throws -> Move {
    guard let partition = UInt16(exactly: read.int64(0)), Int(partition) < cluster.partitions else {
      throw damaged(path, "a move of partition \(read.int64(0)) is out of range")
    }
    let move = Move(partition: PartitionID(partition), source: read.text(1), target: read.text(2))
    if let problem = move.problem { throw damaged(path, problem) }
    return move
  }

  package func setPlan(_ plan: Plans.Worker?, for node: String) throws(ConfigurationError) {
    precondition(NodeRecord.isName(node))
    try reading {
      let change = try database.prepare(
        plan == nil
          ? "DELETE FROM drains WHERE node = ?1"
          : "INSERT OR REPLACE INTO drains (node, removed) VALUES (?1, ?2)")
      change.bind(1, node)
      if let plan { change.bind(2, plan == .removed ? Int64(1) : 0) }
      try change.run()
    }
  }

  package func setMove(
    _ move: Move?, of partition: PartitionID, insteadOf present: Move?
  ) throws(ConfigurationError) -> Move? {
    precondition(Int(partition.rawValue) < cluster.partitions && (move ?? present)?.problem == nil)
    return try reading {
      var planned: Move?
      try database.transaction {
        let read = try database.prepare("SELECT partition, source, target FROM moves WHERE partition = ?1")
        read.bind(1, Int64(partition.rawValue))
        planned = try read.step() ? try Self.move(read, cluster, database.path) : nil
        guard planned == present, move != present else { return }
        if let move {
          let write = try database.prepare("INSERT OR REPLACE INTO moves VALUES (?1, ?2, ?3)")
          write.bind(1, Int64(partition.rawValue))
          write.bind(2, move.source)
          write.bind(3, move.target)
          try write.run()
        } else {
          let forget = try database.prepare("DELETE FROM moves WHERE partition = ?1")
          forget.bind(1, Int64(partition.rawValue))
          try forget.run()
        }
        planned = move
      }
      return planned
    }
  }

  // MARK: Who is there

  package func register(_ node: NodeRecord, milliseconds: Int64) -> Session {
    liveness.register(node, milliseconds: milliseconds, now: now())
  }
  package func keepAlive(_ session: Session) -> Session? { liveness.keepAlive(session.id, now: now()) }
  package func end(_ session: Session) { liveness.end(session.id) }
  package func nodes() -> [NodeRecord] { liveness.nodes(now: now()) }

  package func campaign(_ session: Session, life: String) throws(ConfigurationError) -> Leadership? {
    try liveness.campaign(session.id, life: life, now: now()) { () throws(ConfigurationError) in
      try reading {
        var revision: UInt64 = 0
        try database.transaction { revision = try nextRevision() }
        return revision
      }
    }
  }

  package func controller() -> Leadership? { liveness.controller(now: now()) }
  package func resign(_ leadership: Leadership) { liveness.resign(leadership) }

  private func isController(_ claimed: Leadership?) -> Bool {
    claimed == nil || liveness.controller(now: now())?.revision == claimed!.revision
  }
}
