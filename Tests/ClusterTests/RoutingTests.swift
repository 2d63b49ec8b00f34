import Cluster
import Testing

/// Where keys live. **These vectors must never change**: a cluster's data lies where they say.
///
/// Python: `xxhash.xxh64_intdigest(key.to_bytes(8, "little")) % count`.
struct RoutingTests {
  static let keys: [UInt64] = [
    0, 1, 2, 3, 7, 42, 100, 1_000, 4_096, 65_535, 65_536, 1 << 31, 1 << 32 - 1, 1 << 32, 1 << 53,
    1 << 63 - 1, 1 << 63, .max - 1, .max, 0x0123_4567_89AB_CDEF,
  ]

  @Test(
    arguments: [
      (1, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
      (6, [5, 1, 0, 3, 5, 3, 0, 1, 3, 4, 4, 0, 1, 3, 2, 2, 0, 1, 3, 2]),
      (64, [59, 21, 48, 1, 21, 19, 58, 9, 47, 46, 16, 52, 27, 41, 40, 12, 32, 63, 9, 44]),
      (
        4_096,
        [
          3003, 2453, 3504, 2113, 1109, 851, 122, 2633, 367, 878, 1104, 2996, 795, 681, 2472, 1804, 1248,
          2431, 1737, 1004,
        ]
      ),
    ] as [(Int, [UInt16])])
  func `keys live where they always lived`(_ count: Int, _ expected: [UInt16]) {
    let found = Self.keys.map { Routing.partition(ofKey: $0, count: count).rawValue }
    #expect(found == expected)
  }

  @Test func `a cluster has at most 4,096 partitions`() {
    #expect(Routing.partitionsMax == 4_096)
  }

  @Test(arguments: [2, 6, 64])
  func `shops that count up are spread evenly`(_ count: Int) {
    var shops = [Int](repeating: 0, count: count)
    for key in 1...64_000 as ClosedRange<UInt64> {
      shops[Int(Routing.partition(ofKey: key, count: count).rawValue)] += 1
    }
    let even = 64_000 / count
    for (partition, number) in shops.enumerated() {
      #expect(abs(number - even) < even / 5, "partition \(partition) has \(number) shops of \(even)")
    }
  }
}
