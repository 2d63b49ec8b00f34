import Bytes
import Cluster
import Foundation
import Histogram
import LarisClient
import LarisProtocol
import Marketplace
import Wire
import ZeroMQ

/// A sale: shops and SKUs are set up, then orders are placed, one request a message.
///
/// Closed loop (a number in flight) or open loop (a rate; latency counts from the planned time).
/// One thread, which sleeps when there is nothing to do. A request without a final answer is tried
/// again with its id, so that every order is accounted for at the end.
package final class Sale {
  package struct Options: Sendable {
    package var dispatcher = "tcp://127.0.0.1:12120"
    package var seconds: Double = 60
    package var inFlight = 2_000
    /// Orders a second; nil: closed loop.
    package var rate: Double?
    package var shops = 10_000
    package var skusPerShop = 10
    package var linesPerOrder = 3
    package var stock: Int64 = 1_000_000_000
    package var seed: UInt64 = 1
    /// Per mille of the orders that want SKU 1 of shop 1.
    package var hotPerMille = 0
    package init() {}
  }

  package enum Failure: Error, CustomStringConvertible {
    case address(String)
    case setup(String)
    package var description: String {
      switch self {
      case .address(let text): "\(text) is no address; it should look like tcp://127.0.0.1:12120"
      case .setup(let text): "the marketplace could not be set up: \(text)"
      }
    }
  }

  package struct Progress {
    package var seconds: Double
    package var orders: Int
    package var ordersLastSecond: Int
    package var p99Milliseconds: Double
  }

  private struct Slot {
    var number: UInt64 = 0
    var idHigh: UInt64 = 0
    /// When the order was due, and when its request was last sent, in microseconds.
    var plannedAt: Int64 = 0
    var sentAt: Int64 = 0
    var resendAt: Int64 = 0
    var attempts = 0
    var isUsed = false
  }

  private let options: Options
  private let context = ZeroMQContext()
  private let socket: Socket
  private var slots: [Slot]
  private var free: [Int] = []
  private var nextNumber: UInt64 = 0
  private var writer = ByteWriter(capacity: 512)
  private var histogram = Histogram<UInt64>(
    highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three)
  private var window = Histogram<UInt64>(
    highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three)
  private var summary = SaleSummary()
  /// Of this run: in the ids, so that two runs never share one.
  private let runBits = UInt64.random(in: 0..<(1 << 12))

  package init(_ options: Options) throws(Failure) {
    socket = try Self.connect(options.dispatcher, context)
    self.options = options
    let capacity = options.rate == nil ? options.inFlight : max(options.inFlight, 20_000)
    slots = Array(repeating: Slot(), count: capacity)
    free = Array((0..<capacity).reversed())
  }

  private static func connect(_ dispatcher: String, _ context: ZeroMQContext) throws(Failure) -> Socket {
    do {
      let socket = try Socket(.dealer, in: context)
      socket.setHighWaterMarks(send: 0, receive: 0)
      socket.setImmediate()
      socket.setReconnect(milliseconds: 20, max: 200)
      try socket.connect(dispatcher)
      return socket
    } catch {
      throw .address(dispatcher)
    }
  }

  // MARK: Setting up

  /// Registers the shops and puts their SKUs. A shop that is there already is fine.
  package func setUp(progress: (_ done: Int, _ of: Int) -> Void) throws(Failure) {
    var pipeline: Pipeline
    do { pipeline = try Pipeline(dispatcher: options.dispatcher, context: context) } catch {
      throw .address(options.dispatcher)
    }
    let run = RunID.fresh()
    let total = options.shops * (1 + options.skusPerShop)
    var number = 0
    var over = 0
    var reportedAt = Date()
    func turn(_ pipeline: inout Pipeline, below limit: Int) throws(Failure) {
      while pipeline.count > limit {
        for finished in pipeline.poll(milliseconds: 20) {
          over += 1
          guard let bytes = finished.reply, !finished.isGivenUp,
            let peek = try? bytes.withUnsafeBytes({ try ReplyPeek($0) })
          else { throw .setup("no answer within 30 s; is a cluster at \(options.dispatcher)?") }
          let isKnown = peek.code == UInt32(Reason.shopExists.rawValue)
          guard peek.outcome == Outcome.done.rawValue || isKnown else {
            throw .setup("a command was refused with code \(peek.code)")
          }
        }
        if Date().timeIntervalSince(reportedAt) > 0.5 {
          reportedAt = Date()
          progress(over, total)
        }
      }
    }
    func submit(_ command: Command, _ pipeline: inout Pipeline) throws(Failure) {
      let id = run.request(number)
      number += 1
      var writer = ByteWriter(capacity: 128)
      RequestEncoder.write(
        id: id, channel: "loadtest", deadlineMilliseconds: 0, command, into: &writer)
      pipeline.submit(id, Array(writer.bytes))
      try turn(&pipeline, below: 2_000)
    }
    for shop in 1...options.shops {
      var command = Command.RegisterShop()
      command.shop = UInt64(shop)
      command.name = "Toko \(shop)"
      try submit(.registerShop(command), &pipeline)
    }
    try turn(&pipeline, below: 0)
    for shop in 1...options.shops {
      for sku in 1...options.skusPerShop {
        var command = Command.PutSKU()
        command.shop = UInt64(shop)
        command.sku = UInt64(sku)
        command.price = Int64(1_000 + sku * 10)
        command.onHand = options.stock
        try submit(.putSKU(command), &pipeline)
      }
    }
    try turn(&pipeline, below: 0)
    progress(total, total)
  }

  // MARK: Selling

  private static func now() -> Int64 { read(CLOCK_MONOTONIC) }

  /// Time that this thread has computed.
  private static func threadMicroseconds() -> Int64 { read(CLOCK_THREAD_CPUTIME_ID) }

  private static func read(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
  }

  /// Sells for the time that was asked for, and waits for what is under way.
  ///
  /// - Parameter progress: called once a second.
  package func sell(progress: (Progress) -> Void) -> SaleSummary {
    let lag = LagSampler(dispatcher: options.dispatcher)
    defer { lag.stop() }
    let began = Self.now()
    let busyBefore = Self.threadMicroseconds()
    let end = began + Int64(options.seconds * 1_000_000)
    var second: Int64 = 1
    var ordersBefore = 0
    var scanAt = began
    var message = Message()
    while true {
      let now = Self.now()
      if now < end { send(now: now, began: began) }
      let isOver = now >= end && free.count == slots.count
      let isStuck = now >= end + 60_000_000
      if isOver || isStuck { break }
      if socket.wait(milliseconds: pause(now: now, began: began, end: end)) {
        let received = Self.now()
        while (try? socket.receive(into: &message)) == true { take(message.bytes, now: received) }
      }
      if now - scanAt >= 10_000 {
        scanAt = now
        resend(now: now)
      }
      if now - began >= second * 1_000_000, now < end {
        progress(
          Progress(
            seconds: Double(second), orders: summary.finished,
            ordersLastSecond: summary.finished - ordersBefore,
            p99Milliseconds: Double(window.valueAtPercentile(99)) / 1_000))
        window.reset()
        ordersBefore = summary.finished
        second += 1
      }
    }
    summary.unresolved = slots.count - free.count
    summary.sellingSeconds = options.seconds
    summary.generatorLoad =
      Double(Self.threadMicroseconds() - busyBefore) / Double(max(1, Self.now() - began))
    summary.lagAt10Seconds = lag.peak(from: 5, to: 10)
    summary.lagAtEnd = lag.peak(from: options.seconds - 5, to: options.seconds)
    summary.histogram = histogram
    return summary
  }

  /// How long there is nothing to do but wait for answers.
  private func pause(now: Int64, began: Int64, end: Int64) -> Int {
    if let rate = options.rate, now < end, !free.isEmpty {
      let due = began + Int64(Double(nextNumber) / rate * 1_000_000)
      return max(1, min(10, Int((due - now) / 1_000)))
    }
    return 10
  }

  private func send(now: Int64, began: Int64) {
    if let rate = options.rate {
      let due = UInt64(Double(now - began) / 1_000_000 * rate)
      while nextNumber < due, let slot = free.popLast() {
        begin(slot, plannedAt: began + Int64(Double(nextNumber) / rate * 1_000_000), now: now)
      }
      if nextNumber < due { summary.sendingWasLate = true }
    } else {
      while let slot = free.popLast() { begin(slot, plannedAt: now, now: now) }
    }
  }

  private func begin(_ slot: Int, plannedAt: Int64, now: Int64) {
    let milliseconds = UInt64(max(0, Date().timeIntervalSince1970 * 1_000))
    slots[slot] = Slot(
      number: nextNumber, idHigh: milliseconds << 16 | 0x7000 | runBits, plannedAt: plannedAt, sentAt: 0,
      resendAt: 0, attempts: 0, isUsed: true)
    nextNumber += 1
    transmit(slot, now: now)
  }

  /// The slot is in the id, so that an answer finds it.
  private func id(_ slot: Int) -> RequestID {
    RequestID(
      high: slots[slot].idHigh, low: 2 << 62 | UInt64(slot) << 40 | slots[slot].number & (1 << 40 - 1))
  }

  private func transmit(_ slot: Int, now: Int64) {
    writer.removeAll()
    let order = Self.order(slots[slot].number, options)
    RequestEncoder.write(
      id: id(slot), channel: "loadtest", deadlineMilliseconds: 0, .placeOrder(order), into: &writer)
    slots[slot].sentAt = now
    do {
      try socket.send(writer.bytes)
      slots[slot].attempts += 1
      slots[slot].resendAt = now + 2_000_000
    } catch {
      slots[slot].resendAt = now + 20_000
    }
  }

  /// The order with this number: the same again whenever it is sent.
  private static func order(_ number: UInt64, _ options: Options) -> Command.PlaceOrder {
    var state = mixed(options.seed &+ number &* 0x9E37_79B9_7F4A_7C15)
    func draw(_ bound: Int) -> UInt64 {
      state = mixed(state)
      return UInt64(truncatingIfNeeded: state.multipliedFullWidth(by: UInt64(bound)).high)
    }
    var order = Command.PlaceOrder()
    let isHot = options.hotPerMille > 0 && draw(1_000) < UInt64(options.hotPerMille)
    order.shop = isHot ? 1 : draw(options.shops) + 1
    order.buyer = draw(10_000_000) + 1
    let first = isHot ? 0 : Int(draw(options.skusPerShop))
    for line in 0..<options.linesPerOrder {
      order.lines.append(
        .init(sku: UInt64((first + line) % options.skusPerShop) + 1, quantity: UInt32(draw(3)) + 1))
    }
    return order
  }

  private func take(_ bytes: UnsafeRawBufferPointer, now: Int64) {
    guard let peek = try? ReplyPeek(bytes), let id = peek.id else {
      summary.strayReplies += 1
      return
    }
    let slot = Int(id.low >> 40 & 0x3F_FFFF)
    guard slot < slots.count, slots[slot].isUsed, self.id(slot) == id else {
      summary.strayReplies += 1
      return
    }
    switch Outcome(rawValue: peek.outcome) {
    case .done: summary.done += 1
    case .no: summary.no[peek.code, default: 0] += 1
    default:
      summary.retries[peek.code, default: 0] += 1
      guard peek.retryAfterMilliseconds > 0 else {
        summary.refused[peek.code, default: 0] += 1
        return release(slot)
      }
      let wait = Int64(peek.retryAfterMilliseconds) * 1_000
      slots[slot].resendAt = now + wait / 2 + Int64.random(in: 0...wait)
      return
    }
    let latency = UInt64(max(1, now - slots[slot].plannedAt))
    histogram.record(latency)
    window.record(latency)
    release(slot)
  }

  private func release(_ slot: Int) {
    slots[slot].isUsed = false
    free.append(slot)
  }

  private func resend(now: Int64) {
    for slot in slots.indices where slots[slot].isUsed && slots[slot].resendAt <= now {
      if slots[slot].attempts > 0, now - slots[slot].sentAt >= 2_000_000 { summary.silent += 1 }
      transmit(slot, now: now)
    }
  }
}
