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
    else { return }
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
      guard base.last > 0 else { return }
      let earlier = logs.indices.filter {
        logs[$0].base.last < base.last && logs[$0].hash(at: base.last) == base.hash
      }
      guard let next = earlier.min(by: { logs[$0].base.last < logs[$1].base.last }) else {
        problems.append(
          "\(logs[log].name) begins at entry \(base.last + 1), and no log has what is before it; keep the "
            + "whole log with --log-keep-seconds and --log-keep-mib")
        return
      }
      (log, through) = (next, base.last)
    }
  }

  /// What a log says is committed must be in the sequence.
  private mutating func compare(_ log: ReplicaLog, _ logs: [ReplicaLog]) {
    func isShared(_ head: ReplicaLog.Head) -> Bool? {
      guard head.last <= last else { return false }
      guard let piece = pieces.first(where: { $0.after < head.last && head.last <= $0.through }) else {
        // From before the first piece: nothing tells.
        return nil
      }
      return logs[piece.log].hash(at: head.last) == head.hash
    }
    // Hashes are chained: where one is the same, all before it are.
    let own = log.heads.drop { isShared($0) != false }
    guard let first = own.first else { return }
    let before = own.startIndex > 0 ? log.heads[own.startIndex - 1] : log.base
    if first.last <= log.committed {
      problems.append(
        first.last > last
          ? "\(log.name) says that entry \(first.last) was committed, and the group's log ends at entry \(last)"
          : "\(log.name) says that entries through \(first.last) were committed, and has others above "
            + "\(before.last) than \(logs[pieces.last?.log ?? 0].name)")
    } else {
      leftOut += log.end.last - before.last
    }
  }
}

extension ReplicaLog {
  fileprivate func hash(at sn: UInt64) -> UInt64? { place(endingAt: sn).map { heads[$0].hash } }
}
