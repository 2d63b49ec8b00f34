import Judge
import Testing

struct JoinedLogTests {
  /// Of blocks of ten entries each; a block's hash tells who wrote it.
  private static func log(
    _ name: String, from first: UInt64 = 0, to last: UInt64, _ hashes: [UInt64: UInt64] = [:],
    tag: UInt64 = 1,
    committed: UInt64
  ) -> ReplicaLog {
    func head(_ sn: UInt64) -> ReplicaLog.Head {
      .init(
        last: sn, hash: sn == 0 ? 0 : hashes.filter { $0.key <= sn }.max { $0.key < $1.key }?.value ?? 7 + sn)
    }
    return ReplicaLog(
      name: name, base: head(first), heads: stride(from: first + 10, through: last, by: 10).map(head),
      tag: tag,
      committed: committed)
  }

  @Test func `one whole log is all that there is`() {
    let joined = JoinedLog([Self.log("a", to: 50, committed: 40)])
    #expect(joined.pieces == [.init(log: 0, after: 0, through: 50)])
    #expect(joined.isWhole)
    #expect(joined.problems == [])
    #expect(joined.last == 50)
  }

  @Test func `a log that begins late is joined to one that has what is before it`() {
    let joined = JoinedLog([
      Self.log("a", from: 30, to: 80, tag: 2, committed: 70), Self.log("b", from: 10, to: 60, committed: 60),
      Self.log("c", to: 20, committed: 20),
    ])
    #expect(
      joined.pieces == [
        .init(log: 2, after: 0, through: 10), .init(log: 1, after: 10, through: 30),
        .init(log: 0, after: 30, through: 80),
      ])
    #expect(joined.isWhole)
    #expect(joined.problems == [])
  }

  @Test func `a gap is found`() {
    let joined = JoinedLog([
      Self.log("a", from: 30, to: 80, committed: 70), Self.log("b", to: 20, committed: 20),
    ])
    #expect(!joined.isWhole)
    #expect(joined.problems.count == 1)
    #expect(joined.problems.first?.contains("a begins at entry 31") == true)
    let trimmed = JoinedLog([Self.log("a", from: 30, to: 80, committed: 70)])
    #expect(!trimmed.isWhole)
    #expect(trimmed.problems.first?.contains("--log-keep-seconds and --log-keep-mib") == true)
  }

  @Test func `entries that were never committed are left out`() {
    let joined = JoinedLog([
      Self.log("a", to: 60, tag: 3, committed: 50), Self.log("b", to: 90, [40: 99], tag: 2, committed: 30),
    ])
    #expect(joined.pieces == [.init(log: 0, after: 0, through: 60)])
    #expect(joined.problems == [])
    #expect(joined.leftOut == 60)
  }

  @Test func `two logs that hold different entries for committed are found`() {
    let joined = JoinedLog([
      Self.log("a", to: 60, tag: 3, committed: 50), Self.log("b", to: 50, [40: 99], tag: 2, committed: 40),
    ])
    #expect(joined.problems.count == 1)
    #expect(joined.problems.first?.contains("b says that entries through 40 were committed") == true)
  }

  @Test func `the log that parts from another one is named, of several that were joined`() {
    let joined = JoinedLog([
      Self.log("a", from: 30, to: 80, tag: 2, committed: 70), Self.log("b", to: 30, [20: 99], committed: 30),
      Self.log("c", to: 40, committed: 30),
    ])
    #expect(joined.pieces == [.init(log: 2, after: 0, through: 30), .init(log: 0, after: 30, through: 80)])
    #expect(joined.problems.count == 1)
    #expect(joined.problems.first?.hasPrefix("b says that entries through 20 were committed") == true)
    #expect(joined.problems.first?.hasSuffix("has others above 10 than c") == true)
  }

  @Test func `what one says was committed and the group's log lacks is found`() {
    let joined = JoinedLog([
      Self.log("a", to: 60, tag: 3, committed: 50), Self.log("b", to: 80, tag: 2, committed: 70),
    ])
    #expect(joined.problems.first?.contains("b says that entry 70 was committed") == true)
  }

  @Test func `no logs are no log`() {
    let none = JoinedLog([])
    #expect(none.pieces == [] && !none.isWhole)
    let empty = Self.log("a", to: 0, committed: 0)
    #expect(JoinedLog([empty]).pieces == [] && JoinedLog([empty]).isWhole)
    let late = JoinedLog([empty, Self.log("b", from: 30, to: 30, committed: 30)])
    #expect(late.pieces == [] && !late.isWhole)
    #expect(late.problems.count == 1)
  }
}
