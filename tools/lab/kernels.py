# SPDX-License-Identifier: GPL-2.0
"""Kernels by name, built or fetched once: plain-6.12, ours-6.12, image-6.19.

plain-BASE is the base without the series, in build/plain-BASE, ours-BASE with
it, in build/BASE; image-VERSION is Debian's own.
"""

import hashlib
import os
import shutil
import subprocess
import sys

import lab

PATCHES = os.environ.get("PATCHES_DIR") or os.path.join(lab.TOP, "patches")
lab.BUILD = os.path.abspath(lab.BUILD)


class Failed(Exception):
    """A tool did not come to its end: its status, and its last words."""

    def __init__(self, status, note):
        super().__init__(note)
        self.status = status


def say(text):
    print(text, file=sys.stderr, flush=True)


def tool(*name):
    return os.path.join(lab.TOP, "tools", *name)


def call(cmd, env=None, ok=(0,), out=None):
    """Run a tool: its progress is shown, its stdout returned, or in a file."""
    full = {k: v for k, v in os.environ.items()
            if k not in ("KDIR", "TARBALL", "VERSION", "SRC", "BASE") and
            not k.startswith("GIT_")}
    full.update(env or {}, BUILD=lab.BUILD, PATCHES_DIR=PATCHES)
    last = ""
    with open(out or os.devnull, "wb") as f:
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=full,
                             cwd=lab.TOP, stdout=f if out else subprocess.PIPE)
        for raw in p.stderr:
            last = raw.decode("utf-8", "replace").rstrip("\n")
            say("    " + last)
        text = "" if out else p.stdout.read().decode("utf-8", "replace")
        status = p.wait()
    if status not in ok:
        raise Failed(status, "%s: %s" % (os.path.basename(cmd[0]),
                                         last or "exit status %d" % status))
    return text.strip()


def digest(*paths):
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(("%s %d\n" % (os.path.basename(path), os.fstat(f.fileno()).st_size)).encode())
            for data in iter(lambda: f.read(1 << 20), b""):
                h.update(data)
    return h.hexdigest()


def plain_tree(base, linux):
    """The base as it was unpacked: a copy by hard links, at tag base.

    git puts a new file in place of one that differs, so ours keeps its own.
    """
    top = os.path.join(lab.BUILD, "plain-" + base)
    plain, note = os.path.join(top, "linux"), os.path.join(top, "made-from")

    def git(where, *words):
        return call(["git", "-C", where] + list(words),
                    env={"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"})
    with open(os.path.join(linux, ".git", "guard", "source"), encoding="utf-8") as f:
        wanted = "%s %s\n%s" % (linux, git(linux, "rev-parse", "-q", "--verify",
                                           "base^{commit}"), f.read())
    if os.path.exists(note):
        with open(note, encoding="utf-8") as f:
            if f.read() == wanted:
                return plain
    say("    making the plain base, %s" % plain)
    # The objects stay: make sees what is newer.
    shutil.rmtree(plain, ignore_errors=True)
    os.makedirs(top, exist_ok=True)
    call(["cp", "-al", linux, plain])
    shutil.rmtree(os.path.join(plain, ".git"))
    call(["cp", "-a", os.path.join(linux, ".git"), os.path.join(plain, ".git")])
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
    """(image, options of tools/lab/boot), made or fetched if need be."""
    kind, _, base = name.partition("-")
    if kind == "image":
        where = call([tool("series", "fetch"), name])
        with open(os.path.join(where, "version"), encoding="utf-8") as f:
            modules = os.path.join(where, "modules", f.read().strip())
        # Debian's suites do not keep the modules as long as the kernels.
        return (os.path.join(where, "vmlinuz"), ["--modules", modules]
                if os.path.isdir(modules) else ["--disk", "nvme"])
    tree = call([tool("series", "apply"), base])
    where, env = base, {}
    if kind == "plain":
        tree = plain_tree(base, tree)
        where, env = name, {"SRC": tree, "MAY_LACK": "CONFIG_MM_GUARD_"}
    return call([tool("lab", "build"), where, config], env=env), []
