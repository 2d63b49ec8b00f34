import Bytes
import Cluster
import DispatcherCore
import Marketplace
import TestSupport
import Testing
import Wire

struct RoutingTests {
  @Test func `what names a shop goes to the shop's partition`() throws {
    let world = World()
    world.up()
    for shop in 1...60 as ClosedRange<UInt64> {
      world.send(world.request(shop: shop))
      let sent = try world.dispatch()
      #expect(sent.map(\.header.partition) == [Routing.partition(ofKey: shop, count: 6)])
      #expect(sent[0].kind == FrameKind.batch.rawValue)
      try world.answer(sent[0])
    }
    #expect(try world.codes() == Array(repeating: 0, count: 60))
  }

  @Test(arguments: 0..<6 as Range<UInt16>)
  func `what names an order goes where the order's id says`(_ partition: UInt16) throws {
    let world = World()
    world.up()
    world.send(world.request(order: OrderID(at: 1, partition: partition, sequenceNumber: 9)))
    #expect(try world.dispatch().map(\.header.partition.rawValue) == [partition])
  }

  @Test(arguments: [
    OrderID(high: 0, low: 0), OrderID(high: .max, low: .max), OrderID(at: 1, partition: 6, sequenceNumber: 1),
    OrderID(at: 1, partition: .max, sequenceNumber: 1), OrderID(high: 0x7200, low: 2 << 62),
  ])
  func `an order id that no partition gave is answered by some partition`(_ order: OrderID) throws {
    let world = World()
    world.up()
    world.send(world.request(order: order))
    #expect(try world.dispatch().map(\.header.partition.rawValue) == [0])
  }

  @Test func `a partition without a primary has none to answer`() throws {
    let world = World()
    let id = try world.ask(2)
    let answered = try world.answered()
    #expect(answered.map(\.codes) == [[DeliveryCode.noPrimary.number]])
    #expect(answered[0].replies[0].id == id)
    #expect(answered[0].replies[0].retryAfterMilliseconds == 200)
  }

  @Test func `a partition that is assigned and not up yet is waited for`() throws {
    let world = World()
    world.assign(2)
    let id = try world.ask(2)
    #expect(try world.dispatch().isEmpty)
    #expect(try world.answered().isEmpty)
    world.hello(2)
    let sent = try world.dispatch()
    #expect(sent.map(\.ids) == [[id]])
  }

  @Test func `the cluster's status is answered by the shell`() throws {
    let world = World()
    world.send([world.request(field: .getStatus, number: 0), world.request(shop: 1)])
    #expect(world.statusRequests.count == 1)
    world.answerStatus()
    let answered = try world.answered()
    #expect(answered.map(\.codes) == [[0, DeliveryCode.noPrimary.number]])
    #expect(world.isIdle)
  }

  @Test func `what operators ask is answered by the shell in its time, a bounded number at once`() throws {
    var limits = DispatcherCore.Limits()
    limits.operatorRequestsMax = 2
    let world = World(limits)
    let first = world.request(field: .drainWorker, number: 0)
    world.send([first, world.request(shop: 1)])
    world.send(world.request(field: .getGroupHistory, number: 0))
    world.send(world.request(field: .switchPrimary, number: 0))
    #expect(try world.codes() == [DeliveryCode.busy.number], "the first message waits for its other half")
    #expect(world.operatorRequests.map(\.bytes).first == first)
    #expect(world.operatorRequests.count == 2 && !world.isIdle)
    world.answerOperators()
    #expect(try world.answered().map(\.codes) == [[0, DeliveryCode.noPrimary.number], [0]])
    #expect(world.isIdle)
    world.send(world.request(field: .moveReplica, number: 0))
    #expect(world.operatorRequests.count == 1, "there is room again")
  }

  @Test(arguments: [6, 7, UInt64(UInt32.max)])
  func `a partition that does not exist can't be audited`(_ partition: UInt64) throws {
    let world = World()
    world.up()
    world.send(world.request(field: .auditPartition, number: partition))
    #expect(try world.codes() == [DeliveryCode.unknownPartition.number])
  }

  @Test func `bytes that are no request are said to be none, and counted`() throws {
    let world = World()
    world.up()
    let good = world.request(shop: 1)
    let id = try World.id(good)
    for (bytes, known) in [([0xFF], nil), ([], nil), (Array(good.dropLast()), id)] as [([UInt8], RequestID?)]
    {
      world.send(bytes)
      let answered = try world.answered()
      #expect(answered.map(\.codes) == [[DeliveryCode.malformed.number]])
      #expect(answered[0].replies[0].id == known, "an id that could be read is given back")
    }
    #expect(world.counters.malformed == 3)
    #expect(try world.dispatch().isEmpty)
  }

