"""Conditions on the rows of the clinical table (--where, --external): a grammar of their own, so nothing in them runs.

What is done with the rows that are kept is not known here.

    rows.py      for which rows a condition holds; a missing value never makes one hold
    grammar.py   the text of a condition to a tree
    tokens.py    its words with their places, and the parts of the tree
"""
