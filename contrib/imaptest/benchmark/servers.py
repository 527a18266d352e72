"""The servers that are compared: each is configured in a directory of its own, listens on loopback, and is ended whole.

Every one accepts u1, u2, ... with the password p, stored in plain text, so that logins measure servers and not hashes;
every one has an APPEND on disk before its OK; and no limit of theirs is within reach of the load.
"""
import contextlib, grp, os, pwd, re, shutil, signal, socket, subprocess, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


class Missing(Exception):
    """Something that has to be installed first; says how."""


class Failed(Exception):
    """A server that does not come up."""


def find(name, *more):
    """A program in PATH or where daemons are kept."""
    return shutil.which(name) or next((p for p in (f"/usr/sbin/{name}", f"/usr/local/sbin/{name}", *more)
                                       if os.access(p, os.X_OK)), None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def account():
    """The account a peer's processes run under: this one, or a service account when this is root."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    for name in ("vmail", "dovecot", "mail"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Missing("an account for the peers' processes: useradd --system --no-create-home vmail")


class Processes:
    """A command, everything it started, and what they use. With a control group of its own where that may be made
    (nothing that ended is forgotten then), otherwise by its descendants in /proc."""

    def __init__(self, command, log, environment=None, marker=None):
        self.marker = str(marker or log)  # a path that is on the command lines of what detaches itself
        self.group = self._make_group()
        self.log = open(log, "ab")
        self.root = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                     env={**os.environ, **(environment or {})}, preexec_fn=self._enter)

    @staticmethod
    def _make_group():
        for top in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            if (top / "cgroup.controllers").exists() and (top / "cpu.stat").exists():
                for parent in (top / own().lstrip("/"), top):
                    group = parent / f"heliograph-bench-{os.getpid()}-{time.monotonic_ns()}"
                    with contextlib.suppress(OSError):
                        group.mkdir()
                        if (group / "cpu.stat").exists():
                            return group
                        group.rmdir()
        return None

    def _enter(self):
        os.setsid()
        if self.group:
            (self.group / "cgroup.procs").write_text("0")

    def pids(self):
        if self.group:
            return [int(pid) for pid in (self.group / "cgroup.procs").read_text().split()]
        parents, found = {}, [self.root.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu(self):
        """Seconds of CPU, user and system, of all of them, ended ones included."""
        if self.group:
            return int(re.search(r"usage_usec (\d+)", (self.group / "cpu.stat").read_text())[1]) / 1e6
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
        return ticks / TICK

    def memory(self):
        """MiB resident; a page that several share counts once."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
                total += int(found[1]) if found else 0
        return total / 1024

    def stop(self, signalled=None):
        """Ends the root by SIGTERM (or `signalled`, when the root only watches), then whatever is left."""
        with contextlib.suppress(OSError):
            os.kill(signalled or self.root.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.root.wait(10)
        until = time.monotonic() + 5
        while time.monotonic() < until and (rest := self._rest()):
            for pid in rest:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL if time.monotonic() > until - 3 else signal.SIGTERM)
            time.sleep(0.1)
        self.log.close()
        if self.group:
            with contextlib.suppress(OSError):
                self.group.rmdir()

    def _rest(self):
        """What is left: of the control group, or of the session that the root began and of what names its directory."""
        if self.group:
            left = self.pids()
        else:
            left = []
            for stat in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):
                    is_ours = int(stat.read_text().rsplit(")", 1)[1].split()[3]) == self.root.pid
                    if is_ours or self.marker.encode() in (stat.parent / "cmdline").read_bytes():
                        left.append(int(stat.parent.name))
            left = [pid for pid in left if pid != os.getpid()]
        if self.root.poll() is None and self.root.pid not in left:
            left.append(self.root.pid)
        return left


