/// Each limit in words, made once: when a limit is reached, there are many to tell.
struct LimitSentences {
  let rate: String
  let waiting: String
  let deferrable: String
  let bytes: String
  let bytesTotal: String
  private var latestShare: (requests: Int, text: String)?

  init(_ limits: DispatcherCore.Limits) {
    rate = "More than the \(limits.admittedPerSecond) requests a second that are let in; nothing was done."
    waiting = "The partition's queue has \(limits.waitingMax) requests; nothing was done."
    deferrable =
      "The partition's queue has \(limits.deferrableMax) requests and takes no new orders and reads; "
      + "nothing was done."
    bytes = "The partition's queue has \(limits.waitingBytesMax) bytes; nothing was done."
    bytesTotal = "The queues have \(limits.waitingBytesTotalMax) bytes; nothing was done."
  }

  /// How many requests a channel may have waiting changes with the number of channels.
  mutating func share(_ requests: Int) -> String {
    if let latestShare, latestShare.requests == requests { return latestShare.text }
    let text =
      "The channel has its share of the partition's queue, \(requests) requests; nothing was done."
    latestShare = (requests, text)
    return text
  }
}
