import Testing
import WorkerNode

/// Times are microseconds.
struct RestsTests {
  @Test func `who had a core whenever it wanted one rests a little, and not before it has worked`() {
    var rests = Rests(now: 5_000, ran: 300)
    #expect(rests.due(now: 6_999, ran: 2_299, readers: 1, cores: 2) == nil)
    #expect(rests.due(now: 7_000, ran: 2_300, readers: 1, cores: 2) == 250)
    #expect(rests.due(now: 9_249, ran: 4_299, readers: 1, cores: 2) == nil)
    #expect(rests.due(now: 9_250, ran: 4_300, readers: 1, cores: 2) == 250)
  }

  @Test func `who had to wait for a core, or slept for longer than it was to, rests for twice as long`() {
    var rests = Rests(now: 0, ran: 0)
    #expect(rests.due(now: 5_000, ran: 2_000, readers: 1, cores: 2) == 6_250)
    // It slept 400 longer, and then worked for 2,000.
    #expect(rests.due(now: 5_000 + 6_250 + 400 + 2_000, ran: 4_000, readers: 1, cores: 2) == 1_050)
  }

  @Test func `those of one process take a quarter of the cores together, or one`() {
    let rests = [(4, 1, 6_250), (4, 2, 6_250), (4, 8, 2_250), (4, 16, 250), (40, 16, 18_250)]
    for (readers, cores, rest) in rests {
      var rests = Rests(now: 0, ran: 0)
      #expect(rests.due(now: 2_000, ran: 2_000, readers: readers, cores: cores) == Int64(rest))
    }
  }

  @Test func `however long it had to wait, it rests for no longer than 24 times what it worked`() {
    var rests = Rests(now: 0, ran: 0)
    #expect(rests.due(now: 60_000_000, ran: 2_000, readers: 1, cores: 2) == 48_250)
    // For two others of its process too, however long its piece of work was.
    #expect(rests.due(now: 120_000_000, ran: 102_000, readers: 3, cores: 2) == 2_600_250)
  }

  /// How much nobody of them has of so many cores, in per cent: who wants one is served in turn, for 2 ms.
  private static func percentFree(processes: Int, readers: Int, cores: Int) -> Int64 {
    var rests = Array(repeating: Rests(now: 0, ran: 0), count: processes * readers)
    var ran = rests.map { _ in Int64(0) }
    var readyAt = rests.indices.map { Int64(17 * $0) }
    var freeAt = Array(repeating: Int64(0), count: cores)
    var free: Int64 = 0
    while let core = freeAt.indices.min(by: { freeAt[$0] < freeAt[$1] }), freeAt[core] < 20_000_000,
      let next = readyAt.indices.min(by: { readyAt[$0] < readyAt[$1] })
    {
      free += max(0, readyAt[next] - freeAt[core])
      let now = max(freeAt[core], readyAt[next]) + 2_000
      freeAt[core] = now
      ran[next] += 2_000
      readyAt[next] = now + rests[next].due(now: now, ran: ran[next], readers: readers, cores: cores)!
    }
    return 100 * free / freeAt.reduce(0, +)
  }

  @Test func `alone they take most of a core, and many of many processes leave some of it to others`() {
    #expect(Self.percentFree(processes: 1, readers: 1, cores: 1) == 11)
    for (processes, readers, cores) in [(1, 8, 1), (2, 2, 2), (3, 4, 2), (3, 16, 2), (6, 8, 2), (2, 16, 16)] {
      let free = Self.percentFree(processes: processes, readers: readers, cores: cores)
      #expect((5...70).contains(free), "\(processes) × \(readers) on \(cores): \(free)")
    }
  }
}
