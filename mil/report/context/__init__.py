"""What a reader holds the figures of a run against: who the patients are, and what others reported.

patients_table.py     the tested patients by class or event: age, sex, site, follow-up, as covariates have them
published_figures.py  published figures of soft-tissue sarcoma, and what each protocol lets in
"""