  @Test func `a request of more than 1 MiB is too large`() throws {
    let world = World()
    world.up()
    let good = world.request(shop: 1)
    // An unknown field of the length that is missing.
    func padded(to size: Int) -> [UInt8] {
      let bytes = good + [0xFA, 0x7F]
      let rest = size - bytes.count - 3
      return bytes + [UInt8(rest & 0x7F | 0x80), UInt8(rest >> 7 & 0x7F | 0x80), UInt8(rest >> 14)]
        + [UInt8](repeating: 0, count: rest)
    }
    world.send(padded(to: 1 << 20))
    #expect(try world.dispatch().count == 1)
    #expect(try world.answered().isEmpty)
    world.send(padded(to: 1 << 20 + 1))
    #expect(try world.codes() == [DeliveryCode.tooLarge.number])
  }

  @Test func `a message can be refused as a whole`() throws {
    let world = World()
    let envelope = Envelope(connection: [7], prefix: [[], [1]])
    world.refuse(.tooLarge, from: envelope)
    let answered = try world.answered()
    #expect(answered.map(\.codes) == [[DeliveryCode.tooLarge.number]])
    #expect(answered[0].envelope == envelope)
    #expect(world.isIdle)
  }
}

struct MessageTests {
  static let prefixes: [[[UInt8]]] = [[], [[]], [[0x69, 0x45, 0x8B, 0x6B], []], [[1], [2], []]]

  @Test(arguments: prefixes)
  func `what stood before a request is given back before its reply`(_ prefix: [[UInt8]]) throws {
    let world = World()
    world.up()
    let envelope = Envelope(connection: [9, 8, 7], prefix: prefix)
    world.send(world.request(shop: 1), from: envelope)
    try world.answer(try world.dispatch()[0])
    let answered = try world.answered()
    #expect(answered.count == 1)
    #expect(answered[0].envelope == envelope)
  }

  @Test func `a reply goes out as the partition wrote it`() throws {
    let world = World()
    world.up()
    let id = try world.ask(0)
    try world.answer(try world.dispatch()[0], code: 6)
    #expect(try world.answered().map(\.frames) == [[World.reply(id, code: 6)]])
    #expect(world.counters.no == 1)
  }

  /// Partitions answer in any order; a message's replies have that of its requests.
  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `replies of a message are in its order, and leave when the last is known`(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let world = World()
    world.up()
    let requests = (0..<40).map { index in
      index % 7 == 3 ? [0xFF] : world.request(shop: 1 + random.next() % 1_000)
    }
    world.send(requests)
    var open = try world.dispatch().flatMap { sent in sent.ids.indices.map { (sent, $0) } }
    #expect(open.count == 34)
    open.shuffle(using: &random)
    for (index, (sent, item)) in open.enumerated() {
      #expect(try world.answered().isEmpty, "after \(index) of \(open.count)")
      try world.answer(sent, items: [item])
    }
    let answered = try world.answered()
    #expect(answered.count == 1)
    let replies = try #require(answered.first).replies
    for (request, reply) in zip(requests, replies) {
      if request == [0xFF] {
        #expect(reply.code == DeliveryCode.malformed.number)
      } else {
        #expect(try reply.id == World.id(request))
        #expect(reply.code == 0)
      }
    }
    #expect(replies.count == 40)
    #expect(world.isIdle)
  }

  @Test func `messages of one request are answered apart, whoever is first`() throws {
    let world = World()
    world.up(credit: 4)
    let first = Envelope(connection: [1], prefix: [])
    let second = Envelope(connection: [2], prefix: [[]])
    world.send(world.request(shop: world.shop(of: 0)), from: first)
    world.send(world.request(shop: world.shop(of: 1)), from: second)
    let sent = try world.dispatch()
    try world.answer(sent[1])
    #expect(try world.answered().map(\.envelope) == [second])
    try world.answer(sent[0])
    #expect(try world.answered().map(\.envelope) == [first])
  }
}

struct BatchingTests {
  @Test func `an idle partition gets a request alone and at once`() throws {
    let world = World()
    world.up()
    for _ in 0..<4 {
      let id = try world.ask(1)
      #expect(try world.dispatch().map(\.ids) == [[id]])
    }
  }

  @Test func `what waits for credit goes together, in the order it came`() throws {
    let world = World()
    world.up(credit: 1)
    let first = try world.ask(1)
    let alone = try world.dispatch()
    #expect(alone.map(\.ids) == [[first]])
    let waiting = try (0..<100).map { _ in try world.ask(1) }
    #expect(try world.dispatch().isEmpty, "no credit")
    #expect(world.view(1).waiting == 100)
    #expect(world.view(1).inFlight == 1)
    try world.answer(alone[0])
    let together = try world.dispatch()
    #expect(together.map(\.ids) == [waiting])
    #expect(world.view(1).waiting == 0)
    #expect(world.view(1).inFlight == 100)
  }

