"""Does a bit of everything to a user's mail.

usage: mixed_operations.py HOST PORT USER PASSWORD
"""

import imaplib
import sys

HOST, PORT, USER, PASSWORD = sys.argv[1:]


def message(number, lines=5):
    head = f"From: Ada <ada@example.com>\r\nTo: bob@example.com\r\nSubject: number {number}\r\n"
    head += f"Message-ID: <{number}@example.com>\r\nDate: Tue, 5 Mar 2024 12:00:{number % 60:02} +0100\r\n"
    parts = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
    body = f"line of {number}\r\n" * lines
    return (head + parts + body + "--b\r\nContent-Type: text/html\r\n\r\n<p>x\r\n--b--\r\n").encode()


def connect():
    client = imaplib.IMAP4(HOST, int(PORT))
    client.login(USER, PASSWORD)
    return client


def must(answer):
    status, data = answer
    assert status == "OK", data
    return data


with connect() as one, connect() as two:
    for name in ["Work", "Work/done", "&AOQ-rger", '"with space"', "doomed"]:
        must(one.create(name))
    for number in range(1, 21):
        flags = ["", r"(\Seen)", r"(\Flagged $Label1)", r"(\Draft work Work2)"][number % 4]
        date = '" 1-Feb-1994 21:52:25 -0700"' if number % 5 == 0 else None
        must((one if number % 2 else two).append("INBOX", flags, date, message(number)))
    must(two.append("Work", r"(\Seen)", None, message(100, 30_000)))
    must(one.select("INBOX"))
    must(two.select("INBOX"))
    must(one.uid("STORE", "1:6", "+FLAGS", r"(\Answered $MDNSent)"))
    must(two.uid("STORE", "3,5,9:12", "FLAGS", r"(\Deleted)"))
    must(one.uid("STORE", "2:4", "-FLAGS", r"(\Answered $mdnsent \Seen)"))
    must(one.uid("COPY", "1:8", "Work"))
    must(two.uid("COPY", "13:15", "INBOX"))
    must(one.uid("MOVE", "16:18", "Work/done"))
    must(two.expunge())
    must(one.uid("COPY", "1:2", "doomed"))
    must(one.rename("Work", "Projects"))
    must(two.delete("doomed"))
    must(one.subscribe("Projects/done"))
    must(one.subscribe('"never made"'))
    must(one.subscribe("INBOX"))
    must(one.unsubscribe("INBOX"))
    must(one.unselect())
    must(one.rename("INBOX", "old"))
    must(two.append("INBOX", "", None, b"Subject: after all\r\n\r\n\xff\x00".replace(b"\x00", b"") + b"\r\n"))
