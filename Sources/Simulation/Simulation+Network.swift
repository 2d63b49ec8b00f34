import Bytes
import Cluster
import DispatcherCore

/// What lies between workers, and between them and dispatchers.
extension Simulation {
  // MARK: Workers

  func passes(_ from: Int, _ to: Int) -> Bool { !cut[from][to] }

  /// Anything may happen to a message: the protocol sends again.
  func send(_ bytes: [UInt8], from: Int, to: Int) {
    guard to < workers.count, passes(from, to) else { return }
    var copies = 1
    if !isMended {
      if chance.permille(mix.lost) {
        count(.lost)
        return
      }
      if chance.permille(mix.repeated) {
        count(.repeated)
        copies = 2
      }
    }
    for _ in 0..<copies {
      var at = now + Int64(chance.pick(80...400))
      if !isMended, chance.permille(mix.delayed) {
        count(.delayed)
        at += Int64(chance.pick(5_000...chance.pick([30_000, 180_000, 180_000, 600_000])))
      } else if !isMended, mix.reordered {
        at += Int64(chance.below(3_000))
        if at < linkFreeAt[from][to] { count(.reordered) }
      } else {
        at = max(at, linkFreeAt[from][to])
      }
      linkFreeAt[from][to] = max(linkFreeAt[from][to], min(at, now + 5_000))
      queue.add(.deliver(from: from, to: to, bytes), at: at)
    }
  }

  // MARK: Workers and dispatchers

  // A connection keeps the order, and is slow now and then. When it breaks, what is on its way is lost, and
  // for a while nothing is taken; while it is cut, everything is taken, and lost.

  private func takes(_ dispatcher: Int, _ worker: Int) -> Bool {
    dispatchers[dispatcher].process != nil && workers[worker].process != nil
      && now >= lines[dispatcher][worker].upAt
  }

  private func travel(_ freeAt: inout Int64) -> Int64 {
    var at = now + Int64(chance.pick(60...300))
    if !isMended, chance.permille(mix.delayed / 2) { at += Int64(chance.pick(5_000...400_000)) }
    freeAt = max(at, freeAt)
    return freeAt
  }

  private func mayBreak(_ dispatcher: Int, _ worker: Int) {
    guard !isMended, chance.permille(mix.breaks) else { return }
    count(.lineBroke)
    breakLine(dispatcher, worker, Int64(chance.pick(1_000...200_000)))
  }

  /// - Returns: false: there is no connection; nothing was sent.
  func send(_ frame: WorkerFrame, from worker: Worker, to place: Int) -> Bool {
    guard takes(place, worker.place) else { return false }
    guard !lines[place][worker.place].isCut else { return true }
    let dispatcher = dispatchers[place]
    let at = travel(&lines[place][worker.place].freeAt)
    queue.add(
      .fromWorker(
        place, dispatcher.incarnation, line: lines[place][worker.place].number, worker.place,
        worker.incarnation, frame), at: at)
    mayBreak(place, worker.place)
    return true
  }

  /// - Parameter incarnation: of the process that the connection was made by.
  /// - Returns: as above.
  func send(_ frame: DispatcherFrame, from dispatcher: Int, to place: Int, _ incarnation: UInt64) -> Bool {
    guard takes(dispatcher, place), workers[place].incarnation == incarnation else { return false }
    guard !lines[dispatcher][place].isCut else { return true }
    let at = travel(&lines[dispatcher][place].freeBackAt)
    queue.add(
      .toWorker(place, incarnation, dispatcher, line: lines[dispatcher][place].number, frame), at: at)
    mayBreak(dispatcher, place)
    return true
  }
}
