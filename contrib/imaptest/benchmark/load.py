"""Runs the load generator (`cargo build --release --example load`) and reads its lines of JSON."""
import json, os, subprocess


class LoadFailed(Exception):
    pass


def call(program, *words, timeout=300):
    """The generator's lines as dictionaries."""
    try:
        done = subprocess.run([str(program), "--json", *map(str, words)], capture_output=True, text=True, timeout=timeout,
                              env={**os.environ, "RUST_BACKTRACE": "0"})
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"load {words[0]} took longer than {timeout} seconds")
    if done.returncode:
        raise LoadFailed(f"load {' '.join(map(str, words))}: {' '.join(done.stderr.split())[:300]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def against(program, server, *words, users=100, tls=False, timeout=300):
    """The same against a server, whose processes are watched."""
    processes = server.processes
    watched = ["--cgroup", processes.group] if processes.group else ["--pid", processes.root.pid]
    where = ["--tls", "--port", server.tls_port] if tls else ["--port", server.port]
    return call(program, *where, "--users", f"1-{users}", *watched, *words, timeout=timeout)


def is_there(bench):
    there = os.access(bench.chosen.load, os.X_OK)
    if not there:
        bench.missing.append(f"the load generator {bench.chosen.load}: `cargo build --release --example load` makes it")
    return there


def measure(bench):
    """What imaptest cannot: every server of a comparison with sessions in IDLE, and with more work than it can do."""
    if bench.chosen.idle and is_there(bench):
        each_in_turn(bench, "idle", idle)
    if bench.chosen.busy and is_there(bench):
        each_in_turn(bench, "busy", busy)


def each_in_turn(bench, kind, measured):
    """Notes what `measured` found of each server, and tells it in a line."""
    for server, _ in bench.turns(kind):
        try:
            bench.more[kind][server.name], told = measured(bench.chosen, server)
        except LoadFailed as problem:
            bench.missing.append(f"{server.title}: {problem}")
            continue
        print(f"  {server.title:32} {told}", flush=True)
        bench.save()


def idle(chosen, server):
    one = against(chosen.load, server, "idle", "--sessions", chosen.idle, "--events", 150, "--secs", 8, timeout=90)[0]
    return one, f"{chosen.idle} in IDLE {one['kib']:8.1f} KiB each, told after {one['told_p50']:.2f} ms"


# In mailboxes that are alike: a fast server's would be larger after the APPENDs.
ALONE = ["noop", "select", "status", "fetch", "body", "store", "search"]


def busy(chosen, server):
    """The generator needs a fraction of imaptest's time for a command: it is the server that is at its end."""
    commands = against(chosen.load, server, "clients", "--spread", "--counts", chosen.busy, "--secs", chosen.secs, timeout=90)[0]
    alone = against(chosen.load, server, "latency", "--connections", chosen.busy, "--secs", chosen.secs,
                    "--commands", ",".join(ALONE), timeout=90 + len(ALONE) * chosen.secs)
    appends = against(chosen.load, server, "append", "--connections", chosen.busy, "--secs", chosen.secs, timeout=90)[0]
    told = f"{chosen.busy} busy {commands['per_s']:8.0f}/s {commands['cpu_us']:7.0f} µs, APPEND {appends['per_s']:6.0f}/s {appends['cpu_us']:7.0f} µs"
    return {"clients": chosen.busy, "commands": commands, "appends": appends, "alone": alone}, told
