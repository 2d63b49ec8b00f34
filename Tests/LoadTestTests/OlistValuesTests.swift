import Testing

import LoadTest

struct OlistValuesTests {
  @Test(
    arguments: [
      ("0", 0), ("0.00", 0), ("12", 1_200), ("12.5", 1_250), ("12.50", 1_250), ("0.01", 1), ("-3.07", -307),
      ("12.5000", 1_250), ("007.10", 710), ("1000000000.00", OlistMoney.centsMax),
      // As binary fractions these would come out a cent short.
      ("1.15", 115), ("4.35", 435), ("1159.32", 115_932), ("19.99", 1_999),
    ] as [(String, Int64)])
  func `money is read to the cent`(_ text: String, _ cents: Int64) {
    #expect(OlistMoney.cents(text) == cents)
  }

  @Test(arguments: [
    "", "-", ".", "1.", ".5", "1.234", "1,5", "1.2.3", "1e3", "+1", " 1", "1 ", "--1", "1000000000.01", "NaN",
    "99999999999999999999999999", "1.5x", "１",
  ])
  func `what is no amount is none`(_ text: String) {
    #expect(OlistMoney.cents(text) == nil)
  }

  @Test func `an amount is written as it is read`() {
    for cents in [0, 1, 10, 99, 100, 123_456, -5, -100] as [Int64] {
      #expect(OlistMoney.cents(OlistMoney.text(cents)) == cents)
    }
  }

  @Test(
    arguments: [
      ("1970-01-01 00:00:00", 0), ("2016-09-04 21:15:19", 1_473_023_719),
      ("2000-02-29 23:59:59", 951_868_799),
      ("2100-03-01 00:00:00", 4_107_542_400), ("9999-12-31 23:59:59", 253_402_300_799),
    ] as [(String, Int64)])
  func `times are read and written as UTC`(_ text: String, _ seconds: Int64) {
    #expect(OlistTime.milliseconds(text) == seconds * 1_000)
    #expect(OlistTime.text(seconds * 1_000) == text)
  }

  @Test(arguments: [
    "", "2017-01-01", "2017-02-29 00:00:00", "2100-02-29 00:00:00", "2017-13-01 00:00:00",
    "2017-00-01 00:00:00", "2017-01-00 00:00:00", "2017-04-31 00:00:00", "2017-01-01 24:00:00",
    "2017-01-01 00:60:00", "2017-01-01 00:00:60", "2017-01-01T00:00:00", "1969-12-31 23:59:59",
    "2017-01-01 00:00:0x", "2017-1-01 00:00:000", "-017-01-01 00:00:00",
  ])
  func `what is no time is none`(_ text: String) {
    #expect(OlistTime.milliseconds(text) == nil)
  }

  @Test func `an id is the number of its first fifteen digits`() throws {
    let id = try #require(OlistID("3442F8959a84dea7ee197c632cb2df15"))
    #expect(id.number == 0x3442_f895_9a84_dea)
    #expect(id.text == "3442f8959a84dea7ee197c632cb2df15")
    #expect(id.short == "3442f895")
    #expect(OlistID("ffffffffffffffffffffffffffffffff")!.number == (1 << 60) - 1)
    #expect(OlistID("0000000000000010000000000000000a")!.text == "0000000000000010000000000000000a")
    // 0 is no id of ours; and an id has 32 hex digits.
    #expect(OlistID("000000000000000f0000000000000000") == nil)
    for text in ["", "3442f895", "3442f8959a84dea7ee197c632cb2df1g", "3442f8959a84dea7ee197c632cb2df150"] {
      #expect(OlistID(text) == nil)
    }
  }

  @Test(
    arguments: [
      (10, [1, 1, 1], [4, 3, 3]), (0, [5, 5], [0, 0]), (7, [0, 1], [0, 7]), (100, [1, 2], [33, 67]),
      (Int64.max, [Int64.max - 1, 1], [Int64.max - 1, 1]),
    ] as [(Int64, [Int64], [Int64])])
  func `an amount is split to the cent`(_ amount: Int64, _ weights: [Int64], _ parts: [Int64]) {
    #expect(OlistImport.split(amount, by: weights) == parts)
  }

  @Test func `payments that add up to the total pay every order of a checkout to the cent`() {
    var random = OddMarketplace.Random(seed: 3)
    for _ in 0..<5_000 {
      let totals = (0...random.below(5)).map { _ in Int64(random.below(300)) }
      var rest = totals.reduce(0, +)
      var lacking = totals
      while rest > 0 {
        let amount = 1 + Int64(random.below(Int(rest)))
        let parts = OlistImport.shares(of: amount, lacking: lacking, totals: totals)
        #expect(parts.reduce(0, +) == amount)
        #expect(zip(parts, lacking).allSatisfy { $0 >= 0 && $0 <= $1 })
        lacking = zip(lacking, parts).map(-)
        rest -= amount
      }
      #expect(lacking.allSatisfy { $0 == 0 })
    }
  }

  @Test func `what is more than the total is split by the totals`() {
    #expect(OlistImport.shares(of: 400, lacking: [0, 100], totals: [100, 100]) == [150, 250])
    #expect(OlistImport.shares(of: 5, lacking: [0, 0], totals: [0, 0]) == [5, 0])
  }
}
