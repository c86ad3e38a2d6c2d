"""What stands on every page that shows results: what it is for, and that a synthetic study says nothing of patients."""

USE = "Research use only. Not a medical device."
SYNTHETIC = "SYNTHETIC DATA: painted slides, invented patients. No number here says anything of patients."
