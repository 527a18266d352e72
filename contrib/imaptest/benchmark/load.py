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


def idle(bench):
    """Sessions in IDLE on every server of a comparison."""
    sessions, program = bench.chosen.idle, bench.chosen.load
    if not sessions:
        return
    if not os.access(program, os.X_OK):
        bench.missing.append(f"the load generator {program}: `cargo build --release --example load` makes it")
        return
    for server, _ in bench.turns("idle"):
        try:
            bench.more["idle"][server.name] = against(program, server, "idle", "--sessions", sessions, "--events", 150,
                                                      "--secs", 8, timeout=90)[0]
        except LoadFailed as problem:
            bench.missing.append(f"{server.title}: {problem}")
            continue
        one = bench.more["idle"][server.name]
        print(f"  {sessions} in IDLE {server.title:32} {one['kib']:8.1f} KiB each, told after {one['told_p50']:.2f} ms", flush=True)
        bench.save()
