import CCurl
import Glibc

/// HTTP requests, one after the other, over connections that are kept. Used by one thread at a time.
package struct HTTPConnection: ~Copyable {
  /// PEM files.
  package struct TLS: Equatable, Sendable {
    /// Who may sign the server's certificate; nil: those that the system trusts.
    package var authority: String?
    /// Who we are.
    package var certificate: String?
    package var key: String?
    package init(authority: String? = nil, certificate: String? = nil, key: String? = nil) {
      self.authority = authority
      self.certificate = certificate
      self.key = key
    }
  }

  package struct Answer: Sendable {
    package let status: Int
    package let body: [UInt8]
  }

  /// What is received, up to a bound.
  private final class Sink {
    var bytes: [UInt8] = []
    var most = 0
  }

  private let handle: UnsafeMutableRawPointer
  private let sink = Sink()
  private let message: UnsafeMutablePointer<CChar>

  private static let isReady: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

  /// Nothing is connected yet.
  package init(tls: TLS = TLS()) {
    guard Self.isReady, let handle = curl_easy_init() else { fatalError("curl_easy_init: out of memory") }
    self.handle = handle
    message = .allocate(capacity: Int(CURL_ERROR_SIZE))
    message.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    set(CURLOPT_ERRORBUFFER, UnsafeRawPointer(message))
    set(CURLOPT_NOSIGNAL, 1)
    // What the environment says of proxies is not meant for a cluster's own nodes.
    set(CURLOPT_PROXY, "")
    set(CURLOPT_PROTOCOLS_STR, "http,https")
    set(CURLOPT_FOLLOWLOCATION, 0)
    set(CURLOPT_TCP_KEEPALIVE, 1)
    set(CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2)
    if let authority = tls.authority { set(CURLOPT_CAINFO, authority) }
    if let certificate = tls.certificate { set(CURLOPT_SSLCERT, certificate) }
    if let key = tls.key { set(CURLOPT_SSLKEY, key) }
    let code = laris_curl_set_writer(
      handle,
      { bytes, size, count, context in
        let sink = Unmanaged<Sink>.fromOpaque(context!).takeUnretainedValue()
        guard let bytes, sink.bytes.count + size * count <= sink.most else { return 0 }
        sink.bytes.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: size * count))
        return size * count
      }, Unmanaged.passUnretained(sink).toOpaque())
    precondition(code == CURLE_OK)
  }

  deinit {
    curl_easy_cleanup(handle)
    message.deallocate()
  }

  // An option of ours that is refused is a bug, or a libcurl that was built without it.
  private func set(_ option: CURLoption, _ value: Int) {
    let code = laris_curl_set_long(handle, option, value)
    precondition(code == CURLE_OK, "curl_easy_setopt \(option.rawValue): \(code.rawValue)")
  }
  private func set(_ option: CURLoption, _ value: String) {
    let code = laris_curl_set_text(handle, option, value)
    precondition(code == CURLE_OK, "curl_easy_setopt \(option.rawValue): \(code.rawValue)")
  }
  private func set(_ option: CURLoption, _ value: UnsafeRawPointer) {
    let code = laris_curl_set_bytes(handle, option, value)
    precondition(code == CURLE_OK, "curl_easy_setopt \(option.rawValue): \(code.rawValue)")
  }

  /// Posts `body` and waits for the answer, whatever its status.
  ///
  /// - Parameters:
  ///   - headers: whole lines, such as `Accept: text/plain`.
  ///   - milliseconds: after so long it is given up.
  ///   - bytesMax: an answer with more is given up.
  /// - Throws: there is no answer.
  package mutating func post(
    _ url: String, _ body: [UInt8], headers: [String], milliseconds: Int, bytesMax: Int
  ) throws(CurlError) -> Answer {
    var list: UnsafeMutablePointer<curl_slist>?
    defer { curl_slist_free_all(list) }
    // Without this curl waits for a "100 Continue" before a larger body.
    for header in headers + ["Expect:"] { list = curl_slist_append(list, header) }
    sink.bytes.removeAll(keepingCapacity: true)
    sink.most = bytesMax
    message[0] = 0
    set(CURLOPT_URL, url)
    set(CURLOPT_TIMEOUT_MS, max(1, milliseconds))
    set(CURLOPT_CONNECTTIMEOUT_MS, max(1, milliseconds))
    set(CURLOPT_POSTFIELDSIZE, body.count)
    let code = body.withUnsafeBytes { bytes in
      // An empty body has no address; without one curl would ask for it elsewhere.
      withUnsafePointer(to: 0 as UInt8) { empty in
        set(CURLOPT_POSTFIELDS, bytes.baseAddress ?? UnsafeRawPointer(empty))
        _ = laris_curl_set_list(handle, CURLOPT_HTTPHEADER, list)
        return curl_easy_perform(handle)
      }
    }
    _ = laris_curl_set_list(handle, CURLOPT_HTTPHEADER, nil)
    guard code == CURLE_OK else {
      let said = String(cString: message)
      throw CurlError(
        code: code.rawValue, message: said.isEmpty ? String(cString: curl_easy_strerror(code)) : said,
        url: url)
    }
    var status = 0
    laris_curl_get_long(handle, CURLINFO_RESPONSE_CODE, &status)
    return Answer(status: status, body: sink.bytes)
  }
}
