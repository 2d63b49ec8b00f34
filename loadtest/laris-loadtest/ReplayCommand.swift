import ArgumentParser
import Foundation
import LoadTest

struct Replay: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Replays a trace: a real marketplace's orders, payments and shipments.",
    discussion: """
      In the trace's order, as fast as it goes or paced. Every request is tried again with its id until
      it has a final answer; every row of the trace's source is accounted for at the end.

      Request ids are made from the run id: the same --run-id sends the same ids again, and changes
      nothing. A run id is a UUIDv7, and can be repeated within 24 hours of its time.
      """)

  @Argument(help: "A trace, made by: laris-loadtest import.") var trace: String
  @OptionGroup var cluster: DispatcherOptions
  @Option(help: "Repeat this run; without it, a new one.") var runId: String?
  @Option(help: "Requests in flight.") var inFlight: Int = 512
  @Option(help: "How many times faster than the trace's own time.") var speed: Double?
  @Option(help: "Instead of --speed: spread the trace over so many seconds.") var seconds: Double?
  @Option(help: "How long one request is tried, in seconds.") var budget: Double = 60
  @Flag(help: "Print the summary as JSON.") var json = false

  func validate() throws {
    if let runId, RunID(runId) == nil {
      throw ValidationError("--run-id '\(runId)' is no UUIDv7; repeat one that a replay has printed")
    }
    guard inFlight >= 1, inFlight <= 100_000 else { throw ValidationError("--in-flight must be 1 to 100000") }
    if let speed, speed <= 0 { throw ValidationError("--speed must be more than 0") }
    if let seconds, seconds <= 0 { throw ValidationError("--seconds must be more than 0") }
    guard speed == nil || seconds == nil else { throw ValidationError("give --speed or --seconds, not both") }
    guard budget >= 1, budget <= 3_600 else { throw ValidationError("--budget must be 1 to 3600 seconds") }
  }

  func run() throws {
    var reader = try TraceReader(path: trace)
    let header = reader.header
    var events: [TraceEvent] = []
    events.reserveCapacity(header.events)
    while let event = try reader.next() { events.append(event) }
    var options = LoadTest.Replay.Options(run: runId.flatMap { RunID($0) } ?? RunID.fresh())
    options.dispatchers = cluster.dispatchers
    options.inFlight = inFlight
    options.budgetMilliseconds = Int64(budget * 1_000)
    options.speed = seconds.map { Double(max(1, header.endsAt - header.startsAt)) / 1_000 / $0 } ?? speed
    let replay = try LoadTest.Replay(header, events, options)
    if !json { Output.line("run \(options.run): \(events.count) events of \(trace)") }
    let summary = try replay.run { done, total, seconds in
      Output.live("\(Int(seconds)) s: \(done) of \(total) events")
    }
    Output.endLive()
    Output.line(json ? summary.json : summary.text)
    guard summary.unresolved == 0, summary.account.isComplete else { throw ExitCode(1) }
  }
}
