import Bytes
import Cluster
import Marketplace
import RunHistory
import TestMarketplace
import TestSupport
import Testing
import Wire

/// A cluster of a dictionary, and an audit of histories against it.
struct HistoryAuditTests {
  struct World {
    var replies: [RequestID: [UInt8]] = [:]
    var records: [HistoryRecord] = []
    var orders: UInt64 = Histories.header.ordersBefore
    var isShared = false
    var cut: String?

    /// Ten orders, each paid, and one refused.
    init() {
      for number: UInt64 in 1...10 {
        let place = Histories.request(number)
        let order = Histories.order(number, partition: UInt16(number % 2))
        answer(
          .place, place, .order(order), .orderPlaced(order: order, total: 100, expiresAt: 9), isDone: true)
        orders += 1
        answer(
          .settle, Histories.request(100 + number), .order(order),
          .orderChanged(order: order, state: .ready, refunded: 0, released: 0, fee: 0), isDone: true)
      }
      answer(.place, Histories.request(200), .shop(7), .no(Refusal(.unknownShop)), isDone: false)
      var refused = HistoryRecord(.place, .notExecuted, request: Histories.request(300), key: .shop(7))
      refused.code = 100
      records.append(refused)
      records.append(HistoryRecord(.getOrder, .done, request: Histories.request(400), key: .shop(7)))
    }

    mutating func answer(
      _ command: HistoryRecord.Command, _ id: RequestID, _ key: HistoryRecord.Key, _ answer: Answer,
      isDone: Bool
    ) {
      let reply = replyBytes(id, answer)
      replies[id] = reply
      var record = HistoryRecord(command, isDone ? .done : .no, request: id, key: key)
      record.replyHash = Histories.hash(reply)
      records.append(record)
    }

    /// What GetRequest answers.
    func told(_ id: RequestID) -> [UInt8] {
      var writer = ByteWriter()
      writer.field(1, high: 1, low: 2)
      guard let reply = replies[id] else {
        writer.field(2, varint: 2)
        writer.field(3, varint: 21)
        return Array(writer.bytes)
      }
      writer.field(2, varint: 1)
      writer.field(14) { writer in reply.withUnsafeBytes { writer.field(1, bytes: $0) } }
      return Array(writer.bytes)
    }

    func audit() -> HistoryAudit {
      var audit = HistoryAudit(.init(lastEntries: [1_000, 1_000], oldestID: 1_600_000_000_000))
      audit.begin(Histories.header)
      for (index, record) in records.enumerated() {
        if let question = audit.take(record, file: "h", position: UInt64(index + 1)) {
          told(question.record.request).withUnsafeBytes { audit.told(question, $0) }
        }
      }
      if let cut { audit.cutOff(file: "h", cut, isShared: isShared) }
      for question in audit.takeOpen() {
        told(question.record.request).withUnsafeBytes { audit.told(question, $0) }
      }
      audit.finish(ordersNow: isShared ? nil : orders)
      return audit
    }

    var kinds: [HistoryAudit.Kind] { audit().results.map(\.kind) }
  }

  @Test func `a history that is true has no findings`() {
    let audit = World().audit()
    #expect(audit.results.isEmpty, "\(audit.results)")
    #expect(audit.same == 21)
    #expect(audit.withoutEffect == 1)
    #expect(audit.orders == 10)
    #expect(audit.reads == 1)
  }

  @Test func `an answer that the cluster lacks or has otherwise is found, with its place`() {
    var world = World()
    world.replies[Histories.request(103)] = nil
    #expect(world.kinds == [.missing])
    #expect(world.audit().results[0].first.contains("h, record 6: settle"))

    world = World()
    world.records[2].replyHash ^= 1
    #expect(world.kinds == [.different])

    // Every bit of every answer counts.
    world = World()
    world.replies[Histories.request(200)]?[30] ^= 1
    #expect(world.kinds == [.different])
  }

  @Test func `a request that had no effect and yet has one is found; a sealed one is well`() {
    var world = World()
    world.replies[Histories.request(300)] = replyBytes(
      Histories.request(300), .orderPlaced(order: Histories.order(99), total: 1, expiresAt: 1))
    #expect(world.kinds == [.executed])
    world.replies[Histories.request(300)] = replyBytes(
      Histories.request(300), .no(Refusal(.requestSealed)))
    #expect(world.kinds.isEmpty)
  }

