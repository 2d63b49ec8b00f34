import Cluster

/// A primary's part of one comparison: who must hold still, at which entry, and what they said. Time comes to it,
/// and messages; nothing else.
package struct AuditRound {
  package struct Member: Equatable {
    package let node: String
    fileprivate var isHolding = false
    fileprivate var heardAt: Int64
    /// The last word.
    package fileprivate(set) var told: AuditMessage.Told?
    /// Why it is not compared; empty: it is, or may be yet.
    package fileprivate(set) var failure = ""

    fileprivate init(node: String, heardAt: Int64) {
      self.node = node
      self.heardAt = heardAt
    }

    fileprivate var isOver: Bool {
      if !failure.isEmpty { return true }
      switch told {
      case nil, .working: return false
      case .missed, .failed, .found: return true
      }
    }
  }

  private static let holdAgainMilliseconds: Int64 = 100
  private static let compareAgainMilliseconds: Int64 = 300
  /// How long a member may say nothing.
  package static let silenceMilliseconds: Int64 = 5_000
  /// How long a member's checkpoint may take that was under way.
  package static let gatherMilliseconds: Int64 = 30_000

  package let number: UInt64
  package private(set) var members: [Member]
  /// The entry; nil: they are still to hold still.
  package private(set) var at: SequenceNumber?
  private let beganAt: Int64
  private var askedAt: Int64 = .min / 2

  package init(number: UInt64, members: [String], now: Int64) {
    self.number = number
    self.members = members.map { Member(node: $0, heardAt: now) }
    beganAt = now
  }

  /// A word of a member about this round.
  package mutating func hear(_ message: AuditMessage, from node: String, now: Int64) {
    guard let place = members.firstIndex(where: { $0.node == node }) else { return }
    switch message {
    case .holds(number):
      members[place].heardAt = now
      members[place].isHolding = true
    case .told(number, let told):
      members[place].heardAt = now
      if !members[place].isOver { members[place].told = told }
    case .hold, .holds, .compare, .told: break
    }
  }

  /// What is to be sent now, and to whom.
  package mutating func asks(now: Int64) -> [(node: String, message: AuditMessage)] {
    giveUp(now: now)
    let again = at == nil ? Self.holdAgainMilliseconds : Self.compareAgainMilliseconds
    guard now - askedAt >= again else { return [] }
    askedAt = now
    let message = at.map { AuditMessage.compare(round: number, at: $0) } ?? .hold(round: number)
    return members.filter { !$0.isOver }.map { ($0.node, message) }
  }

  private mutating func giveUp(now: Int64) {
    for place in members.indices where !members[place].isOver {
      let silence = now - members[place].heardAt
      if at == nil, members[place].isHolding {
        continue
      } else if at == nil, now - beganAt >= Self.gatherMilliseconds {
        members[place].failure = "it wrote a checkpoint for \(Self.gatherMilliseconds / 1_000) s"
      } else if silence >= Self.silenceMilliseconds {
        members[place].failure = "it said nothing for \(Self.silenceMilliseconds / 1_000) s"
      }
    }
  }

  /// All hold still that are expected to: an entry may be named.
  package var isGathered: Bool { at == nil && members.allSatisfy { $0.isHolding || $0.isOver } }

  /// All are to write a checkpoint of `sn`, the last entry that was sent to them.
  package mutating func stop(at sn: SequenceNumber, now: Int64) {
    at = sn
    askedAt = .min / 2
    for place in members.indices { members[place].heardAt = now }
  }

  /// Nobody's word is waited for any more.
  package var isOver: Bool { at != nil && members.allSatisfy(\.isOver) }

  /// Somebody was at a later entry already: another round may find them all.
  package var isMissed: Bool { members.contains { $0.told == .missed } }
}
