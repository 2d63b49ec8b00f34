/// How a thread that nobody waits for makes way for those that want a core or the disk. Times are microseconds.
///
/// All such threads of a process take a quarter of the machine's cores together, or one core where that is less. Each
/// rests a little besides after two milliseconds of work, so that whoever waits gets the core; and for twice as long as
/// it had to wait itself meanwhile, since others want what it wants. Not for longer than 24 times what it worked,
/// though: who reads keeps what was written since from being checkpointed.
///
/// Low priority does not do it. Where each process is a group of its own to the scheduler, as services and sessions
/// are, a thread that answers weighs next to nothing on a core where its group did little, beside threads of another
/// group that never rest: it waited for up to a second, and leases of half a second ended (docs/SPEED.md).
package struct Rests {
  private static let work: Int64 = 2_000
  private static let rest: Int64 = 250
  private static let restsForWait: Int64 = 2
  private static let restsForWorkMax: Int64 = 24

  private var begun: Int64
  private var ranBefore: Int64

  /// - Parameters:
  ///   - now: of a clock that runs on.
  ///   - ran: for how long the thread has had a processor.
  package init(now: Int64, ran: Int64) {
    begun = now
    ranBefore = ran
  }

  /// It has worked on.
  ///
  /// - Parameters:
  ///   - readers: how many such threads the process has, with this one.
  ///   - cores: the machine's.
  /// - Returns: for how long it is to sleep now; nil: not yet.
  package mutating func due(now: Int64, ran: Int64, readers: Int, cores: Int) -> Int64? {
    let worked = ran - ranBefore
    guard worked >= Self.work else { return nil }
    let waited = max(0, now - begun - worked)
    let atOnce = Int64(max(1, cores / 4))
    let forReaders = worked * max(0, Int64(readers) - atOnce) / atOnce
    let forOthers = min(Self.restsForWait * waited, Self.restsForWorkMax * worked)
    let length = Self.rest + forReaders + forOthers
    // What the sleep takes longer than that is a wait too, but for some tens of microseconds.
    begun = now + length
    ranBefore = ran
    return length
  }
}
