import Foundation
import LoadTest
import RunHistory
import Testing

struct SalePlanTests {
  // MARK: Zipf

  @Test(arguments: [(10, 0.5), (10, 1.0), (100, 1.0), (100, 1.3), (50, 2.5), (1, 1.0), (2, 1.0)])
  func `ranks are drawn by Zipf's law`(_ count: Int, _ exponent: Double) {
    let seed = UInt64.random(in: 0...UInt64.max)
    let zipf = Zipf(count: count, exponent: exponent)
    var draws = Draws(seed: seed, number: 0)
    let total = 200_000
    var seen = [Int](repeating: 0, count: count + 1)
    for _ in 0..<total { seen[zipf.draw(&draws)] += 1 }
    #expect(seen[0] == 0)
    let norm = (1...count).reduce(0.0) { $0 + pow(Double($1), -exponent) }
    for rank in 1...count {
      let share = pow(Double(rank), -exponent) / norm
      let expected = share * Double(total)
      // Six standard deviations of a binomial, and a little for the small ones.
      let deviation = 6 * (expected * (1 - share)).squareRoot() + 3
      #expect(
        abs(Double(seen[rank]) - expected) <= deviation,
        "seed \(seed), rank \(rank): \(seen[rank]), not \(expected)")
    }
  }

  @Test func `ten million ranks need no tables and stay within bounds`() {
    let zipf = Zipf(count: 10_000_000, exponent: 1)
    var draws = Draws(seed: 1, number: 1)
    var first = 0
    for _ in 0..<100_000 {
      let rank = zipf.draw(&draws)
      #expect(rank >= 1 && rank <= 10_000_000)
      if rank == 1 { first += 1 }
    }
    // 1 / (ln 10^7 + 0.5772) = 5.99 %.
    #expect(abs(first - 5_990) < 600)
  }

  // MARK: Mix

  @Test func `a mix reads as it is written, and draws by its weights`() throws {
    let mix = try Mix("settle=15,place=70,get-order=15,ship=0")
    #expect(mix.description == "place=70,settle=15,get-order=15")
    #expect(!mix.isPlaceOnly)
    #expect(try Mix("place=9").isPlaceOnly)
    var counts: [SaleCommand: Int] = [:]
    for number in 0..<100_000 as Range<UInt64> {
      var draws = Draws(seed: 5, number: number)
      counts[mix.draw(&draws), default: 0] += 1
    }
    #expect(counts.count == 3)
    #expect(abs((counts[.place] ?? 0) - 70_000) < 1_000)
    #expect(abs((counts[.settle] ?? 0) - 15_000) < 1_000)
  }

  @Test(arguments: [
    ("", "should look like place=70"), ("place", "should look like place=70"), ("buy=1", "no command 'buy'"),
    ("place=-1", "must be 0 to 1000000"), ("place=1,place=2", "twice"),
    ("place=0", "no command has a weight"),
    ("place=1,", "should look like"), ("place=x", "must be 0 to"),
  ])
  func `what is no mix says why`(_ text: String, _ problem: String) {
    #expect { try Mix(text) } throws: { "\($0)".contains(problem) }
  }

  // MARK: Rates

  @Test func `stages plan each request once, at its time, without gaps between them`() throws {
    let profile = try RateProfile("1000/s:2s,3000/s:1s,0:5s,500:1m")
    #expect(profile.seconds == 68)
    #expect(profile.peak == 3_000)
    #expect(profile.description == "1000/s:2s,3000/s:1s,0/s:5s,500/s:60s")
    #expect(profile.time(of: 0) == 0)
    #expect(profile.time(of: 1_999) == 1_999_000)
    #expect(profile.time(of: 2_000) == 2_000_000)
    #expect(profile.time(of: 4_999) == 2_999_666)
    // After the pause.
    #expect(profile.time(of: 5_000) == 8_000_000)
    #expect(profile.time(of: 35_000) == nil)
    #expect(profile.due(at: 68_000_000) == 35_000)
    #expect(profile.due(at: 600_000_000) == 35_000)
    #expect(profile.due(at: 0) == 0)
    var before: Int64 = -1
    for number in 0..<35_000 as Range<UInt64> {
      guard let time = profile.time(of: number) else {
        Issue.record("\(number) is never due")
        return
      }
      #expect(time > before)
      // Due from then on, and not before.
      #expect(profile.due(at: time) <= number + 1)
      #expect(profile.due(at: time + 1) > number)
      before = time
    }
  }

  @Test(arguments: [
    ("", "should look like"), ("100", "should look like"), ("x/s:1s", "the rate in"),
    ("-5/s:1s", "the rate in"),
    ("100/s:0s", "the time in"), ("100/s:xs", "the time in"), ("0/s:10s", "every rate is 0"),
    ("nan/s:1s", "the rate in"), ("100/s:2d", "the time in"),
  ])
  func `what is no plan says why`(_ text: String, _ problem: String) {
    #expect { try RateProfile(text) } throws: { "\($0)".contains(problem) }
  }

  // MARK: Tallies

  @Test func `tallies of several connections add up`() {
    var a = Tally()
    var b = Tally()
    for value in 1...1_000 as ClosedRange<UInt64> {
      a.record(.place, .done, code: 0, microseconds: value * 1_000)
      b.record(.place, .notExecuted, code: 100, microseconds: 2_000)
    }
    b.record(.settle, .no, code: 10, microseconds: 5)
    b.latest = 7
    a.add(b)
    #expect(a.count(.done) == 1_000)
    #expect(a.count(.notExecuted) == 1_000)
    #expect(a.count(.no) == 1)
    #expect(a.codes == [.notExecuted: [100: 1_000], .no: [10: 1]])
    #expect(a.latest == 7)
    let p99 = a.latencies([.done, .no]).milliseconds(99)
    #expect(abs(p99 - 990) < 2, "\(p99)")
    #expect(a[.place, .done].latencies?.milliseconds(100) ?? 0 >= 1_000)
    #expect(a.latencies([.unknown]).milliseconds(99) == 0)
  }

  @Test func `a second without answers has no latencies in its row`() {
    let row = SecondTally(second: 3).csv
    #expect(row == "3,0,0,0,0,0,,,,")
    #expect(
      row.split(separator: ",", omittingEmptySubsequences: false).count
        == SecondTally.csvHeader.split(separator: ",").count)
  }
}
