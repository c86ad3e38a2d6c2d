"""What every stage shares: atomic files, the cohort table, study paths, settings, worker processes."""
