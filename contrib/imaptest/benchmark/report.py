"""Tables in Markdown, from what `bench` measured."""
from statistics import median


def summary(samples):
    """The rounds of one server and workload as one row."""
    def middle(of):
        return median([one[of] for one in samples if one[of] is not None] or [0])
    return {of: middle(of) for of in ("rate", "cpu", "milliseconds", "memory", "tester")} | {
        "rounds": len(samples), "errors": sum(one["errors"] for one in samples),
        "spread": [round(min(one["cpu"] for one in samples), 1), round(max(one["cpu"] for one in samples), 1)]}


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def workload_tables(results, titles):
    """`results`: {workload: {server: [samples]}}; a table each, the first server's CPU as the measure of the others'."""
    text = []
    for workload, by_server in results.items():
        rows, first = [], None
        for server, samples in by_server.items():
            if not samples:
                continue
            one = summary(samples)
            first = first or one["cpu"]
            rows.append([titles[server], f"{one['rate']:,.0f}", f"{one['cpu']:.0f}", f"{one['spread'][0]:.0f} to {one['spread'][1]:.0f}",
                         f"{one['cpu'] / first:.1f}" if first else "", f"{one['milliseconds']:.2f}", f"{one['memory']:.0f}",
                         f"{one['tester']:.0%}", str(one["errors"])])
        text += [f"### {workload}", ""] + table(
            ["server", "commands/s", "µs CPU/command", "rounds", "ratio", "ms/command", "MiB", "imaptest busy", "errors"], rows) + [""]
    return text


def in_order(by_server, titles):
    return [(name, by_server[name]) for name in titles if name in by_server]


def extras(results, titles):
    """Syncs per APPEND, and what the load generator saw with idle sessions and with busy ones."""
    text = []
    if syncs := results.get("syncs"):
        counts = sorted({clients for one in syncs.values() for clients in one}, key=int)
        text += ["### fsync and fdatasync per APPEND", "", "Counted with strace; the servers ran under it.", ""]
        text += table(["server"] + [f"{n} client{'s' if int(n) > 1 else ''}" for n in counts],
                      [[titles[name]] + [f"{one[n]:.2f}" if n in one else "" for n in counts] for name, one in in_order(syncs, titles)]) + [""]
    if idle := results.get("idle"):
        text += ["### Sessions in IDLE", ""]
        text += table(["server", "sessions", "KiB each", "told after p50 ms", "p99 ms", "NOOP p50 µs", "p99 µs"],
                      [[titles[name], f"{one['sessions']:,}", f"{one['kib']:.1f}", f"{one['told_p50']:.2f}", f"{one['told_p99']:.2f}",
                        f"{one['noop_p50']:.0f}", f"{one['noop_p99']:.0f}"] for name, one in in_order(idle, titles)]) + [""]
    if busy := in_order(results.get("busy", {}), titles):
        text += ["### More than it can do", "", f"{busy[0][1]['clients']} clients of the load generator, each in a mailbox of its own, without a pause:"
                 " STORE, FETCH, NOOP, a body, STORE, STATUS over and over; then APPENDs of 4,000 bytes.", ""]
        text += table(["server", "commands/s", "µs CPU/command", "p50 µs", "p99 µs", "APPENDs/s", "µs CPU/APPEND", "p50 µs", "p99 µs"],
                      [[titles[name], *(f"{one[of][key]:,.0f}" for of in ("commands", "appends") for key in ("per_s", "cpu_us", "p50_us", "p99_us"))]
                       for name, one in busy]) + [""]
        text += ["The same clients with one command over and over: commands/s, µs of CPU for each.", ""]
        text += table(["server", *(row["command"] for row in busy[0][1]["alone"])],
                      [[titles[name], *(f"{row['per_s']:,.0f}, {row['cpu_us']:.0f}" for row in one["alone"])] for name, one in busy]) + [""]
    return text
