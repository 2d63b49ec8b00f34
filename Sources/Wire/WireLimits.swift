/// Lengths that the contract states, in bytes unless said otherwise.
package enum WireLimits {
  /// One request.
  package static let requestBytesMax = 1 << 20
  /// Requests of one message, and their bytes together.
  package static let requestsPerMessageMax = 1_024
  package static let messageBytesMax = 8 << 20
  /// A partition's frame of answers gets none more beyond this; the last may reach over it.
  package static let answersBytesMax = 1 << 20
  package static let channel = 32
  package static let name = 128
  package static let place = 64
  package static let ownerHash = 32
  package static let reference = 64
  package static let provider = 32
  package static let reason = 128
  /// Lines of one order.
  package static let linesMax = 2_000
  package static let deadlineMillisecondsDefault: UInt32 = 5_000
  package static let deadlineMillisecondsMax: UInt32 = 600_000
  /// How far a request id's time may be ahead of ours.
  package static let skewMilliseconds: Int64 = 300_000
}
