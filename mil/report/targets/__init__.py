"""The report of runs with targets of their own: ordered classes, numbers, several columns at once.

targets_sections.py  what such a report has of its own: each target with its patients
targets_figures.py   predicted against observed numbers
"""
