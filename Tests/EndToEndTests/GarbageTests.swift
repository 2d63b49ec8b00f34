import Foundation
import Fuzz
import LarisClient
import LarisProtocol
import Synchronization
import TestSupport
import Testing
import Wire

/// Garbage on every socket that listens: the node lives, and who is honest is served all the while.
@Suite(.serialized) struct GarbageTests {
  /// Of a process, in MiB.
  private static func memory(of pid: UInt32, _ what: String = "VmRSS") throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    let line = status.split(separator: "\n").first { $0.hasPrefix(what) }
    let number = line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }
    return try #require(number, "no \(what) of \(pid)") >> 10
  }

  /// A service that goes on asking, one request after the other.
  private final class Honest: Sendable {
    private struct State {
      var isOver = false
      var done = 0
      var failures: [String] = []
      var slowest = 0.0
    }
    private let state = Mutex(State())
    private let ended = DispatchSemaphore(value: 0)

    init(_ endpoint: String) {
      Thread.detachNewThread { [self] in
        defer { ended.signal() }
        guard let client = try? LarisClient(dispatcher: endpoint, budgetMilliseconds: 30_000) else { return }
        var shop: UInt64 = 1
        while !state.withLock({ $0.isOver }) {
          var request = Laris_Request()
          request.registerShop = .with {
            $0.shopID = shop
            $0.name = "Toko \(shop)"
          }
          shop += 1
          let began = Date()
          let answer = Result { try client.call(request) }
          state.withLock {
            $0.slowest = max($0.slowest, Date().timeIntervalSince(began))
            if case .success(.done) = answer { $0.done += 1 } else { $0.failures.append("\(answer)") }
          }
        }
      }
    }

    var done: Int { state.withLock { $0.done } }

    /// Until it was served so many times more.
    func wait(more: Int, within seconds: Double = 20) throws {
      let (goal, end) = (done + more, Date() + seconds)
      while done < goal {
        guard Date() < end else {
          throw Problem("an honest service was served \(done) times, wanted \(goal)")
        }
        usleep(1_000)
      }
    }

    func stop() -> (done: Int, failures: [String], slowest: Double) {
      state.withLock { $0.isOver = true }
      ended.wait()
      return state.withLock { ($0.done, $0.failures, $0.slowest) }
    }
  }

  /// One kind of attack on one endpoint. Connections are closed when it returns.
  private struct Attack: Sendable {
    let name: String
    let run: @Sendable (_ endpoint: String, _ random: inout SplitMix64) throws -> Void
  }

  private static let types = [
    "PUB", "PUSH", "PULL", "SUB", "REQ", "REP", "DEALER", "ROUTER", "PAIR", "XPUB", "?",
  ]

  private static let attacks: [Attack] = [
    Attack(name: "noise") { endpoint, random in
      for _ in 0..<60 { try RawPeer(endpoint).send(random.bytes(random.pick(1...3_000))) }
    },
    Attack(name: "half a greeting, and nothing more") { endpoint, random in
      let peers = try (0..<150).map { _ in try RawPeer(endpoint) }
      for peer in peers { peer.send([0xFF] + [UInt8](repeating: 0, count: random.pick(0...8))) }
      usleep(200_000)
    },
    Attack(name: "noise after the greeting") { endpoint, random in
      for _ in 0..<60 {
        let peer = try RawPeer(endpoint)
        peer.greet(as: "DEALER")
        peer.send(random.bytes(random.pick(1...3_000)))
      }
    },
    Attack(name: "sockets of every type") { endpoint, random in
      for type in types {
        let peer = try RawPeer(endpoint)
        peer.greet(as: type)
        for _ in 0..<20 {
          let frames = (0..<random.pick(1...4)).map { _ in random.bytes(random.pick(0...60)) }
          peer.send(RawPeer.message(frames))
        }
      }
    },
    Attack(name: "lengths that nobody has") { endpoint, random in
      let lengths: [UInt64] = [
        1 << 62, 1 << 63, .max, .max - 8, 1 << 40, 1 << 32, 1 << 31, (8 << 20) + 1,
      ]
      for length in lengths {
        for flags: UInt8 in [0, 1, 4] {
          let peer = try RawPeer(endpoint)
          peer.greet(as: "DEALER")
          peer.send(RawPeer.header(length: length, flags) + random.bytes(2_000))
        }
      }
    },
    Attack(name: "many frames, empty frames, large frames") { endpoint, random in
      for frames in [
        (0..<5_000).map { _ in [7] as [UInt8] }, (0..<5_000).map { _ in [] },
        [random.bytes((1 << 20) + 1)], [[], random.bytes((1 << 20) + 1)],
        (0..<20).map { _ in [UInt8](repeating: 9, count: 1 << 20) },
      ] {
        let peer = try RawPeer(endpoint)
        peer.greet(as: "DEALER")
        peer.send(RawPeer.message(frames))
        // The connection may still be read from: give it the time.
        usleep(50_000)
      }
    },
    Attack(name: "requests that were damaged") { endpoint, random in
      var commands = RandomCommands(random)
      let pool = (0..<30).map { _ in commands.request() }
      var mutator = Mutator(seed: random.next(), words: [])
      let peer = try RawPeer(endpoint)
      peer.greet(as: "DEALER")
      for _ in 0..<3_000 {
        let frames = (0..<random.pick([1, 1, 3])).map { _ in mutator.input(from: pool) }
        peer.send(RawPeer.message(random.chance(30) ? [[]] + frames : frames))
      }
      usleep(200_000)
    },
    Attack(name: "frames of workers that were damaged") { endpoint, random in
      let targets = ["frames", "node-messages"].compactMap { FuzzTargets.named($0) }
      let pool = try targets.flatMap { try $0.seeds(&random) }
      var mutator = Mutator(seed: random.next(), words: [])
      let peer = try RawPeer(endpoint)
      peer.greet(as: "DEALER")
      for _ in 0..<3_000 {
        var frame = mutator.input(from: pool)
        // Of this version, mostly.
        if frame.count > 2, random.chance(50) { frame[1] = FrameKind.version }
        peer.send(RawPeer.message(random.chance(5) ? [frame, frame] : [frame]))
      }
      usleep(200_000)
    },
    Attack(name: "messages of other workers that were damaged or are forged") { endpoint, random in
      guard let target = FuzzTargets.named("peer-messages") else { throw Problem("no such target") }
      let pool = try target.seeds(&random)
      var mutator = Mutator(seed: random.next(), words: [])
      let peer = try RawPeer(endpoint)
      peer.greet(as: "PUSH")
      for _ in 0..<3_000 {
        var message = random.chance(50) ? random.pick(pool) : mutator.input(from: pool)
        // Of a partition that is there, mostly.
        if message.count > 3 { (message[2], message[3]) = (UInt8(random.pick(0...3)), 0) }
        peer.send(RawPeer.message(random.chance(5) ? [message, message] : [message]))
      }
      usleep(200_000)
    },
  ]

  @Test func `a cluster under garbage on every port lives, counts it, and serves who is honest`() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SplitMix64(seed: seed)
    let cluster = try TestCluster(workers: 2, partitions: 4, options: ["--replicas", "2"])
    let before = try cluster.status()
    let endpoints = [cluster.services, cluster.workers] + before.workers.map(\.replication).prefix(1)
    #expect(endpoints.allSatisfy { $0.hasPrefix("tcp://127.0.0.1:") } && endpoints.count == 3)
    let pids = [before.dispatcher.pid] + before.workers.map(\.pid)
    let resting = try pids.map { try Self.memory(of: $0) }
    let honest = Honest(cluster.services)
    try honest.wait(more: 20)
    for attack in Self.attacks {
      for endpoint in endpoints {
        try attack.run(endpoint, &random)
        do { try honest.wait(more: 10) } catch {
          Issue.record("\(attack.name) at \(endpoint), seed \(seed): \(error)")
        }
      }
    }
    let (done, failures, slowest) = honest.stop()
    #expect(failures.isEmpty, "seed \(seed): \(failures.prefix(3))")
    #expect(done >= 20 + 10 * endpoints.count * Self.attacks.count)
    #expect(slowest < 10, "an honest request took \(slowest) s, seed \(seed)")

    let after = try cluster.status()
    #expect(
      after.dispatcher.pid == before.dispatcher.pid
        && after.dispatcher.incarnation == before.dispatcher.incarnation)
    let known = Dictionary(uniqueKeysWithValues: before.workers.map { ($0.node, $0) })
    for worker in after.workers {
      guard let old = known[worker.node] else { continue }  // A beacon of nobody.
      #expect(worker.pid == old.pid && worker.incarnation == old.incarnation && worker.alive, "seed \(seed)")
    }
    #expect(after.partitions.filter(\.active).count == 4, "seed \(seed)")
    #expect(
      after.dispatcher.malformed > before.dispatcher.malformed + 100, "malformed requests were not counted")
    for (pid, rest) in zip(pids, resting) {
      let (now, peak) = (try Self.memory(of: pid), try Self.memory(of: pid, "VmHWM"))
      #expect(now < rest + 256, "\(pid) had \(rest) MiB, and has \(now) after garbage, seed \(seed)")
      #expect(peak < rest + 512, "\(pid) had \(rest) MiB, and once \(peak), seed \(seed)")
    }
    let audit = try cluster.laris(["audit"])
    #expect(audit.exit == 0, "seed \(seed): \(audit.output) \(audit.errors)")
    #expect(cluster.stop() == 0)
  }
}
