"""Reads every message of a mailbox and writes each to a file named after its UID.

usage: read_back.py HOST PORT USER PASSWORD MAILBOX DIRECTORY
"""

import imaplib
import pathlib
import re
import sys

host, port, user, password, mailbox, directory = sys.argv[1:]
imaplib._MAXLINE = 10_000_000
with imaplib.IMAP4(host, int(port)) as client:
    client.login(user, password)
    status, (count,) = client.select(mailbox, readonly=True)
    assert status == "OK", count
    for start in range(1, int(count) + 1, 100):
        status, data = client.fetch(f"{start}:{min(start + 99, int(count))}", "(UID BODY.PEEK[])")
        assert status == "OK", data
        for item in data:
            if isinstance(item, tuple):
                uid = re.search(rb"UID (\d+)", item[0]).group(1).decode()
                pathlib.Path(directory, uid).write_bytes(item[1])
