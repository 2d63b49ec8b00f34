import ClientCore
import TestSupport
import Testing
import Wire

/// What is known of a request in the end: never less than the truth, never more.
struct FateTests {
  /// A word of the dispatcher, or its silence.
  enum Heard: CaseIterable { case done, no, busy, malformed, noAnswer, tooOld, silence }

  private func play(_ script: [Heard]) -> ClientCore.Finished? {
    let client = Client {
      $0.silenceMilliseconds = 1_000
      $0.budgetMilliseconds = 20_000
    }
    client.submit(1)
    client.flush()
    for heard in script {
      guard client.finished[1] == nil else { break }
      while client.takeSent().isEmpty, client.finished[1] == nil { client.pass(10) }
      switch heard {
      case .done: client.hear(.done(1))
      case .no: client.hear(.no(1))
      case .busy: client.hear(.busy(1))
      case .malformed: client.hear(.malformed(1))
      case .noAnswer: client.hear(.noAnswer(1))
      case .tooOld: client.hear(.tooOld(1))
      case .silence: break
      }
    }
    return client.finished[1]
  }

  @Test(
    arguments: [
      ([.done], .done), ([.no], .no), ([.malformed], .notExecuted), ([.tooOld], .unknown),
      ([.busy, .done], .done), ([.busy, .no], .no), ([.busy, .malformed], .notExecuted),
      ([.noAnswer, .done], .done), ([.noAnswer, .no], .no),
      // An earlier attempt may have had an effect, so the last word is not the whole truth.
      ([.noAnswer, .malformed], .unknown), ([.silence, .malformed], .unknown),
      ([.busy, .silence, .busy, .malformed], .unknown), ([.silence, .done], .done),
      ([.silence, .no], .no), ([.busy, .tooOld], .unknown),
    ] as [([Heard], ClientCore.Fate)])
  func `each word has its place`(script: [Heard], fate: ClientCore.Fate) throws {
    let over = try #require(play(script))
    #expect(over.fate == fate)
    #expect(!over.isGivenUp)
    #expect(over.attempts == script.count)
  }

  @Test(
    arguments: [
      ([.busy], .notExecuted), ([.noAnswer], .unknown), ([.silence], .unknown),
      ([.busy, .silence], .unknown),
    ] as [([Heard], ClientCore.Fate)])
  func `what is given up is as certain as all of its attempts`(script: [Heard], fate: ClientCore.Fate) throws
  {
    let client = Client {
      $0.silenceMilliseconds = 1_000
      $0.budgetMilliseconds = 5_000
    }
    client.submit(1)
    client.flush()
    var place = 0
    while client.finished[1] == nil {
      if !client.takeSent().isEmpty {
        // The last of the script goes on for ever.
        switch script[min(place, script.count - 1)] {
        case .busy: client.hear(.busy(1))
        case .noAnswer: client.hear(.noAnswer(1))
        default: break
        }
        place += 1
      }
      client.pass(10)
      try #require(client.now < 10_000, "it never ends")
    }
    let over = try #require(client.finished[1])
    #expect(over.fate == fate)
    #expect(over.isGivenUp)
    #expect(over.attempts > 1)
    #expect(try #require(client.milliseconds(1)) <= 5_010)
    #expect((over.reply == nil) == (script == [.silence]))
  }

