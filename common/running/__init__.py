"""How a command on its way is followed: progress on a screen or line by line, and a log of all it says.

log_file.py     --log FILE: everything printed, with times, by workers too
progress.py     a bar on a terminal; without one, and in the log, a line a minute
time_limits.py  when a job of a worker has had its time, by its processor time
"""
