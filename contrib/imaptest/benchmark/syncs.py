"""How often a server syncs per APPEND: a short run of its own, with the server under strace."""
import re, shutil, time

SYNCS = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync")
CLIENTS = (1, 10)
USER = 201  # the first of those that no workload used


def measure(bench):
    if not bench.workloads:
        return
    strace = shutil.which("strace")
    if not strace:
        bench.missing.append("strace: syncs per APPEND are not counted; `apt-get install strace`")
        return
    trace = bench.scratch / "syncs"
    tracer = [strace, "-f", "-qq", "--seccomp-bpf", "-ttt", "-e", f"trace={','.join(SYNCS)}", "-e", "signal=none", "-o", trace]
    for server, place in bench.turns("syncs", tracer=[str(word) for word in tracer]):
        counted = {}
        for clients in CLIENTS:
            # A short run first, so that making the mailboxes is not counted.
            append = ["-", "append=100,0", "logout=0", "msgs=10000000"]
            bench.tester.run(server.port, place, f"warm-{clients}", append, 1, clients=clients, first_user=USER)
            begun = time.time()
            outcome = bench.tester.run(server.port, place, f"syncs-{clients}", append, 3, clients=clients, first_user=USER)
            time.sleep(0.2)
            appended = outcome.counts.get("APPEND", 0)
            if appended:
                counted[str(clients)] = between(trace, begun, time.time()) / appended
        bench.more["syncs"][server.name] = counted
        print(f"  syncs per APPEND {server.title:32} " + ", ".join(f"{n} clients {x:.2f}" for n, x in counted.items()), flush=True)
        trace.unlink(missing_ok=True)
        bench.save()


def between(trace, begun, ended):
    """Calls that began in a span of time."""
    count = 0
    pattern = re.compile(r"^\d+ +(\d+\.\d+) (\w+)\(")
    for line in trace.read_text(errors="replace").splitlines():
        if (found := pattern.match(line)) and begun <= float(found[1]) <= ended and found[2] in SYNCS:
            count += 1
    return count
