"""What every stage shares: atomic files, the cohort table, study paths, settings, worker processes."""

from common.guards.interruption import prepare_for_interrupts

prepare_for_interrupts()
