import Foundation
import LarisClient
import LarisProtocol
import Synchronization

/// Asks the cluster twice a second how far its checkpoints are behind, on a thread of its own.
///
/// The lag goes up and down with every checkpoint, so what is compared is the peak of five seconds.
package final class LagSampler: Sendable {
  package struct Sample: Sendable {
    /// Since the sampler's start.
    package let seconds: Double
    /// Entries that are committed and not yet in SQLite, over all partitions.
    package let entries: UInt64
  }

  private struct State {
    var samples: [Sample] = []
    var isStopping = false
  }
  private let state = Mutex(State())

  package init(dispatchers: [String]) {
    let began = Date()
    let thread = Thread { [self] in
      var options = LarisClient.Options()
      options.budgetMilliseconds = 1_000
      guard let client = try? LarisClient(dispatchers: dispatchers, options: options) else { return }
      while !state.withLock({ $0.isStopping }) {
        if let entries = Self.lag(client) {
          let sample = Sample(seconds: Date().timeIntervalSince(began), entries: entries)
          state.withLock { $0.samples.append(sample) }
        }
        usleep(500_000)
      }
    }
    thread.start()
  }

  /// The most that was behind between two times; nil: nobody answered then.
  package func peak(from: Double, to: Double) -> UInt64? {
    state.withLock { $0.samples.filter { $0.seconds >= from && $0.seconds <= to }.map(\.entries).max() }
  }

  package func stop() { state.withLock { $0.isStopping = true } }

  private static func lag(_ client: LarisClient) -> UInt64? {
    var request = Laris_Request()
    request.getStatus = Laris_GetStatus()
    guard case .done(let reply)? = try? client.call(request) else { return nil }
    return reply.status.partitions.reduce(0) { $0 + ($1.committed - min($1.committed, $1.checkpointed)) }
  }
}
