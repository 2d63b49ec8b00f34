/// Where a reply goes: the frames that came before the request, to be sent before the reply.
package struct Envelope: Equatable, Sendable {
  /// The connection, as the socket knows it.
  package let connection: [UInt8]
  /// What the client put before its request, the empty delimiter included; given back unchanged.
  package let prefix: [[UInt8]]

  package init(connection: [UInt8], prefix: [[UInt8]]) {
    self.connection = connection
    self.prefix = prefix
  }
}
