/// An open loop's plan: how many requests a second, stage after stage.
package struct RateProfile: Equatable, Sendable, CustomStringConvertible {
  /// Why a text is no plan.
  package struct Invalid: Error, Equatable, CustomStringConvertible {
    package let description: String
  }

  package struct Stage: Equatable, Sendable {
    /// Requests a second; 0: a pause.
    package let rate: Double
    package let seconds: Double
    package init(rate: Double, seconds: Double) {
      self.rate = rate
      self.seconds = seconds
    }
  }

  package let stages: [Stage]
  /// Of each stage: microseconds and requests before it.
  private let begins: [(at: Double, number: Double)]

  package init(_ stages: [Stage]) {
    self.stages = stages
    var begins: [(at: Double, number: Double)] = []
    var at = 0.0
    var number = 0.0
    for stage in stages {
      begins.append((at, number))
      at += stage.seconds * 1_000_000
      number += stage.rate * stage.seconds
    }
    self.begins = begins
  }

  /// - Parameter text: `20000/s:10s,60000/s:1m`; the rate steps from one to the next.
  package init(_ text: String) throws(Invalid) {
    var stages: [Stage] = []
    for item in text.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = item.split(separator: ":", omittingEmptySubsequences: false)
      guard sides.count == 2 else {
        throw Invalid(description: "'\(item)' should look like 20000/s:10s")
      }
      let rate = sides[0].hasSuffix("/s") ? sides[0].dropLast(2) : sides[0]
      guard let rate = Double(rate), rate.isFinite, (0...10_000_000).contains(rate) else {
        throw Invalid(description: "the rate in '\(item)' must be 0 to 10000000 a second")
      }
      let unit = sides[1].last == "m" ? 60.0 : 1
      let duration = ["s", "m"].contains(sides[1].last) ? sides[1].dropLast() : sides[1]
      guard let seconds = Double(duration).map({ $0 * unit }), (1...86_400).contains(seconds) else {
        throw Invalid(description: "the time in '\(item)' must be 1s to 1440m")
      }
      stages.append(Stage(rate: rate, seconds: seconds))
    }
    self.init(stages)
    guard stages.contains(where: { $0.rate > 0 }) else { throw Invalid(description: "every rate is 0") }
  }

  package static func == (a: Self, b: Self) -> Bool { a.stages == b.stages }

  package var seconds: Double { stages.reduce(0) { $0 + $1.seconds } }
  package var peak: Double { stages.map(\.rate).max() ?? 0 }

  /// Requests that are planned before a time, in microseconds from the start.
  package func due(at time: Int64) -> UInt64 {
    var index = 0
    while index + 1 < stages.count, begins[index + 1].at <= Double(time) { index += 1 }
    let within = min(max(0, Double(time) - begins[index].at), stages[index].seconds * 1_000_000)
    return UInt64((begins[index].number + within * stages[index].rate / 1_000_000).rounded(.up))
  }

  /// When the request with this number is planned, in microseconds from the start; nil: never.
  package func time(of number: UInt64) -> Int64? {
    let number = Double(number)
    for (stage, begin) in zip(stages, begins) where number < begin.number + stage.rate * stage.seconds {
      return Int64(begin.at + (number - begin.number) * 1_000_000 / stage.rate)
    }
    return nil
  }

  package var description: String {
    stages.map { "\(Self.text($0.rate))/s:\(Self.text($0.seconds))s" }.joined(separator: ",")
  }

  private static func text(_ number: Double) -> String {
    number == number.rounded() ? "\(Int(number))" : "\(number)"
  }
}