  @Test func `one partition's lack of credit holds up no other`() throws {
    let world = World()
    world.hello(0, credit: 0)
    world.hello(1, credit: 1)
    try world.ask(0)
    let id = try world.ask(1)
    #expect(try world.dispatch().map(\.ids) == [[id]])
  }

  @Test func `a batch is answered in pieces, and gives its credit back with the last`() throws {
    let world = World()
    world.up(credit: 1)
    world.send((0..<3).map { _ in world.request(shop: world.shop(of: 1)) })
    let sent = try world.dispatch()[0]
    try world.ask(1)
    try world.answer(sent, items: [2])
    try world.answer(sent, items: [0])
    #expect(try world.dispatch().isEmpty)
    try world.answer(sent, items: [1])
    #expect(try world.dispatch().count == 1)
  }

  @Test func `a batch has a bound in requests and one in bytes`() throws {
    var limits = DispatcherCore.Limits()
    limits.batchItemsMax = 10
    limits.batchBytesMax = 1_000
    let world = World(limits)
    world.up(credit: 64)
    for _ in 0..<25 { try world.ask(1) }
    let sent = try world.dispatch()
    #expect(sent.map(\.ids.count).reduce(0, +) == 25)
    #expect(sent.map(\.ids.count).max()! <= 10)
    #expect(sent.count >= 3)
  }

  @Test func `batches follow each other by number`() throws {
    var limits = DispatcherCore.Limits()
    limits.batchItemsMax = 1
    let world = World(limits)
    world.up(credit: 3)
    for _ in 0..<4 { try world.ask(1) }
    let sent = try world.dispatch()
    #expect(sent.count == 3)
    #expect(sent.map(\.header.after) == [0, sent[0].number, sent[1].number])
    try world.answer(sent[0])
    let next = try world.dispatch()
    #expect(next.map(\.header.after) == [sent[2].number])
  }

  @Test func `a full queue says busy at once, and takes again when there is room`() throws {
    var limits = DispatcherCore.Limits()
    limits.waitingMax = 5
    limits.deferrablePercent = 100
    let world = World(limits)
    world.up(credit: 1)
    try world.ask(1)
    let sent = try world.dispatch()
    for _ in 0..<5 { try world.ask(1) }
    #expect(try world.codes() == [])
    let id = try world.ask(1)
    let answered = try world.answered()
    #expect(answered.map(\.codes) == [[DeliveryCode.busy.number]])
    #expect(answered[0].replies[0].id == id)
    #expect(answered[0].replies[0].retryAfterMilliseconds == 50)
    #expect(world.counters.notExecuted == 1)
    try world.ask(2)
    #expect(try world.codes() == [], "other partitions have room")
    try world.answer(sent[0])
    #expect(try world.dispatch().count == 2)
    try world.ask(1)
    #expect(try world.codes() == [0], "only the answer of the first")
  }

  @Test func `a queue that fills up sheds new orders and reads first`() throws {
    var limits = DispatcherCore.Limits()
    limits.waitingMax = 8
    let world = World(limits)
    world.up(credit: 0)
    for _ in 0..<7 { try world.ask(1) }
    #expect(try world.codes() == [DeliveryCode.busy.number], "reads get six of eight places")
    for _ in 0..<2 {
      world.send(world.request(order: OrderID(at: 1, partition: 1, sequenceNumber: 9)))
    }
    #expect(try world.codes() == [])
    world.send(world.request(order: OrderID(at: 1, partition: 1, sequenceNumber: 9)))
    #expect(try world.codes() == [DeliveryCode.busy.number])
  }

  @Test func `a channel that fills a queue leaves room for another`() throws {
    var limits = DispatcherCore.Limits()
    limits.waitingMax = 16
    limits.deferrablePercent = 100
    let world = World(limits)
    world.up(credit: 0)
    let shop = world.shop(of: 1)
    world.send(world.request(shop: shop, channel: "quiet"))
    for _ in 0..<20 { world.send(world.request(shop: shop, channel: "loud")) }
    let refused = try world.codes().count
    #expect(refused == 12, "it has its half")
    for _ in 0..<7 { world.send(world.request(shop: shop, channel: "quiet")) }
    #expect(try world.codes() == [])
    world.send(world.request(shop: shop, channel: "quiet"))
    #expect(try world.codes() == [DeliveryCode.busy.number])
  }

  @Test func `above the rate that is let in the answer is busy, and says so`() throws {
    var limits = DispatcherCore.Limits()
    limits.admittedPerSecond = 100
    let world = World(limits)
    world.up()
    for _ in 0..<20 { try world.ask(1) }
    let answered = try world.answered()
    #expect(answered.allSatisfy { $0.codes == [DeliveryCode.busy.number] })
    #expect(answered.count >= 10 && answered.count < 20)
    #expect(String(decoding: answered[0].frames[0], as: UTF8.self).contains("100 requests a second"))
    #expect(answered[0].replies[0].retryAfterMilliseconds > 0)
  }

