import Foundation
import LarisClient
import LarisProtocol
import Testing
import Wire

/// A process that stood still and does not know it.
extension EndToEndTests {
  private static func request(_ make: (inout Laris_Request) -> Void) -> Laris_Request {
    var request = Laris_Request()
    request.requestID = LarisClient.newRequestID()
    make(&request)
    return request
  }

  @Test
  func `a frozen primary that wakes after its group has moved on answers nothing and rejoins as a learner`()
    throws
  {
    let dispatcher = try MuteDispatcher()
    let run = try HandRun(
      replicas: 2, workers: 2, partitions: 1, furtherDispatchers: [dispatcher.endpoint])
    let history = run.dispatcher.folder.path + "/history"
    let load = try Programs.start(
      "laris-loadtest",
      [
        "run", "--dispatcher", run.dispatcher.services, "--seconds", "10", "--rate", "300", "--shops", "50",
        "--history", history,
      ], appendingTo: run.dispatcher.folder.path + "/load.log")
    defer { if load.isRunning { load.terminate() } }
    try run.wait("it sells") { try run.partition(0).orders > 100 }
    try run.sell()
    let before = try run.partition(0)
    let pid = try run.pid(of: before.primary)
    var link: [UInt8]?
    try dispatcher.listen(until: "\(before.primary) says that it serves") {
      link = dispatcher.connection(of: 0, on: before.primary, in: before.epoch)
      return link != nil
    }
    let connection = try #require(link)
    let shop = run.shops[0]

    /// That this epoch is over. A replica that is no primary yet says so of earlier ones.
    func saysThatItIsOver() throws -> Bool {
      try dispatcher.heard(.stale, from: connection).contains { frame in
        try frame.withUnsafeBytes { try StaleFrame($0) }.epoch.rawValue > before.epoch
      }
    }

    // What would be answered, were it awake: the connection takes batches.
    let fresh = Self.request { $0.getSku = .with { ($0.shopID, $0.skuID) = (shop, 1) } }
    try dispatcher.send(fresh, to: connection, 0, epoch: before.epoch)
    try dispatcher.listen(until: "a read is answered") {
      !dispatcher.heard(.answers, from: connection).isEmpty
    }
    let answered = dispatcher.heard(.answers, from: connection).count
    #expect(try answered == 1 && !saysThatItIsOver())

    Foundation.kill(pid, SIGSTOP)
    var isAwake = false
    defer { if !isAwake { Foundation.kill(pid, SIGCONT) } }
    try run.wait("the group has moved on") {
      let row = try run.partition(0)
      return row.active && row.epoch > before.epoch && row.primary != before.primary
    }
    try run.sell()
    // Both would be wrong by now: a read of what is over, and a write that nobody else has.
    let read = Self.request { $0.getSku = .with { ($0.shopID, $0.skuID) = (shop, 1) } }
    let write = Self.request {
      $0.adjustStock = .with { ($0.shopID, $0.skuID, $0.delta) = (shop, 1, 1_000_000) }
    }
    for request in [read, write] { try dispatcher.send(request, to: connection, 0, epoch: before.epoch) }
    let saidBefore = run.said(before.primary).count
    Foundation.kill(pid, SIGCONT)
    isAwake = true
    try dispatcher.listen(until: "\(before.primary) says that the epoch is over") {
      try saysThatItIsOver()
    }

    try run.waitUntilHealthy()
    try run.sell()
    load.waitUntilExit()
    #expect(load.terminationStatus == 0)
    try dispatcher.listen(until: "what was said is heard") { true }
    #expect(dispatcher.heard(.answers, from: connection).count == answered, "nothing was answered since")
    #expect(try run.pid(of: before.primary) == pid, "it was not started again")

    // It was dropped, and is a member again as one that had to catch up.
    let said = try run.dispatcher.laris(["status", "--history", "0", "--json"])
    let changes = try Laris_GroupHistory(jsonString: said.output).changes.filter { $0.epoch > before.epoch }
    let other = try #require(run.names.first { $0 != before.primary })
    #expect(changes.first?.primary == other && changes.first?.secondaries == [], "\(said.output)")
    let back = try #require(changes.first { $0.secondaries.contains(before.primary) }, "\(said.output)")
    #expect(back.primary == other && back.why == "\(before.primary) has caught up", "\(said.output)")
    #expect(run.said(before.primary).contains("partition 0 is learner"))
    try run.wait("it says that it stood still") {
      run.said(before.primary).dropFirst(saidBefore).contains("partition 0: a turn took ")
    }

    try run.check()
    let audit = try run.dispatcher.laris(["audit", "--history", history])
    #expect(audit.exit == 0 && audit.output.contains("2 replicas equal at entry "), "\(audit)")
  }
}
