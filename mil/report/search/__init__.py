"""The report of a search for settings.

search_section.py  what was tried and chosen in each fold
"""
