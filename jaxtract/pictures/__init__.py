"""Pictures of networks and of extractions; Matplotlib is imported by what draws, and by nothing else."""
