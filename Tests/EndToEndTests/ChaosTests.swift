import Foundation
import TestSupport
import Testing

/// The rehearsal of faults itself, in short: five rounds, under a seed that the output names.
extension EndToEndTests {
  @Test
  func `a replicated cluster outlives a kill, a stopped primary, a cut link, a full disk and a flipped bit`()
    throws
  {
    let folder = try TestFolder()
    let run = try Run.program(
      Programs.root + "/loadtest/chaos-cluster.sh",
      [
        "--rounds", "5", "--seed", "1", "--rate", "300", "--load-seconds", "5", "--disk", "512", "--faults",
        "kill-worker,pause-primary,cut,full-disk,flip-byte",
      ],
      environment: [
        "LARIS_BIN": URL(fileURLWithPath: try Programs.path("laris")).deletingLastPathComponent().path,
        "TMPDIR": folder.path,
      ])
    guard !run.errors.contains("SKIPPED") else {
      print(run.errors)
      return
    }
    #expect(run.exit == 0, "\(run.output)\n\(run.errors)")
    #expect(
      run.output.contains(
        "\nholds: 5 rounds (1 cut, 1 flip-byte, 1 full-disk, 1 kill-worker, 1 pause-primary)"),
      "\(run.output)")
    #expect(run.output.contains("ms after the stop, and"), "\(run.output)")
    #expect(run.output.contains("3 replicas equal"), "\(run.output)")
    #expect(run.output.contains("one order dropped: exit 1"), "\(run.output)")
  }
}
