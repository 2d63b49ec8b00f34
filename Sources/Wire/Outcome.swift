/// `Reply.outcome`. Raw values are the contract's.
package enum Outcome: UInt8, Sendable, CaseIterable {
  case done = 1
  case no = 2
  case notExecuted = 3
  case unknown = 4

  /// No other answer to the same request can follow.
  package var isFinal: Bool { self == .done || self == .no }

  package var name: String {
    switch self {
    case .done: "done"
    case .no: "no"
    case .notExecuted: "not executed"
    case .unknown: "unknown"
    }
  }
}

/// Codes of an attempt that the rules never judged. Raw values are the contract's `Code`.
package enum DeliveryCode: UInt8, Sendable, CaseIterable {
  case busy = 100
  case deadlinePassed = 101
  case noPrimary = 102
  case tooLarge = 103
  case malformed = 104
  case requestIDReused = 105
  case requestIDInvalid = 106
  case stopping = 107
  case unknownPartition = 108
  case diskFull = 109
  case tooFewReplicas = 110
  case configurationAway = 111
  case noAnswerInTime = 150
  case requestIDTooOld = 151

  package var outcome: Outcome { rawValue < 150 ? .notExecuted : .unknown }

  /// How long a caller should wait before it tries again; nil where that can't help.
  package var retryAfterMilliseconds: UInt32? {
    switch self {
    case .busy: 50
    case .noPrimary: 200
    case .stopping: 500
    case .deadlinePassed: 20
    case .noAnswerInTime: 100
    case .diskFull, .tooFewReplicas: 1_000
    case .configurationAway: 500
    case .tooLarge, .malformed, .requestIDReused, .requestIDInvalid, .unknownPartition, .requestIDTooOld:
      nil
    }
  }

  package var sentences: (english: String, indonesian: String, next: String) {
    switch self {
    case .busy:
      (
        "The queue is full; nothing was done.", "Sistem sedang sibuk.",
        "Send it again with the same id after retry_after_milliseconds."
      )
    case .deadlinePassed:
      (
        "The deadline passed before it was executed; nothing was done.", "Batas waktu terlewati.",
        "Send it again with the same id, or give it up."
      )
    case .noPrimary:
      (
        "The partition has no primary at the moment; nothing was done.", "Layanan belum siap.",
        "Send it again with the same id after retry_after_milliseconds."
      )
    case .tooLarge:
      (
        "Too large: a request has at most 1 MiB, a message at most 1,024 requests and 8 MiB.",
        "Permintaan terlalu besar.", "Send less at once."
      )
    case .malformed:
      ("The bytes are not a valid Request.", "Permintaan tidak dapat dibaca.", "Correct the request.")
    case .requestIDReused:
      (
        "The request id was used for another command; this one was not executed.",
        "Nomor permintaan sudah dipakai.", "Use a new request id for a new command."
      )
    case .requestIDInvalid:
      (
        "The request id is no UUIDv7, or its time is more than 5 minutes ahead.",
        "Nomor permintaan tidak sah.", "Make a UUIDv7 with the present time."
      )
    case .stopping:
      (
        "The node is stopping; nothing was done.", "Layanan sedang berhenti.",
        "Send it again with the same id after retry_after_milliseconds."
      )
    case .unknownPartition:
      ("The cluster has no such partition.", "Partisi tidak ditemukan.", "Correct the partition.")
    case .tooFewReplicas:
      (
        "Too few replicas of the partition are there to keep it safely; nothing was done.",
        "Salinan data tidak cukup.",
        "Send it again with the same id after retry_after_milliseconds; tell the operator."
      )
    case .diskFull:
      (
        "The partition's disk has no room for writes; nothing was done.",
        "Layanan belum dapat menerima perubahan.",
        "Send it again with the same id after retry_after_milliseconds; reads go on."
      )
    case .configurationAway:
      (
        "The cluster's configuration can't be reached; nothing was done.",
        "Pengaturan klaster belum dapat dijangkau.",
        "Send it again with the same id after retry_after_milliseconds."
      )
    case .noAnswerInTime:
      (
        "The wait ran out; it may or may not have been executed.", "Hasil belum diketahui.",
        "Send it again with the same id: it takes effect once."
      )
    case .requestIDTooOld:
      (
        "The request id is older than the window in which ids are kept.",
        "Nomor permintaan sudah kedaluwarsa.",
        "Look up what it was about, then decide; do not send it under a new id blindly."
      )
    }
  }
}
