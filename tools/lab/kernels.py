# SPDX-License-Identifier: GPL-2.0
"""Kernels by name, built or fetched once: plain-6.12, ours-6.12, image-6.19.

plain-BASE is the base without the series, in build/plain-BASE, ours-BASE with
it, in build/BASE; image-VERSION is Debian's own.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys

import lab

PATCHES = os.environ.get("PATCHES_DIR") or os.path.join(lab.TOP, "patches")


def say(text):
    print(text, file=sys.stderr, flush=True)


def tool(*name):
    return os.path.join(lab.TOP, "tools", *name)


def shown(path):
    """A path as a reader wants it: from the top folder, if it is below."""
    return os.path.relpath(path, lab.TOP) if path.startswith(lab.TOP + "/") else path


def clean(text):
    """Without what XML 1.0 and a terminal cannot take."""
    return re.sub(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


class Failed(Exception):
    """A step of a column that did not come to its end."""

    def __init__(self, status, note, lines):
        super().__init__(note)
        self.status, self.note, self.lines = status, note, lines


def call(cmd, out=None, env=None, ok=(0,)):
    """Run a tool: its progress is shown, its stdout returned or in a file."""
    full = {k: v for k, v in os.environ.items()
            if k not in ("KDIR", "TARBALL", "VERSION", "SRC", "BASE") and
            not k.startswith("GIT_")}
    full.update(env or {}, BUILD=lab.BUILD, PATCHES_DIR=PATCHES)
    lines = []
    with open(out, "wb") if out else open(os.devnull, "wb") as f:
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=full,
                             cwd=lab.TOP, stdout=f if out else subprocess.PIPE)
        for raw in p.stderr:
            lines.append(clean(raw.decode("utf-8", "replace").rstrip("\n")))
            say("    " + lines[-1])
        text = "" if out else p.stdout.read().decode("utf-8", "replace")
        status = p.wait()
    if status not in ok:
        name = os.path.basename(cmd[0])
        # A tool's last word begins with its name; more lines may follow.
        last = [l for l in lines if re.match(r"[a-z-]+: ", l)] or \
            ["%s: %s" % (name, l) for l in lines]
        raise Failed(status, (last or [name + ":"])[-1] + " (status %d)" % status, lines[-20:])
    return status, text.strip()


def digest(*paths):
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(("%s %d\n" % (os.path.basename(path), os.fstat(f.fileno()).st_size)).encode())
            for data in iter(lambda: f.read(1 << 20), b""):
                h.update(data)
    return h.hexdigest()


def plain_tree(base, linux):
    """The base as it was unpacked: a copy at tag base.

    Not by hard links: an editor may write into a file of ours.
    """
    top = os.path.join(lab.BUILD, "plain-" + base)
    plain, note = os.path.join(top, "linux"), os.path.join(top, "made-from")

    def git(where, *words):
        return call(["git", "-C", where] + list(words),
                    env={"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"})[1]
    source = open(os.path.join(linux, ".git", "guard", "source"), encoding="utf-8").read()
    wanted = "%s %s\n%s" % (linux, git(linux, "rev-parse", "-q", "--verify", "base^{commit}"),
                            source)
    if os.path.exists(note) and open(note, encoding="utf-8").read() == wanted:
        return plain
    say("    making the plain base, %s" % shown(plain))
    # The objects stay: make sees what is newer.
    shutil.rmtree(plain, ignore_errors=True)
    os.makedirs(top, exist_ok=True)
    call(["cp", "-a", "--reflink=auto", linux, plain])
    git(plain, "worktree", "prune")
    git(plain, "checkout", "-q", "-f", "--detach", "base")
    with open(note, "w", encoding="utf-8") as f:
        f.write(wanted)
    return plain


def known(name):
    """Whether there is such a kernel here: patches for it, or Debian's."""
    kind, _, base = name.partition("-")
    return kind == "image" or kind in ("plain", "ours") and \
        os.path.exists(os.path.join(PATCHES, base, "base"))


def get(name, config):
    """(image, options of tools/lab/boot, tree), made or fetched if need be.

    tree is the source of ours, else None.
    """
    kind, _, base = name.partition("-")
    if kind == "image":
        where = call([tool("series", "fetch"), name])[1]
        with open(os.path.join(where, "version"), encoding="utf-8") as f:
            modules = os.path.join(where, "modules", f.read().strip())
        # Debian's suites do not keep the modules as long as the kernels.
        return (os.path.join(where, "vmlinuz"), ["--modules", modules]
                if os.path.isdir(modules) else ["--disk", "nvme"], None)
    tree = call([tool("series", "apply"), base])[1]
    where, env = base, {}
    if kind == "plain":
        tree = plain_tree(base, tree)
        where, env = name, {"SRC": tree, "MAY_LACK": "CONFIG_MM_GUARD_"}
    image = call([tool("lab", "build"), where, config], env=env)[1]
    return image, [], tree if kind == "ours" else None


def has_kunit(name, config):
    """Whether the kernel that was built as this one has our KUnit tests."""
    path = os.path.join(lab.BUILD, name.replace("ours-", "", 1), "obj", config, ".config")
    return os.path.exists(path) and "CONFIG_MM_GUARD_KUNIT_TEST=y" in lab.read_lines(path)


if __name__ == "__main__":
    try:
        if len(sys.argv) != 3 or not known(sys.argv[1]):
            raise Failed(lab.USAGE, "usage: kernels.py plain-BASE|ours-BASE|image-VERSION CONFIG",
                         [])
        print(get(*sys.argv[1:])[0])
    except Failed as e:
        say(str(e))
        sys.exit(e.status)
