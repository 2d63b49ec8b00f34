/// Why the configuration can't be read, or made. Changes have a ``ChangeOutcome`` instead.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
  package enum Kind: Equatable, Sendable {
    /// There is a cluster already.
    case exists
    /// There is none yet.
    case missing
    /// The store is slow, away or without a leader: nothing is known, and later it may be.
    case unavailable
    /// What it holds is not what a program of ours writes.
    case damaged
    /// It was written by a later version.
    case tooNew
    /// It is not the cluster's any more that it was opened for (rule 18).
    case otherCluster
    /// It does not let us in.
    case denied
    /// It can't be made where it was wanted.
    case notMade
  }

  package let kind: Kind
  package let description: String

  package init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }
}
