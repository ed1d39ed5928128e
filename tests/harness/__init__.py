"""What tests and benchmarks drive: a broker, real processes to kill, shards in memory, servers in threads."""
