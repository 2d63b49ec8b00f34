import Testing
import WorkerNode

struct TurnWatchTests {
  /// A turn of the stages, each so long, that begins at `start`.
  ///
  /// - Returns: what is told when the next one begins.
  private static func turn(
    _ watch: inout TurnWatch, at start: Int64, ran: Int64 = 0, _ stages: (TurnWatch.Stage, Int64)...
  ) -> String? {
    _ = watch.begin(now: start, ran: 1_000)
    var now = start
    for (stage, milliseconds) in stages {
      watch.enter(stage, allowed: stage == .wait ? 10 : 0, now: now)
      now += milliseconds
    }
    return watch.begin(now: now, ran: 1_000 + ran)
  }

  @Test func `a turn that took long is told of with what its time went to, and a short one is not`() {
    var watch = TurnWatch()
    #expect(Self.turn(&watch, at: 5_000, (.peers, 40), (.work, 60)) == nil)
    let told = Self.turn(&watch, at: 5_100, ran: 7, (.peers, 3), (.snapshots, 1_837), (.work, 20), (.rest, 0))
    let sentence = "a turn took 1860 ms, 7 of them on a processor: 1837 passing a snapshot, "
    #expect(told == sentence + "20 working on a group and syncing it")
  }

  @Test func `a turn may wait for news as long as it is allowed, and not longer`() {
    var watch = TurnWatch()
    #expect(Self.turn(&watch, at: 0, (.peers, 50), (.wait, 10), (.rest, 0)) == nil)
    #expect(Self.turn(&watch, at: 1_000, (.peers, 50), (.wait, 60)) == nil)
    let told = Self.turn(&watch, at: 2_000, (.peers, 1), (.wait, 310))
    #expect(told == "a turn took 301 ms, 0 of them on a processor: 300 waking up")
  }

  @Test func `what turns before took is not counted`() {
    var watch = TurnWatch()
    for at in 0..<50 { #expect(Self.turn(&watch, at: Int64(at) * 100, (.work, 90)) == nil) }
    let told = Self.turn(&watch, at: 9_000, ran: 150, (.clock, 150))
    #expect(told == "a turn took 150 ms, 150 of them on a processor: 150 what was due")
  }

  @Test func `of many long turns the longest is told of, as soon as it has been quiet for long enough`() {
    var watch = TurnWatch()
    #expect(Self.turn(&watch, at: 0, (.work, 200)) != nil)
    for at in 1...20 {
      #expect(Self.turn(&watch, at: Int64(at) * 400, (.work, at == 7 ? 300 : 200)) == nil)
    }
    #expect(watch.begin(now: 10_199, ran: 0) == nil)
    let sentence = "a turn took 300 ms, 0 of them on a processor: 300 working on a group and syncing it"
    #expect(watch.begin(now: 10_200, ran: 0) == sentence + "; 7 s ago; the longest of 20")
    #expect(watch.begin(now: 30_000, ran: 0) == nil)
    #expect(Self.turn(&watch, at: 40_000, (.work, 200))?.hasSuffix("syncing it") == true)
  }
}
