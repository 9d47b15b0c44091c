# SPDX-License-Identifier: GPL-2.0
"""What the lab's tools share: statuses, KTAP, expectations, splats."""

import datetime
import os
import re
import shutil
import sys

PASS, FAIL, USAGE, GONE, DIED, NORESULT = 0, 1, 2, 3, 4, 5
MEANING = {
    PASS: "pass",
    FAIL: "test failed",
    USAGE: "bad usage or environment",
    GONE: "base gone",
    DIED: "kernel died",
    NORESULT: "no result",
}

LAB = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(LAB))
# What is started from here gets it as well, wherever that runs.
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
os.environ["BUILD"] = BUILD


class LabError(Exception):
    """A message and the exit status that goes with it."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def main(function):
    """Run a tool; turn what goes wrong into its status and one line."""
    try:
        status = function()
        sys.stdout.flush()
    except LabError as e:
        print("%s: %s" % (os.path.basename(sys.argv[0]), e), file=sys.stderr)
        status = e.status
    except OSError as e:
        print("%s: %s" % (os.path.basename(sys.argv[0]), e), file=sys.stderr)
        status = USAGE
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def read_lines(path):
    with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
        return f.read().replace("\r", "").split("\n")


def write(path, text):
    """A reader finds the old contents or the new ones."""
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    if os.path.exists(path):
        shutil.copymode(path, path + ".new")
    os.rename(path + ".new", path)


def between(path, begin, end, block):
    """Put lines between the two that mark the place, such as in README."""
    if not os.path.isfile(path):
        raise LabError(USAGE, "no file %s to write into" % path)
    lines = read_lines(path)
    marks = [i for i, l in enumerate(lines) if l.strip() in (begin, end)]
    if len(marks) != 2 or lines[marks[0]].strip() != begin:
        raise LabError(USAGE, "%s: want a line '%s', and after it '%s'" % (path, begin, end))
    lines[marks[0] + 1:marks[1]] = block
    write(path, "\n".join(lines))


# ---------------------------------------------------------------- splats

# Only what the kernel says is looked at: lines with its time stamp, and not
# the copies of the tests' own output that the guest puts into the log.
STAMP = re.compile(r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?(.*)")
COPY = "ktap> "

# (kind, regexp).  The first that matches names the line.
SPLATS = [(k, re.compile(r)) for k, r in [
    ("panic", r"Kernel panic - not syncing"),
    ("kasan", r"\bKASAN: |\bKFENCE: |\bKMSAN: "),
    ("kcsan", r"\bKCSAN: "),
    ("ubsan", r"\bUBSAN: "),
    ("lockdep", r"possible (?:circular|recursive|irq lock inversion|unsafe|deadlock)"
                r"|inconsistent \{?[\w?-]*\}? ?(?:lock state|->)|inconsistent lock state"
                r"|possible irq lock inversion|HARDIRQ-safe -> HARDIRQ-unsafe"
                r"|SOFTIRQ-safe -> SOFTIRQ-unsafe|\[ BUG: (?:Invalid|bad|held|Nested|lock|key)"
                r"|bad unlock balance|held lock freed|lock held when returning"
                r"|still has locks held|Invalid wait context|Nested lock was not taken"
                r"|trying to register non-static key|DEBUG_LOCKS_WARN_ON"
                r"|turning off the locking correctness validator"
                r"|BUG: MAX_(?:LOCKDEP|LOCK|STACK)|BUG: key \S+ has not been registered"),
    ("rcu-usage", r"suspicious RCU usage|Illegal context switch in RCU|RCU used illegally"),
    ("rcu-stall", r"rcu\w*: INFO: .*(?:stall|starved)|INFO: rcu\w* .*(?:stall|starved)"
                  r"|rcu: .*self-detected stall|rcu\w* kthread starved"),
    ("hung-task", r"INFO: task .* blocked"),
    ("lockup", r"\b(?:(?:soft|hard) ?lockup|LOCKUP)\b(?! detector)"),
    ("sleep-in-atomic", r"sleeping function called from invalid context|scheduling while atomic"),
    ("preempt", r"using (?:smp_processor_id|__this_cpu\w*)\(?.*\) in preemptible"
                r"|using __this_cpu_\w+\(\) in preemptible"),
    ("rss", r"Bad rss-counter state|non-zero pgtables_bytes"),
    ("bad-page", r"BUG: Bad page (?:map|state|cache)|\bBad page (?:map|state)"
                 r"|Bad swap file entry|Bad swap offset|swap_dup: |get_swap_device: Bad"
                 r"|bad p[gmu4]+d "),
    ("page-table-check", r"page_table_check(?!=)"),
    ("kernel-bug", r"kernel BUG at"),
    # The same words about a program, "traps: prog[1] general protection
    # fault", are its own business.
    ("gpf", r"^(?!traps: ).*general protection fault"),
    ("page-fault", r"unable to handle (?:kernel |page |NULL )|NULL pointer dereference"),
    ("oops", r"\bOops\b|stack segment|double fault:|invalid opcode: \d+ \[#"
             r"|divide error: \d+ \[#|stack guard page was hit|Corrupted low memory"),
    ("refcount", r"refcount_t: "),
    ("list", r"\blist_(?:add|del)(?:_\w+)? corruption|slab .*corrupt|Object already free"
             r"|BUG \S+ \(.*\): (?:Redzone|Poison|Padding|Freepointer|Object)"),
    ("kmemleak", r"kmemleak: (?:\d+ new suspected|.*unreferenced object)"),
    ("bug", r"\bBUG: "),
    ("warning", r"\bWARNING: "),
    ("cut", r"-+\[ cut here \]-+"),
    ("vm-dump", r"page dumped because|VM_BUG_ON|VM_WARN_ON"),
]]


class Exceptions:
    """Splats that are known: EXPIRES REGEXP # REASON, one a line.

    EXPIRES is a date, the last day on which the exception holds; blanks in
    the regexp are written \\s.
    """

    LINE = re.compile(r"(\d{4}-\d\d-\d\d)\s+(\S+)\s+#\s*(\S.*)$")

    def __init__(self, path=None, today=None):
        self.entries = []
        today = today or datetime.date.today()
        if not path:
            return
        for number, line in enumerate(read_lines(path), 1):
            if not line.strip() or line.startswith("#"):
                continue
            m = self.LINE.match(line)
            try:
                self.entries.append({
                    "expired": datetime.date.fromisoformat(m.group(1)) < today,
                    "date": m.group(1),
                    "re": re.compile(m.group(2)),
                    "reason": m.group(3),
                    "where": "%s:%d" % (path, number),
                    "used": 0,
                })
            except (AttributeError, ValueError, re.error) as e:
                raise LabError(USAGE, "%s:%d: want 'YYYY-MM-DD REGEXP # REASON' (%s)"
                               % (path, number, e))

    def excuse(self, text):
        for e in self.entries:
            if e["re"].search(text):
                e["used"] += 1
                return not e["expired"]
        return False

    def expired(self):
        return [e for e in self.entries if e["expired"]]


def kernel_text(line):
    """What the kernel says in a console line, or None."""
    m = STAMP.search(line)
    if not m or m.group(1).startswith(COPY):
        return None
    return m.group(1)


def scan(lines, exceptions=None):
    """The splats in a console log, as (line number, kind, text)."""
    found = []
    cut = None          # a "cut here" that no splat has followed yet
    for number, line in enumerate(lines, 1):
        text = kernel_text(line)
        if text is None:
            continue
        kind = next((k for k, regexp in SPLATS if regexp.search(text)), None)
        if kind == "cut":
            cut = (number, kind, text)
            found.append(cut)
        elif kind:
            # The line that says what it is stands for the mark above it, so
            # that an exception for the one excuses the other.
            if cut and number - cut[0] <= 3:
                found.remove(cut)
            cut = None
            if not (exceptions and exceptions.excuse(text)):
                found.append((number, kind, text))
    return found


# ---------------------------------------------------------------- KTAP

RESULT = re.compile(r"(not )?ok\b ?(\d+)?(?: ?- ?| )?(.*)$")
PLAN = re.compile(r"1\.\.(\d+)\s*(?:#\s*(.*))?$")
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(SKIP|XFAIL|TODO|skip|error)\b:?\s*(.*)$")


class Result:
    def __init__(self, name, kind, why=""):
        self.name, self.kind, self.why = name, kind, why
        self.children = []      # of a test with subtests
        self.sub = None         # the block that they came in


class Block:
    """One KTAP document: a plan, results, perhaps an end that never came."""

    def __init__(self):
        self.plan = None
        self.skip_all = None
        self.results = []
        self.bail = None

    def problem(self):
        """Why this is not a whole document, or None."""
        if self.bail:
            return "bailed out: " + self.bail
        if self.plan is None:
            return "no plan"
        if self.plan != len(self.results):
            return "%d results of %d planned" % (len(self.results), self.plan)
        if self.plan == 0 and self.skip_all is None:
            return "empty plan"
        return None


def parse_result(text):
    m = RESULT.match(text)
    if not m:
        return None
    name, kind, why = m.group(3), "fail" if m.group(1) else "pass", ""
    d = DIRECTIVE.search(name)
    if d:
        name, why = name[:d.start()], d.group(2)
        if d.group(1).upper() in ("SKIP", "XFAIL", "TODO"):
            kind = "skip"
            if d.group(1).upper() != "SKIP":
                why = (d.group(1) + " " + why).strip()
    if " # " in name:
        name, _, more = name.partition(" # ")
        why = (more + " " + why).strip()
    elif name.startswith("# "):
        name, why = "", name[2:]
    return Result(name.strip(), kind, why.strip())


def parse_ktap(lines, depth=0):
    """Parse a KTAP document and the documents nested in it.

    Nesting is by two blanks for each level, as the guest and the kernel do.
    A test's subtests come before its own line.
    """
    block = Block()
    nested = []
    for line in lines:
        if line.startswith("  "):
            nested.append(line[2:])
            continue
        m = PLAN.match(line)
        if m and block.plan is None:
            block.plan = int(m.group(1))
            block.skip_all = m.group(2) if block.plan == 0 and m.group(2) else None
            continue
        if line.startswith("Bail out!"):
            block.bail = line[len("Bail out!"):].strip() or "no reason given"
            continue
        r = parse_result(line)
        if r:
            if nested:
                r.sub = parse_ktap(nested, depth + 1)
                nested = []
            block.results.append(r)
    # Nested lines that no result closed: the program never came to an end.
    block.open = parse_ktap(nested, depth + 1) if nested else None
    return block


def leaves(results, prefix=""):
    """The innermost results, their names joined by '/'."""
    for r in results:
        name = prefix + (r.name or "?")
        if r.sub and r.sub.results:
            yield from leaves(r.sub.results, name + "/")
        else:
            yield name, r


class Expectations:
    """PROGRAM TEST-REGEXP skip|fail REASON, one a line.

    The regexp must match the whole test name; "-" is the program itself, when
    it skips or fails as a whole.
    """

    def __init__(self, path=None):
        self.entries = []
        if not path:
            return
        for number, line in enumerate(read_lines(path), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            f = line.split(None, 3)
            if len(f) != 4 or f[2] not in ("skip", "fail"):
                raise LabError(USAGE, "%s:%d: want 'PROGRAM TEST-REGEXP skip|fail REASON'"
                               % (path, number))
            try:
                regexp = re.compile(f[1])
            except re.error as e:
                raise LabError(USAGE, "%s:%d: %s" % (path, number, e))
            self.entries.append({"program": f[0], "re": regexp, "text": f[1], "kind": f[2],
                                 "reason": f[3], "used": 0,
                                 "where": "%s:%d" % (path, number)})

    def find(self, program, test, kind):
        for e in self.entries:
            if e["program"] == program and e["kind"] == kind and e["re"].fullmatch(test):
                e["used"] += 1
                return e
        return None

    def stale(self, programs):
        return [e for e in self.entries if not e["used"] and e["program"] in programs]


class Verdict:
    """What one program's results come to."""

    def __init__(self, name):
        self.name = name
        self.status = PASS
        self.count = {"pass": 0, "fail": 0, "skip": 0}
        self.expected = 0
        self.notes = []         # what a reader must know of

    def worse(self, status, note):
        self.status = max(self.status, status)
        self.notes.append(note)

    def summary(self):
        c = self.count
        s = "pass:%d fail:%d skip:%d" % (c["pass"], c["fail"], c["skip"])
        return s + (" (%d expected)" % self.expected if self.expected else "")


