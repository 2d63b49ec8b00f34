import Foundation
import LarisClient
import LarisProtocol
import Testing

/// What a caller is told where dispatchers refuse, are silent or are not there.
struct OutcomeTests {
  /// Nobody listens on port 9.
  private static let nobody = "tcp://127.0.0.1:9"

  private static let full = Laris_Reply.with {
    $0.outcome = .notExecuted
    $0.code = .diskFull
    $0.retryAfterMilliseconds = 100
  }

  private static let done = Laris_Reply.with { $0.outcome = .done }

  private func client(_ dispatchers: [String], budget: Int64 = 1_500) throws -> LarisClient {
    var options = LarisClient.Options()
    options.connectDeadlineMilliseconds = 600
    options.attemptMilliseconds = 300
    options.budgetMilliseconds = budget
    return try LarisClient(dispatchers: dispatchers, options: options)
  }

  private func requests(_ count: Int) -> [Laris_Request] {
    (0..<count).map { _ in .with { $0.getShop.shopID = 1 } }
  }

  @Test func `what every attempt was refused was not executed, and the refusal is told`() throws {
    let dispatcher = FakeDispatcher(Self.full)
    for dispatchers in [[dispatcher.endpoint], [dispatcher.endpoint, Self.nobody]] {
      let before = dispatcher.heard
      for outcome in try client(dispatchers).call(requests(3)) {
        guard case .notExecuted(let reply?) = outcome else {
          Issue.record("\(outcome)")
          continue
        }
        #expect(reply.code == .diskFull)
      }
      #expect(dispatcher.heard - before >= 6, "it was asked again")
    }
  }

  @Test func `refusals after an attempt that nobody answered leave a doubt`() throws {
    let deaf = FakeDispatcher(nil)
    let full = FakeDispatcher(Self.full)
    let outcome = try client([deaf.endpoint, full.endpoint]).call(requests(1)[0])
    guard case .unknown(let id, let reply?) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(id.count == 16)
    #expect(reply.code == .diskFull)
    #expect(deaf.heard > 0 && full.heard > 0)
  }

  @Test func `where one never answers and the other refuses the connection, the budget ends it in doubt`()
    throws
  {
    let deaf = FakeDispatcher(nil)
    for dispatchers in [[deaf.endpoint, Self.nobody], [Self.nobody, deaf.endpoint]] {
      let began = ContinuousClock.now
      let outcome = try client(dispatchers).call(requests(1)[0])
      guard case .unknown(let id, nil) = outcome else {
        Issue.record("\(outcome)")
        continue
      }
      #expect(id.count == 16)
      #expect(ContinuousClock.now - began >= .milliseconds(1_490))
      #expect(ContinuousClock.now - began < .seconds(10))
    }
    #expect(deaf.heard >= 2)
  }

  @Test func `where one never answers, the one behind those that refuse the connection serves`() throws {
    let deaf = FakeDispatcher(nil)
    let served = FakeDispatcher(Self.done)
    let client = try client([Self.nobody, deaf.endpoint, Self.nobody, served.endpoint], budget: 30_000)
    for outcome in try client.call(requests(5)) {
      guard case .done = outcome else {
        Issue.record("\(outcome)")
        continue
      }
    }
    // It stays with the one that answers.
    let heard = deaf.heard
    guard case .done = try client.call(requests(1)[0]) else {
      Issue.record("it went elsewhere")
      return
    }
    #expect(deaf.heard == heard)
  }
}
