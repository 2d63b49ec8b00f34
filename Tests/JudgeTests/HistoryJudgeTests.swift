import Cluster
import Judge
import Marketplace
import RunHistory
import TestMarketplace
import Testing

struct HistoryJudgeTests {
  /// A run in which all is right, and where in it what is.
  private struct Sound {
    var run = MadeUpRun()
    let placed: Int
    let order: OrderID
    let firstRead, adjusted, secondRead, refused, orderRead, cancelled: Int

    init() {
      (placed, order) = run.place(2)
      firstRead = run.readSKU(onHand: 8, reserved: 2, given: 10)
      adjusted = run.adjust(5, onHand: 13, reserved: 2)
      secondRead = run.readSKU(onHand: 13, reserved: 2, given: 15)
      var adjust = Command.AdjustStock()
      (adjust.shop, adjust.sku, adjust.delta) = (1, 1, -100)
      var id = run.nextID()
      run.log(.adjustStock(adjust), id)
      refused = run.record(.adjust, id, .shop(1), .no(Refusal(.stockNegative)))
      id = run.nextID()
      orderRead = run.record(.getOrder, id, .order(order), .order(Self.order(order, .placed)))
      var cancel = Command.CancelOrder()
      cancel.order = order
      id = run.nextID()
      run.log(.cancelOrder(cancel), id)
      cancelled = run.record(
        .cancel, id, .order(order),
        .orderChanged(order: order, state: .cancelled, refunded: 0, released: 0, fee: 0))
    }

    static func order(_ id: OrderID, _ state: OrderState) -> Order {
      Order(
        id: id, shop: 1, buyer: 7, channel: "test", reference: "", state: state,
        lines: [OrderLine(sku: 1, quantity: 2, unitPrice: 100)], goods: 200, shippingFee: 0, total: 200,
        placedAt: MadeUpRun.began, expiresAt: MadeUpRun.began + 60_000)
    }
  }

