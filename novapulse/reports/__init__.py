"""Reports: made by a job, kept as files for a while, downloaded; also on a schedule."""