def own():
    """This process's control group of version 2, "/" when unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line[3:]
    return "/"


class Server:
    """What the servers have in common: `start`, `port`, `processes`, `stop`."""
    processes = port = None

    def __init__(self, program):
        self.program = program

    def start(self, directory, users, tracer=()):
        """Configures and starts in `directory`; under `tracer` (strace and its options) when given."""
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self.port = free_port()
        command, environment = self.configure(users)
        self.processes = Processes([*tracer, *map(str, command)], self.directory / "log", environment,
                                   marker=self.directory)
        self.traced = bool(tracer)
        try:
            self._wait()
        except Failed:
            self.stop()
            raise

    def _wait(self):
        for _ in range(150):
            if self.processes.root.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                if probe.makefile("rb").readline().startswith(b"* OK"):
                    return
            time.sleep(0.1)
        tail = (self.directory / "log").read_text(errors="replace").splitlines()[-3:]
        raise Failed(f"{self.title} does not come up: {' / '.join(tail)}")

    def stop(self):
        if self.processes:
            child = None
            if self.traced:  # the tracer's only child is the server; it ends when that does
                with contextlib.suppress(OSError, IndexError):
                    pid = self.processes.root.pid
                    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            self.processes.stop(child)
            self.processes = None


class Heliograph(Server):
    name, title = "heliograph", "Heliograph"
    durability = "fdatasync before OK; flags within a second (store.flagsync=deferred)"
    passwords = "{PLAIN} in the user file, asked of the auth process once and then remembered"
    tuning = "as `heliograph init` writes it"

    def __init__(self, program, tls=False, **options):
        super().__init__(program)
        self.tls, self.options = tls, options

    def configure(self, users):
        base = self.directory / "base"
        options = {"service.imap.port": self.port, "service.imap.sslport": free_port(),
                   "service.imap.enablesslport": "yes" if self.tls else "no", "service.listenaddr": "127.0.0.1", "local.ens.port": 0, **self.options}
        self.tls_port = options["service.imap.sslport"]
        sets = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([self.program, "init", *sets, base], **quiet)
        accounts = self.directory / "users"
        accounts.write_text("".join(f"u{n}:{{PLAIN}}p\n" for n in range(1, users + 1)))
        subprocess.run([self.program, "--base", base, "user", "import", accounts], **quiet)
        return [self.program, "--base", base, "serve"], None


class Dovecot(Server):
    durability = "mail_fsync=optimized: APPEND and COPY are synced before OK, flags are not"
    passwords = "static passdb, plain text"

    def __init__(self, program, version, layout, tuned):
        super().__init__(program)
        self.version, self.layout, self.tuned = version, layout, tuned
        self.name = f"dovecot{version[0]}.{version[1]}-{layout}{'-tuned' if tuned else ''}"
        self.title = f"Dovecot {'.'.join(map(str, version[:3]))} {layout}{', tuned' if tuned else ''}"
        self.tuning = "one login process for many clients, imap processes used 1000 times" if tuned else "a process per session"

    def configure(self, users):
        who, base = account(), self.directory
        group = grp.getgrgid(who.pw_gid).gr_name
        for name in ("mail", "run", "state"):
            (base / name).mkdir(exist_ok=True)
        if not os.geteuid():
            os.chown(base / "mail", who.pw_uid, who.pw_gid)
        new = self.version >= (2, 4)
        count, unlimited = ("restart_request_count", "unlimited") if new else ("service_count", "0")
        login = f"{count} = {unlimited}\n  process_min_avail = {os.cpu_count()}" if self.tuned else ""
        reuse = f"{count} = 1000" if self.tuned else ""
        config = base / "dovecot.conf"
        config.write_text(f"""\
{f'dovecot_config_version = 2.4.0{chr(10)}dovecot_storage_version = 2.4.0' if new else ''}
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
protocols = imap
listen = 127.0.0.1
ssl = no
{'auth_allow_cleartext = yes' if new else 'disable_plaintext_auth = no'}
{f'mail_driver = {self.layout}{chr(10)}mail_path = {base}/mail/%{{user}}{chr(10)}mail_home = {base}/mail/%{{user}}'
 if new else f'mail_location = {self.layout}:{base}/mail/%u'}
