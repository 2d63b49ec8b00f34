// For all files of this target: the replica that nodes run, or the same with deliberate bugs compiled in.
#if DELIBERATE_BUGS
  @_exported import ReplicationWithBugs
#else
  @_exported import Replication
#endif
