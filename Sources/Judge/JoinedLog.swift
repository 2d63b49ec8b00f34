/// One sequence of blocks, put together from several replicas' logs of a partition: they may begin late,
/// where a replica began with a snapshot, and end in entries that were never committed.
package struct JoinedLog: Equatable, Sendable {
  /// Blocks of one of the logs.
  package struct Piece: Equatable, Sendable {
    package let log: Int
    /// Entries above this one, and not above `through`.
    package let after: UInt64
    package let through: UInt64

    package init(log: Int, after: UInt64, through: UInt64) {
      self.log = log
      self.after = after
      self.through = through
    }
  }

  package private(set) var pieces: [Piece] = []
  /// It has all entries from the first one on, if there are any.
  package private(set) var isWhole = false
  /// Its last entry.
  package private(set) var last: UInt64 = 0
  /// Entries that one of the logs has for itself, behind what it knows to be committed.
  package private(set) var leftOut: UInt64 = 0
  /// What can't be.
  package private(set) var problems: [String] = []

  package init(_ logs: [ReplicaLog]) {
    // Who has the latest epoch's entries, and most of them, has all that was committed.
    guard
      let leader = logs.indices.filter({ !logs[$0].heads.isEmpty })
        .max(by: { (logs[$0].tag, logs[$0].end.last) < (logs[$1].tag, logs[$1].end.last) })
    else {
      // Nothing was ever written, or one began with a snapshot.
      let late = logs.first { $0.base.last > 0 }
      if let late { problems.append(Self.beginsLate(late)) }
      isWhole = !logs.isEmpty && late == nil
      return
    }
    last = logs[leader].end.last
    join(logs, from: leader)
    for (index, log) in logs.enumerated() where index != leader { compare(log, logs) }
  }

  /// Backwards, from the end of the one that has all.
  private mutating func join(_ logs: [ReplicaLog], from leader: Int) {
    var (log, through) = (leader, last)
    while true {
      let base = logs[log].base
      pieces.insert(Piece(log: log, after: base.last, through: through), at: 0)
      guard base.last > 0 else {
        isWhole = true
        return
      }
      let earlier = logs.indices.filter {
        logs[$0].base.last < base.last && logs[$0].hash(at: base.last) == base.hash
      }
      guard let next = earlier.min(by: { logs[$0].base.last < logs[$1].base.last }) else {
        problems.append(Self.beginsLate(logs[log]))
        return
      }
      (log, through) = (next, base.last)
    }
  }

  private static func beginsLate(_ log: ReplicaLog) -> String {
    "\(log.name) begins at entry \(log.base.last + 1), and no log has what is before it; keep the whole log "
      + "with --log-keep-seconds and --log-keep-mib"
  }

  /// What a log says is committed must be in the sequence.
  private mutating func compare(_ log: ReplicaLog, _ logs: [ReplicaLog]) {
    /// Of the log that has an entry in the sequence; nil: it is from before the first piece, or behind the end.
    func owner(of sn: UInt64) -> ReplicaLog? {
      pieces.first { $0.after < sn && sn <= $0.through }.map { logs[$0.log] }
    }
    /// nil: nothing tells.
    func isShared(_ head: ReplicaLog.Head) -> Bool? {
      guard head.last <= last else { return false }
      return owner(of: head.last).map { $0.hash(at: head.last) == head.hash }
    }
    // Hashes are chained: where one is the same, all before it are.
    let own = log.heads.drop { isShared($0) != false }
    guard let first = own.first else { return }
    let before = own.startIndex > 0 ? log.heads[own.startIndex - 1] : log.base
    if first.last <= log.committed {
      let problem =
        if let other = owner(of: first.last) {
          "\(log.name) says that entries through \(first.last) were committed, and has others above "
            + "\(before.last) than \(other.name)"
        } else {
          "\(log.name) says that entry \(first.last) was committed, and the group's log ends at entry \(last)"
        }
      problems.append(problem)
    } else {
      leftOut += log.end.last - before.last
    }
  }
}

extension ReplicaLog {
  fileprivate func hash(at sn: UInt64) -> UInt64? { place(endingAt: sn).map { heads[$0].hash } }
}
