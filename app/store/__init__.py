"""Jobs and their stories on disk: what is committed outlives the process."""
