import RunHistory

package typealias SaleCommand = HistoryRecord.Command

/// How often each command is sent, by weights.
package struct Mix: Equatable, Sendable, CustomStringConvertible {
  /// Why a text is no mix.
  package struct Invalid: Error, Equatable, CustomStringConvertible {
    package let description: String
  }

  package struct Part: Equatable, Sendable {
    package let command: SaleCommand
    package let weight: Int
  }

  /// In the order of the commands, without weights of 0.
  package let parts: [Part]
  private let total: Int

  package static let placeOnly = Mix([Part(command: .place, weight: 1)])

  private init(_ parts: [Part]) {
    self.parts = parts
    total = parts.reduce(0) { $0 + $1.weight }
  }

  /// - Parameter text: `place=70,settle=15`; whole weights of 0 to 1,000,000, in any order.
  package init(_ text: String) throws(Invalid) {
    let names = SaleCommand.allCases.map(\.name).joined(separator: ", ")
    var weights: [SaleCommand: Int] = [:]
    for item in text.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = item.split(separator: "=", omittingEmptySubsequences: false)
      guard sides.count == 2 else {
        throw Invalid(description: "'\(item)' should look like place=70")
      }
      guard let command = SaleCommand.allCases.first(where: { $0.name == sides[0] }) else {
        throw Invalid(description: "there is no command '\(sides[0])'; there are \(names)")
      }
      guard let weight = Int(sides[1]), (0...1_000_000).contains(weight) else {
        throw Invalid(description: "the weight of \(command.name) must be 0 to 1000000")
      }
      guard weights.updateValue(weight, forKey: command) == nil else {
        throw Invalid(description: "\(command.name) stands there twice")
      }
    }
    self.init(
      SaleCommand.allCases.compactMap { command in
        guard let weight = weights[command], weight > 0 else { return nil }
        return Part(command: command, weight: weight)
      })
    guard total > 0 else { throw Invalid(description: "no command has a weight") }
  }

  package var isPlaceOnly: Bool { parts.count == 1 && parts[0].command == .place }

  package func draw(_ draws: inout Draws) -> SaleCommand {
    var rest = Int(draws.below(total))
    for part in parts {
      if rest < part.weight { return part.command }
      rest -= part.weight
    }
    return parts[0].command
  }

  package var description: String {
    parts.map { "\($0.command.name)=\($0.weight)" }.joined(separator: ",")
  }
}
