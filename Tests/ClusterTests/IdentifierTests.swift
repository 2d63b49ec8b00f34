import Cluster
import Testing

struct IdentifierTests {
  /// The example of RFC 9562, A.6: 2022-02-22 19:22:22.000 UTC.
  static let rfc = RequestID(high: 0x017F_22E2_79B0_7CC3, low: 0x98C4_DC0C_0C07_398F)

  @Test func `the example of RFC 9562 is a UUIDv7 of its time`() {
    #expect(Self.rfc.isVersion7)
    #expect(Self.rfc.milliseconds == 1_645_557_742_000)
    #expect(Self.rfc.description == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
  }

  @Test(
    arguments: [
      (0x017F_22E2_79B0_6CC3, 0x98C4_DC0C_0C07_398F), (0x017F_22E2_79B0_4CC3, 0x98C4_DC0C_0C07_398F),
      (0x017F_22E2_79B0_7CC3, 0x18C4_DC0C_0C07_398F), (0x017F_22E2_79B0_7CC3, 0xD8C4_DC0C_0C07_398F),
      (0, 0), (.max, .max),
    ] as [(UInt64, UInt64)])
  func `another version or variant is no UUIDv7`(_ high: UInt64, _ low: UInt64) {
    #expect(!RequestID(high: high, low: low).isVersion7)
  }

  @Test func `ids sort by time, then by the rest`() {
    let sorted = [
      RequestID(high: 0, low: 0), RequestID(high: 0, low: .max), RequestID(high: 1, low: 0),
      RequestID(firstAt: 1), RequestID(high: 1 << 16 | 0x7000, low: 2 << 62), RequestID(firstAt: 2),
      Self.rfc, RequestID(high: Self.rfc.high, low: Self.rfc.low + 1), RequestID(high: .max, low: 0),
    ]
    for (index, a) in sorted.enumerated() {
      for (other, b) in sorted.enumerated() { #expect((a < b) == (index < other), "\(a) < \(b)") }
    }
  }

  @Test func `the first id of a time is before all of it and after all earlier ones`() {
    let time: Int64 = 1_700_000_000_000
    let first = RequestID(firstAt: time)
    #expect(first.milliseconds == time)
    #expect(first <= RequestID(high: UInt64(time) << 16 | 0x7000, low: 2 << 62))
    #expect(RequestID(high: UInt64(time - 1) << 16 | 0xFFFF, low: .max) < first)
    #expect(RequestID(firstAt: -5) == RequestID(high: 0, low: 0), "no time is before 1970")
  }

  @Test func `a time takes 48 bits`() {
    #expect(RequestID(high: .max, low: 0).milliseconds == 1 << 48 - 1)
  }

  @Test func `epochs and sequence numbers count up`() {
    #expect(Epoch(3).next == Epoch(4))
    #expect(SequenceNumber.zero.next == SequenceNumber(1))
    #expect(SequenceNumber(7).advanced(by: 3) == SequenceNumber(10))
    #expect(SequenceNumber(9) < SequenceNumber(10))
  }

  @Test func `names of things are short and plain`() {
    #expect("\(PartitionID(12))" == "p12")
    #expect("\(Epoch(3))" == "e3")
    #expect("\(SequenceNumber(99))" == "99")
    #expect("\(Incarnation(0xAB))" == "00000000000000ab")
  }
}
