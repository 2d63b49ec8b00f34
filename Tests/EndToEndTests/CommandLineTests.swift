import Foundation
import TestSupport
import SQLite
import Testing

extension EndToEndTests {
  @Test(
    arguments: [
      (["up", "--workers", "0"], 64, "--workers must be 1 to 1000"),
      (["up", "--replicas", "8"], 64, "--replicas must be 1 to 7"),
      (["up", "--replicas", "4"], 64, "--replicas 4 with --workers 3: each replica"),
      (["up", "--replicas", "3", "--min-replicas", "4"], 64, "it is 1 to the number of replicas"),
      (["up", "--partitions", "5000"], 64, "--partitions must be 1 to 4096"),
      (["up", "--no-such-flag"], 64, "Unknown option '--no-such-flag'"),
      (["up", "--listen", "localhost"], 64, "should look like tcp://127.0.0.1:12120"),
      (["worker", "--data", "/tmp/x", "--node", "a b"], 64, "a node's name has 1 to 64"),
      (["worker", "--data", "/tmp/x", "--node", "a", "--lease", "160"], 64, "Unknown option '--lease'"),
      (["cluster", "init", "--data", "/tmp/x", "--lease", "79"], 64, "--lease must be 80 to 60000"),
      (["dispatcher", "--data", "/tmp/x", "--rebalance-after", "-1"], 64, "--rebalance-after"),
      (["cluster", "recover", "--data", "/no/such"], 64, "with --worker"),
      (
        ["cluster", "recover", "--data", "/no/such", "--worker", "/no/such"], 64, "is no worker's data folder"
      ),
      (["cluster", "recover", "--data", "/x", "--worker", "/x", "--restart", "a"], 64, "like 3=worker-2"),
      (
        ["partition", "restart-from", "3", "--node", "a", "--accept-loss", "2"], 64, "is not the partition 3"
      ),
      (["worker", "--node", "a"], 64, "Missing expected argument '--data"),
      (["dispatcher", "--data", "/no/such/folder"], 78, "the data folder /no/such/folder does not exist"),
      (["dispatcher", "--data", "/dev/null"], 64, "/dev/null is not a folder"),
      (["cluster", "init", "--data", "/proc/laris"], 1, "can't be made"),
      (["cluster", "init", "--data", "/tmp/x", "--currency", "rupiah"], 64, "three capital letters"),
      (["get", "order", "xyz"], 64, "is no order id"),
      (["inspect", "/no/such/file"], 64, "there is no file or folder /no/such/file"),
      (["submit", "/no/such/file"], 64, "there is no file /no/such/file"),
      (
        ["status", "--dispatcher", "tcp://127.0.0.1:9", "--timeout", "0.3"], 69,
        "nobody listens at tcp://127.0.0.1:9"
      ),
      (["status", "--dispatcher", "nonsense"], 64, "nonsense is no address"),
      (
        ["status", "--dispatcher", "tcp://127.0.0.1:9,tcp://127.0.0.1:10", "--timeout", "0.3"], 69,
        "nobody listens at tcp://127.0.0.1:9, tcp://127.0.0.1:10"
      ),
      (["submit", "--batch", "0"], 64, "--batch must be 1 to 1024"),
      (["resolve", "xyz"], 64, "is no request id"),
      (["resolve", String(repeating: "0", count: 32), "--shop", "0"], 64, "--shop must not be 0"),
      (
        ["resolve", String(repeating: "0", count: 32), "--shop", "1", "--partition", "0"], 64,
        "give one of --shop, --order and --partition"
      ),
      (
        [
          "resolve", String(repeating: "0", count: 32), "--dispatcher", "tcp://127.0.0.1:9", "--timeout",
          "0.3",
        ], 69, "nobody listens at tcp://127.0.0.1:9"
      ),
    ] as [([String], Int32, String)])
  func `what is wrong gets one clear sentence and its exit code`(
    _ arguments: [String], _ exit: Int32, _ sentence: String
  ) throws {
    let run = try Run.program("laris", arguments)
    #expect(run.exit == exit)
    #expect(run.errors.contains(sentence), "\(run.errors)")
  }

  @Test(
    arguments: [
      (["replay", "/no/such/trace"], 64, "/no/such/trace"),
      (["replay", "/dev/null", "--run-id", "today"], 64, "is no UUIDv7"),
      (["import", "olist", "/no/such/folder"], 64, "/no/such/folder"),
      (["run", "--seconds", "0"], 64, "--seconds must be"),
    ] as [([String], Int32, String)])
  func `the load tool says what is wrong too`(_ arguments: [String], _ exit: Int32, _ sentence: String) throws
  {
    let run = try Run.program("laris-loadtest", arguments)
    #expect(run.exit == exit)
    #expect(run.errors.contains(sentence), "\(run.errors)")
  }

