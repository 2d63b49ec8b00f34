/// What can go wrong, or is asked of a cluster that has trouble; counted as it happens.
package enum Fault: Int, CaseIterable, Sendable {
  case lost, repeated, reordered, delayed, oneWayCut, pairCut, isolated, split
  case crash, allCrash, unsyncedForgotten, tornTail, cutComesBack, bitFlip, diskFull, syncError, slowSync
  case threadStuck, deskAnswered, deskBeacon
  case paused, clockJump, drift
  case managerSlow, managerLostRequest, managerLostReply, managerLateChange, managerAway
  case hastyRestart, falseAlarm, deathProven, snapshotWanted, trimmed
  case dispatcherCrash, dispatcherPaused, lineBroke, lineCut, batchSentAgain, controllerChanged
  case connectionBroke, connectionCut, givenUpDenied, givenUpInDoubt
  case switchoverAsked, drainAsked, moveAsked
  case upgraded, outdated
  case memoryFlip
  case anotherHistory
  case storageOutage
}

/// Swarm: each seed has its own mixture, with some kinds turned off. Chances are in 1,000.
struct FaultMix {
  var lost = 0
  var repeated = 0
  var reordered = false
  var delayed = 0
  var cuts = false
  var crashes = false
  var forgets = false
  var bitFlips = false
  var diskFull = false
  var syncErrors = 0
  var slowSync = 0
  /// Syncs during which the partition's thread does nothing else, and others do.
  var stuckThreads = 0
  /// Whether beacons have a thread of their own.
  var hasDesks = true
  var pauses = false
  var clockJumps = false
  var drifts = false
  var manager = 0
  var managerAway = false
  var falseAlarms = false
  var proofs = false
  var shortLogs = false
  var operators = false
  var dispatchers = false
  /// Of connections between dispatchers and workers, and of clients': how often one breaks at a message.
  var breaks = 0
  var lineCuts = false
  /// Primaries are silent for just longer than a grace; who proposes itself dies at that, is back at once,
  /// and its proposal is carried out later.
  var hastyRestarts = false
  /// Nothing happens but that a primary and a dispatcher are cut off, in which nobody writes: so that reads
  /// there have nothing to wait for.
  var isCalm = false
  /// Microseconds between two big faults, about.
  var pace: Int64 = 300_000

  /// What happens at every message, sync and question, happens half as often.
  mutating func ease() {
    lost /= 2
    repeated /= 2
    delayed /= 2
    syncErrors /= 2
    slowSync /= 2
    stuckThreads /= 2
    manager /= 2
    breaks /= 2
  }

  private mutating func calmDown() {
    let drifts = drifts
    let hasDesks = hasDesks
    self = FaultMix()
    (isCalm, cuts, pace) = (true, true, 400_000)
    (self.drifts, self.hasDesks) = (drifts, hasDesks)
  }

  private init() {}

  init(_ chance: inout Chance) {
    func on(_ chance: inout Chance) -> Bool { chance.permille(600) }
    if on(&chance) { lost = chance.pick([2, 10, 50]) }
    if on(&chance) { repeated = chance.pick([5, 30]) }
    reordered = on(&chance)
    if on(&chance) { delayed = chance.pick([2, 20, 100]) }
    cuts = on(&chance)
    crashes = chance.permille(750)
    forgets = on(&chance)
    bitFlips = chance.permille(500)
    diskFull = chance.permille(300)
    if chance.permille(300) { syncErrors = 1 }
    if on(&chance) { slowSync = chance.pick([5, 30, 150]) }
    if chance.permille(500) { stuckThreads = chance.pick([1, 3, 10]) }
    hasDesks = chance.permille(800)
    pauses = on(&chance)
    clockJumps = on(&chance)
    drifts = on(&chance)
    if on(&chance) { manager = chance.pick([30, 120, 300]) }
    managerAway = chance.permille(400)
    falseAlarms = on(&chance)
    proofs = on(&chance)
    shortLogs = on(&chance)
    operators = on(&chance)
    dispatchers = on(&chance)
    if on(&chance) { breaks = chance.pick([1, 3, 10]) }
    lineCuts = on(&chance)
    pace = chance.pick([45_000, 110_000, 400_000])
    hastyRestarts = chance.permille(200)
    if hastyRestarts {
      proofs = false
      pace = 45_000
    }
    if chance.permille(80) { calmDown() }
  }
}
