"""Plain pages beside tables: what predictions and maps are looked at by. The report has blocks of its own.

page.py  a page as a value: warnings, paragraphs, tables with links, pictures beside it; templates/ has the markup
"""