  @Test func `the status tells the request window of its cluster`() throws {
    let folder = try TestFolder()
    let data = folder.path + "/data"
    let made = try Run.program(
      "laris", ["cluster", "init", "--data", data + "/dispatcher", "--partitions", "1", "--workers", "1"])
    #expect(made.exit == 0, "\(made.errors)")
    do {
      try Database(data + "/dispatcher/cluster.sqlite", mode: .readWrite).execute(
        "UPDATE cluster SET request_window_milliseconds = 1200000")
    }
    let cluster = try TestCluster(folder: folder, workers: 1, partitions: 1)
    #expect(try cluster.status().requestWindowMilliseconds == 1_200_000)
    let status = try cluster.laris(["status", "--json"])
    #expect(status.output.contains("\"requestWindowMilliseconds\":\"1200000\""), "\(status.output)")
    #expect(cluster.stop() == 0)
  }

  @Test func `a port, a folder or a name that is taken is said so`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 1)
    let other = try TestFolder()
    let made = try Run.program("laris", ["cluster", "init", "--data", other.path + "/d"])
    #expect(made.exit == 0, "\(made.errors)")
    let twice = try Run.program("laris", ["cluster", "init", "--data", other.path + "/d"])
    #expect(twice.exit == 1)
    #expect(twice.errors.contains("holds a cluster already"))

    let port = try Run.program(
      "laris", ["dispatcher", "--data", other.path + "/d", "--listen", cluster.services])
    #expect(port.exit == 1)
    #expect(port.errors.contains("\(cluster.services) is in use by another process"))

    let up = try Run.program(
      "laris",
      [
        "up", "--workers", "1", "--data", other.path + "/up", "--listen", cluster.services, "--worker-listen",
        "tcp://127.0.0.1:\(try freePort())",
      ])
    #expect(up.exit == 1)
    #expect(up.errors.contains("is in use by another process"), "\(up.errors)")

    let folder = try Run.program(
      "laris",
      ["worker", "--data", cluster.data + "/worker-1", "--node", "worker-1", "--dispatcher", cluster.workers])
    #expect(folder.exit == 1)
    #expect(folder.errors.contains("is in use by another process"))

    let kind = try Run.program(
      "laris", ["worker", "--data", other.path + "/d", "--node", "w", "--dispatcher", cluster.workers])
    #expect(kind.exit == 64)
    #expect(kind.errors.contains("is a dispatcher's"))

    #expect(cluster.stop() == 0)
    let name = try Run.program(
      "laris",
      ["worker", "--data", cluster.data + "/worker-1", "--node", "w", "--dispatcher", cluster.workers])
    #expect(name.exit == 64)
    #expect(name.errors.contains("is of worker worker-1, not of w"))
    let partitions = try Run.program(
      "laris",
      ["up", "--workers", "1", "--partitions", "9", "--data", cluster.data, "--listen", cluster.services])
    #expect(partitions.exit == 64)
    #expect(partitions.errors.contains("and that never changes"))
  }

  @Test func `a worker of another cluster is refused`() throws {
    let first = try TestCluster(workers: 1, partitions: 1)
    #expect(first.stop() == 0)
    let second = try TestCluster(workers: 1, partitions: 1)
    let run = try Run.program(
      "laris",
      ["worker", "--data", first.data + "/worker-1", "--node", "worker-1", "--dispatcher", second.workers])
    #expect(run.exit == 1)
    #expect(run.errors.contains("belongs to cluster"), "\(run.errors)")
    #expect(try second.status().partitions.allSatisfy(\.active))
    #expect(second.stop() == 0)
  }

  @Test func `a worker whose data is gone never begins its partitions anew`() throws {
    let folder = try TestFolder()
    let first = try TestCluster(folder: folder, workers: 1, partitions: 1)
    _ = try first.laris(["submit"], input: "{\"registerShop\": {\"shopId\": \"1\", \"name\": \"a\"}}\n")
    #expect(first.stop() == 0)
    try FileManager.default.removeItem(atPath: first.data + "/worker-1/partitions")
    do {
      _ = try TestCluster(folder: folder, workers: 1, partitions: 1, timeout: 4)
      Issue.record("the cluster came up without its data")
    } catch let problem as Problem {
      #expect(problem.description.contains("has served before, but its data is not in"), "\(problem)")
    }
    #expect(
      !FileManager.default.fileExists(atPath: first.data + "/worker-1/partitions/0000/partition.sqlite"))
  }

  @Test func `a second worker under a name that is taken stops, and the first one serves on`() throws {
    let cluster = try TestCluster(workers: 1, partitions: 2)
    let other = try TestFolder()
    let run = try Run.program(
      "laris", ["worker", "--data", other.path + "/w", "--node", "worker-1", "--dispatcher", cluster.workers])
    #expect(run.exit == 1)
    #expect(run.errors.contains("belongs to a worker with another data folder"), "\(run.errors)")
    #expect(try cluster.status().partitions.allSatisfy(\.active))
    #expect(cluster.stop() == 0)
  }
}
