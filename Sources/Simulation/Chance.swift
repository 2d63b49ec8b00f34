/// All of a run's chance: the same seed makes the same run on every machine.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
struct Chance {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }

  /// Below `bound`, which is more than 0.
  mutating func below(_ bound: Int) -> Int { Int((next() >> 33) % UInt64(bound)) }
  mutating func pick(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }
  mutating func pick<Element>(_ choices: [Element]) -> Element { choices[below(choices.count)] }
  /// True in `number` of 1,000.
  mutating func permille(_ number: Int) -> Bool { number > 0 && below(1_000) < number }
}
