"""Several runs and machines at work in one study folder: who does what, and which part of the slides is whose.

Claims keep work from being done twice; they are never what makes a result right: files appear whole, and the same inputs and
settings make the same bytes, so two runs that did one slide twice leave what one leaves.

    owners.py   who holds a claim, and whether it still lives
    claim_files.py  the files of claims, which work over NFS
    claims.py   claims on slides and folds
    shards.py   --shard i/n: a part of the slides by their names alone
"""
