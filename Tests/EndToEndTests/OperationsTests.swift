import Cluster
import Foundation
import LarisClient
import LarisProtocol
import TestSupport
import Testing

/// What operators do to a cluster, and what it does by itself for them.
extension EndToEndTests {
  @Test
  func `below the least number of replicas writes are refused with a reason, reads go on, and it recovers`()
    throws
  {
    let run = try HandRun(replicas: 3, workers: 3, partitions: 1)
    try run.sell()
    let primary = try run.partition(0).primary
    let others = run.names.filter { $0 != primary }
    for name in others { run.kill(name) }
    let hasty = try LarisClient(dispatcher: run.dispatcher.services, budgetMilliseconds: 1_000)
    var refused: Laris_Reply?
    try run.wait("writes are refused") {
      // Nothing of what is refused is ever done.
      guard case .notExecuted(let reply?) = try hasty.call(HandRun.adjustment(of: run.shops[0])) else {
        throw Problem("it was not refused")
      }
      refused = reply
      return reply.code == .tooFewReplicas
    }
    #expect(
      refused?.message.contains("Too few replicas") == true && refused?.next.contains("same id") == true)
    #expect(refused?.retryAfterMilliseconds == 1_000)
    #expect(try run.stock(run.shops[0]) == run.sold[run.shops[0]])
    let row = try run.partition(0)
    #expect(row.active && row.primary == primary && row.inSync == 1)
    try run.laris(["status"], 1, "refuses writes: it has 1 of 3 replicas, and an answer needs 2")
    // Of those that were dropped one is enough.
    try run.start(others[0])
    try run.sell()
    #expect(try run.partition(0).inSync >= 2)
    try run.start(others[1])
    try run.waitUntilHealthy()
    try run.check()
  }

  @Test func `primaries that piled up while a worker was away come back by themselves, and history says why`()
    throws
  {
    let run = try HandRun(replicas: 3, workers: 3, partitions: 6, options: ["--rebalance-after", "2"])
    for name in run.names.dropLast() {
      run.kill(name)
      try run.wait("others lead what \(name) led") {
        try run.dispatcher.status().partitions.allSatisfy { $0.active && $0.primary != name }
      }
      try run.start(name)
      try run.sell(1)
    }
    try run.wait("each leads two") {
      try run.sell(1)
      let leads = Dictionary(
        try run.dispatcher.status().partitions.map { ($0.primary, 1) }, uniquingKeysWith: +)
      return leads == ["worker-1": 2, "worker-2": 2, "worker-3": 2]
    }
    try run.waitUntilHealthy()
    let histories = try (0..<6).map { try run.dispatcher.laris(["status", "--history", "\($0)"]).output }
    #expect(histories.contains { $0.contains("; rebalanced: worker-3 leads") }, "\(histories)")
    try run.check()
  }

  @Test func `a worker that will never come back is taken out, unless it is needed, and can be taken back`()
    throws
  {
    let run = try HandRun(replicas: 2, workers: 3, partitions: 3)
    try run.sell()
    try run.laris(["worker", "remove", "worker-9"], 1, "There is no worker 'worker-9'")
    try run.laris(["worker", "remove", "worker-3"], 1, "worker-3 is alive")
    try run.laris(["worker", "drain", "worker-3"], 0, "done")
    run.stop("worker-3")
    try run.laris(["worker", "remove", "worker-3"], 0, "is not of this cluster any more")
    try run.laris(["worker", "remove", "worker-3"], 0)
    try run.wait("it is not listed") {
      try run.dispatcher.status().workers.allSatisfy { $0.node != "worker-3" }
    }
    try run.laris(["worker", "drain", "worker-3"], 1, "was taken out of the cluster")
    try run.laris(["partition", "move", "0", "--from", "worker-1", "--to", "worker-3"], 1, "was taken out")
    // Whoever comes under the name, over a restart of the dispatcher too.
    run.dispatcher.kill()
    try run.dispatcher.start()
    try run.start("worker-3")
    #expect(try run.end(of: "worker-3") == 1)
    #expect(run.said("worker-3").contains("laris worker remove worker-3 --undo"), "\(run.said("worker-3"))")
    try run.laris(["worker", "remove", "worker-3", "--undo"], 0, "may come back")
    try run.start("worker-3")
    try run.wait("it is back") {
      try run.dispatcher.status().workers.contains { $0.node == "worker-3" && $0.alive && !$0.draining }
    }
    try run.waitUntilHealthy()
    try run.check()
  }

  @Test func `a worker that alone has a partition is not taken out`() throws {
    let run = try HandRun(replicas: 1, workers: 2, partitions: 2)
    let only = try run.partition(1).primary
    run.kill(only)
    try run.wait("it is away") { try !run.dispatcher.status().workers.first { $0.node == only }!.alive }
    try run.laris(
      ["worker", "remove", only], 1, "\(only) is a member of partitions 1; nobody else has all of 1")
    try run.start(only)
    try run.waitUntilHealthy()
    try run.check()
  }

  @Test func `a lost configuration is made anew by the workers' folders, and nothing is missing`() throws {
    let run = try HandRun(replicas: 3, workers: 3, partitions: 3)
    try run.sell()
    // worker-3 falls behind, and out of every group.
    run.kill("worker-3")
    try run.wait("it is in no group") {
      try run.dispatcher.status().partitions.allSatisfy { row in
        row.active && !row.members.contains { $0.node == "worker-3" && $0.role != "learner" }
      }
    }
    try run.sell()
    run.dispatcher.kill()
    try FileManager.default.removeItem(atPath: run.dispatcher.folder.path + "/dispatcher")
    run.kill("worker-2")
    let data = run.dispatcher.folder.path + "/dispatcher"
    func recover(_ workers: [String], _ more: [String] = []) throws -> Run {
      try Run.program(
        "laris",
        ["cluster", "recover", "--data", data] + workers.flatMap { ["--worker", run.data(of: $0)] } + more)
    }
    let early = try recover(run.names)
    #expect(early.exit == 1 && early.errors.contains("stop all workers first"), "\(early)")
    run.kill("worker-1")

    // Without the one that was dropped: it is only asked for. Without a member: nobody can know.
    let some = try recover(["worker-1", "worker-2"])
    #expect(some.exit == 1 && some.errors.contains("the cluster had worker-3 too"), "\(some)")
    let less = try recover(["worker-1", "worker-3"], ["--without", "worker-2"])
    #expect(less.exit == 1 && less.output.contains("worker-2 of e"), "\(less)")
    #expect(less.output.contains("or choose with --restart 0=WORKER"), "\(less)")
    let dry = try recover(["worker-1", "worker-2"], ["--without", "worker-3", "--dry-run"])
    #expect(dry.exit == 0 && dry.output.contains("nothing that was answered is missing"), "\(dry)")
    #expect(!FileManager.default.fileExists(atPath: data))
    let stale = try recover(run.names, ["--dry-run", "--restart", "0=worker-3"])
    #expect(stale.exit == 0 && stale.output.contains("which is no member of e"), "\(stale)")

    let made = try recover(run.names)
    #expect(
      made.exit == 0 && made.output.contains("is recovered from worker-1, worker-2, worker-3"), "\(made)")
    #expect(try recover(run.names).errors.contains("holds a cluster already"))
    try run.dispatcher.start()
    for name in run.names { try run.start(name) }
    try run.waitUntilHealthy()
    try run.check()
    try run.sell()
    try run.check()
    let status = try run.dispatcher.status()
    #expect(status.clusterID == run.dispatcher.cluster)
    #expect(status.partitions.allSatisfy { $0.epoch > Recovery.leap && $0.primary != "worker-3" })
    try run.laris(["status", "--history", "0"], 0, "recovered from worker-")
    try run.laris(["status", "--history", "0"], 0, "laris cluster recover")
  }

  @Test func `a partition whose members are all lost goes on from an old replica only by an operator's word`()
    throws
  {
    let run = try HandRun(replicas: 2, workers: 2, partitions: 1)
    try run.sell()
    let row = try run.partition(0)
    let (primary, old) = (row.primary, row.members.first { $0.node != row.primary }!.node)
    let restart = ["partition", "restart-from", "0", "--node", old]
    run.stop(old)
    try run.wait("\(old) is dropped") {
      try run.partition(0).members.filter { $0.role != "learner" }.count == 1
    }
    let kept = run.sold[run.shops[0]]!
    try run.sell()
    try run.wait("\(primary) has told of it") {
      try run.partition(0).committed >= UInt64(run.sold[run.shops[0]]!) + 2
    }
    try run.laris(restart, 1, "\(primary) is alive, and a member of partition 0")
    run.kill(primary)
    try run.start(old)
    try run.wait("\(primary) is away, \(old) is there") {
      let workers = try run.dispatcher.status().workers
      return workers.contains { $0.node == old && $0.alive }
        && workers.contains { $0.node == primary && !$0.alive }
    }
    #expect(try !run.partition(0).active)
    try run.laris(["partition", "restart-from", "0", "--node", primary], 1, "\(primary) is away")
    try run.laris(restart, 1, "--accept-loss 0")
    try run.laris(restart, 1, "and maybe later ones are lost")
    #expect(try !run.partition(0).active, "telling changes nothing")
    let restarted = try run.dispatcher.laris(restart + ["--accept-loss", "0"])
    #expect(
      restarted.exit == 0 && restarted.output.contains("partition 0 goes on from \(old), which has entry ")
        && restarted.output.contains(" and maybe later ones are lost") && restarted.output.contains("done"),
      "\(restarted)")
    #expect(try run.stock(run.shops[0]) == kept, "what the old one had")
    try run.laris(["audit"], 0, "clean: the books balance")
    try run.laris(["status", "--history", "0"], 0, "an operator restarts it from \(old)")
    try run.done { $0.adjustStock = HandRun.adjustment(of: run.shops[0]).adjustStock }
    #expect(try run.stock(run.shops[0]) == kept + 1)

    // Rule 10: who had more comes back, and what only it has is kept.
    try run.start(primary)
    try run.waitUntilHealthy()
    #expect(try run.partition(0).primary == old && run.stock(run.shops[0]) == kept + 1)
    let folders = try FileManager.default.contentsOfDirectory(atPath: run.data(of: primary) + "/partitions")
    let aside = try #require(folders.first { $0.hasPrefix("0000.diverged-") }, "\(folders)")
    let log = run.data(of: primary) + "/partitions/\(aside)/log"
    let dumped = try Run.program("laris", ["log", "dump", log, "--from", "\(kept + 2)"])
    #expect(dumped.exit == 0 && dumped.output.contains("adjustStock"), "\(dumped)")
    try run.laris(["audit"], 0, "clean: the books balance")
  }
}
