import ArgumentParser
import Foundation
import LarisClient
import LarisProtocol
import NodeSupport

struct Resolve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Settle what a request did whose answer was lost.",
    discussion: """
      Tells what the request was answered. If it was not executed, its id is sealed: it never will be,
      and a copy that arrives later is answered NO, REQUEST_SEALED. Asking again changes nothing.

      Say what its command was routed by; otherwise every partition is asked, and all must be active.
      Ids are kept for 24 hours.

        laris resolve 019a8e3c-5e00-7a1b-b2c3-d4e5f6071829 --shop 42
        laris resolve 019a8e3c5e007a1bb2c3d4e5f6071829 --json

      Exit code: that of the request's answer (0 done, 1 no or sealed); 3 or 75: it could not be settled
      now, ask again; 69 nobody could be reached.
      """)

  @Argument(help: "The request's id: 32 hexadecimal digits, with or without dashes, or base64.")
  var request: String

  @Option(help: "The shop that its command names.")
  var shop: UInt64?

  @Option(help: "The order that its command names: 32 hexadecimal digits, or base64.")
  var order: String?

  @Option(help: "The partition that it went to, from 0.")
  var partition: UInt32?

  @Flag(help: "Print the request's reply as proto3 JSON.")
  var json = false

  @OptionGroup var cluster: ClusterOptions

  func validate() throws {
    _ = try Get.id(request, of: "request")
    if let order { _ = try Get.id(order, of: "order") }
    if shop == 0 { throw ValidationError("--shop must not be 0") }
    let hints = [shop != nil, order != nil, partition != nil].filter { $0 }.count
    guard hints <= 1 else { throw ValidationError("give one of --shop, --order and --partition") }
  }

  func run() throws {
    let id = try Get.id(request, of: "request")
    let place: LarisClient.Place? =
      if let shop {
        .shop(shop)
      } else if let order {
        .order(try Get.id(order, of: "order"))
      } else {
        partition.map { .partition($0) }
      }
    switch try cluster.client().resolve(id, at: place) {
    case .answered(let reply):
      try show(reply, "executed, \(reply.outcome == .done ? "done" : "no: \(reply.code.contractName)")")
      if reply.outcome != .done { throw ExitCode(NodeError.Exit.no.rawValue) }
    case .sealed(let reply):
      try show(reply, "sealed: it was not executed, and never will be")
      throw ExitCode(NodeError.Exit.no.rawValue)
    case .unsettled(let outcome):
      _ = try cluster.reply(of: outcome)
      throw NodeError(.unknown, "the answer does not say what the request did; ask again")
    }
  }

  private func show(_ reply: Laris_Reply, _ fate: String) throws {
    if json { return Terminal.print(try reply.jsonString()) }
    Terminal.print("request       \(Get.hexadecimal(reply.requestID))")
    Terminal.print("fate          \(fate)")
    if reply.outcome == .done { Terminal.print("answer        \(try reply.jsonString())") }
  }
}
