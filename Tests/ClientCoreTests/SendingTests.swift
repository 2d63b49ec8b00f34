import ClientCore
import TestSupport
import Testing
import Wire

/// When requests are sent, together with which others, to whom, and when again.
struct SendingTests {
  // MARK: Pauses

  @Test(arguments: UInt64(1)...50) func `a pause is what was asked for and a part drawn at random`(
    seed: UInt64
  ) {
    let client = Client(seed: seed) {
      $0.backoffMilliseconds = 100
      $0.backoffMillisecondsMax = 1_600
      $0.budgetMilliseconds = 600_000
    }
    client.submit(1)
    client.flush()
    for attempt in 0..<8 {
      let asked = Int64(attempt % 3) * 70
      let at = client.now
      _ = client.takeSent()
      client.hear(.busy(1, retry: UInt32(max(1, asked))))
      while client.sent.isEmpty, client.now < at + 10_000 { client.pass(1) }
      let pause = client.now - at - max(1, asked)
      let whole = min(1_600, max(100, asked) << Int64(attempt))
      #expect(pause >= whole / 2 && pause <= whole + 1, "seed \(seed), attempt \(attempt): \(pause)")
    }
  }

  /// Whatever it is told to wait, 50 ms of a full queue or a second of a full disk. The shortest draws of all
  /// would make 15 attempts.
  @Test(arguments: UInt64(1)...50) func `a partition that is away for ten seconds is asked a few times`(
    seed: UInt64
  ) throws {
    for retry: UInt32 in [20, 50, 100, 200, 500, 1_000] {
      let client = Client(seed: seed)
      client.submit(1)
      client.flush()
      var attempts = 0
      var gaps: [Int64] = []
      var before = client.now
      while client.now < 11_000 {
        if !client.takeSent().isEmpty {
          attempts += 1
          gaps.append(client.now - before)
          before = client.now
          client.hear(.busy(1, retry: retry))
        }
        client.pass(10)
      }
      #expect(attempts <= 15, "seed \(seed), retry after \(retry): \(attempts)")
      #expect(
        gaps.dropFirst().allSatisfy { $0 >= Int64(retry) }, "seed \(seed), retry after \(retry): \(gaps)")
      // And once it is back, it is served soon.
      while client.takeSent().isEmpty, client.now < 20_000 { client.pass(10) }
      #expect(client.now <= 11_000 + Int64(retry) + 2_010, "seed \(seed), retry after \(retry)")
      client.hear(.done(1))
      #expect(client.finished[1]?.fate == .done)
    }
  }

  /// 2,000 requests a second for 1.4 seconds, each told to come back after 50 ms. Who does just that asks 14
  /// times on average.
  @Test func `those who wait for a partition soon cost less than those who come`() {
    let client = Client(seed: 7)
    var attempts = 0
    var number = 0
    while client.now < 2_400 {
      for _ in 0..<20 {
        number += 1
        client.submit(number)
      }
      client.pass(10)
      for message in client.takeSent() {
        attempts += message.requests.count
        client.hear(message.requests.map { .busy($0, retry: 50) })
      }
    }
    #expect(number == 2_800)
    #expect(attempts < 5 * number, "\(attempts) attempts of \(number) requests")
  }

  @Test func `pauses differ between clients`() {
    var pauses: Set<Int64> = []
    for seed in UInt64(1)...20 {
      let client = Client(seed: seed) { $0.backoffMilliseconds = 1_000 }
      client.submit(1)
      client.flush()
      _ = client.takeSent()
      client.hear(.busy(1))
      while client.sent.isEmpty, client.now < 10_000 { client.pass(1) }
      pauses.insert(client.now)
    }
    #expect(pauses.count > 10)
  }

  @Test func `a pause that is longer than what is left ends it, where nothing is open`() throws {
    let client = Client { $0.budgetMilliseconds = 5_000 }
    client.submit(1)
    client.submit(2)
    client.flush()
    client.hear(.busy(1, retry: 60_000))
    let over = try #require(client.finished[1])
    #expect(over.fate == .notExecuted)
    #expect(over.isGivenUp)
    // An open attempt may still be answered.
    client.pass(2_010)
    client.hear(.busy(2, retry: 60_000))
    #expect(client.finished[2] == nil)
    client.pass(2_000)
    client.hear(.done(2))
    #expect(client.finished[2]?.fate == .done)
  }

  // MARK: Order

  @Test func `what is sent again goes by age`() {
    let client = Client { $0.silenceMilliseconds = 1_000 }
    for number in 1...100 {
      client.submit(number)
      client.flush()
    }
    client.hear(.done(50))
    #expect(client.takeSent().flatMap(\.requests) == Array(1...100))
    client.pass(1_010)
    #expect(client.takeSent().flatMap(\.requests) == Array(1...100).filter { $0 != 50 })
  }

  @Test func `older requests go before new ones that wait, too`() {
    let client = Client { $0.silenceMilliseconds = 1_000 }
    client.submit(1)
    client.flush()
    client.isUp = false
    client.pass(100)
    client.submit(2)
    client.submit(3)
    client.pass(100)
    client.isUp = true
    client.pass(10)
    #expect(client.takeSent().flatMap(\.requests) == [1, 1, 2, 3])
  }

  @Test func `what one reply message turns away goes again together, in its order`() {
    let client = Client { $0.requestsPerMessageMax = 100 }
    for number in 1...6 { client.submit(number) }
    client.flush()
    client.hear(.done(1), .busy(2, retry: 300), .done(3), .busy(4), .noAnswer(5), .no(6))
    _ = client.takeSent()
    client.pass(1_000)
    let sent = client.takeSent()
    #expect(sent.map(\.requests) == [[2, 4, 5]])
    #expect(sent[0].at - 1_000 >= 325)
  }

  // MARK: Messages

  @Test func `a message has as many requests as the contract allows`() {
    let client = Client { $0.requestsPerMessageMax = 5_000 }
    for number in 1...2_500 { client.submit(number) }
    client.flush()
    #expect(client.sent.map(\.requests.count) == [1_024, 1_024, 452])
    #expect(client.takeSent().flatMap(\.requests) == Array(1...2_500))
    let single = Client()
    for number in 1...3 { single.submit(number) }
    single.flush()
    #expect(single.sent.map(\.requests) == [[1], [2], [3]])
  }

  @Test func `a message has as many bytes as the contract allows`() {
    let client = Client { $0.requestsPerMessageMax = 1_024 }
    let size = 1 << 20
    for number in 1...20 { client.submit(number, size: size) }
    client.submit(21, size: 9)
    client.flush()
    #expect(client.sent.map(\.requests) == [Array(1...8), Array(9...16), Array(17...21)])
    var room = MessageRoom()
    let taken = [WireLimits.messageBytesMax - 1, 1, 1].map { room.take($0) }
    #expect(taken == [true, true, false])
  }

  @Test(arguments: UInt64(1)...20) func `every request goes once, in order, within the limits`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let sizes = (0..<3_000).map { _ in random.chance(3) ? random.pick(1...WireLimits.requestBytesMax) : 8 }
    let client = Client(seed: seed) { $0.requestsPerMessageMax = 1_024 }
    for (number, size) in sizes.enumerated() { client.submit(number, size: max(8, size)) }
    client.flush()
    let sent = client.takeSent()
    #expect(sent.flatMap(\.requests) == Array(0..<3_000), "seed \(seed)")
    for message in sent {
      #expect(message.requests.count <= 1_024, "seed \(seed)")
      let bytes = message.requests.reduce(0) { $0 + max(8, sizes[$1]) }
      #expect(bytes <= WireLimits.messageBytesMax, "seed \(seed)")
    }
  }

  // MARK: Connections

  @Test func `what a broken connection took with it is sent over the next one at once`() {
    let client = Client()
    for number in 1...3 { client.submit(number) }
    client.flush()
    client.hear(.done(2))
    _ = client.takeSent()
    client.isUp = false
    client.pass(50)
    #expect(client.sent.isEmpty)
    client.isUp = true
    client.pass(10)
    #expect(client.takeSent().flatMap(\.requests) == [1, 3])
    client.hear(.malformed(1))
    #expect(client.finished[1]?.fate == .unknown, "the attempt that was lost may have had an effect")
  }

  @Test func `a dispatcher that can't be reached loses its turn`() {
    let client = Client(dispatchers: 3) { $0.connectMilliseconds = 1_500 }
    client.isUp = false
    client.submit(1)
    client.flush()
    #expect(client.dispatcher == 0)
    client.pass(510)
    #expect(client.dispatcher == 1)
    client.pass(520)
    #expect(client.dispatcher == 2)
    client.isUp = true
    client.pass(10)
    #expect(client.takeSent().map(\.dispatcher) == [2])
    client.hear(.done(1))
    #expect(client.finished[1]?.fate == .done)
  }

  @Test func `each dispatcher has its turn before a request is given up`() throws {
    let client = Client(dispatchers: 4) { $0.connectMilliseconds = 2_000 }
    client.isUp = false
    client.submit(1)
    client.flush()
    var turns: Set<Int> = []
    while client.finished[1] == nil, client.now < 10_000 {
      turns.insert(client.dispatcher)
      client.pass(10)
    }
    #expect(turns == [0, 1, 2, 3])
    #expect(client.finished[1]?.attempts == 0)
    #expect(client.now - 1_000 <= 2_010)
  }

  @Test func `a silent dispatcher loses its turn, and the next one is sent everything by age`() {
    let client = Client(dispatchers: 2) { $0.silenceMilliseconds = 1_000 }
    for number in 1...50 {
      client.submit(number)
      client.flush()
      client.pass(10)
    }
    _ = client.takeSent()
    client.pass(600)
    let sent = client.takeSent()
    #expect(client.dispatcher == 1)
    #expect(sent.allSatisfy { $0.dispatcher == 1 })
    #expect(sent.flatMap(\.requests) == Array(1...50))
  }

  @Test func `a dispatcher that answers others keeps its turn, and one alone always does`() {
    let client = Client(dispatchers: 2) { $0.silenceMilliseconds = 1_000 }
    client.submit(1)
    client.submit(2)
    client.flush()
    client.pass(500)
    client.hear(.done(2))
    client.pass(510)
    #expect(client.sent.count == 3)
    #expect(client.dispatcher == 0)
    let alone = Client { $0.silenceMilliseconds = 1_000 }
    alone.submit(1)
    alone.flush()
    alone.pass(3_050)
    #expect(alone.connections == 1)
    #expect(alone.takeSent().map(\.requests) == [[1], [1], [1], [1]])
  }

  @Test func `a request may have more patience than others`() {
    let client = Client(dispatchers: 2) {
      $0.silenceMilliseconds = 500
      $0.budgetMilliseconds = 20_000
    }
    client.submit(1, silence: 10_000)
    client.flush()
    client.pass(9_900)
    #expect(client.sent.count == 1)
    #expect(client.dispatcher == 0)
    client.pass(110)
    #expect(client.sent.count == 2)
    #expect(client.dispatcher == 1)
  }

  // MARK: The long run

  /// A random world: requests come, messages, replies and connections get lost. In the end every
  /// request is over exactly once, none later than its budget, and nothing is said that is not true.
  @Test(arguments: UInt64(1)...60)
  func `every request ends once, in time, and with the truth or in doubt`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let client = Client(dispatchers: random.pick(1...3), seed: seed) {
      $0.silenceMilliseconds = 300
      $0.budgetMilliseconds = 3_000
      $0.connectMilliseconds = random.chance(50) ? 1_000 : nil
      $0.requestsPerMessageMax = random.pick([1, 7, 1_024])
    }
    /// What the cluster executed, whether it could say so or not.
    var executed: [Int: ClientCore.Fate] = [:]
    var number = 0
    var open: [[Client.Word]] = []
    var connection = client.connections
    while client.now < 20_000 {
      if client.now < 12_000 {
        for _ in 0..<random.pick(0...5) {
          number += 1
          client.submit(number)
        }
      }
      if random.chance(2) { client.isUp.toggle() }
      if client.now > 15_000 { client.isUp = true }
      client.pass(10)
      for message in client.takeSent() where random.chance(90) {
        let words = message.requests.map { number -> Client.Word in
          if random.chance(20) { return .busy(number, retry: UInt32(random.pick(1...200))) }
          if random.chance(5) { return .malformed(number) }
          let fate = executed[number] ?? (random.chance(85) ? .done : .no)
          executed[number] = fate
          if random.chance(15) { return .noAnswer(number) }
          return fate == .done ? .done(number) : .no(number)
        }
        open.append(words)
      }
      if !client.isUp || client.connections != connection { open = [] }
      connection = client.connections
      while !open.isEmpty, random.chance(70) {
        let words = open.remove(at: random.pick(0...open.count - 1))
        if random.chance(85) { client.hear(words) }
      }
    }
    #expect(client.count == 0, "seed \(seed)")
    #expect(client.order.count == number, "seed \(seed)")
    #expect(Set(client.order).count == number, "seed \(seed)")
    var fates: Set<ClientCore.Fate> = []
    for (number, over) in client.finished {
      fates.insert(over.fate)
      #expect(try #require(client.milliseconds(number)) <= 3_020, "seed \(seed), request \(number)")
      switch over.fate {
      case .done, .no: #expect(executed[number] == over.fate, "seed \(seed), request \(number)")
      case .notExecuted: #expect(executed[number] == nil, "seed \(seed), request \(number)")
      case .unknown: break
      }
    }
    #expect(fates.contains(.done) && fates.contains(.notExecuted), "seed \(seed)")
  }
}
