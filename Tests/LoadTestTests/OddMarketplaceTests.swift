import LoadTest
import TestSupport
import Testing

struct OddMarketplaceTests {
  @Test func `twenty-four orders have every oddity`() {
    #expect(OddMarketplace.Oddity.allCases.count == 24)
    let truth = OddMarketplace(seed: 1, orders: 24).truth
    for child in Mirror(reflecting: truth).children {
      if let count = child.value as? Int { #expect(count > 0, "\(child.label ?? "")") }
      if let cents = child.value as? Int64 { #expect(cents > 0, "\(child.label ?? "")") }
    }
    #expect(truth.rows.count == OlistFile.allCases.count)
    #expect(truth.rows.values.allSatisfy { $0 > 0 })
  }

  @Test func `its files are as odd as the published ones`() throws {
    let files = OddMarketplace(seed: 1, orders: 100).files
    func text(_ file: OlistFile) throws -> String {
      String(decoding: try #require(files[file]), as: UTF8.self)
    }
    #expect(files[.categories]?.prefix(3) == [0xEF, 0xBB, 0xBF])
    #expect(try text(.products).contains("product_name_lenght"))
    #expect(try text(.sellers).contains("@"))
    #expect(try text(.reviews).contains("\"Chegou, \"\"enfim\"\"\r\ndepois\n\n"))
    for file in OlistFile.allCases { #expect(String(validating: files[file]!, as: UTF8.self) != nil) }
  }

  @Test func `the same seed gives the same files, another seed others`() {
    let first = OddMarketplace(seed: 1, orders: 50)
    #expect(OddMarketplace(seed: 1, orders: 50).files == first.files)
    #expect(OddMarketplace(seed: 2, orders: 50).files != first.files)
  }

  @Test func `every seed and size can be imported`() throws {
    for seed in 1...40 as ClosedRange<UInt64> {
      let folder = try OlistTestFolder()
      let marketplace = OddMarketplace(seed: seed, orders: Int(seed) * 3)
      try marketplace.write(directory: folder.path)
      let report = try OlistImport.run(directory: folder.path).report
      #expect(report.paymentCents == marketplace.truth.paymentCents)
      #expect(report.orders == marketplace.truth.shopOrders)
    }
  }

  /// Source of the numbers: the reference implementation, seed 1234567.
  @Test func `the random numbers are SplitMix64's`() {
    var random = OddMarketplace.Random(seed: 1_234_567)
    #expect(random.next() == 6_457_827_717_110_365_317)
    #expect(random.next() == 3_203_168_211_198_807_973)
    #expect(random.next() == 9_817_491_932_198_370_423)
  }
}
