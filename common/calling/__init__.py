"""How the steps are called: each script's word in the command sarcoma-mil, messages in the words of who called, threads heard of.

Knows names alone: it imports nothing of the project and opens no file.

    calls.py    the words of the scripts, which of both is running, and a message's scripts as they were called
    threads.py  a thread that memory ends, or that cannot begin, ends the command
"""
