"""What stands on every page that shows results: what it is for, and that a synthetic study says nothing of patients."""

USE = "Research use only. Not a medical device."
SYNTHETIC = "SYNTHETIC DATA: painted slides, invented patients. No number here says anything of patients."
SYNTHETIC_MODEL = (  # of predictions and maps by a model from elsewhere: the slides may be real
    "SYNTHETIC MODEL: it was trained on painted slides of invented patients. Nothing that it says of a slide holds for a patient."
)
