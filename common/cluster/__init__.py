"""Slides and folds over the machines of a cluster: options, and the engines behind `common/parallel.py`.

A script that has --scheduler runs the same jobs whichever engine does them; what a job leaves lies in the study folder, which all
machines see under one path.

    cluster_settings.py  the options --shard, --scheduler and --slurm, in a module that imports nothing heavy
    engine.py            the engine that these options ask for
    dask_engine.py       jobs over the workers of a Dask scheduler
    own_process.py       a job on a Dask worker, in a process of its own
    slurm.py             workers that Slurm starts
"""
