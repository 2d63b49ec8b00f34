import Bytes
import Cluster
import Foundation
import LarisProtocol
import Marketplace
import Testing
import Wire
import WorkerCore

/// Resolve and GetRequest: a caller learns what its request did, or that it never will do anything.
struct FateTests {
  static let now = Worker.start + 5_000

  private func open(_ caller: inout Caller) -> Worker {
    let worker = Worker(generations: (4, 2))
    _ = worker.tell(
      [
        Sent(bytes: caller.request(.register(1), at: Self.now)),
        Sent(bytes: caller.request(.put(1, 10, price: 5, onHand: 100), at: Self.now)),
      ], at: Self.now)
    return worker
  }

  private func onHand(_ worker: Worker) -> Int64 {
    guard case .sku(let sku) = worker.look(.sku(SKUKey(shop: 1, sku: 10))) else { return -1 }
    return sku.onHand
  }

  /// What a reply to Resolve or GetRequest tells: the other request's reply, byte for byte.
  private func told(_ got: Got) throws -> [UInt8] {
    let reply = try Laris_Reply(serializedBytes: Data(got.bytes))
    #expect(reply.outcome == .done)
    return try reply.resolved.reply.serializedBytes()
  }

  @Test(arguments: [true, false])
  func `the fate of an executed request is its reply, done or no`(sealing: Bool) throws {
    var caller = Caller()
    let worker = open(&caller)
    for command in [Command.adjust(1, 10, -3), .adjust(1, 10, -300), .place(1, [(10, 2)]), .register(1)] {
      let id = caller.id(at: Self.now)
      let first = worker.tell(caller.encode(command, id: id), at: Self.now)
      let logged = worker.log.count
      for _ in 0..<2 {
        let fate = worker.tell(caller.fate(of: id, sealing: sealing, at: Self.now), at: Self.now)
        #expect(try Laris_Reply(serializedBytes: Data(first.bytes)).serializedBytes() == told(fate))
      }
      #expect(worker.log.count == logged, "telling is not logged")
    }
  }

  @Test func `what was not executed is sealed, and never will be`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let id = caller.id(at: Self.now)
    let fate = worker.tell(caller.fate(of: id, sealing: true, at: Self.now), at: Self.now)
    let sealed = try Laris_Reply(serializedBytes: Data(try told(fate)))
    #expect(sealed.outcome == .no)
    #expect(sealed.code == .requestSealed)
    #expect(sealed.requestID == Data(id.bytes))
    #expect(!sealed.message.isEmpty && !sealed.messageIndonesian.isEmpty && !sealed.next.isEmpty)
    // Whatever it was, it comes too late; and asking again changes nothing.
    for command in [Command.adjust(1, 10, -3), .place(1, [(10, 2)])] {
      let late = worker.tell(caller.encode(command, id: id), at: Self.now + 10)
      #expect(late.code == UInt32(Reason.requestSealed.rawValue))
      #expect(late.outcome == Outcome.no.rawValue)
    }
    let logged = worker.log.count
    for sealing in [true, false] {
      let again = worker.tell(caller.fate(of: id, sealing: sealing, at: Self.now), at: Self.now)
      #expect(try told(again) == told(fate))
    }
    #expect(worker.log.count == logged)
    #expect(onHand(worker) == 100)
  }

  @Test func `GetRequest seals nothing`() {
    var caller = Caller()
    let worker = open(&caller)
    let id = caller.id(at: Self.now)
    let fate = worker.tell(caller.fate(of: id, sealing: false, at: Self.now), at: Self.now)
    #expect(fate.code == UInt32(Reason.unknownRequest.rawValue))
    #expect(worker.tell(caller.encode(.adjust(1, 10, -3), id: id), at: Self.now).code == 0)
    #expect(onHand(worker) == 97)
  }

  @Test func `inside a group the order decides`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let (before, after) = (caller.id(at: Self.now), caller.id(at: Self.now))
    let got = worker.tell(
      [
        caller.encode(.adjust(1, 10, -3), id: before),
        caller.fate(of: before, sealing: true, at: Self.now),
        caller.fate(of: after, sealing: false, at: Self.now),
        caller.fate(of: after, sealing: true, at: Self.now),
        caller.encode(.adjust(1, 10, -5), id: after),
        caller.fate(of: after, sealing: false, at: Self.now),
      ].map { Sent(bytes: $0) }, at: Self.now)
    #expect(try told(got[1]) == Laris_Reply(serializedBytes: Data(got[0].bytes)).serializedBytes())
    #expect(got[2].code == UInt32(Reason.unknownRequest.rawValue))
    let sealed = UInt32(Reason.requestSealed.rawValue)
    #expect(try Laris_Reply(serializedBytes: Data(told(got[3]))).code == .requestSealed)
    #expect(got[4].code == sealed)
    #expect(try told(got[5]) == told(got[3]))
    #expect(onHand(worker) == 97)
  }

  @Test func `a seal outlives memory and restarts`() throws {
    var caller = Caller()
    let worker = open(&caller)
    let id = caller.id(at: Self.now)
    let done = caller.id(at: Self.now)
    let first = worker.tell(caller.encode(.adjust(1, 10, -3), id: done), at: Self.now)
    let fate = worker.tell(caller.fate(of: id, sealing: true, at: Self.now), at: Self.now)
    // Replayed from the log.
    let replayed = Worker(store: FakeStore(), log: worker.log)
    #expect(replayed.tell(caller.encode(.adjust(1, 10, -4), id: id), at: Self.now).code == 20)
    // From the store, when many others came after it.
    for _ in 0..<40 {
      _ = worker.tell(caller.request(.adjust(1, 10, 1), at: Self.now + 1), at: Self.now + 1)
      worker.checkpoint(keeping: 0)
    }
    #expect(worker.core.requests.find(id) == nil, "it is in the store only")
    let stored = Worker(store: worker.store, log: [], generations: (4, 2))
    for partition in [worker, stored] {
      #expect(partition.tell(caller.encode(.adjust(1, 10, -4), id: id), at: Self.now + 2).code == 20)
      let again = partition.tell(caller.fate(of: id, sealing: true, at: Self.now), at: Self.now + 2)
      #expect(try told(again) == told(fate))
      let other = partition.tell(caller.fate(of: done, sealing: true, at: Self.now), at: Self.now + 2)
      #expect(try told(other) == Laris_Reply(serializedBytes: Data(first.bytes)).serializedBytes())
    }
  }

  @Test(arguments: [true, false])
  func `of an id outside the window nothing is said`(sealing: Bool) {
    var caller = Caller()
    let worker = open(&caller)
    let old = worker.tell(
      caller.fate(of: caller.id(at: Self.now - Worker.window - 1), sealing: sealing, at: Self.now),
      at: Self.now)
    #expect(old.code == UInt32(DeliveryCode.requestIDTooOld.rawValue))
    #expect(old.outcome == Outcome.unknown.rawValue)
    let ahead = worker.tell(
      caller.fate(
        of: caller.id(at: Self.now + WireLimits.skewMilliseconds + 1), sealing: sealing, at: Self.now),
      at: Self.now)
    #expect(ahead.code == UInt32(DeliveryCode.requestIDInvalid.rawValue))
    let late = worker.tell(
      [
        Sent(
          bytes: caller.fate(of: caller.id(at: Self.now), sealing: sealing, at: Self.now),
          deadlineMilliseconds: 0)
      ],
      at: Self.now)
    #expect(late[0].code == UInt32(DeliveryCode.deadlinePassed.rawValue))
  }
}
