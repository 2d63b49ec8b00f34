import Cluster
import TestSupport
import Testing
import WorkerCore

struct AnsweredRequestsTests {
  private struct Known: Equatable {
    var sequenceNumber: UInt64
    var fingerprint: UInt64
    var code: UInt8
    var body: [UInt8]
  }

  private func id(_ milliseconds: Int64, _ low: UInt64) -> RequestID {
    RequestID(high: UInt64(milliseconds) << 16 | 0x7000, low: low)
  }

  private func found(_ requests: borrowing AnsweredRequests, _ id: RequestID) -> Known? {
    guard let entry = requests.find(id) else { return nil }
    guard let answer = entry.answer else { return nil }
    return Known(
      sequenceNumber: entry.sequenceNumber, fingerprint: entry.fingerprint, code: answer.code,
      body: Array(answer.body))
  }

  @Test(
    arguments: [
      // seed, entries of a generation, generations
      (1, 8, 2), (2, 1, 2), (3, 64, 3), (4, 7, 5), (5, 1_000, 2),
    ] as [(UInt64, Int, Int)])
  func `an answer is here or in the store, and the horizon says which`(
    seed: UInt64, entries: Int, most: Int
  ) {
    var random = SplitMix64(seed: seed)
    var requests = AnsweredRequests(entriesPerGeneration: entries, generationsMax: most)
    var all: [RequestID: Known] = [:]
    var order: [RequestID] = []
    var sinceFreeze: [RequestID] = []
    var frozen: [(through: UInt64, ids: [RequestID])] = []
    var stored: Set<RequestID> = []
    var sequenceNumber: UInt64 = 0
    var now: Int64 = 1_000_000
    for _ in 0..<8_000 {
      switch random.pick(0...99) {
      case 0..<70:
        // Callers' clocks differ.
        now += Int64(random.pick(0...5))
        let id = id(now + Int64(random.pick(-40...40)), UInt64.random(in: 0...UInt64.max, using: &random))
        guard all[id] == nil else { continue }
        sequenceNumber += 1
        let known = Known(
          sequenceNumber: sequenceNumber, fingerprint: UInt64.random(in: 0...9, using: &random),
          code: UInt8(random.pick(0...19)),
          body: (0..<random.pick(0...20)).map { _ in UInt8(random.pick(0...255)) })
        let reference = requests.insert(
          id, fingerprint: known.fingerprint, sequenceNumber: sequenceNumber)
        let isUnanswered = requests.find(id)?.answer == nil
        #expect(requests.find(id)?.sequenceNumber == sequenceNumber)
        #expect(isUnanswered)
        known.body.withUnsafeBytes { requests.setAnswer(reference, code: known.code, body: $0) }
        all[id] = known
        order.append(id)
        sinceFreeze.append(id)
      case 70..<85:
        guard !order.isEmpty else { continue }
        let id = order[random.pick(0...order.count - 1)]
        if let here = found(requests, id) {
          #expect(here == all[id])
        } else {
          let isStored = stored.contains(id)
          #expect(isStored, "an answer was forgotten before it was written")
          #expect(id.milliseconds < requests.horizon, "the horizon hides an answer")
          // As a shell does: load, then find.
          guard let known = all[id] else { continue }
          known.body.withUnsafeBytes {
            requests.insertLoaded(
              id, fingerprint: known.fingerprint, sequenceNumber: known.sequenceNumber, code: known.code,
              body: $0)
          }
          #expect(found(requests, id) == known)
          requests.forgetLoaded()
          #expect(found(requests, id) == nil)
        }
      case 85..<90:
        requests.freeze()
        while requests.copyFrozen(atMost: 7) == 7 {}
        let copy = requests.takeFrozen()
        #expect(copy.rows.map(\.id) == sinceFreeze)
        for row in copy.rows {
          let known = Known(
            sequenceNumber: row.sequenceNumber, fingerprint: row.fingerprint, code: row.code,
            body: Array(copy.bodies[row.bodyStart..<row.bodyEnd]))
          #expect(known == all[row.id])
        }
        frozen.append((sequenceNumber, sinceFreeze))
        sinceFreeze = []
      case 90..<95:
        guard !frozen.isEmpty else { continue }
        let (through, ids) = frozen.removeFirst()
        stored.formUnion(ids)
        requests.written(through: through)
      default:
        let stranger = id(now, UInt64.random(in: 0...UInt64.max, using: &random))
        if all[stranger] == nil { #expect(found(requests, stranger) == nil) }
      }
    }
    requests.freeze()
    _ = requests.copyFrozen(atMost: .max)
    let last = requests.takeFrozen()
    stored.formUnion(last.rows.map(\.id))
    for (_, ids) in frozen { stored.formUnion(ids) }
    requests.written(through: sequenceNumber)
    #expect(requests.count <= entries * most, "memory is not bounded")
    for id in order {
      if let here = found(requests, id) {
        #expect(here == all[id])
      } else {
        let isStored = stored.contains(id)
        #expect(isStored, "an answer was forgotten before it was written")
        #expect(id.milliseconds < requests.horizon)
      }
    }
  }

  @Test func `what is not written stays, however much it is`() {
    var requests = AnsweredRequests(entriesPerGeneration: 4, generationsMax: 2)
    for number in 1...100 as ClosedRange<UInt64> {
      let reference = requests.insert(id(Int64(number), number), fingerprint: 1, sequenceNumber: number)
      [UInt8(number)].withUnsafeBytes { requests.setAnswer(reference, code: 0, body: $0) }
    }
    requests.written(through: 100)  // Nothing was frozen yet.
    #expect(requests.count == 100)
    requests.freeze()
    _ = requests.copyFrozen(atMost: .max)
    _ = requests.takeFrozen()
    requests.written(through: 50)
    #expect(requests.count == 52, "whole generations up to entry 48 may go")
    #expect(requests.horizon == 49)
    #expect(found(requests, id(49, 49))?.body == [49])
    #expect(found(requests, id(48, 48)) == nil)
  }
}
