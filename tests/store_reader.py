"""Reads one user's store as docs/store-format.md describes it, and prints what is in it.

usage: store_reader.py USER-DIRECTORY

Written from that page alone, so that the tests can tell whether page and server agree. Checks every checksum, every
reference and the snapshot, and ends with an error where something is not as the page says.
"""

import pathlib
import struct
import sys
import zlib

CONTINUED, IGNORABLE = 1, 2
UID_JUMP, MODSEQ_JUMP = 1_048_576, 1_048_576
NONE = 0xFFFFFFFF


class Fields:
    """Takes little-endian fields off the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, count):
        assert self.at + count <= len(self.data), "payload is too short"
        self.at += count
        return self.data[self.at - count : self.at]

    def take(self, form):
        return struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))

    def one(self, form):
        return self.take(form)[0]

    def u128(self):
        return int.from_bytes(self.bytes(16), "little")

    def text(self, form):
        return self.bytes(self.one(form)).decode()

    def end(self):
        assert self.at == len(self.data), "payload is too long"


class Message:
    """An entry of an Append record or of a snapshot."""

    def __init__(self, fields):
        self.uid, self.flags, self.keyword_count, self.size = fields.take("IHHI")
        self.zone, self.in_file, self.has_no_nul = fields.take("hBB")
        assert self.has_no_nul in (0, 1) and self.in_file in (0, 1)
        self.date, self.saved, self.day, self.meta_length = fields.take("qqiI")
        self.email, self.thread, self.body_place, self.meta_place = fields.take("QQQQ")
        self.keywords, self.modseq = set(), None

    def key(self):
        fixed = (self.uid, self.modseq, self.flags, self.size, self.zone, self.in_file, self.has_no_nul, self.date, self.saved, self.day)
        places = (self.meta_length, self.email, self.thread, self.body_place, self.meta_place)
        return fixed, places, sorted(self.keywords)


class Mailbox:
    def __init__(self, identity, name, uid_validity, uses):
        self.id, self.name, self.uid_validity, self.uses = identity, name, uid_validity, uses
        self.uid_next, self.modseq, self.recent_from = 1, 1, 1
        self.keywords, self.messages = [], {}

    def keyword(self, name):
        """The name under which the mailbox knows a keyword, from now on at least."""
        for known in self.keywords:
            if known.lower() == name.lower():
                return known
        self.keywords.append(name)
        return name

    def key(self):
        return (
            (self.id, self.name, self.uid_validity, self.uses, self.uid_next, self.modseq, self.recent_from),
            self.keywords,
            [self.messages[uid].key() for uid in sorted(self.messages)],
        )


class User:
    """All that the log says."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.mailboxes, self.subscriptions = {}, set()
        self.uid_validity, self.epoch, self.mark = 0, 0, None
        self.segments, self.payloads = {}, {}
        self.snapshot = None
        self.lost, self.gone = {}, []

    def read(self):
        snapshot = self.directory / "snapshot"
        if snapshot.exists():
            self.snapshot = read_snapshot(snapshot.read_bytes())
        log = self.directory / "log"
        checkpoints = sorted(log.glob("*.checkpoint"))
        number = self.read_checkpoint(checkpoints[-1]) if checkpoints else 1
        if self.snapshot is not None and self.snapshot.place >> 32 < number:
            # The checkpoint says more, and the log in front of it may be gone.
            self.snapshot = None
        for pack in log.glob("*.pack"):
            self.read_pack(pack)
        # Of sealed segments that are still there, messages may need records.
        for segment in log.glob("[0-9]" * 10):
            if int(segment.name) < number:
                self.read_payloads(int(segment.name))
        while number is not None:
            number = self.read_segment(number)
        assert self.snapshot is None, "the log never comes to the snapshot's place"
        for message in self.gone:
            self.body(message), self.meta(message)
        return self

    def read_segment(self, number):
        """Applies a segment's records; the number of the next one, when there is a Seal."""
        data = (self.directory / "log" / f"{number:010}").read_bytes()
        self.check_header(data, number)
        at = 64
        self.compare_snapshot(number, at)
        while any(data[at : at + 16]):
            records, at = read_transaction(data, at)
            for kind, place, payload in records:
                self.payloads[number << 32 | place] = (kind, payload)
                following = self.apply(kind, payload)
                if following is not None:
                    assert not any(data[at:]), "something behind a Seal"
                    return following
            self.compare_snapshot(number, at)
        assert not any(data[at:]), "something behind the end of the log"
        return None

    def check_header(self, data, number):
        header = Fields(data[:64])
        assert header.bytes(8) == b"HELIOLOG"
        major, _minor, own = header.take("HHI")
        assert major == 1, "another major version"
        assert own == number
        self.check_mark(header.u128())
        assert struct.unpack("<I", data[60:64])[0] == zlib.crc32(data[:60])

    def check_mark(self, mark):
        assert self.mark in (None, mark), "files of two users"
        self.mark = mark

    def read_checkpoint(self, path):
        """Takes what all segments before one say; the number of that."""
        number, data = int(path.name.split(".")[0]), path.read_bytes()
        self.check_header(data, number)
        records, at = read_transaction(data, 64)
        assert at == len(data), "something behind a checkpoint"
        assert CHECKPOINT[records[-1][0]] == "base"
        for kind, _place, payload in records:
            fields = Fields(payload)
            getattr(self, "take_" + CHECKPOINT[kind])(fields)
            fields.end()
        return number

    def take_base(self, fields):
        self.epoch, self.uid_validity, count = fields.take("QII")
        self.subscriptions = {fields.text("H") for _ in range(count)}

    def take_mailbox(self, fields):
        mailbox = read_mailbox(fields)
        self.mailboxes[mailbox.id] = mailbox

    def take_messages(self, fields):
        mailbox = self.mailboxes[fields.u128()]
        read_messages(fields, mailbox)

    def take_lost(self, fields):
        assert fields.one("q") > 0
        mailbox = read_mailbox(fields)
        assert mailbox.id not in self.mailboxes
        self.lost[mailbox.id] = mailbox

    def take_gone(self, fields):
        identity = fields.u128()
        mailbox = self.mailboxes.get(identity) or self.lost[identity]
        for _ in range(fields.one("I")):
            assert fields.one("q") > 0
            self.gone.append(read_message(fields, mailbox))

    def read_pack(self, path):
        """Takes the records that are still needed of some segments."""
        data = path.read_bytes()
        header = Fields(data[:60])
        assert header.bytes(8) == b"HELIOPAK"
        version, first = header.take("II")
        assert version == 1
        self.check_mark(header.u128())
        _made, last, count, crc, zero = header.take("qIIIQ")
        header.end()
        assert zero == 0 and path.name == f"{first:010}-{last:010}.pack"
        assert struct.unpack("<I", data[60:64])[0] == zlib.crc32(data[:60])
        index = data[64 : 64 + 16 * count]
        assert zlib.crc32(index) == crc, "index of a pack"
        at, before = 64 + 16 * count, 0
        for place, offset in struct.iter_unpack("<QQ", index):
            assert place > before and first <= place >> 32 <= last and offset == at
            kind, _options, payload, at = read_record(data, at, place & NONE)
            self.payloads[place], before = (kind, payload), place
        assert at == len(data), "something behind a pack"

    def read_payloads(self, number):
        """Takes the records of a segment for which the checkpoint stands."""
        data = (self.directory / "log" / f"{number:010}").read_bytes()
        self.check_header(data, number)
        at = 64
        while any(data[at : at + 16]):
            records, at = read_transaction(data, at)
            for kind, place, payload in records:
                self.payloads[number << 32 | place] = (kind, payload)

    def compare_snapshot(self, segment, offset):
        """Where the snapshot ends, it has to say what the log said."""
        if self.snapshot is None or self.snapshot.place != segment << 32 | offset:
            return
        theirs, self.snapshot = self.snapshot, None
        assert theirs.mark == self.mark
        assert theirs.epoch == self.epoch
        assert theirs.uid_validity == self.uid_validity
        assert theirs.subscriptions == self.subscriptions
        ours = sorted(mailbox.key() for mailbox in self.mailboxes.values())
        assert sorted(mailbox.key() for mailbox in theirs.mailboxes) == ours, "the snapshot says something else"

    def apply(self, kind, payload):
        fields = Fields(payload)
        name = KINDS.get(kind)
        if name is None or name in ("blob", "meta"):
            return None
        following = getattr(self, "apply_" + name)(fields)
        fields.end()
        return following

    def apply_append(self, fields):
        mailbox = self.mailboxes[fields.u128()]
        modseq, count, options = fields.take("QII")
        for _ in range(count):
            message = Message(fields)
            message.modseq = modseq
            names = [fields.text("B") for _ in range(message.keyword_count)]
            message.keywords = {mailbox.keyword(name) for name in names}
            assert message.uid >= mailbox.uid_next, "a UID comes again"
            mailbox.messages[message.uid] = message
            mailbox.uid_next = message.uid + 1
        mailbox.modseq = modseq
        if options & 1:
            mailbox.recent_from = mailbox.uid_next

    def apply_flags(self, fields):
        mailbox = self.mailboxes[fields.u128()]
        modseq, how, zero, flags, keyword_count, range_count = fields.take("QBBHII")
        assert zero == 0
        keywords = {mailbox.keyword(fields.text("B")) for _ in range(keyword_count)}
        for first, last in [fields.take("II") for _ in range(range_count)]:
            for uid, message in mailbox.messages.items():
                if not first <= uid <= last:
                    continue
                message.modseq = modseq
                if how == 0:
                    message.flags, message.keywords = flags, set(keywords)
                elif how == 1:
                    message.flags |= flags
                    message.keywords |= keywords
                else:
                    assert how == 2
                    message.flags &= ~flags
                    message.keywords -= keywords
        mailbox.modseq = modseq

    def apply_expunge(self, fields):
        mailbox = self.mailboxes[fields.u128()]
        modseq, range_count = fields.take("QI")
        for first, last in [fields.take("II") for _ in range(range_count)]:
            for uid in [uid for uid in mailbox.messages if first <= uid <= last]:
                del mailbox.messages[uid]
        mailbox.modseq = modseq
        self.skip_when(fields)

    def skip_when(self, fields):
        """The oldest logs do not say when something went."""
        if fields.at < len(fields.data):
            assert fields.one("q") >= 0

    def apply_create(self, fields):
        identity = fields.u128()
        uid_validity, uses = fields.take("IH")
        self.uid_validity = max(self.uid_validity, uid_validity)
        self.mailboxes[identity] = Mailbox(identity, fields.text("H"), uid_validity, uses)

    def apply_rename(self, fields):
        for _ in range(fields.one("I")):
            mailbox = self.mailboxes[fields.u128()]
            mailbox.name = fields.text("H")

    def apply_delete(self, fields):
        del self.mailboxes[fields.u128()]
        self.skip_when(fields)

    def apply_subscribe(self, fields):
        on = fields.one("B")
        name = fields.text("H")
        (self.subscriptions.add if on == 1 else self.subscriptions.discard)(name)

    def apply_recent(self, fields):
        mailbox = self.mailboxes[fields.u128()]
        mailbox.recent_from = max(mailbox.recent_from, fields.one("Q"))

    def apply_epoch(self, fields):
        self.epoch = fields.one("Q")
        self.uid_validity += 131_072
        for mailbox in self.mailboxes.values():
            mailbox.uid_next = min(mailbox.uid_next + UID_JUMP, 1 << 32)
            mailbox.modseq += MODSEQ_JUMP

    def apply_floor(self, fields):
        mailbox = self.mailboxes[fields.u128()]
        uid_next, modseq = fields.take("QQ")
        mailbox.uid_next = max(mailbox.uid_next, min(uid_next, 1 << 32))
        mailbox.modseq = max(mailbox.modseq, modseq)

    def apply_seal(self, fields):
        return fields.one("I")

    def body(self, message):
        if message.in_file:
            body = (self.directory / "blob" / f"{message.body_place:016x}").read_bytes()
        else:
            kind, body = self.payloads[message.body_place]
            assert KINDS[kind] == "blob"
        assert len(body) == message.size
        assert not (message.has_no_nul and b"\0" in body)
        return body

    def meta(self, message):
        """Envelope, body, body structure and preview."""
        kind, payload = self.payloads[message.meta_place]
        assert KINDS[kind] == "meta" and len(payload) == message.meta_length
        fields = Fields(payload)
        lengths = fields.take("IIIII")
        parts = [fields.bytes(length) if length != NONE else None for length in lengths]
        fields.end()
        return parts[:4]

    def print(self):
        for mailbox in sorted(self.mailboxes.values(), key=lambda mailbox: mailbox.name.encode()):
            print(
                f"mailbox {mailbox.id:032x} uidvalidity={mailbox.uid_validity} uidnext={mailbox.uid_next}"
                f" modseq={mailbox.modseq} uses={mailbox.uses} recent={self.recent(mailbox)} {mailbox.name}"
            )
            for keyword in mailbox.keywords:
                print(f"keyword {keyword}")
            for uid in sorted(mailbox.messages):
                self.print_message(mailbox.messages[uid])
        for name in sorted(self.subscriptions, key=str.encode):
            print(f"subscription {name}")

    def recent(self, mailbox):
        return sum(uid >= mailbox.recent_from for uid in mailbox.messages)

    def print_message(self, message):
        envelope, body, structure, preview = self.meta(message)
        sums = " ".join(f"{zlib.crc32(part):08x}" for part in (self.body(message), envelope, body, structure))
        preview = "none" if preview is None else f"{zlib.crc32(preview):08x}"
        day = "none" if message.day == -(1 << 31) else message.day
        print(
            f"message {message.uid} modseq={message.modseq} flags={message.flags} size={message.size}"
            f" date={message.date} zone={message.zone} saved={message.saved} sent={day}"
            f" email={message.email:x} thread={message.thread:x} {sums} {preview}"
            f" {' '.join(sorted(message.keywords))}".rstrip()
        )


