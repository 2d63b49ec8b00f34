import Foundation
import LarisClient
import LarisProtocol
import Testing

/// What the answer to a `Resolve` says of the request that it asks about.
struct ResolveTests {
  private func asked(_ outcome: Laris_Outcome, _ code: Laris_Code = .ok) -> LarisClient.Outcome {
    .done(
      .with {
        $0.outcome = .done
        $0.resolved.reply = .with {
          $0.outcome = outcome
          $0.code = code
        }
      })
  }

  private func name(_ fate: LarisClient.Fate) -> String {
    switch fate {
    case .answered(let reply): "answered \(reply.outcome)"
    case .sealed: "sealed"
    case .unsettled: "unsettled"
    }
  }

  @Test func `a request was answered, is sealed, or can't be told of now`() {
    #expect(name(LarisClient.fate(asked(.done))) == "answered done")
    #expect(name(LarisClient.fate(asked(.no, .outOfStock))) == "answered no")
    #expect(name(LarisClient.fate(asked(.no, .requestSealed))) == "sealed")
    #expect(name(LarisClient.fate(asked(.unknown))) == "unsettled")
    #expect(name(LarisClient.fate(asked(.notExecuted, .busy))) == "unsettled")
    // A reply to Resolve itself is never one of the request.
    #expect(name(LarisClient.fate(.done(Laris_Reply()))) == "unsettled")
    #expect(name(LarisClient.fate(.no(.with { $0.code = .invalidArgument }))) == "unsettled")
    #expect(name(LarisClient.fate(.notExecuted(nil))) == "unsettled")
    #expect(name(LarisClient.fate(.unknown(Data(), nil))) == "unsettled")
  }

  @Test func `of many partitions the one that knows is believed, and sealed takes all of them`() {
    let answered = LarisClient.fate(asked(.done))
    let sealed = LarisClient.fate(asked(.no, .requestSealed))
    let unsettled = LarisClient.fate(.notExecuted(nil))
    #expect(name(LarisClient.merged([sealed, unsettled, answered])) == "answered done")
    #expect(name(LarisClient.merged([sealed, sealed])) == "sealed")
    #expect(name(LarisClient.merged([sealed, unsettled, sealed])) == "unsettled")
    #expect(name(LarisClient.merged([])) == "unsettled")
  }
}
