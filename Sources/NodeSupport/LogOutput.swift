import Foundation
import Logging

/// Where a node's log goes: standard error, a line each, for people or for machines.
package enum LogOutput {
  package enum Format: String, Sendable, CaseIterable { case readable, json }

  package static func bootstrap(_ format: Format, level: Logger.Level) {
    LoggingSystem.bootstrap { label in Handler(label: label, format: format, logLevel: level) }
  }

  private struct Handler: LogHandler {
    let label: String
    let format: Format
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(label: String, format: Format, logLevel: Logger.Level) {
      self.label = label
      self.format = format
      self.logLevel = logLevel
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let all = metadata.merging(event.metadata ?? [:]) { $1 }
      let line: String
      switch format {
      case .readable:
        let extra = all.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        line = "\(Self.time()) \(event.level.rawValue.uppercased()) \(label): \(event.message)\(extra)\n"
      case .json:
        var fields: [String: String] = all.mapValues { "\($0)" }
        fields["time"] = Self.time()
        fields["level"] = event.level.rawValue
        fields["node"] = label
        fields["message"] = "\(event.message)"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let data = (try? encoder.encode(fields)) ?? Data("{}".utf8)
        line = String(decoding: data, as: UTF8.self) + "\n"
      }
      let bytes = Array(line.utf8)
      _ = write(STDERR_FILENO, bytes, bytes.count)
    }

    private static func time() -> String {
      var now = timespec()
      clock_gettime(CLOCK_REALTIME, &now)
      var parts = tm()
      gmtime_r(&now.tv_sec, &parts)
      func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
      let milliseconds = String(1_000 + now.tv_nsec / 1_000_000).dropFirst()
      return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(milliseconds)Z"
    }
  }
}
