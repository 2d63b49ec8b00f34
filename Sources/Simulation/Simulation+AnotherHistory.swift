import Bytes
import Cluster

/// After the end, what I3 rules out: a member comes back with another history where everything was committed, as a
/// folder that was restored from elsewhere has it. Nothing of it may be used, whether its group still counts on it
/// (rule 3) or not (rule 10), and the others must go on.
extension Simulation {
  /// In so many of 1,000 seeds. With a deliberate bug never: each is to be caught without it.
  private static let strays = 250

  func meetAnotherHistory() {
    var chance = Chance(seed: XXH64.hash(seed &+ 2))
    guard bug == nil, chance.permille(Self.strays),
      let primary = workers.first(where: { $0.name == record.primary }),
      let worker = workers.first(where: { record.secondaries.contains($0.name) }),
      // Where the primary has no log of it any more, it sends its tables instead.
      let last = worker.disk.log.last?.head, primary.disk.base.sn.next <= last.first
    else { return }
    let isDropped = chance.permille(500)
    crash(worker, forgets: false)
    guard worker.disk.log.last?.head == last else { return }
    count(.anotherHistory)
    note { "the last block of \(worker.name) is another one, and committed" }
    worker.disk.strayFromGroup()
    stray = worker.name
    if !isDropped { queue.add(.start(worker.place), at: now) }
    let until = now + 20_000_000
    while referee.failure == nil, let (at, event) = queue.next() {
      now = max(now, at)
      events += 1
      handle(event)
      if isDropped, worker.process == nil, !record.members.contains(worker.name) { start(worker) }
      guard record.primary != worker.name else {
        return referee.fail("\(worker.name) has another history, and is the primary")
      }
      let isWhole = record.members.count == replicas
      let serves = workers.contains { $0.name == record.primary && $0.process?.replica.activity == .active }
      // A snapshot takes the place of a log whose like the primary has no more: nothing of it is used either.
      let isReplaced = worker.disk.base.sn > last.last || worker.disk.base == last.mark
      // Another worker may have taken its place before it was asked to.
      if serves, isReplaced || (!record.members.contains(worker.name) && (isStrayFound || isWhole)) { return }
      if now > until { referee.fail("\(worker.name) has another history, and nobody says so") }
    }
  }
}
