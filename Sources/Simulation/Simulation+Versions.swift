import Cluster

/// Workers that get a newer program, one at a time: rule 17.
extension Simulation {
  static let latestRules: UInt16 = 2

  /// Before a process starts.
  func upgradeByChance(_ worker: Worker) {
    guard worker.rules < Self.latestRules, versions.permille(upgrades) else { return }
    install(worker)
  }

  private func install(_ worker: Worker) {
    count(.upgraded)
    worker.rules = Self.latestRules
    note { "\(worker.name) knows rules \(worker.rules) from now on" }
  }

  /// Ends what runs, and starts the newer program.
  ///
  /// - Parameter isOutdated: it met a version that it does not know.
  func upgrade(_ worker: Worker, isOutdated: Bool) {
    if isOutdated {
      count(.outdated)
      note { "\(worker.name) meets rules that it does not know" }
      if worker.rules == Self.latestRules {
        referee.fail("\(worker.name) knows all rules, and stops for one")
      }
    }
    guard worker.rules < Self.latestRules else { return }
    install(worker)
    crash(worker, forgets: false)
    queue.add(.start(worker.place), at: now + Int64(versions.pick([3_000, 100_000, 700_000])))
  }

  /// At the end of trouble, by an operator who waits a moment after each.
  func upgradeAll() {
    guard upgrades > 0 else { return }
    for (place, worker) in workers.enumerated() where worker.rules < Self.latestRules {
      queue.add(.upgrade(worker.place), at: now + Int64(place + 1) * 400_000)
    }
  }

  /// Who is counted on knows what holds.
  func checkRules() {
    for worker in workers where worker.rules < referee.rules && record.members.contains(worker.name) {
      referee.fail("rule 17: \(worker.name) is a member, and does not know rules \(referee.rules)")
    }
  }
}