KINDS = {
    1: "blob",
    2: "meta",
    3: "append",
    4: "flags",
    5: "expunge",
    6: "create",
    7: "rename",
    8: "delete",
    9: "subscribe",
    10: "recent",
    11: "epoch",
    12: "seal",
    18: "floor",
}


CHECKPOINT = {13: "base", 14: "mailbox", 15: "messages", 16: "lost", 17: "gone"}


def read_record(data, at, own_place):
    """Type, options and payload of a record that stood at `own_place` first, and where the next one is."""
    assert at % 8 == 0
    length, kind, options, check, own, crc = struct.unpack("<IBBHII", data[at : at + 16])
    covered = data[at : at + 6] + data[at + 8 : at + 12]
    assert check == zlib.crc32(covered) & 0xFFFF, f"header at {at}"
    assert own == own_place
    assert kind in KINDS or kind in CHECKPOINT or options & IGNORABLE, f"type {kind} at {at}"
    payload = data[at + 16 : at + 16 + length]
    assert len(payload) == length and zlib.crc32(payload) == crc, f"payload at {at}"
    end = at + 16 + length
    following = (end + 7) // 8 * 8
    assert data[end:following] == bytes(following - end), "padding"
    return kind, options, payload, following


def read_transaction(data, at):
    """The records of the transaction at `at`, and where it ends."""
    records, continued = [], True
    while continued:
        place = at
        kind, options, payload, at = read_record(data, at, at)
        records.append((kind, place, payload))
        continued = options & CONTINUED
    return records, at


