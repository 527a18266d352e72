"""Runs imaptest and reads what it measured."""
import os, re, signal, subprocess, time
from dataclasses import dataclass, field
from pathlib import Path

# name: (arguments, what it shows)
WORKLOADS = {
    "mix": ([], "the default mix, logins and logouts included"),
    "sessions": (["logout=0"], "the default mix in sessions that stay"),
    "login": (["-", "select=0"], "LOGIN and LOGOUT"),
    "append": (["-", "append=100,0", "logout=0", "msgs=10000000"], "durable APPEND"),
    "fetch": (["-", "fetch=100", "logout=0", "no_pipelining"], "metadata"),
    "fetch2": (["-", "fetch=100", "fetch2=100", "logout=0"], "metadata and bodies"),
    "store": (["-", "store=100", "logout=0"], "flags"),
    "search": (["-", "search=100", "logout=0"], "SEARCH"),
    "idle": (["-", "logout=0", "status=50", "noop=50", "delay=100"], "sessions that do little"),
}


def make_mbox(path, count=500):
    """Plain messages with unique Message-IDs: imaptest searches for words that it finds in the raw bytes."""
    with open(path, "wb") as out:
        for n in range(count):
            words = " ".join(f"word{(n * 7919 + k * 104729) % 5003}" for k in range(40 + n * 37 % 700))
            lines = [words[at:at + 72] for at in range(0, len(words), 72)]
            head = [f"Date: Mon, {n % 28 + 1:02} Jan 2024 10:{n % 60:02}:00 +0000", f"From: Sender {n} <s{n}@example.com>",
                    "To: Receiver <r@example.org>", f"Subject: message {n}", f"Message-ID: <{n}@example.com>", ""]
            out.write(b"From s@example.com Mon Jan  1 00:00:00 2024\r\n" + "\r\n".join(head + lines).encode() + b"\r\n\r\n")


@dataclass
class Outcome:
    """What the testers of one run saw."""
    commands: int = 0
    milliseconds: int = 0
    seconds: float = 0.0
    tester_cpu: float = 0.0
    counts: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)


class ImapTest:
    """The program, and what every call of it has in common."""

    def __init__(self, program, mbox, clients, users, testers=1):
        self.program, self.mbox, self.clients, self.users, self.testers = program, mbox, clients, users, testers

    def run(self, port, directory, name, words, seconds, clients=None, first_user=1):
        """One run of `seconds`; its testers share the clients and divide the users."""
        clients, share = clients or self.clients, self.users // self.testers
        testers = []
        for k in range(self.testers):
            output, first = directory / f"{name}-{k}.tsv", first_user + k * share
            call = [self.program, "host=127.0.0.1", f"port={port}", "user=u%d", f"users={first}-{first + share - 1}",
                    "pass=p", f"mbox={self.mbox}", f"seed={123 + k}", f"secs={seconds}",
                    f"clients={max(1, clients // self.testers)}", f"output={output}", *words]
            log = open(directory / f"{name}-{k}.log", "wb")
            testers.append((subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT), output, log))
        outcome, before, started = Outcome(), os.times(), time.monotonic()
        try:
            for process, output, log in testers:
                self._wait(process, started + seconds + 45, outcome)
                self._read(output, outcome)
                printed = Path(log.name).read_text(errors="replace")
                # Its own failed assertions are not the server's errors.
                outcome.errors += [line for line in printed.splitlines() if re.match(r"Error: u\d+\[", line)]
        finally:
            for process, _, log in testers:
                process.kill()
                process.wait()
                log.close()
        after = os.times()
        outcome.tester_cpu = after[2] + after[3] - before[2] - before[3]
        outcome.seconds = outcome.seconds or time.monotonic() - started
        return outcome

    @staticmethod
    def _wait(process, until, outcome):
        try:
            process.wait(max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            outcome.errors.append("Error: imaptest did not end and was killed")

    @staticmethod
    def _read(output, outcome):
        """A row per second; per state a count, a count of those with a time (no heading), and their milliseconds."""
        rows = [row.split("\t") for row in output.read_text().splitlines()] if output.exists() else []
        if len(rows) < 2:
            outcome.errors.append("Error: imaptest wrote no figures")
            return
        outcome.seconds = max(outcome.seconds, len(rows) - 1)
        for row in rows[1:]:
            figures = [int(word) if word.isdigit() else 0 for word in row]
            for name, count in zip(rows[0][0::2], figures[0::3]):
                name = name.removesuffix(" count")
                outcome.counts[name] = outcome.counts.get(name, 0) + count
            outcome.commands += sum(figures[0::3])
            outcome.milliseconds += sum(figures[2::3])
