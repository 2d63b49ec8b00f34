/// Who comes in when more is offered than is wanted.
///
/// A dispatcher may have a rate. Channels share it evenly; what one does not use, the others may. What
/// moves money, goods or an order on (``Priority/urgent``) goes before what begins something new
/// (``Priority/deferrable``): it may run into a bounded debt, which is paid back before anybody else comes in.
package struct Admission {
  package enum Priority: Sendable {
    /// Settlements, order steps, stock and shop updates, the fate of a request.
    case urgent
    /// New orders and reads: shed first.
    case deferrable
  }

  /// Channels are told apart by hash; those that fall into one slot share it.
  package static let channelsMax = 64
  /// A channel that was silent for so long has no share.
  private static let activeMilliseconds: Int64 = 1_000
  /// What may come in at once, after a pause: the rate's work of so long.
  private static let burstMilliseconds = 50

  /// Requests a second; 0: no limit.
  package let ratePerSecond: Int
  // In thousandths of a request, so that a millisecond's share is a whole number.
  private let burst: Int
  private var tokens = [Int](repeating: 0, count: channelsMax)
  private var seenAt = [Int64](repeating: .min, count: channelsMax)
  private var common: Int
  private var debt = 0
  private var filledAt: Int64?
  private var active: [Int] = []

  package init(ratePerSecond: Int) {
    precondition(ratePerSecond >= 0)
    self.ratePerSecond = ratePerSecond
    burst = max(1_000, ratePerSecond * Self.burstMilliseconds)
    common = burst
  }

  package static func slot(ofChannel hash: UInt64) -> Int { Int(hash % UInt64(channelsMax)) }

  /// Channels that sent something within the last second, at least one.
  package var activeChannels: Int { max(1, active.count) }

  /// Whether a request may come in; one that may is counted.
  package mutating func admits(slot: Int, _ priority: Priority, now: Int64) -> Bool {
    if seenAt[slot] < now {
      let isNew = seenAt[slot] < now - Self.activeMilliseconds
      seenAt[slot] = now
      if isNew, !active.contains(slot) { active.append(slot) }
    }
    if filledAt != now { fill(now: now) }
    guard ratePerSecond > 0 else { return true }
    if tokens[slot] >= 1_000 {
      tokens[slot] -= 1_000
    } else if common >= 1_000 {
      common -= 1_000
    } else if priority == .urgent, debt < burst {
      debt += 1_000
    } else {
      return false
    }
    return true
  }

  private mutating func fill(now: Int64) {
    defer { filledAt = now }
    active.removeAll { seenAt[$0] < now - Self.activeMilliseconds }
    guard ratePerSecond > 0, let filledAt else { return }
    // A rate of one a second is a thousandth of a request a millisecond.
    var gained = Int(min(now - filledAt, 1_000)) * ratePerSecond
    let paid = min(debt, gained)
    debt -= paid
    gained -= paid
    let share = gained / max(1, active.count)
    let most = burst / max(1, active.count)
    var rest = gained - share * active.count
    for slot in active {
      let filled = tokens[slot] + share
      tokens[slot] = min(most, filled)
      rest += filled - tokens[slot]
    }
    common = min(burst, common + rest)
  }
}
