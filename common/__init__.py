"""What every stage shares: atomic files, the cohort table, study paths, settings, worker processes."""

__version__ = "0.1.0"  # the one place; pyproject.toml reads it here

from common.guards.interruption import prepare_for_early_ends

prepare_for_early_ends()
