import CLZ4

/// LZ4 frames, as `lz4` on the command line reads and writes them.
package enum LZ4Frame {
  package struct Failure: Error, CustomStringConvertible, Equatable {
    package let operation: String
    package let message: String
    package var description: String { "lz4 \(operation): \(message)" }
  }

  /// Most bytes that a frame of `count` bytes can take.
  package static func bound(_ count: Int) -> Int {
    LZ4F_compressFrameBound(count, nil)
  }

  /// Compresses into one frame that states its content's size.
  ///
  /// - Parameter output: at least ``bound(_:)`` of the input.
  /// - Returns: bytes of the frame. The corresponding C function is `LZ4F_compressFrame`.
  package static func compress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer)
    throws(Failure) -> Int
  {
    var preferences = LZ4F_preferences_t()
    preferences.frameInfo.contentSize = UInt64(input.count)
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    preferences.frameInfo.blockSizeID = LZ4F_max1MB
    let result = LZ4F_compressFrame(
      output.baseAddress, output.count, input.baseAddress, input.count, &preferences)
    guard LZ4F_isError(result) == 0 else {
      throw Failure(operation: "compress", message: String(cString: LZ4F_getErrorName(result)))
    }
    return result
  }

  /// Decompresses one frame whose content is exactly `output.count` bytes.
  ///
  /// - Throws: the frame is damaged, or its content has another length. `output` is then undefined.
  ///   The corresponding C function is `LZ4F_decompress`.
  package static func decompress(_ frame: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer)
    throws(Failure)
  {
    var context: OpaquePointer?
    guard LZ4F_isError(LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))) == 0 else {
      throw Failure(operation: "decompress", message: "out of memory")
    }
    defer { LZ4F_freeDecompressionContext(context) }
    var written = 0
    var read = 0
    while true {
      var room = output.count - written
      var available = frame.count - read
      let hint = LZ4F_decompress(
        context, output.baseAddress.map { $0 + written }, &room, frame.baseAddress.map { $0 + read },
        &available, nil)
      guard LZ4F_isError(hint) == 0 else {
        throw Failure(operation: "decompress", message: String(cString: LZ4F_getErrorName(hint)))
      }
      written += room
      read += available
      if hint == 0 { break }
      guard room > 0 || available > 0 else {
        throw Failure(operation: "decompress", message: "the frame is not of the length that it should be")
      }
    }
    guard written == output.count, read == frame.count else {
      throw Failure(operation: "decompress", message: "the frame is not of the length that it should be")
    }
  }
}