mail_uid = {who.pw_name}
mail_gid = {group}
default_login_user = {who.pw_name}
default_internal_user = {who.pw_name}
default_internal_group = {group}
first_valid_uid = 1
mail_fsync = optimized
mail_max_userip_connections = 0
default_process_limit = 20000
default_client_limit = 40000
default_vsz_limit = 2G
login_trusted_networks = 127.0.0.0/8
auth_failure_delay = 0
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  {login}
  chroot =
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  process_limit = 20000
  {reuse}
}}
{'' if os.geteuid() == 0 else 'service anvil {' + chr(10) + '  chroot =' + chr(10) + '}'}
passdb {'p' if new else ''} {{
  driver = static
  {'passdb_static_password = p' if new else 'args = password=p'}
}}
userdb {'u' if new else ''} {{
  driver = static
  {f'fields {{{chr(10)}uid = {who.pw_name}{chr(10)}gid = {group}{chr(10)}home = {base}/mail/%{{user}}{chr(10)}}}'
   if new else f'args = uid={who.pw_name} gid={group} home={base}/mail/%u'}
}}
""")
        return [self.program, "-F", "-c", config], None


class Cyrus(Server):
    name, title = "cyrus", "Cyrus"
    durability = "its only setting: message files and databases are synced before OK"
    passwords = "any is right (sasl_pwcheck_method: alwaystrue)"
    tuning = "prefork 10, hashed spool, idled"

    def configure(self, users):
        base = self.directory
        who = account() if os.geteuid() else pwd.getpwnam("cyrus")
        for name in ("config/socket", "config/proc", "config/lock", "config/db", "config/user", "config/quota", "spool"):
            (base / name).mkdir(parents=True, exist_ok=True)
        if not os.geteuid():
            for path in (base, *base.rglob("*")):
                os.chown(path, who.pw_uid, who.pw_gid)
        programs = Path(self.program).resolve().parent
        (base / "imapd.conf").write_text(f"""\
configdirectory: {base}/config
proc_path: {base}/config/proc
mboxname_lockpath: {base}/config/lock
defaultpartition: default
partition-default: {base}/spool
cyrus_user: {who.pw_name}
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN LOGIN
autocreate_quota: 0
autocreate_post: yes
hashimapspool: yes
unixhierarchysep: yes
altnamespace: yes
maxlogins_per_host: 0
maxlogins_per_user: 0
idlesocket: {base}/config/socket/idle
lmtpsocket: {base}/config/socket/lmtp
notifysocket: {base}/config/socket/notify
""")
        (base / "cyrus.conf").write_text(f"""\
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {base}/imapd.conf -r"
  idled cmd="{programs}/idled -C {base}/imapd.conf"
}}
SERVICES {{
  imap cmd="{programs}/imapd -C {base}/imapd.conf -U 1000" listen="127.0.0.1:{self.port}" proto="tcp4" prefork=10 maxchild=-1
}}
""")
        return [self.program, "-C", base / "imapd.conf", "-M", base / "cyrus.conf", "-p", base / "master.pid",
                "-L", base / "master.log"], None


def version_of(program):
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else None


def all_servers(heliograph, dovecots):
    """Those that are installed, and a line on how to install each that is not."""
    servers, missing = [], []
    if find(heliograph):
        servers.append(Heliograph(find(heliograph)))
    else:
        missing.append(f"Heliograph: no {heliograph}; `cargo build --release` makes it")
    programs = [find(name) or name for name in dovecots] or [find("dovecot")]
    for program in programs:
        version = program and os.access(program, os.X_OK) and version_of(program)
        if not version:
            missing.append(f"Dovecot: {'no ' + program if program else 'not found'}; `apt-get install dovecot-imapd`,"
                           " or build it and name its program with --dovecot")
            continue
        servers += [Dovecot(program, version, layout, tuned) for layout in ("mdbox", "sdbox") for tuned in (False, True)]
    cyrus = find("cyrmaster", "/usr/lib/cyrus/bin/master", "/usr/lib/cyrus-imapd/master", "/usr/cyrus/bin/master")
    if cyrus:
        servers.append(Cyrus(cyrus))
    else:
        missing.append("Cyrus: no cyrmaster; `apt-get install cyrus-imapd`")
    return servers, missing


def log_in(port, users):
    """Each of the users once: a password that was verified is what servers remember."""
    def one(user):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as connection:
            said = connection.makefile("rb")
            said.readline()
            connection.sendall(b"a LOGIN u%d p\r\nb LOGOUT\r\n" % user)
            said.read()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, users))


@contextlib.contextmanager
def raised_inotify(wanted=16384):
    """Dovecot's IDLE takes an inotify instance per session; beyond the system's limit it asks the disk instead."""
    before = None
    with contextlib.suppress(OSError, ValueError):
        before = INOTIFY.read_text()
        if int(before) < wanted:
            INOTIFY.write_text(str(wanted))
        else:
            before = None
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(OSError):
                INOTIFY.write_text(before)
