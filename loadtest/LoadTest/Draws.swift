import Marketplace

/// Randomness of one request: the same seed and number draw the same again.
package struct Draws: Sendable {
  private var state: UInt64

  package init(seed: UInt64, number: UInt64) {
    state = mixed(seed &+ number &* 0x9E37_79B9_7F4A_7C15)
  }

  /// From 0, below `bound`.
  @inline(__always)
  package mutating func below(_ bound: Int) -> UInt64 {
    state = mixed(state)
    return UInt64(truncatingIfNeeded: state.multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// From 0, below 1.
  package mutating func unit() -> Double {
    state = mixed(state)
    return Double(state >> 11) * 0x1p-53
  }
}
