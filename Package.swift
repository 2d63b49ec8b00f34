// swift-tools-version: 6.1
import PackageDescription

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

/// What the simulation runs besides replicas.
let world: [Target.Dependency] = [
  "Bytes", "ClientCore", "Cluster", "DispatcherCore", "Marketplace", "Referee", "Wire", "WorkerCore",
]
let withBugs: [SwiftSetting] = [.define("DELIBERATE_BUGS")]

let package = Package(
  name: "laris",
  products: [
    .library(name: "LarisClient", targets: ["LarisClient", "LarisProtocol"]),
    .executable(name: "laris", targets: ["laris"]),
    .executable(name: "laris-loadtest", targets: ["laris-loadtest"]),
    .executable(name: "laris-sim", targets: ["laris-sim"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // Pure cores: they decide, and import nothing but each other.
    .target(name: "Bytes"),
    .target(name: "Marketplace"),
    .target(name: "Cluster", dependencies: ["Bytes"]),
    .target(name: "Wire", dependencies: ["Bytes", "Marketplace", "Cluster"]),
    .target(name: "WorkerCore", dependencies: ["Bytes", "Marketplace", "Cluster", "Wire"]),
    .target(name: "Replication", dependencies: ["Bytes", "Cluster"]),
    .target(name: "DispatcherCore", dependencies: ["Bytes", "Cluster", "Marketplace", "Wire"]),
    .target(name: "ClientCore", dependencies: ["Bytes", "Cluster", "Wire"]),

    // Judges from outside what the cores did, and shares nothing with them but the words of commands.
    .target(name: "Referee", dependencies: ["Cluster", "Marketplace"]),

    // The cores in a world of chance.
    .target(name: "Simulation", dependencies: ["Replication"] + world),
    .executableTarget(name: "laris-sim", dependencies: ["Simulation", argumentParser]),

    // The same again, from the same files, with deliberate bugs compiled in: the simulation must find them.
    .target(name: "ReplicationWithBugs", dependencies: ["Bytes", "Cluster"], swiftSettings: withBugs),
    .target(
      name: "SimulationWithBugs", dependencies: ["ReplicationWithBugs"] + world, swiftSettings: withBugs),
    .executableTarget(
      name: "laris-sim-bugs", dependencies: ["SimulationWithBugs", argumentParser], swiftSettings: withBugs),

    // C libraries, and the owners above them.
    .systemLibrary(name: "CSQLite", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
    .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CLZ4", providers: [.apt(["liblz4-dev"])]),
    .target(name: "SQLite", dependencies: ["CLinux", "CSQLite"]),
    .target(name: "ZeroMQ", dependencies: ["CZeroMQ"]),
    .target(name: "LZ4", dependencies: ["CLZ4"]),
    .target(name: "Curl", dependencies: ["CCurl"]),

    // Shells: they act.
    .target(
      name: "LarisProtocol",
      dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")]),
    .target(
      name: "NodeProtocol",
      dependencies: [
        "Cluster", "LarisProtocol", "Wire", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    .target(name: "Files", dependencies: ["CLinux"]),
    .target(name: "ReplicationLog", dependencies: ["Bytes", "Cluster", "Files", "LZ4"]),
    .target(
      name: "PartitionStore",
      dependencies: ["Bytes", "Marketplace", "Cluster", "WorkerCore", "Files", "SQLite"]),
    .target(
      name: "DurablePartition",
      dependencies: [
        "Bytes", "Cluster", "Files", "Marketplace", "PartitionStore", "Replication", "ReplicationLog",
        "WorkerCore",
      ]),
    .target(name: "ConfigurationManager", dependencies: ["Bytes", "Cluster", "Curl", "SQLite"]),
    .target(
      name: "NodeSupport",
      dependencies: [
        "Bytes", "CLinux", "Cluster", "Files", .product(name: "Logging", package: "swift-log"),
      ]),
    .target(
      name: "WorkerNode",
      dependencies: [
        "Bytes", "CLinux", "Cluster", "DurablePartition", "Files", "LarisProtocol", "Marketplace",
        "NodeProtocol", "NodeSupport", "PartitionStore", "Replication", "ReplicationLog", "SQLite", "Wire",
        "WorkerCore",
        "ZeroMQ",
        .product(name: "Logging", package: "swift-log"),
      ]),
    .target(
      name: "DispatcherNode",
      dependencies: [
        "Bytes", "Cluster", "ConfigurationManager", "DispatcherCore", "LarisProtocol", "NodeProtocol",
        "NodeSupport", "Wire", "ZeroMQ",
      ]),
    .target(
      name: "LarisClient", dependencies: ["ClientCore", "Cluster", "LarisProtocol", "Wire", "ZeroMQ"]),
    .target(name: "RunHistory", dependencies: ["Bytes", "Cluster", "LZ4", "Marketplace", "Wire"]),

    .target(
      name: "Judge",
      dependencies: [
        "Bytes", "Cluster", "Files", "Marketplace", "Referee", "ReplicationLog", "RunHistory",
      ]),

    .executableTarget(
      name: "laris",
      dependencies: [
        "Bytes", "Cluster", "ConfigurationManager", "Curl", "DispatcherNode", "Files", "LarisClient",
        "LarisProtocol", "NodeSupport", "PartitionStore", "ReplicationLog", "RunHistory", "SQLite", "Wire",
        "WorkerCore", "WorkerNode", "ZeroMQ",
        argumentParser,
      ]),
    .target(
      name: "LoadTest",
      dependencies: [
        "Bytes", "ClientCore", "Cluster", "LarisClient", "LarisProtocol", "Marketplace", "NodeSupport",
        "RunHistory", "Wire", "ZeroMQ",
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      path: "loadtest/LoadTest"),
    .executableTarget(
      name: "laris-loadtest",
      dependencies: [
        "Cluster", "Judge", "LarisClient", "LarisProtocol", "LoadTest", "Marketplace", "NodeSupport",
        "RunHistory", argumentParser,
      ],
      path: "loadtest/laris-loadtest"),

    // What a service looks like.
    .executableTarget(
      name: "place-order", dependencies: ["LarisClient", "LarisProtocol"], path: "docs/examples/swift",
      exclude: ["README.md"]),

    // Tests mirror the sources.
    .target(name: "TestSupport", path: "Tests/TestSupport"),
    .target(
      name: "TestMarketplace", dependencies: ["Bytes", "Cluster", "Marketplace", "Wire", "WorkerCore"],
      path: "Tests/TestMarketplace"),
    .target(
      name: "Fuzz",
      dependencies: [
        "TestMarketplace", "TestReplication", "TestSupport", "Bytes", "Cluster", "ConfigurationManager",
        "DispatcherCore", "LarisProtocol", "LoadTest", "LZ4", "Marketplace", "NodeProtocol", "NodeSupport",
        "PartitionStore", "Replication", "ReplicationLog", "SQLite", "Wire", "WorkerCore", "WorkerNode",
      ],
      path: "Tests/Fuzz"),
    .executableTarget(
      name: "laris-fuzz",
      dependencies: ["Fuzz", argumentParser],
      path: "Tests/laris-fuzz"),
    .testTarget(name: "FuzzTests", dependencies: ["TestSupport", "Fuzz", "laris-fuzz"], exclude: ["corpus"]),
    .target(
      name: "SimulatedDisk", dependencies: ["TestSupport", "CSQLite", "Files"], path: "Tests/SimulatedDisk"),
    .testTarget(
      name: "FilesTests", dependencies: ["CLinux", "TestSupport", "Files", "SimulatedDisk", "SQLite"]),
    .testTarget(
      name: "DurablePartitionTests",
      dependencies: [
        "TestMarketplace", "TestSupport", "SimulatedDisk",
        "Bytes", "Cluster", "DurablePartition", "Files", "Marketplace", "PartitionStore", "ReplicationLog",
        "SQLite", "Wire", "WorkerCore", "Replication",
      ]),
    .testTarget(name: "BytesTests", dependencies: ["TestSupport", "Bytes"]),
    .testTarget(name: "ClusterTests", dependencies: ["TestSupport", "Bytes", "Cluster"]),
    .testTarget(name: "MarketplaceTests", dependencies: ["TestMarketplace", "TestSupport", "Marketplace"]),
    .testTarget(
      name: "WireTests",
      dependencies: [
        "TestMarketplace", "TestSupport",
        "Bytes", "Cluster", "LarisProtocol", "Marketplace", "Wire",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    .testTarget(
      name: "NodeProtocolTests",
      dependencies: [
        "TestSupport", "Cluster", "LarisProtocol", "NodeProtocol", "Wire",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    .testTarget(
      name: "WorkerCoreTests",
      dependencies: [
        "TestMarketplace", "TestSupport", "Bytes", "Cluster", "LarisProtocol", "Marketplace", "Wire",
        "WorkerCore",
      ]),
    .testTarget(
      name: "DispatcherCoreTests",
      dependencies: ["TestSupport", "Bytes", "Cluster", "DispatcherCore", "Marketplace", "Wire"]),
    .testTarget(
      name: "ClientCoreTests", dependencies: ["TestSupport", "Bytes", "ClientCore", "Cluster", "Wire"]),
    .testTarget(name: "LarisClientTests", dependencies: ["LarisClient", "LarisProtocol", "ZeroMQ"]),
    .testTarget(
      name: "ReplicationLogTests",
      dependencies: ["TestSupport", "Bytes", "Cluster", "Files", "LZ4", "ReplicationLog", "SimulatedDisk"]),
    .testTarget(
      name: "PartitionStoreTests",
      dependencies: [
        "TestSupport",
        "Bytes", "Cluster", "Files", "Marketplace", "PartitionStore", "SQLite", "Wire", "WorkerCore",
      ]),
    .testTarget(
      name: "ConfigurationManagerTests",
      dependencies: ["TestSupport", "Cluster", "ConfigurationManager", "Curl", "SQLite"]),
    .testTarget(
      name: "RunHistoryTests",
      dependencies: [
        "TestMarketplace", "TestSupport", "Bytes", "Cluster", "Marketplace", "RunHistory", "Wire",
      ]),
    .testTarget(
      name: "LoadTestTests",
      dependencies: ["TestSupport", "Bytes", "Cluster", "LoadTest", "Marketplace", "RunHistory", "Wire"]),
    .target(
      name: "TestReplication", dependencies: ["Bytes", "Cluster", "Replication"],
      path: "Tests/TestReplication"),
    .testTarget(
      name: "ReplicationTests",
      dependencies: ["TestReplication", "TestSupport", "Bytes", "Cluster", "Replication"]),
    .executableTarget(
      name: "laris-peer",
      dependencies: [
        "Bytes", "Cluster", "NodeSupport", "WorkerNode", "ZeroMQ",
        .product(name: "Logging", package: "swift-log"),
      ],
      path: "Tests/laris-peer"),
    .testTarget(
      name: "WorkerNodeTests",
      dependencies: [
        "laris-peer",
        "TestSupport", "Bytes", "Cluster", "DurablePartition", "Files", "Marketplace", "NodeSupport",
        "Replication", "WorkerNode", "ZeroMQ",
        .product(name: "Logging", package: "swift-log"),
      ]),
    .testTarget(
      name: "RefereeTests",
      dependencies: [
        "TestMarketplace", "TestSupport", "Bytes", "Cluster", "Marketplace", "Referee", "Wire",
      ]),
    .testTarget(
      name: "JudgeTests",
      dependencies: [
        "TestMarketplace", "TestSupport", "Bytes", "Cluster", "Judge", "Marketplace", "Referee",
        "ReplicationLog", "RunHistory", "Wire",
      ]),
    .testTarget(
      name: "SimulationTests",
      dependencies: ["Simulation", "laris-sim", "SimulationWithBugs", "laris-sim-bugs"]),
    .testTarget(name: "ArchitectureTests"),
    .testTarget(
      name: "EndToEndTests",
      dependencies: [
        "TestSupport", "Bytes", "Cluster", "Fuzz", "LarisClient", "LarisProtocol", "LoadTest", "NodeProtocol",
        "RunHistory", "SQLite", "Wire", "ZeroMQ",
      ]),
  ],
  swiftLanguageModes: [.v6]
)
