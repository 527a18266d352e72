"""How Heliograph's figures change with the size of a mailbox, the number of mailboxes, sessions, clients, processes, threads,
and the size of the messages that are downloaded.

Every curve is a run of the load generator on a server of its own; `curves.md`, `curves.json` and an SVG for each are written.
"""
import json, os, shutil, sys, time
from statistics import median

from . import chart, machine, report
from .load import LoadFailed, against, call
from .servers import Failed, Heliograph, Missing, find

USERS = 100
OWN_USERS = 2000  # checking the password of each for the first time takes some 20 ms
SESSIONS_PER_WORKER = 13_000  # below the 20,000 descriptors that systems commonly give a process at most


def up_to(most, *numbers):
    return [n for n in numbers if n < most] + [most]


def commas(numbers):
    return ",".join(map(str, numbers))


class Curves:
    def __init__(self, chosen, scratch):
        self.chosen, self.scratch, self.found, self.text = chosen, scratch, {}, []
        self.program, self.load = find(chosen.heliograph), chosen.load
        if not self.program:
            raise Missing(f"{chosen.heliograph}: `cargo build --release` makes it")
        if not os.access(self.load, os.X_OK):
            raise Missing(f"the load generator {self.load}: `cargo build --release --example load` makes it")

    def run(self, name, *calls, tls=False, users=USERS, **options):
        """A server with `options`, the generator's results of all `calls`; the server is gone afterwards."""
        server, place = Heliograph(self.program, tls=tls, **options), self.scratch / f"{name}-{time.monotonic_ns()}"
        try:
            server.start(place, users)
            return [row for words in calls for row in against(self.load, server, *words, users=users, tls=tls)]
        finally:
            server.stop()
            shutil.rmtree(place, ignore_errors=True)

    def publish(self, name, title, words, rows, head, charts, raw=None):
        """Notes a curve: its rows as a table of `head` (key: heading), and `charts` as (suffix, arguments of chart.lines)."""
        self.found[name] = raw or rows
        self.text += [f"## {title}", "", words, ""]
        for suffix, *arguments, options in charts:
            chart.lines(self.chosen.out / f"{name}{suffix}.svg", *arguments, **options)
            self.text += [f"![{arguments[0]}]({name}{suffix}.svg)", ""]
        self.text += [*report.table(list(head.values()), [[cell(row.get(key, "")) for key in head] for row in rows]), ""]
        (self.chosen.out / "curves.json").write_text(json.dumps(self.found, indent=1) + "\n")

    # Each curve by its name on the command line.

    def sizes(self):
        sizes = up_to(self.chosen.most_messages, 100, 10_000, 100_000)
        both = self.run("sizes", ["sizes", "--sizes", commas(sizes), "--secs", 0.3])
        rows, gaps = ([row for row in both if row["what"] == what] for what in ("messages", "gaps"))
        table = by_x(rows)
        whole = ("FETCH 1:* FLAGS", "SEARCH FLAGGED", "SEARCH SINCE", "SEARCH SUBJECT", "SEARCH BODY",
                 "SORT ARRIVAL", "SORT DATE", "SORT SUBJECT", "THREAD REFERENCES")
        each, every = ({k: v for k, v in table.items() if (k in whole) == is_whole} for is_whole in (False, True))
        self.publish("sizes", "By the size of the mailbox",
                     "One client; medians of the time from sending a command to its OK, in µs. A processor that has gone to sleep in between"
                     " takes some 60 µs to wake: a short command shows about 20 or about 80.",
                     wide(rows, sizes), {"command": "µs at messages", **{str(n): chart.number(n) for n in sizes}}, [
                         ("", "Commands that need not touch every message", "messages in the mailbox", "µs", each, {}),
                         ("-whole", "Commands that touch every message", "messages in the mailbox", "µs", every, {})], rows)
        self.publish("gaps", "By the number of gaps in a mailbox",
                     "The same mailboxes when every other message has been expunged: as many gaps as messages.",
                     wide(gaps, [n // 2 for n in sizes]), {"command": "µs at gaps", **{str(n // 2): chart.number(n // 2) for n in sizes}},
                     [("", "Commands by the gaps in the mailbox", "gaps in the mailbox", "µs", by_x(gaps), {})], gaps)

    def mailboxes(self):
        counts = [1, 10, 100, 1000, 10_000]
        rows = self.run("mailboxes", ["mailboxes", "--counts", commas(counts), "--secs", 0.3])
        self.publish("mailboxes", "By the number of mailboxes", "One client; medians in µs, about 60 of them waking where a short command shows 80.", wide(rows, counts),
                     {"command": "µs at mailboxes", **{str(n): chart.number(n) for n in counts}},
                     [("", "Commands by the number of mailboxes", "mailboxes of the user", "µs", by_x(rows), {})], rows)

    def sessions(self):
        counts = up_to(self.chosen.most_sessions, 1, 10, 100, 1000, 10_000, 20_000)
        options = {"service.imap.maxsessions": SESSIONS_PER_WORKER + 100,
                   "service.imap.numprocesses": max(2, -(-counts[-1] // SESSIONS_PER_WORKER))}
        rows = self.run("sessions", ["idle", "--sessions", commas(counts), "--events", 300, "--secs", 8], **options)
        tls = up_to(min(20_000, counts[-1]), 100, 1000)
        rows += self.run("sessions-tls", ["idle", "--sessions", commas(tls), "--events", 300, "--secs", 8], tls=True, **options)
        alone = min(OWN_USERS, counts[-1])
        own = self.run("sessions-users", ["idle", "--sessions", alone, "--events", 300, "--secs", 8], users=alone + USERS, **options)
        rows += [{**row, "transport": "plain, a user each"} for row in own]
        def curve(key, transport):
            return [(row["sessions"], row[key]) for row in rows if row["transport"] == transport and key in row]
        self.publish("sessions", "By the number of sessions in IDLE",
                     f"{options['service.imap.numprocesses']} workers, {USERS} users; in the last line each session has a user of its own."
                     " Memory is what the processes grew by (PSS), for each session. 32 of the sessions watch 8 mailboxes:"
                     " a message is appended to one of these at a time, and the time from sending APPEND to the EXISTS in each"
                     " watcher, its fdatasync included, is what is told.", rows,
                     {"transport": "", "sessions": "sessions", "kib": "KiB each", "told_p50": "told p50 ms", "told_p99": "p99 ms",
                      "told_max": "max ms", "lost": "not told", "noop_p50": "NOOP p50 µs", "noop_p99": "p99 µs", "opened_s": "opened in s"},
                     [("-memory", "Memory of a session in IDLE", "sessions", "KiB",
                       {kind: curve("kib", kind) for kind in ("plain", "tls")}, {"log_y": False}),
                      ("-told", "From APPEND to the news in other sessions", "sessions", "ms",
                       {f"{kind}, {p}": curve(f"told_{p}", kind) for kind in ("plain", "tls") for p in ("p50", "p99")}, {})])

    def clients(self):
        counts = [1, 2, 4, 8, 16, 32, 64]
        rows = self.run("clients", ["clients", "--counts", commas(counts), "--secs", 2])
        self.publish("clients", "By the number of clients on one mailbox",
                     "All are the same user in the same mailbox of 100 messages and do the same six commands over and over (STORE,"
                     " FETCH, NOOP, a body, STORE, STATUS); each hears of every other's changes.", rows,
                     {"x": "clients", "per_s": "commands/s", "cpu_us": "µs CPU each", "p50_us": "p50 µs", "p99_us": "p99 µs"},
                     [("", "Commands per second on one mailbox", "clients", "1/s", {"commands": points(rows, "x", "per_s")}, {"log_y": False})])

    def append(self):
        counts, together, kinds = [1, 2, 4, 8, 16, 32, 64], {}, (("own", []), ("one", ["--one-mailbox"]))
        for kind, more in kinds:
            server, place = Heliograph(self.program), self.scratch / f"append-{kind}"
            try:
                server.start(place, USERS)
                for n in counts:
                    words = ["--connections", n, "--secs", 0.6, *more]
                    turns = {"disk": [], "append": []}
                    for _ in range(3):  # turn about: a disk's rate differs from minute to minute
                        turns["disk"] += call(self.load, "disk", "--dir", self.scratch, *words)
                        turns["append"] += against(self.load, server, "append", *words, users=USERS)
                    for what, results in turns.items():
                        together[kind, what, n] = {key: median([one.get(key, 0) for one in results]) for key in ("per_s", "cpu_us", "p99_us")}
            finally:
                server.stop()
                shutil.rmtree(place, ignore_errors=True)
        rows = [{"x": n, **{f"{kind}_{what}": together[kind, what, n]["per_s"] for kind, _ in kinds for what in ("append", "disk")},
                 **{f"{kind}_share": 100 * together[kind, "append", n]["per_s"] / together[kind, "disk", n]["per_s"] for kind, _ in kinds},
                 **{f"{what}_cpu": together["own", what, n]["cpu_us"] for what in ("append", "disk")}} for n in counts]
        self.publish("append", "Durable APPEND and the bare disk",
                     "Messages of 4,000 bytes, on disk before the OK, beside `pwrite` and `fdatasync` of as many bytes by as many"
                     " threads at the end of files: each client with a mailbox (a file) of its own, or all with one. Medians of three"
                     " turns each. CPU: the server's per APPEND; of the bare writes, which is what the kernel takes.", rows,
                     {"x": "clients", "own_append": "APPEND/s, own", "own_disk": "disk/s, own", "own_share": "%", "one_append": "APPEND/s, one",
                      "one_disk": "disk/s, one", "one_share": "%", "append_cpu": "µs CPU, own", "disk_cpu": "µs CPU, bare"},
                     [("", "Durable APPENDs per second", "clients", "1/s",
                       {"APPEND, own mailboxes": points(rows, "x", "own_append"), "disk, own files": points(rows, "x", "own_disk"),
                        "APPEND, one mailbox": points(rows, "x", "one_append"), "disk, one file": points(rows, "x", "one_disk")}, {})])

    def bodies(self):
        calls = ["download", "--sizes", "4000,16000,32000,64000,250000,1000000,25000000", "--secs", 2]
        rows = [row for tls in (False, True) for row in self.run("bodies", calls, tls=tls)]
        def curve(key, transport):
            return [(row["size"], row[key]) for row in rows if row["transport"] == transport]
        self.publish("bodies", "Downloads by the size of the messages",
                     "Four clients, each in a mailbox of its own of 16 MB (or one message of 25), read all of it with FETCH 1:*"
                     " BODY.PEEK[] over and over, from the page cache. The clients run on the same processors.", rows,
                     {"transport": "", "size": "bytes of a message", "mb_per_s": "MB/s", "per_s": "messages/s", "cpu_us_mb": "µs CPU per MB",
                      "cpu_us": "µs CPU per message"},
                     [("", "Processor time of a download", "bytes of a message", "µs per MB",
                       {kind: curve("cpu_us_mb", kind) for kind in ("plain", "tls")}, {})])

    def processes(self):
        self.by_option("processes", "service.imap.numprocesses", [1, 2, 4, 8], "worker processes")

    def threads(self):
        self.by_option("threads", "service.imap.maxthreads", [1, 4, 16, 64, 250], "threads per worker")

    def by_option(self, name, option, values, unit):
        rows = []
        for value in values:
            commands, appends = self.run(name, ["clients", "--counts", 32, "--secs", 2, "--spread"],
                                         ["append", "--connections", 32, "--secs", 2], **{option: value})
            rows.append({"x": value, **{key: commands[key] for key in ("per_s", "cpu_us", "p50_us", "p99_us")},
                         "appends": appends["per_s"], "append_p99": appends["p99_us"]})
        self.publish(name, f"By {option}", "32 clients, each in a mailbox of its own: the commands of the curve above, then APPENDs.", rows,
                     {"x": unit, "per_s": "commands/s", "cpu_us": "µs CPU each", "p50_us": "p50 µs", "p99_us": "p99 µs",
                      "appends": "APPENDs/s", "append_p99": "p99 µs"},
                     [("", f"By {option}", unit, "1/s",
                       {"commands": points(rows, "x", "per_s"), "APPENDs": points(rows, "x", "appends")}, {"log_y": False})])


ALL = ("sizes", "mailboxes", "sessions", "clients", "append", "bodies", "processes", "threads")


def cell(value):
    return f"{value:,.0f}" if isinstance(value, (int, float)) and abs(value) >= 100 else f"{value:.3g}" if isinstance(value, float) else str(value)


def points(rows, x, y):
    return [(row[x], row[y]) for row in rows]


def by_x(rows):
    """{command: [(x, median)]}."""
    found = {}
    for row in rows:
        found.setdefault(row["command"], []).append((row["x"], row["p50_us"]))
    return found


def wide(rows, xs):
    """A row per command, a column per x."""
    return [{"command": name, **{str(x): dict(run).get(x, "") for x in xs}} for name, run in by_x(rows).items()]


def draw(chosen, scratch):
    """The curves that were asked for; those that fail are named and the others drawn. The exit status."""
    chosen.out.mkdir(parents=True, exist_ok=True)
    curves, failed, begun = Curves(chosen, scratch), [], time.monotonic()
    curves.text += ["# Curves", "", *(f"* {line}" for line in machine.describe(scratch, chosen.note)),
                    "* made by `contrib/imaptest/bench --curves`; passwords in plain text, flags synced within a second", ""]
    for name in chosen.curves.split(","):
        if name not in ALL:
            raise Missing(f"a curve {name}: there are {', '.join(ALL)}")
        if time.monotonic() - begun > chosen.minutes * 60:
            failed.append(f"{name}: out of time (--minutes)")
            continue
        try:
            getattr(curves, name)()
        except (LoadFailed, Failed) as problem:
            failed.append(f"{name}: {problem}")
        print(f"bench: {name} done after {time.monotonic() - begun:.0f} s", flush=True)
        (chosen.out / "curves.md").write_text("\n".join(curves.text))
    for line in failed:
        print(f"bench: {line}", file=sys.stderr)
    print(f"bench: {chosen.out / 'curves.md'}, curves.json and the SVGs beside them")
    return 1 if failed else 0