  @Test func `all queues together have a bound in bytes`() throws {
    var limits = DispatcherCore.Limits()
    limits.waitingBytesTotalMax = 300
    let world = World(limits)
    world.up(credit: 0)
    var waiting = 0
    for partition in 0..<6 as Range<UInt16> {
      for _ in 0..<2 {
        try world.ask(partition)
        if try world.codes().isEmpty { waiting += 1 }
      }
    }
    #expect(waiting > 2 && waiting < 12)
    // When it has left there is room again.
    world.up(credit: 4)
    _ = try world.dispatch()
    try world.ask(0)
    #expect(try world.codes() == [])
  }

  @Test func `a queue is full by bytes too`() throws {
    var limits = DispatcherCore.Limits()
    limits.waitingBytesMax = 200
    let world = World(limits)
    world.up(credit: 0)
    let size = world.request(shop: world.shop(of: 1)).count
    for _ in 0..<(200 / size) { try world.ask(1) }
    #expect(try world.codes() == [])
    try world.ask(1)
    #expect(try world.codes() == [DeliveryCode.busy.number])
    // All of it leaves, so all of it is free again.
    world.hello(1, credit: 1)
    try world.answer(try world.dispatch()[0])
    world.hello(1, credit: 0)
    _ = try world.answered()
    for _ in 0..<(200 / size) { try world.ask(1) }
    #expect(try world.codes() == [])
    try world.ask(1)
    #expect(try world.codes() == [DeliveryCode.busy.number])
  }

  @Test func `credit has a bound, whatever a partition says`() throws {
    var limits = DispatcherCore.Limits()
    limits.batchItemsMax = 1
    let world = World(limits)
    world.up(credit: .max)
    for _ in 0..<100 { try world.ask(1) }
    #expect(try world.dispatch().count == 64)
  }
}

struct DeadlineTests {
  @Test func `a deadline is told to the partition as what is left of it`() throws {
    let world = World()
    world.hello(1, credit: 0)
    try world.ask(1, deadline: 900)
    try world.ask(1, deadline: 0)
    try world.ask(1, deadline: .max)
    world.now += 300
    world.hello(1, credit: 1)
    #expect(try world.dispatch().map(\.deadlines) == [[600, 4_700, 599_700]])
  }

  @Test func `who waits past its deadline was not executed`() throws {
    let world = World()
    world.hello(1, credit: 0)
    try world.ask(1, deadline: 100)
    try world.ask(1, deadline: 200)
    world.now += 99
    world.tick()
    #expect(try world.codes() == [])
    world.now += 1
    world.tick()
    #expect(try world.codes() == [DeliveryCode.deadlinePassed.number])
    #expect(world.counters.notExecuted == 1)
    world.now += 100
    world.tick()
    #expect(try world.codes() == [DeliveryCode.deadlinePassed.number])
    #expect(world.isIdle)
    // Nobody waits for the batch any more, so it is not sent and takes no room.
    world.hello(1, credit: 1)
    #expect(try world.dispatch().isEmpty)
  }

  @Test func `who was given up leaves with its batch, and is not begun`() throws {
    let world = World()
    world.hello(1, credit: 0)
    try world.ask(1, deadline: 100)
    try world.ask(1, deadline: 1_000)
    world.now += 100
    world.tick()
    #expect(try world.codes() == [DeliveryCode.deadlinePassed.number])
    world.hello(1, credit: 1)
    let sent = try world.dispatch()
    #expect(sent.map(\.deadlines) == [[0, 900]])
    try world.answer(sent[0])
    #expect(world.counters.dropped == 1)
    #expect(world.isIdle)
  }

  @Test func `who waits for a partition that is away is told that it has no primary`() throws {
    let world = World()
    world.assign(1)
    try world.ask(1, deadline: 100)
    world.now += 100
    world.tick()
    #expect(try world.codes() == [DeliveryCode.noPrimary.number])
  }

  @Test func `what was sent and not answered is unknown`() throws {
    let world = World()
    world.up()
    let id = try world.ask(1, deadline: 100)
    _ = try world.dispatch()
    world.now += 100
    world.tick()
    let answered = try world.answered()
    #expect(answered.map(\.codes) == [[DeliveryCode.noAnswerInTime.number]])
    #expect(answered[0].replies[0].outcome == .unknown)
    #expect(answered[0].replies[0].id == id)
    #expect(world.counters.unknown == 1)
  }

