/// Tells of a partition's turns that took long, and what their time went to: who looks why orders waited finds the
/// disk, the processor or a step of ours there. Times are milliseconds of any clock that runs on.
package struct TurnWatch {
  /// What a turn does, in its order.
  package enum Stage: String, CaseIterable {
    case peers = "hearing the other replicas"
    case snapshots = "passing a snapshot"
    case batches = "taking batches"
    case configuration = "hearing of the configuration"
    case clock = "what was due"
    case activity = "becoming what it is now"
    case work = "working on a group and syncing it"
    case answers = "answering"
    case hello = "saying hello"
    case checkpoint = "copying a checkpoint"
    case audits = "auditing"
    case rest = "proving its log"
    /// It waits for news, as long as it is allowed: what is beyond, it stood still.
    case wait = "waking up"
  }

  /// A turn that took longer is told of.
  package static let longMilliseconds: Int64 = 100
  /// One is told of in so long, the longest.
  package static let quietMilliseconds: Int64 = 10_000
  /// What took less is not named.
  private static let namedMilliseconds: Int64 = 5

  private var stage: Stage?
  private var since: Int64 = 0
  private var spent: [Stage: Int64] = [:]
  private var ranBefore: Int64 = 0
  private var toldAt = Int64.min / 2
  /// Long ones that were not told of, and the longest of them.
  private var untold = 0
  private var longest: (took: Int64, until: Int64, sentence: String) = (0, 0, "")

  package init() {}

  /// The turn before is over, and the next one begins.
  ///
  /// - Parameter ran: for how long the thread has had a processor.
  /// - Returns: what is to be told, of the one before or an earlier one.
  package mutating func begin(now: Int64, ran: Int64) -> String? {
    leave(now)
    stage = nil
    defer {
      ranBefore = ran
      if !spent.isEmpty { spent.removeAll(keepingCapacity: true) }
    }
    let took = spent.values.reduce(0, +)
    if took > Self.longMilliseconds {
      untold += 1
      if took > longest.took { longest = (took, now, sentence(took, ran: ran - ranBefore)) }
    }
    guard untold > 0, now - toldAt >= Self.quietMilliseconds else { return nil }
    defer { (toldAt, untold, longest) = (now, 0, (0, 0, "")) }
    let seconds = (now - longest.until) / 1_000
    return longest.sentence + (seconds == 0 ? "" : "; \(seconds) s ago")
      + (untold == 1 ? "" : "; the longest of \(untold)")
  }

  private func sentence(_ took: Int64, ran: Int64) -> String {
    let parts = Stage.allCases.compactMap { stage in
      spent[stage].flatMap { $0 >= Self.namedMilliseconds ? "\($0) \(stage.rawValue)" : nil }
    }
    return "a turn took \(took) ms, \(ran) of them on a processor: " + parts.joined(separator: ", ")
  }

  /// From now on the turn does this.
  ///
  /// - Parameter allowed: for so long it does not count.
  package mutating func enter(_ next: Stage, allowed: Int64 = 0, now: Int64) {
    leave(now)
    stage = next
    since = now + allowed
  }

  private mutating func leave(_ now: Int64) {
    // Nearly all take less than a millisecond.
    if let stage, now > since { spent[stage, default: 0] += now - since }
  }
}