def judge_program(r, expect):
    """Judge a top-level result line and the program's own KTAP before it.

    runtest's line tells how the program ended: "exit N", "signal N",
    "timeout N" or "unkillable", first thing after the #.
    """
    v = Verdict(r.name)

    def take(test, kind, why):
        v.count[kind] += 1
        if kind == "pass":
            return
        if expect.find(r.name, test, kind):
            v.expected += 1
        else:
            v.worse(FAIL, "unexpected %s: %s%s" % (kind, test, " (%s)" % why if why else ""))

    how = re.match(r"(exit|signal|timeout|unkillable)(?: (\d+))?", r.why or "")
    block = r.sub
    problem = block.problem() if block else "no KTAP output"
    if block and block.bail and r.kind == "fail" and how and how.group(1) == "exit":
        # A test's own way to fail as a whole: it told us, so it is a failure.
        take("-", "fail", problem)
        problem = None
    elif block and block.skip_all is not None:
        take("-", "skip", block.skip_all)
    if block:
        for name, leaf in leaves(block.results):
            take(name, leaf.kind, leaf.why)

    if how and how.group(1) in ("timeout", "unkillable"):
        v.worse(NORESULT, "%s%s" % (how.group(1),
                                    " after %s s" % how.group(2) if how.group(2) else ""))
    elif how and how.group(1) == "signal":
        take("-", "fail", "killed by signal " + how.group(2))
    elif how and how.group(1) == "exit" and how.group(2) == "4" and problem:
        # A program that skips before it has a plan to print.
        take("-", "skip", "exit status 4")
    elif problem:
        v.worse(NORESULT, problem + (", exit status " + how.group(2)
                                     if how and how.group(1) == "exit" else ""))
    elif r.kind == "fail" and not v.count["fail"] and not v.count["skip"]:
        take("-", "fail", r.why or "failed after its tests passed")
    return v


def judge(lines, expect):
    """Judge a whole results log: (status, verdicts, problem or None)."""
    block = parse_ktap(lines)
    verdicts = [judge_program(r, expect) for r in block.results]
    status = max([PASS] + [v.status for v in verdicts])
    problem = block.problem()
    if problem:
        status = NORESULT
    return status, verdicts, problem


def kunit_lines(console):
    """The KTAP document that KUnit printed on the console, if any."""
    out = []
    for line in console:
        text = kernel_text(line)
        if text is None:
            continue
        # Keep the blanks that nest: one blank follows the time stamp.
        m = STAMP.search(line)
        text = m.group(1)
        if text.startswith("KTAP version"):
            out = ["KTAP version 1"]
        elif out and re.match(r" *(?:(?:not )?ok \d|1\.\.\d|# |KTAP version)", text):
            # KUnit nests by four.
            n = len(text) - len(text.lstrip(" "))
            out.append(" " * (n // 2) + text.lstrip(" "))
    return out