  @Test func `an answer that comes too late is dropped and counted`() throws {
    let world = World()
    world.up(credit: 1)
    try world.ask(1, deadline: 100)
    let sent = try world.dispatch()
    world.now += 100
    world.tick()
    #expect(try world.codes() == [DeliveryCode.noAnswerInTime.number])
    let next = try world.ask(1)
    #expect(try world.dispatch().isEmpty, "it is still under way, and uses credit")
    try world.answer(sent[0])
    #expect(try world.codes() == [])
    #expect(world.counters.dropped == 1)
    #expect(world.counters.done == 0)
    #expect(try world.dispatch().map(\.ids) == [[next]])
  }

  @Test func `an answer that comes twice is dropped the second time`() throws {
    let world = World()
    world.up()
    world.send([world.request(shop: world.shop(of: 1)), world.request(shop: world.shop(of: 1))])
    let sent = try world.dispatch()[0]
    try world.answer(sent, items: [0])
    try world.answer(sent, items: [0])
    #expect(world.counters.dropped == 1)
    #expect(try world.answered().isEmpty, "the other is not known yet")
    try world.answer(sent, items: [1])
    #expect(try world.codes() == [0, 0])
    try world.answer(sent)
    #expect(world.counters.dropped == 3, "the batch is over")
  }

  @Test func `answers for another dispatcher, partition or batch are dropped`() throws {
    let world = World()
    world.up()
    try world.ask(1)
    let sent = try world.dispatch()[0]
    var other = sent
    other.header.dispatcher = Incarnation(99)
    try world.answer(other)
    other = sent
    other.header.partition = PartitionID(77)
    try world.answer(other)
    other.header.partition = PartitionID(2)
    try world.answer(other)
    other = sent
    other.header.number = 12_345
    try world.answer(other)
    #expect(world.counters.dropped == 4)
    #expect(try world.codes() == [])
    try world.answer(sent)
    #expect(try world.codes() == [0])
  }

  @Test func `a slot that is used again gets its own answer only`() throws {
    let world = World()
    world.up()
    try world.ask(1, deadline: 50)
    let late = try world.dispatch()[0]
    world.now += 50
    world.tick()
    _ = try world.answered()
    let second = Envelope(connection: [2], prefix: [])
    world.send(world.request(shop: world.shop(of: 1)), from: second)
    try world.answer(late)
    #expect(try world.answered().isEmpty)
    try world.answer(try world.dispatch()[0])
    #expect(try world.answered().map(\.envelope) == [second])
  }
}

struct ResendTests {
  /// A world with three batches of one request in flight at partition 1.
  private static func threeInFlight() throws -> (World, [World.Sent]) {
    var limits = DispatcherCore.Limits()
    limits.batchItemsMax = 1
    let world = World(limits)
    world.hello(1, credit: 3)
    for _ in 0..<5 { try world.ask(1) }
    let sent = try world.dispatch()
    try #require(sent.count == 3)
    return (world, sent)
  }

  @Test func `a partition that started again gets all that is in flight, in order, before what is new`()
    throws
  {
    let (world, sent) = try Self.threeInFlight()
    world.now += 10
    world.hello(1, epoch: 2, incarnation: 2, credit: 8, connection: [0xBB])
    let again = try world.dispatch()
    #expect(again.count == 5)
    #expect(again[..<3].map(\.number) == sent.map(\.number))
    #expect(again[..<3].map(\.requests) == sent.map(\.requests))
    #expect(again.map(\.header.after) == [0] + again.dropLast().map(\.number))
    #expect(again.allSatisfy { $0.header.epoch == Epoch(2) && $0.connection == [0xBB] })
    #expect(again[..<3].map(\.deadlines) == sent.map { $0.deadlines.map { $0 - 10 } })
  }

  @Test func `a connection that is another gets them too`() throws {
    let (world, sent) = try Self.threeInFlight()
    world.hello(1, credit: 3, connection: [0xBB])
    #expect(try world.dispatch().map(\.number) == sent.map(\.number))
  }

  @Test func `a hello as before sends nothing again`() throws {
    let (world, _) = try Self.threeInFlight()
    for _ in 0..<3 {
      world.now += 250
      world.hello(1, credit: 3)
      #expect(try world.dispatch().isEmpty)
    }
  }

  @Test func `a batch that got no answer for a second is sent again, and those after it`() throws {
    let (world, sent) = try Self.threeInFlight()
    try world.answer(sent[0])
    world.now += 1_000
    world.hello(1, credit: 2)
    let again = try world.dispatch()
    #expect(again.map(\.number) == sent[1...].map(\.number))
    #expect(again.map(\.header.after) == [0, sent[1].number])
    world.now += 999
    world.hello(1, credit: 2)
    #expect(try world.dispatch().isEmpty, "its second begins anew")
  }

