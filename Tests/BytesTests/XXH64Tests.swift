import Bytes
import TestSupport
import Testing

struct XXH64Tests {
  struct Vector: Sendable, CustomTestStringConvertible {
    let length: Int
    let seed: UInt64
    let hash: UInt64
    init(_ length: Int, _ seed: UInt64, _ hash: UInt64) {
      self.length = length
      self.seed = seed
      self.hash = hash
    }
    var testDescription: String { "\(length) bytes, seed \(seed)" }
  }

  static let prime32: UInt64 = 2_654_435_761

  /// What the vectors are hashes of: `XSUM_fillTestBuffer` in xxHash's `cli/xsum_sanity_check.c`.
  static let sanityBuffer: [UInt8] = {
    var generator = prime32
    return (0..<4_096).map { _ in
      defer { generator = generator &* 11_400_714_785_074_694_797 }
      return UInt8(truncatingIfNeeded: generator >> 56)
    }
  }()

  /// Lengths 0, 1, 4, 14 and 222 are those that xxHash published in its self-test (`BMK_testXXH64` of
  /// 0.7; the newer `tests/sanity_test_vectors.h` has more). The others, at the edges of lanes and
  /// stripes, were computed with the Python package xxhash (which is xxHash's own C code).
  static let vectors: [Vector] = [
    Vector(0, 0, 0xEF46_DB37_51D8_E999), Vector(0, prime32, 0xAC75_FDA2_929B_17EF),
    Vector(1, 0, 0xE934_A84A_DB05_2768), Vector(1, prime32, 0x5014_6076_43A9_B4C3),
    Vector(3, 0, 0xFF7E_1959_CB50_794A), Vector(3, prime32, 0xAA85_84E8_3660_F7D1),
    Vector(4, 0, 0x9136_A0DC_A574_57EE), Vector(4, prime32, 0xCAAB_286B_D8E9_FDB5),
    Vector(7, 0, 0x6C83_909A_9F01_ED25), Vector(7, prime32, 0xF98D_03B1_AD6F_9293),
    Vector(8, 0, 0xCDBC_F538_E71D_1348), Vector(8, prime32, 0xFE0C_047A_5353_CDAC),
    Vector(12, 0, 0x0723_BF50_086E_AD9A), Vector(12, prime32, 0x8252_819F_4E50_6951),
    Vector(14, 0, 0x8282_DCC4_994E_35C8), Vector(14, prime32, 0xC3BD_6BF6_3DEB_6DF0),
    Vector(16, 0, 0x98C9_0B57_FDFC_B55C), Vector(16, prime32, 0xC900_AD2D_536B_607E),
    Vector(31, 0, 0x299B_39A2_90E6_D783), Vector(31, prime32, 0xDA67_3D5F_EB5C_1D79),
    Vector(32, 0, 0x18B2_1649_2BB4_4B70), Vector(32, prime32, 0xB3F3_3BDF_93AD_E409),
    Vector(33, 0, 0x55C8_DC3E_578F_5B59), Vector(33, prime32, 0xE92C_292F_64BC_3071),
    Vector(63, 0, 0xA9EF_BE0F_A0F3_F4E7), Vector(63, prime32, 0x6C91_1FAD_B05B_6FC2),
    Vector(64, 0, 0xEF55_8F8A_CAC2_B5CD), Vector(64, prime32, 0xB5EE_BA99_264C_C44F),
    Vector(100, 0, 0x4BFE_019C_D91D_9EA4), Vector(100, prime32, 0x4853_706D_C962_5CAE),
    Vector(222, 0, 0xB641_AE8C_B691_C174), Vector(222, prime32, 0x20CB_8AB7_AE10_C14A),
    Vector(2_000, 0, 0x6265_4B25_5049_664B), Vector(2_000, prime32, 0x9BA1_C02E_581B_8E86),
    Vector(4_096, 0, 0xAB77_F4AF_85F4_E70B), Vector(4_096, prime32, 0xCB8B_60CB_A513_125D),
  ]

  @Test(arguments: vectors)
  func `the hash is the published one`(_ vector: Vector) {
    let hash = Self.sanityBuffer.withUnsafeBytes {
      XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[..<vector.length]), seed: vector.seed)
    }
    #expect(hexadecimal(hash) == hexadecimal(vector.hash))
  }

  @Test(arguments: vectors)
  func `where the bytes lie in memory does not matter`(_ vector: Vector) {
    for shift in 1..<8 {
      let moved = [UInt8](repeating: 0xA5, count: shift) + Self.sanityBuffer[..<vector.length] + [0x5A]
      let hash = moved.withUnsafeBytes {
        XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[shift..<shift + vector.length]), seed: vector.seed)
      }
      #expect(hash == vector.hash)
    }
  }

  /// Python: `xxhash.xxh64_intdigest(text.encode())`.
  @Test(
    arguments: [
      ("", 0xEF46_DB37_51D8_E999), ("abc", 0x44BC_2CF5_AD77_0999), ("laris", 0xDCCD_27FD_C7CF_9506),
      ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
      ("Toko Sembako é 漢字", 0xD73F_B4F4_E97F_6355),
    ] as [(String, UInt64)])
  func `a string is hashed by its UTF-8`(_ text: String, _ expected: UInt64) {
    #expect(hexadecimal(XXH64.hash(text)) == hexadecimal(expected))
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `a number's hash is that of its eight bytes`(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let edges: [UInt64] = [0, 1, 0xFF, 1 << 31, 1 << 32, 1 << 63, .max - 1, .max]
    for value in edges + (0..<1_000).map({ _ in random.next() }) {
      for hashSeed in [0, Self.prime32, random.next(), .max] {
        let ofBytes = withUnsafeBytes(of: value.littleEndian) { XXH64.hash($0, seed: hashSeed) }
        #expect(XXH64.hash(value, seed: hashSeed) == ofBytes, "value \(value), seed \(hashSeed)")
      }
    }
  }

  @Test func `hexadecimal has sixteen digits`() {
    #expect(hexadecimal(0) == "0000000000000000")
    #expect(hexadecimal(0xABCD) == "000000000000abcd")
    #expect(hexadecimal(.max) == "ffffffffffffffff")
  }
}
