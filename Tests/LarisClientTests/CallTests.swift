import Foundation
import LarisClient
import LarisProtocol
import Testing

/// What a caller gets wrong is said before anything is sent.
struct CallTests {
  /// Nobody listens on port 9.
  private let nobody = "tcp://127.0.0.1:9"

  private func failure(_ body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return "none"
  }

  @Test func `a fault of the caller is named`() throws {
    #expect(failure { _ = try LarisClient(dispatchers: []) } == "the list of dispatchers is empty")
    #expect(
      failure { _ = try LarisClient(dispatchers: [nobody, "nonsense"]) }
        == "nonsense is no address; it should look like tcp://127.0.0.1:12120")
    var options = LarisClient.Options()
    options.budgetMilliseconds = 0
    #expect(
      failure { _ = try LarisClient(dispatchers: [nobody], options: options) }
        == "budgetMilliseconds is 0; it must be 1 to 86400000")
    options = LarisClient.Options()
    options.channel = String(repeating: "é", count: 17)
    #expect(
      failure { _ = try LarisClient(dispatchers: [nobody], options: options) }
        == "channel has more than 32 bytes")

    let client = try LarisClient(dispatchers: [nobody])
    var request = Laris_Request()
    request.requestID = Data([1, 2, 3])
    request.getShop.shopID = 1
    #expect(
      failure { _ = try client.call([Laris_Request(), request]) }
        == "request 1: requestID has 3 bytes; it must have 16")
    #expect(failure { _ = try client.resolve(Data(), at: nil) }.contains("has 0 bytes; it must have 16"))
    let id = LarisClient.newRequestID()
    #expect(failure { _ = try client.resolve(id, at: .shop(0)) }.contains("a shop's id is never 0"))
    #expect(
      failure { _ = try client.resolve(id, at: .order(id + id)) }.contains("an order's id has 16 bytes"))
    #expect(try client.call([]).isEmpty)
  }

  @Test func `where nobody listens, nothing was done, and the deadline for a connection holds`() throws {
    var options = LarisClient.Options()
    options.connectDeadlineMilliseconds = 300
    options.budgetMilliseconds = 60_000
    let client = try LarisClient(dispatchers: [nobody, "tcp://127.0.0.1:10"], options: options)
    var request = Laris_Request()
    request.getShop.shopID = 1
    let began = ContinuousClock.now
    // Three messages' worth: the second and the third are not tried any more.
    let outcomes = try client.call(Array(repeating: request, count: 3_000))
    let took = ContinuousClock.now - began
    #expect(outcomes.count == 3_000)
    for outcome in outcomes {
      guard case .notExecuted(nil) = outcome else {
        Issue.record("\(outcome)")
        return
      }
    }
    #expect(took >= .milliseconds(290))
    #expect(took < .seconds(10))
  }

  @Test func `request ids are UUIDv7 of now`() {
    let ids = (0..<1_000).map { _ in LarisClient.newRequestID() }
    #expect(Set(ids).count == 1_000)
    let now = Int64(Date().timeIntervalSince1970 * 1_000)
    for id in ids {
      #expect(id.count == 16)
      #expect(id[6] >> 4 == 7)
      #expect(id[8] >> 6 == 2)
      let time = id.prefix(6).reduce(Int64(0)) { $0 << 8 | Int64($1) }
      #expect(abs(now - time) < 10_000)
    }
  }
}
