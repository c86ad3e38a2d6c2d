"""What could have leaked between the parts of a fold, before anything is trained: audit.json.

It judges and stops; it moves no patient. Rules that folds must keep by themselves are checked in `splits`.

    audit.py              gathers patients, slides, embeddings and sites, and lets the checks judge
    checks.py             the checks, each a verdict, a text and a table
    leakage.py            patients twice, copied slides, near copies
    site_confounding.py   site against class (Cramér's V), site from embeddings
    site_checks.py        the checks of sites, put together
    fitted_statistics.py  which statistic is fitted on whom
"""
