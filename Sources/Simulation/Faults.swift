/// What can go wrong, counted as it does.
package enum Fault: Int, CaseIterable, Sendable {
  case lost, repeated, reordered, delayed, oneWayCut, pairCut, isolated
  case crash, unsyncedForgotten, bitFlip, diskFull, syncError, slowSync
  case paused, clockJump, drift
  case managerSlow, managerLostRequest, managerLostReply, managerLateChange, managerAway
  case falseAlarm, deathProven, snapshotWanted, trimmed, switchoverAsked, removalAsked
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
  var pauses = false
  var clockJumps = false
  var drifts = false
  var manager = 0
  var managerAway = false
  var falseAlarms = false
  var proofs = false
  var shortLogs = false
  var operators = false
  /// Microseconds between two big faults, about.
  var pace: Int64 = 300_000

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
    pauses = on(&chance)
    clockJumps = on(&chance)
    drifts = on(&chance)
    if on(&chance) { manager = chance.pick([30, 120, 300]) }
    managerAway = chance.permille(400)
    falseAlarms = on(&chance)
    proofs = on(&chance)
    shortLogs = on(&chance)
    operators = on(&chance)
    pace = chance.pick([60_000, 150_000, 500_000])
  }
}