  @Test func `an answer to either attempt settles it`() throws {
    let (world, sent) = try Self.threeInFlight()
    world.hello(1, epoch: 2, incarnation: 2, credit: 3)
    let again = try world.dispatch()
    try world.answer(sent[0])
    #expect(try world.codes() == [0])
    try world.answer(again[0])
    #expect(try world.codes() == [])
    #expect(world.counters.dropped == 1)
  }

  @Test func `what an earlier primary did not execute is for the present one to answer`() throws {
    let (world, sent) = try Self.threeInFlight()
    world.hello(1, epoch: 2, incarnation: 2, credit: 3)
    let again = try world.dispatch()
    try world.receive(world.refusal(of: sent[0], .diskFull))
    #expect(try world.codes() == [])
    #expect(world.counters.dropped == 1)
    try world.answer(again[0])
    #expect(try world.codes() == [0])
    // Its own refusal speaks for all that were sent before.
    try world.receive(world.refusal(of: again[1], .diskFull))
    #expect(try world.codes() == [DeliveryCode.diskFull.number])
  }

  @Test func `a refusal of one copy says nothing of another that went in the same epoch`() throws {
    let (world, sent) = try Self.threeInFlight()
    try world.receive(world.refusal(of: sent[0], .diskFull))
    #expect(try world.codes() == [DeliveryCode.diskFull.number])
    world.now += 1_000
    world.hello(1, credit: 3)
    let again = try world.dispatch()
    try world.receive(world.refusal(of: sent[1], .diskFull))
    #expect(try world.codes() == [DeliveryCode.noAnswerInTime.number])
    // Whatever the other copy's answer is, nobody waits for it; a final one needs no doubt.
    try world.receive(world.refusal(of: again[0], .diskFull))
    try world.answer(again[1])
    #expect(try world.codes() == [0])
  }

  @Test func `what was given up is sent again with no time left`() throws {
    let world = World()
    world.up()
    let shop = world.shop(of: 1)
    world.send([world.request(shop: shop, deadline: 100), world.request(shop: shop, deadline: 9_000)])
    _ = try world.dispatch()
    world.now += 150
    world.tick()
    world.hello(1, epoch: 2, incarnation: 2)
    #expect(try world.dispatch().map(\.deadlines) == [[0, 8_850]])
  }

  @Test func `of a lower epoch nothing is heard`() throws {
    let world = World()
    world.hello(1, epoch: 5, connection: [5])
    world.hello(1, epoch: 4, incarnation: 9, connection: [4])
    try world.ask(1)
    let sent = try world.dispatch()
    #expect(sent.map(\.connection) == [[5]])
    #expect(sent.map(\.header.epoch) == [Epoch(5)])
    world.assign(1, epoch: 3)
    #expect(world.view(1).epoch == Epoch(5))
    world.assign(1, epoch: 6)
    world.hello(1, epoch: 5, connection: [5])
    #expect(world.view(1).epoch == Epoch(6))
  }

  @Test func `a partition that says stale gets nothing until it says hello in its epoch`() throws {
    let (world, sent) = try Self.threeInFlight()
    world.stale(1, epoch: 2)
    #expect(!world.view(1).isActive)
    #expect(try world.dispatch().isEmpty)
    world.assign(1, epoch: 2)
    world.hello(1, epoch: 1, credit: 3)
    #expect(try world.dispatch().isEmpty)
    world.hello(1, epoch: 2, credit: 3)
    let again = try world.dispatch()
    #expect(again.map(\.number) == sent.map(\.number))
    #expect(again.allSatisfy { $0.header.epoch == Epoch(2) })
  }

  @Test func `what was sent in an epoch that a partition had not yet goes again with its first hello in it`()
    throws
  {
    let (world, sent) = try Self.threeInFlight()
    // The map is ahead of the partition, which takes none of these; nobody else says so.
    world.assign(1, epoch: 2)
    world.hello(1, epoch: 2, credit: 3)
    let again = try world.dispatch()
    #expect(again.map(\.number) == sent.map(\.number))
    #expect(again.map(\.header.after) == [0] + again.dropLast().map(\.number))
    world.hello(1, epoch: 2, credit: 3)
    #expect(try world.dispatch().isEmpty)
  }

  @Test func `a stranger's stale frame stops nobody`() throws {
    let (world, _) = try Self.threeInFlight()
    world.stale(1, epoch: .max, connection: [6, 6, 6])
    #expect(world.view(1).isActive)
    #expect(world.view(1).epoch == Epoch(1))
    #expect(world.counters.malformed == 1)
  }

  @Test func `a partition that is silent for two seconds is taken for gone`() throws {
    let world = World()
    world.hello(1, credit: 1)
    let id = try world.ask(1)
    let sent = try world.dispatch()
    world.now += 2_000
    world.tick()
    #expect(world.view(1).isActive)
    world.now += 1
    world.tick()
    #expect(!world.view(1).isActive)
    try world.answer(sent[0])
    #expect(try world.answered().map { $0.replies[0].id } == [id], "its answer still counts")
    let next = try world.ask(1)
    #expect(try world.dispatch().isEmpty)
    world.hello(1, credit: 1)
    #expect(try world.dispatch().map(\.ids) == [[next]])
  }

