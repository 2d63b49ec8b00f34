import CCurl

/// There is no answer: the request may have been carried out, or not.
package struct CurlError: Error, CustomStringConvertible {
  package let code: UInt32
  /// curl's own words on this one, or of its kind.
  package let message: String
  /// Whom it went to.
  package let url: String

  package var isTimeout: Bool { code == CURLE_OPERATION_TIMEDOUT.rawValue }
  /// The answer had more bytes than are taken.
  package var isTooLarge: Bool { code == CURLE_WRITE_ERROR.rawValue }

  package var description: String {
    isTooLarge ? "\(url): the answer is too large" : "\(url): \(message)"
  }
}
