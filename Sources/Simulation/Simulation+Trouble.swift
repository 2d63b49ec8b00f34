import Cluster
import Replication

/// Chaos, and its end.
extension Simulation {
  func trouble() {
    guard !isMended else { return }
    queue.add(.trouble, at: now + 1_000 + Int64(chance.below(Int(mix.pace) * 2)))
    let worker = chance.pick(workers)
    switch chance.below(10) {
    case 0, 1:
      guard mix.crashes, worker.process != nil else { return }
      count(.crash)
      let forgets = mix.forgets
      if forgets { count(.unsyncedForgotten) }
      let mayBeDamaged = isSpare(worker)
      crash(worker, forgets: forgets)
      var isDamaged = false
      if mix.bitFlips, mayBeDamaged, chance.permille(700) {
        isDamaged = true
        count(.bitFlip)
        worker.disk.isDamaged = true
        // What the log had is not to be relied on: some of what it acknowledged is gone.
        damage(worker)
      }
      queue.add(
        .start(worker.place), at: now + Int64(chance.pick([3_000, 30_000, 150_000, 400_000, 2_000_000])))
      // Everybody's power goes.
      if chance.permille(isDamaged ? 500 : 150) {
        for other in workers where other.process != nil {
          crash(other, forgets: forgets)
          queue.add(.start(other.place), at: now + Int64(chance.pick([3_000, 50_000, 400_000, 1_500_000])))
        }
      }
    case 2, 3:
      guard mix.pauses, worker.process != nil else { return }
      count(.paused)
      worker.pausedUntil = now + Int64(chance.pick([20_000, 120_000, 190_000, 260_000, 700_000, 2_500_000]))
      note { "\(worker.name) is paused until \(worker.pausedUntil)" }
    case 4, 5:
      guard mix.cuts, workers.count > 1 else { return }
      let length = Int64(chance.pick([30_000, 170_000, 250_000, 900_000, 2_000_000]))
      let other = (worker.place + 1 + chance.below(workers.count - 1)) % workers.count
      switch chance.below(3) {
      case 0:
        count(.oneWayCut)
        cutLink(worker.place, other, length)
      case 1:
        count(.pairCut)
        cutLink(worker.place, other, length)
        cutLink(other, worker.place, length)
      default:
        count(.isolated)
        for place in workers.indices where place != worker.place {
          cutLink(worker.place, place, length)
          cutLink(place, worker.place, length)
        }
      }
    case 6:
      guard mix.clockJumps else { return }
      count(.clockJump)
      worker.wallOffset += Int64(chance.pick([-3_000, -500, 300, 1_500, 4_000]))
      worker.wallOffset = max(-6_000, min(6_000, worker.wallOffset))
      note { "\(worker.name)'s clock is \(worker.wallOffset) ms off" }
    case 7:
      guard mix.diskFull else { return }
      count(.diskFull)
      worker.disk.fullUntil = now + Int64(chance.pick(50_000...3_000_000))
      note { "\(worker.name)'s disk is full" }
    case 8:
      guard mix.managerAway, !managerIsAway else { return }
      count(.managerAway)
      managerIsAway = true
      note { "the manager is away" }
      queue.add(.mend(.manager), at: now + Int64(chance.pick(50_000...2_000_000)))
    default:
      guard mix.falseAlarms, worker.process != nil else { return }
      count(.falseAlarm)
      for other in workers where other !== worker {
        queue.add(.broke(other.place, worker.place), at: now + Int64(chance.below(2_000)))
      }
    }
  }

  private func cutLink(_ from: Int, _ to: Int, _ length: Int64) {
    note { "the link from \(self.workers[from].name) to \(self.workers[to].name) is cut for \(length)" }
    cut[from][to] = true
    queue.add(.mend(.link(from, to)), at: now + length)
  }

  /// Whether the group can do without its data: the others have theirs, and are more than one.
  private func isSpare(_ worker: Worker) -> Bool {
    guard record.primary != worker.name, !workers.contains(where: { $0.disk.isDamaged }) else { return false }
    return record.members.count >= 3 || !record.members.contains(worker.name)
  }

  private func damage(_ worker: Worker) {
    let written = worker.disk.place(after: worker.disk.tables.applied)
    let kept = written + chance.below(worker.disk.log.count - written + 1)
    if kept < worker.disk.log.count {
      let mark = kept == 0 ? worker.disk.base : worker.disk.log[kept - 1].head.mark
      guard mark.sn >= worker.disk.tables.applied else { return }
      worker.disk.cut(to: mark)
      worker.disk.forgetGhost()
    }
  }

  /// Everything works again.
  func mend() {
    isMended = true
    note { "everything is mended" }
    managerIsAway = false
    for from in workers.indices { for to in workers.indices { cut[from][to] = false } }
    for worker in workers {
      worker.pausedUntil = 0
      worker.wallOffset = 0
      worker.disk.fullUntil = 0
      if worker.process == nil { queue.add(.start(worker.place), at: now + Int64(chance.below(50_000))) }
    }
  }
}
