import Foundation

/// Numbers 1 to `count` where k is drawn with a probability proportional to k^-exponent. No tables.
///
/// Source: Hörmann, Derflinger, "Rejection-inversion to generate variates from monotone discrete
/// distributions", 1996.
package struct Zipf: Sendable {
  private let count: Double
  private let exponent: Double
  private let integralAtFirst: Double
  private let integralAtLast: Double
  private let shortcut: Double

  /// - Parameters:
  ///   - count: 1 or more.
  ///   - exponent: more than 0; 1 is Zipf's own law.
  package init(count: Int, exponent: Double) {
    precondition(count >= 1 && exponent > 0)
    self.count = Double(count)
    self.exponent = exponent
    integralAtFirst = Self.integral(1.5, exponent) - 1
    integralAtLast = Self.integral(Double(count) + 0.5, exponent)
    shortcut =
      2 - Self.inverse(Self.integral(2.5, exponent) - Self.density(2, exponent), exponent)
  }

  package func draw(_ draws: inout Draws) -> Int {
    while true {
      let u = integralAtLast + draws.unit() * (integralAtFirst - integralAtLast)
      let x = Self.inverse(u, exponent)
      let k = min(max((x + 0.5).rounded(.down), 1), count)
      if k - x <= shortcut || u >= Self.integral(k + 0.5, exponent) - Self.density(k, exponent) {
        return Int(k)
      }
    }
  }

  private static func density(_ x: Double, _ exponent: Double) -> Double { exp(-exponent * log(x)) }

  /// ∫ x^-exponent, so that it is log x where the exponent is 1.
  private static func integral(_ x: Double, _ exponent: Double) -> Double {
    let logarithm = log(x)
    let y = (1 - exponent) * logarithm
    return (abs(y) > 1e-8 ? expm1(y) / y : 1 + y / 2 * (1 + y / 3)) * logarithm
  }

  private static func inverse(_ value: Double, _ exponent: Double) -> Double {
    let y = max(-1, value * (1 - exponent))
    return exp((abs(y) > 1e-8 ? log1p(y) / y : 1 - y * (0.5 - y / 3)) * value)
  }
}
