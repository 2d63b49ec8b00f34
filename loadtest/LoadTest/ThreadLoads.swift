import Foundation
import LarisClient

/// How busy this process's threads are: whether the generator itself is what limits a run.
package struct ThreadLoads: Sendable {
  package struct Load: Sendable, Equatable, Codable {
    package let thread: String
    /// Shares of the time between the two readings: computing, and waiting for a core to compute on.
    package let computing: Double
    package let waiting: Double
  }

  private struct Reading {
    var name: String
    var computed: UInt64
    var waited: UInt64
  }

  private let at: Int64
  private let readings: [String: Reading]

  /// Reads now, from `/proc/self/task`; a kernel without scheduler statistics gives nothing.
  package init() {
    at = Pipeline.now()
    var readings: [String: Reading] = [:]
    let tasks = "/proc/self/task"
    for task in (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? [] {
      guard let text = try? String(contentsOfFile: "\(tasks)/\(task)/schedstat", encoding: .utf8),
        let name = try? String(contentsOfFile: "\(tasks)/\(task)/comm", encoding: .utf8)
      else { continue }
      let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
      guard numbers.count >= 2 else { continue }
      readings[task] = Reading(
        name: name.trimmingCharacters(in: .whitespacesAndNewlines), computed: numbers[0], waited: numbers[1])
    }
    self.readings = readings
  }

  /// What the threads that were there at both readings did since the earlier one, busiest first.
  package func since(_ earlier: ThreadLoads) -> [Load] {
    let nanoseconds = Double(max(1, at - earlier.at)) * 1_000
    return readings.compactMap { task, now in
      guard let before = earlier.readings[task] else { return nil }
      return Load(
        thread: now.name, computing: Double(now.computed &- before.computed) / nanoseconds,
        waiting: Double(now.waited &- before.waited) / nanoseconds)
    }.sorted { ($0.computing + $0.waiting, $0.thread) > ($1.computing + $1.waiting, $1.thread) }
  }
}
