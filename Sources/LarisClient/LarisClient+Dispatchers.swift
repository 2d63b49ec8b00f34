import Foundation

extension LarisClient {
  /// The dispatchers that a command line names, each text one or several with commas; none: those of
  /// LARIS_DISPATCHER, or the one at the usual port of this machine.
  package static func dispatchers(named texts: [String]) -> [String] {
    let environment = ProcessInfo.processInfo.environment["LARIS_DISPATCHER"] ?? ""
    let given = (texts.isEmpty ? [environment] : texts).flatMap { $0.split(separator: ",") }
    return given.isEmpty ? ["tcp://127.0.0.1:12120"] : given.map(String.init)
  }
}