  @Test func `answers are signs of life`() throws {
    let (world, sent) = try Self.threeInFlight()
    for batch in sent {
      world.now += 1_900
      try world.answer(batch)
      world.tick()
      #expect(world.view(1).isActive)
    }
  }

  @Test func `what could not be handed over is sent at the next hello`() throws {
    let (world, sent) = try Self.threeInFlight()
    world.unreachable(1)
    #expect(try world.dispatch().isEmpty)
    world.hello(1, credit: 3)
    #expect(try world.dispatch().map(\.number) == sent.map(\.number))
  }

  @Test func `a hello of a partition that does not exist is counted`() throws {
    let world = World()
    world.hello(6)
    world.stale(6, epoch: 9)
    #expect(world.counters.malformed == 2)
  }
}

struct AuditTests {
  @Test func `an audit goes apart and uses no credit`() throws {
    let world = World()
    world.hello(1, credit: 1)
    world.send(world.request(field: .auditPartition, number: 1, deadline: 600_000))
    let id = try world.ask(1)
    let sent = try world.dispatch()
    #expect(sent.count == 2)
    #expect(sent[0].deadlines == [600_000])
    #expect(sent[1].ids == [id])
    #expect(sent[1].header.after == 0, "nothing waits for an audit")
    try world.answer(sent[1])
    #expect(try world.codes() == [0])
    try world.answer(sent[0])
    #expect(try world.codes() == [0])
    #expect(world.isIdle)
  }

  @Test func `an audit of a partition that is away is not begun`() throws {
    let world = World()
    world.assign(1)
    world.send(world.request(field: .auditPartition, number: 1))
    #expect(try world.codes() == [DeliveryCode.noPrimary.number])
  }

  @Test func `sixteen audits of a partition may be under way`() throws {
    let world = World()
    world.up()
    for _ in 0..<17 { world.send(world.request(field: .auditPartition, number: 1, deadline: 100)) }
    #expect(try world.codes() == [DeliveryCode.busy.number])
    #expect(try world.dispatch().count == 16)
    world.now += 100
    world.tick()
    #expect(try world.codes() == Array(repeating: DeliveryCode.noAnswerInTime.number, count: 16))
    #expect(world.isIdle)
    world.send(world.request(field: .auditPartition, number: 1))
    #expect(try world.dispatch().count == 1, "those that were given up make room")
  }

  @Test func `an audit is not sent again`() throws {
    let world = World()
    world.up()
    world.send(world.request(field: .auditPartition, number: 1))
    #expect(try world.dispatch().count == 1)
    world.hello(1, epoch: 2, incarnation: 2)
    #expect(try world.dispatch().isEmpty)
  }
}

struct StopTests {
  @Test func `after a stop nothing new is taken, and what is under way is answered`() throws {
    let world = World()
    world.up(credit: 1)
    try world.ask(1)
    let sent = try world.dispatch()
    try world.ask(1)
    world.stop()
    #expect(!world.isIdle)
    let id = try world.ask(1)
    let answered = try world.answered()
    #expect(answered.map(\.codes) == [[DeliveryCode.stopping.number]])
    #expect(answered[0].replies[0].id == id)
    try world.answer(sent[0])
    #expect(try world.codes() == [0])
    try world.answer(try world.dispatch()[0])
    #expect(try world.codes() == [0])
    #expect(world.isIdle)
  }

  @Test func `every request has one fate, and counters say which`() throws {
    var random = SplitMix64(seed: 11)
    var limits = DispatcherCore.Limits()
    limits.waitingMax = 8
    limits.batchItemsMax = 4
    let world = World(limits)
    for partition in 0..<4 as Range<UInt16> { world.assign(partition) }
    var asked: [RequestID: Int] = [:]
    var answers: [RequestID: [UInt32]] = [:]
    var open: [World.Sent] = []
    func look() throws {
      for reply in try world.answered().flatMap(\.replies) {
        answers[try #require(reply.id), default: []].append(reply.code)
      }
    }
    for round in 0..<3_000 {
      let partition = UInt16(random.next() % 5)
      switch random.next() % 12 {
      case 0...5:
        asked[try world.ask(partition, deadline: UInt32(1 + random.next() % 600))] = round
      case 6:
        world.hello(
          partition, epoch: 1 + UInt64(round / 1_000), incarnation: random.next() % 3,
          credit: UInt32(random.next() % 4))
      case 7 where !open.isEmpty:
        try world.answer(open.remove(at: Int(random.next() % UInt64(open.count))))
      case 8 where !open.isEmpty: try world.answer(open[Int(random.next() % UInt64(open.count))], items: [0])
      case 9: world.unreachable(partition)
      case 10: world.stale(partition, epoch: 1 + UInt64(round / 1_000))
      default:
        world.now += Int64(random.next() % 200)
        world.tick()
      }
      open += try world.dispatch()
      try look()
    }
    world.now += 10_000
    world.tick()
    try look()
    #expect(world.isIdle)
    #expect(answers.count == asked.count)
    #expect(answers.allSatisfy { $0.value.count == 1 }, "one answer each")
    let counters = world.counters
    #expect(counters.requests == UInt64(asked.count))
    #expect(
      counters.done + counters.no + counters.notExecuted + counters.unknown == counters.requests)
    for code in [DeliveryCode.busy, .noPrimary, .deadlinePassed, .noAnswerInTime].map(\.number) + [0] {
      #expect(answers.contains { $0.value == [code] }, "code \(code) was met")
    }
  }
}

