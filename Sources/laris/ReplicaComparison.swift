import LarisProtocol
import NodeSupport

/// What partitions said of their replicas: equal, different, or not reached.
struct ReplicaComparison {
  private let groups: [Group]

  private struct Group {
    let line: String
    let isEqual: Bool
  }

  /// - Parameter wanted: how many replicas there should be.
  init(_ reports: [Laris_AuditReport], wanted: Int) {
    groups = reports.map { Self.compare($0, wanted: wanted) }
  }

  /// Every member of every group was reached, and holds what its primary holds.
  var isEqual: Bool { groups.allSatisfy(\.isEqual) }

  /// One for each group.
  var lines: [String] { groups.map(\.line) }

  private static func compare(_ report: Laris_AuditReport, wanted: Int) -> Group {
    let head = "partition \(report.partition): "
    guard let primary = report.replicas.first, primary.failure.isEmpty else {
      return Group(line: head + "its replicas were NOT COMPARED", isEqual: false)
    }
    var parts: [String] = []
    for replica in report.replicas where !replica.failure.isEmpty {
      parts.append("\(replica.node) was NOT REACHED: \(replica.failure)")
    }
    for replica in report.replicas where !replica.differences.isEmpty {
      parts.append(
        "\(replica.node) DIFFERS from \(primary.node): \(replica.differences.joined(separator: ", "))")
    }
    let isEqual = parts.isEmpty
    let equal = report.replicas.filter { $0.failure.isEmpty && $0.differences.isEmpty }
    var count = "\(equal.count)"
    if report.replicas.count < wanted { count += " of \(wanted)" }
    let digits = String(primary.appliedDigest, radix: 16)
    parts.append(
      "\(count) \(wanted == 1 ? "replica" : "replicas") "
        + (equal.count > 1 ? "equal " : "")
        + "at entry \(Terminal.grouped(primary.sequenceNumber)), digest "
        + String(repeating: "0", count: 16 - digits.count) + digits + ": "
        + equal.map(\.node).joined(separator: ", "))
    return Group(line: head + parts.joined(separator: "; "), isEqual: isEqual)
  }
}
