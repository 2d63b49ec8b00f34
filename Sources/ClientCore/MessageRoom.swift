import Wire

/// What still fits into one message of several requests.
package struct MessageRoom {
  private let requestsMax: Int
  private var requests = 0
  private var bytes = 0

  /// - Parameter requestsMax: more than the contract allows counts as what it allows.
  package init(requestsMax: Int = WireLimits.requestsPerMessageMax) {
    self.requestsMax = min(requestsMax, WireLimits.requestsPerMessageMax)
  }

  /// Whether a request of so many bytes goes in, after those that did. The first always does.
  package mutating func take(_ count: Int) -> Bool {
    guard requests == 0 || (requests < requestsMax && bytes + count <= WireLimits.messageBytesMax) else {
      return false
    }
    requests += 1
    bytes += count
    return true
  }
}
