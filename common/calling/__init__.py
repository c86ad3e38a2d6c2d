"""How the steps are called: each script's word in the command sarcoma-mil, and messages in the words of who called.

Knows names alone: it imports nothing of the project and opens no file.

    calls.py    the words of the scripts, which of both is running, and a message's scripts as they were called
"""