class Snapshot:
    pass


def read_snapshot(data):
    fields, snapshot = Fields(data), Snapshot()
    assert fields.bytes(8) == b"HELIOSNP"
    version, crc = fields.take("II")
    assert version == 1 and crc == zlib.crc32(data[16:])
    snapshot.mark = fields.u128()
    snapshot.place, snapshot.epoch, snapshot.uid_validity, count = fields.take("QQII")
    snapshot.subscriptions = {fields.text("H") for _ in range(count)}
    snapshot.mailboxes = []
    for _ in range(fields.one("I")):
        mailbox = read_mailbox(fields)
        read_messages(fields, mailbox)
        snapshot.mailboxes.append(mailbox)
    fields.end()
    return snapshot


def read_mailbox(fields):
    identity = fields.u128()
    uid_validity, uid_next, modseq, recent_from, uses = fields.take("IQQQH")
    mailbox = Mailbox(identity, fields.text("H"), uid_validity, uses)
    mailbox.uid_next, mailbox.modseq, mailbox.recent_from = uid_next, modseq, recent_from
    mailbox.keywords = [fields.text("B") for _ in range(fields.one("I"))]
    _forgotten, count = fields.take("QI")
    for _ in range(count):
        fields.take("QII")
    return mailbox


def read_messages(fields, mailbox):
    for _ in range(fields.one("I")):
        message = read_message(fields, mailbox)
        mailbox.messages[message.uid] = message


def read_message(fields, mailbox):
    modseq = fields.one("Q")
    message = Message(fields)
    message.modseq = modseq
    message.keywords = {mailbox.keywords[fields.one("H")] for _ in range(message.keyword_count)}
    return message


if __name__ == "__main__":
    User(sys.argv[1]).read().print()
