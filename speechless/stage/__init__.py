"""Run one stage of the chain as a container does: fetch, work, publish, report."""