/// What workers send is bytes from a network: whatever they are, the core goes on.
struct MalformedTests {
  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `answers that are not what they should be never crash it`(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let world = World()
    world.up(credit: 64)
    for _ in 0..<400 {
      let count = 1 + Int(random.next() % 5)
      world.send((0..<count).map { _ in world.request(shop: world.shop(of: 1)) })
      let sent = try #require(try world.dispatch().first)
      var frame = world.answers(to: sent)
      for _ in 0..<(1 + random.next() % 4) where !frame.isEmpty {
        let place = Int(random.next() % UInt64(frame.count))
        switch random.next() % 5 {
        case 0: frame[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: frame[place] ^= 1 << UInt8(random.next() % 8)
        case 2: frame.removeSubrange(place...)
        case 3: frame.insert(contentsOf: random.bytes(Int(random.next() % 20)), at: place)
        default:
          for byte in place..<min(place + 4, frame.count) { frame[byte] = 0xFF }
        }
      }
      do { try world.receive(frame) } catch is FrameError {}
      // Whatever that did, the partition's right answer ends it.
      try world.answer(sent)
    }
    world.now += 600_001
    world.tick()
    #expect(world.isIdle, "seed \(seed): nobody waits for ever")
    #expect(world.view(1).inFlight == 0)
  }

  @Test func `a frame that is cut anywhere is refused, and what it answered before counts`() throws {
    let world = World()
    world.up(credit: 64)
    world.send((0..<3).map { _ in world.request(shop: world.shop(of: 1)) })
    let sent = try world.dispatch()[0]
    let whole = world.answers(to: sent)
    for count in 0..<whole.count {
      #expect(throws: FrameError.self, "cut at \(count)") { try world.receive(Array(whole[..<count])) }
    }
    #expect(try world.answered().isEmpty, "two of three are known")
    try world.receive(whole)
    #expect(try world.codes() == [0, 0, 0])
  }

  @Test func `a frame of another version or with too many items is refused`() throws {
    let world = World()
    world.up()
    try world.ask(1)
    var frame = world.answers(to: try world.dispatch()[0])
    frame[1] = 2
    #expect(throws: FrameError.unsupportedVersion(2)) { try world.receive(frame) }
    frame[1] = 1
    frame.replaceSubrange(4..<8, with: [0xFF, 0xFF, 0xFF, 0xFF])
    #expect(throws: FrameError.countTooLarge(.max)) { try world.receive(frame) }
  }

  @Test func `an index that a batch does not have is dropped`() throws {
    let world = World()
    world.up()
    try world.ask(1)
    let sent = try world.dispatch()[0]
    var frame = world.answers(to: sent)
    frame[BatchHeader.size] = 1
    try world.receive(frame)
    frame.replaceSubrange(BatchHeader.size..<BatchHeader.size + 4, with: [0xFF, 0xFF, 0xFF, 0xFF])
    try world.receive(frame)
    #expect(world.counters.dropped == 2)
    #expect(try world.codes() == [])
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `requests that are not what they should be never crash it`(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let world = World()
    world.up(credit: 64)
    for _ in 0..<1_000 {
      var request =
        random.next() % 2 == 0
        ? world.request(shop: random.next())
        : world.request(order: OrderID(high: random.next(), low: random.next()))
      for _ in 0..<(1 + random.next() % 3) where !request.isEmpty {
        let place = Int(random.next() % UInt64(request.count))
        if random.next() % 3 == 0 {
          request.removeSubrange(place...)
        } else {
          request[place] = UInt8(truncatingIfNeeded: random.next())
        }
      }
      world.send(request)
      for sent in try world.dispatch() { try world.answer(sent) }
      world.answerStatus()
      _ = try world.answered()
    }
    world.now += 600_001
    world.tick()
    #expect(world.isIdle)
  }
}
