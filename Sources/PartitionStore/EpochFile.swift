import Cluster
import Files
import Foundation

/// The highest epoch that a replica accepted and whose it was, in a file of its own: durable before it acts on
/// it. The first line is the epoch; the second, JSON, the group's members in it.
package enum EpochFile {
  private struct Members: Codable {
    let primary: String
    let secondaries: [String]
  }

  /// 255 names of 64 bytes, each byte spelled out.
  private static let bytesMax = 128 << 10

  /// Epoch 0 where there is no file yet; without members where an earlier version wrote it.
  ///
  /// - Throws: ``StoreError`` or `FileError`.
  package static func read(
    _ path: String, files: any FileSystem = SystemFiles()
  ) throws -> AcceptedEpoch {
    guard try files.exists(path) else { return AcceptedEpoch(Epoch(0)) }
    let text = String(decoding: try files.open(path, .read).contents(to: bytesMax), as: UTF8.self)
    let lines = (text.hasSuffix("\n") ? text.dropLast() : text[...])
      .split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
    guard let epoch = lines.first.flatMap({ UInt64($0) }).map({ Epoch($0) }) else {
      throw StoreError.damaged(path: path, what: "it should hold a number, and holds '\(text.prefix(20))'")
    }
    guard lines.count > 1 else { return AcceptedEpoch(epoch) }
    guard let members = try? JSONDecoder().decode(Members.self, from: Data(lines[1].utf8)),
      let accepted = AcceptedEpoch(epoch, primary: members.primary, secondaries: members.secondaries)
    else {
      throw StoreError.damaged(
        path: path, what: "its second line should name members, and is '\(lines[1].prefix(40))'")
    }
    return accepted
  }

  /// Replaces the file; durable when it returns.
  package static func write(
    _ accepted: AcceptedEpoch, to path: String, files: any FileSystem = SystemFiles()
  ) throws(FileError) {
    var text = "\(accepted.epoch.rawValue)\n"
    if let primary = accepted.primary {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      // Strings can always be encoded.
      let members = try? encoder.encode(Members(primary: primary, secondaries: accepted.secondaries))
      text += String(decoding: members ?? Data(), as: UTF8.self) + "\n"
    }
    try files.replace(path, with: text)
  }
}