  /// Whatever is heard in whatever order, *not executed* is said only where every attempt was denied,
  /// and never after an answer was lost.
  @Test(arguments: UInt64(1)...200) func `not executed is never said in doubt`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let script = (0..<random.pick(1...6)).map { _ in random.pick(Heard.allCases) }
    guard let over = play(script) else { return }
    let heard = script.prefix(over.attempts)
    let isDenied = heard.allSatisfy { $0 == .busy || $0 == .malformed }
    switch over.fate {
    case .notExecuted: #expect(isDenied, "seed \(seed): \(script)")
    case .done: #expect(heard.last == .done, "seed \(seed): \(script)")
    case .no: #expect(heard.last == .no, "seed \(seed): \(script)")
    case .unknown: #expect(!isDenied, "seed \(seed): \(script)")
    }
  }

  @Test func `a late denial of a first attempt and one of the second leave no doubt`() throws {
    let client = Client { $0.silenceMilliseconds = 1_000 }
    client.submit(1)
    client.flush()
    client.pass(1_010)
    #expect(client.takeSent().count == 2)
    client.hear(.busy(1))
    client.hear(.malformed(1))
    #expect(client.finished[1]?.fate == .notExecuted)
  }

  @Test func `one denial of two attempts that are open leaves a doubt`() throws {
    let client = Client { $0.silenceMilliseconds = 1_000 }
    client.submit(1)
    client.flush()
    client.pass(1_010)
    client.hear(.malformed(1))
    #expect(client.finished[1]?.fate == .unknown)
  }

  @Test func `a request that no connection took had no effect`() throws {
    let client = Client { $0.connectMilliseconds = 700 }
    client.isUp = false
    client.submit(1)
    client.flush()
    client.pass(690)
    #expect(client.finished[1] == nil)
    client.pass(20)
    let over = try #require(client.finished[1])
    #expect(over.fate == .notExecuted)
    #expect(over.isGivenUp)
    #expect(over.attempts == 0)
    #expect(over.reply == nil)
  }

  @Test func `what is larger than a request may be is never sent`() throws {
    let client = Client()
    client.submit(1, size: WireLimits.requestBytesMax + 1)
    client.submit(2, size: WireLimits.requestBytesMax)
    client.step()
    #expect(client.takeSent().map(\.requests) == [[2]])
    let over = try #require(client.finished[1])
    #expect(over.fate == .notExecuted)
    let peek = try over.reply?.withUnsafeBytes { try ReplyPeek($0) }
    #expect(peek?.code == UInt32(DeliveryCode.tooLarge.rawValue))
    #expect(peek?.id == Client.id(1))
  }

  @Test func `what is no reply, and replies to nobody, are as if they had not come`() throws {
    let client = Client()
    client.submit(1)
    client.hear(.done(1))
    #expect(client.finished.isEmpty, "a reply before it was sent")
    client.flush()
    for bytes: [UInt8] in [[], [0xFF], [0x0A, 0x10, 1], [0x10, 0x01], [0x0A, 0x02, 1, 2, 0x10, 0x01]] {
      client.hear(bytes: bytes)
    }
    client.hear(.done(2))
    #expect(client.finished.isEmpty)
    client.hear(.done(1), .done(1))
    #expect(client.order == [1])
    client.hear(.no(1))
    #expect(client.order == [1])
  }

  @Test func `an outcome of a later version is asked about again`() throws {
    let client = Client()
    client.submit(1)
    client.flush()
    client.hear(Client.Word(number: 1, outcome: 9, code: 222))
    #expect(client.finished.isEmpty)
    client.pass(100)
    #expect(client.takeSent().count == 2)
    client.hear(.malformed(1))
    #expect(client.finished[1]?.fate == .unknown)
  }

  @Test func `a client that does not retry refusals hears of them at once, but asks on where it doubts`()
    throws
  {
    let client = Client {
      $0.retriesRefusals = false
      $0.silenceMilliseconds = 1_000
    }
    for number in 1...3 { client.submit(number) }
    client.flush()
    _ = client.takeSent()
    client.hear(.busy(1))
    let over = try #require(client.finished[1])
    #expect(over.fate == .notExecuted)
    #expect(!over.isGivenUp)
    #expect(over.peek?.retryAfterMilliseconds == 50)
    client.hear(.noAnswer(2))
    client.pass(1_010)
    client.hear(.busy(2), .busy(3))
    #expect(client.finished[2] == nil, "its first attempt may have had an effect")
    #expect(client.finished[3] == nil, "its first attempt was not answered")
    client.pass(2_000)
    client.hear(.done(2), .busy(3), .no(3))
    #expect(client.finished[2]?.fate == .done)
    #expect(client.finished[3]?.fate == .no)
  }

  @Test func `what comes for nobody is kept where somebody asks for it`() throws {
    let client = Client {
      $0.keepsLateReplies = true
      $0.silenceMilliseconds = 1_000
    }
    client.submit(1)
    client.flush()
    client.pass(1_010)
    client.hear(.done(1))
    #expect(client.takeLate().isEmpty)
    client.hear(.no(1))
    client.hear(bytes: [0xFF])
    let late = client.takeLate()
    #expect(late.count == 2)
    let peek = try #require(late.first).withUnsafeBytes { try ReplyPeek($0) }
    #expect(peek.id == Client.id(1))
    #expect(peek.outcome == .no)
    #expect(client.takeLate().isEmpty)
    let deaf = Client()
    deaf.hear(.done(1))
    #expect(deaf.takeLate().isEmpty)
  }

  @Test func `how often it was sent, when first, and what nobody answered is told`() throws {
    let client = Client { $0.silenceMilliseconds = 1_000 }
    client.isUp = false
    client.submit(1)
    client.flush()
    client.pass(500)
    #expect(client.requestsSent == 0)
    client.isUp = true
    client.pass(10)
    client.pass(1_010)
    client.submit(2)
    client.flush()
    #expect(client.requestsSent == 2)
    #expect(client.attemptsSent == 3)
    client.hear(.done(1), .no(2))
    let over = try #require(client.finished[1])
    #expect(over.attempts == 2)
    #expect(over.unanswered == 1)
    #expect(over.sentAt == 1_510_000)
    #expect(over.endedAt == 2_520_000)
    #expect(over.peek?.outcome == .done)
    #expect(client.finished[2]?.unanswered == 0)
  }

  /// A reply that is still under way when its request is given up must not be taken for that of a
  /// later attempt under the same id.
  @Test func `an id that is used again after a doubt goes over another connection`() throws {
    let client = Client {
      $0.silenceMilliseconds = 1_000
      $0.budgetMilliseconds = 1_500
    }
    client.submit(1)
    client.flush()
    client.hear(.done(1))
    client.submit(2)
    client.flush()
    #expect(client.connections == 1)
    client.pass(2_000)
    #expect(client.finished[2]?.fate == .unknown)
    client.submit(2)
    #expect(client.connections == 2)
  }
}