  private func check(
    _ words: String, isComplete: Bool = false, sourceLocation: SourceLocation = #_sourceLocation,
    _ change: (inout MadeUpRun, Sound) -> Void
  ) {
    let sound = Sound()
    var run = sound.run
    change(&run, sound)
    let judge = run.judged(isComplete: isComplete)
    #expect(judge.findings >= 1, sourceLocation: sourceLocation)
    #expect(
      judge.firstFindings.contains { $0.contains(words) }, "\(judge.firstFindings)",
      sourceLocation: sourceLocation)
  }

  @Test func `a run in which all is right is clean, and counted`() {
    for isComplete in [false, true] {
      let judge = Sound().run.judged(isComplete: isComplete)
      #expect(judge.firstFindings == [])
      #expect(judge.findings == 0)
      #expect((judge.records, judge.answers, judge.reads) == (7, 4, 3))
      #expect((judge.entries, judge.commands, judge.untold) == (6, 6, 2))
    }
  }

  @Test func `an answer of which the log knows nothing is found`() {
    check("it is in no log") { run, sound in
      let id = run.nextID()
      run.lines[sound.adjusted].record.request = id
      run.lines[sound.adjusted].isAnswered(
        .done, replyBytes(id, .stockChanged(shop: 1, sku: 1, price: 100, onHand: 13, reserved: 2)))
    }
  }

  @Test func `an answer that was changed is found`() {
    check("with outcome 1") { run, sound in
      let id = run.lines[sound.adjusted].record.request
      run.lines[sound.adjusted].isAnswered(
        .done, replyBytes(id, .stockChanged(shop: 1, sku: 1, price: 100, onHand: 12, reserved: 2)))
    }
    check("not the one that was recorded") { run, sound in
      run.lines[sound.adjusted].reply![20] ^= 1
    }
    check("its reply says something else") { run, sound in run.lines[sound.adjusted].record.outcome = .no }
    check("its reply says something else") { run, sound in run.lines[sound.refused].record.code = 18 }
    check("another order than its reply") { run, sound in
      run.lines[sound.placed].record.key = .order(OrderID(at: 1, partition: 0, sequenceNumber: 3))
    }
  }

  @Test func `an outcome that was changed to not executed is found`() {
    check("had no effect, and it had: entry 4") { run, sound in
      run.lines[sound.adjusted].isAnswered(.notExecuted, nil)
    }
  }

  @Test func `an answer that was doubled with another order is found`() {
    func other(_ run: MadeUpRun, _ sound: Sound, _ id: RequestID) -> MadeUpRun.Line {
      var line = run.lines[sound.placed]
      let order = OrderID(at: MadeUpRun.began, partition: 0, sequenceNumber: 4)
      line.record.request = id
      line.record.key = .order(order)
      line.isAnswered(
        .done,
        replyBytes(id, .orderPlaced(order: order, total: 200, expiresAt: MadeUpRun.began + 60_003)))
      return line
    }
    check("it has its end already") { run, sound in
      run.lines.append(other(run, sound, run.lines[sound.placed].record.request))
    }
    check("it was not") { run, sound in
      var line = other(run, sound, run.lines[sound.placed].record.request)
      line.record.isRepeated = true
      run.lines.append(line)
    }
    check("it is in no log") { run, sound in
      let id = run.nextID()
      run.lines.append(other(run, sound, id))
    }
  }

  @Test func `a read of what held before an answer that came before it is found`() {
    check("it was never so since entry 4") { run, sound in
      let id = run.lines[sound.secondRead].record.request
      run.lines[sound.secondRead].isAnswered(
        .done, replyBytes(id, MadeUpRun.sku(onHand: 8, reserved: 2, given: 10)))
    }
    check("it was never so since entry 5") { run, sound in
      let id = run.lines[sound.orderRead].record.request
      run.lines[sound.orderRead].isAnswered(
        .done, replyBytes(id, .order(Sound.order(sound.order, .shipped))))
    }
    check("does not know order") { run, sound in
      let id = run.lines[sound.orderRead].record.request
      run.lines[sound.orderRead].isAnswered(
        .no, replyBytes(id, .no(Refusal(.unknownOrder))), code: UInt16(Reason.unknownOrder.rawValue))
    }
  }

  @Test func `a read of what nobody had asked for yet is found`() {
    check("which nobody had asked for yet") { run, sound in
      let id = run.lines[sound.firstRead].record.request
      run.lines[sound.firstRead].isAnswered(
        .done, replyBytes(id, MadeUpRun.sku(onHand: 13, reserved: 2, given: 15)))
    }
  }

  @Test func `a command that took effect before one that was answered before it was sent is found`() {
    check("took effect before entry 4") { run, sound in
      // The order was placed by entry 3; that is not before an answer that was there when it was sent.
      run.lines[sound.placed].record.plannedAt = run.lines[sound.secondRead].record.plannedAt
    }
  }

  @Test func `requests at one time may come in any order`() {
    var run = MadeUpRun()
    run.adjust(1, onHand: 11, reserved: 0)
    run.adjust(1, onHand: 12, reserved: 0)
    // The second one was sent and answered while the first one was under way.
    run.lines[0].record.plannedAt = run.lines[1].record.plannedAt - 1
    run.lines[0].record.endedAfter = 20
    run.readSKU(onHand: 11, reserved: 0, given: 11)
    run.lines[2].record.plannedAt = run.lines[1].record.plannedAt + 5
    let judge = run.judged()
    #expect(judge.firstFindings == [])
  }

  @Test func `what became of a request that had no answer may be anything, until Resolve has told`() {
    for isLogged in [false, true] {
      var run = MadeUpRun()
      var adjust = Command.AdjustStock()
      (adjust.shop, adjust.sku, adjust.delta) = (1, 1, 1)
      let id = run.nextID()
      if isLogged { run.log(.adjustStock(adjust), id) } else { run.log(3, Self.bytes(id)) }
      run.record(.adjust, id, .shop(1), nil)
      #expect(run.judged().firstFindings == [])
      let answers: [Answer] = [
        .no(Refusal(.requestSealed)), .stockChanged(shop: 1, sku: 1, price: 100, onHand: 11, reserved: 0),
      ]
      for (place, answer) in answers.enumerated() {
        var run = run
        let line = run.record(.adjust, id, .shop(1), answer)
        run.lines[line].record.isResolution = true
        let judge = run.judged()
        #expect(judge.findings == ((place == 1) == isLogged ? 0 : 1), "\(judge.firstFindings)")
        #expect((judge.unknown, judge.resolved) == (1, 1))
      }
    }
  }

  private static func bytes(_ id: RequestID) -> [UInt8] {
    withUnsafeBytes(of: (id.high.bigEndian, id.low.bigEndian)) { Array($0) }
  }

  @Test func `a command that no history tells of is found where the histories are everything`() {
    check("of which no history tells", isComplete: true) { run, sound in run.lines.remove(at: sound.refused) }
    let sound = Sound()
    var run = sound.run
    run.lines.remove(at: sound.refused)
    let judge = run.judged()
    #expect(judge.findings == 0)
    #expect(judge.untold == 3)
  }

  @Test func `a final answer whose reply was not kept is found`() {
    check("its reply was not kept") { run, sound in run.lines[sound.placed].reply = nil }
  }

  @Test func `a log that does not play by the rules is found`() {
    check("expired and was not due") { run, _ in
      run.log(2, [3, 0, 0, 0, 0, 0, 0, 0])
    }
    check("took effect twice") { run, sound in
      var adjust = Command.AdjustStock()
      (adjust.shop, adjust.sku, adjust.delta) = (1, 1, 5)
      run.log(.adjustStock(adjust), run.lines[sound.adjusted].record.request)
    }
    check("seals request") { run, sound in run.log(3, Self.bytes(run.lines[sound.adjusted].record.request)) }
    check("asks for nothing") { run, _ in run.log(1, [0x0A, 16] + [UInt8](repeating: 1, count: 17)) }
  }

  @Test func `only the first findings are kept, and all are counted`() {
    var run = MadeUpRun()
    for _ in 0..<50 { run.adjust(1, onHand: 1, reserved: 9) }
    let judge = run.judged()
    #expect(judge.findings == 50)
    #expect(judge.firstFindings.count == HistoryJudge.findingsShown)
  }
}