  @Test func `a dropped order shows in the count, an invented one too, unless others wrote`() {
    var world = World()
    world.records.remove(at: 0)
    #expect(world.kinds == [.unexplained])
    world.isShared = true
    #expect(world.kinds.isEmpty)

    world = World()
    world.orders -= 1
    #expect(world.kinds == [.lost])
  }

  @Test func `two requests with one order, or one recorded twice, are found`() {
    var world = World()
    world.records.append(world.records[0])
    #expect(world.kinds == [.orderTwice])
    // Another reply to the same request is no other order, but must be the same.
    world.records[world.records.count - 1].isRepeated = true
    #expect(world.kinds.isEmpty)
    world.records[world.records.count - 1].replyHash ^= 1
    #expect(world.kinds == [.different])
  }

  @Test func `an order beyond the cluster's partitions or logs is found`() {
    for order in [
      Histories.order(1_001), Histories.order(0), Histories.order(5, partition: 2), OrderID(high: 1, low: 1),
    ] {
      var world = World()
      world.records[0].key = .order(order)
      #expect(world.kinds == [.impossible, .unexplained], "\(order)")
    }
  }

  @Test func `what is unknown is found, until a resolution settles it`() {
    var world = World()
    let id = Histories.request(500)
    let order = Histories.order(50)
    world.records.append(HistoryRecord(.place, .unknown, request: id, key: .shop(7)))
    #expect(world.kinds == [.unresolved])

    // Executed after all: its order is explained, but nobody knew.
    world.replies[id] = replyBytes(id, .orderPlaced(order: order, total: 1, expiresAt: 1))
    world.orders += 1
    #expect(world.kinds == [.unresolved])

    var resolution = HistoryRecord(.place, .done, request: id, key: .order(order))
    resolution.isResolution = true
    resolution.replyHash = Histories.hash(world.replies[id] ?? [])
    world.records.append(resolution)
    #expect(world.kinds.isEmpty)
    #expect(world.audit().resolved == 1)
    world.replies[id] = nil
    #expect(world.kinds == [.missing])
  }

  @Test func `a history that was cut off is found where orders are to be counted`() {
    var world = World()
    world.cut = "it ends within a block"
    world.orders += 3
    #expect(world.kinds == [.cutOff])
    world.isShared = true
    #expect(world.kinds.isEmpty)
  }

  @Test func `what is older than the cluster keeps is counted, not asked`() {
    var world = World()
    world.records.append(
      HistoryRecord(.settle, .done, request: Histories.request(1, at: 1_500_000_000_000), key: .shop(7)))
    #expect(world.kinds.isEmpty)
    #expect(world.audit().tooOld == 1)
  }

  @Test func `an answer that can't be read is a finding, not a pass`() {
    let world = World()
    for reply: [UInt8]? in [nil, [], [0xFF], [0x10, 1], [0x10, 3, 0x18, 100]] {
      var audit = HistoryAudit(.init(lastEntries: [1_000, 1_000], oldestID: 0))
      guard let question = audit.take(world.records[0], file: "h", position: 1) else {
        Issue.record("nothing is asked")
        return
      }
      if let reply { reply.withUnsafeBytes { audit.told(question, $0) } } else { audit.told(question, nil) }
      #expect(audit.results.map(\.kind) == [.unasked], "\(String(describing: reply))")
    }
  }

  @Test func `what may be forgotten while the audit runs is not asked for`() {
    let now: Int64 = 1_800_000_000_000
    for (window, oldest) in [
      (86_400_000, now - 86_100_000), (600_000, now - 540_000), (100, now - 90),
      // Of an older dispatcher, which does not say.
      (0, now - 86_100_000),
    ] as [(UInt64, Int64)] {
      let limits = HistoryAudit.Limits(lastEntries: [1], now: now, windowMilliseconds: window)
      #expect(limits.oldestID == oldest, "window \(window)")
    }
    let limits = HistoryAudit.Limits(lastEntries: [1], now: now, windowMilliseconds: .max)
    #expect(limits.oldestID < 0, "all of them")
  }
}
