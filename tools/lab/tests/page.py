# SPDX-License-Identifier: GPL-2.0
"""page.py FOLDER EXPRESSION: whether it holds of h, FOLDER/report.html."""

import os
import re
import sys
from html.parser import HTMLParser


class Page(HTMLParser):
    """Its attributes, tables as [[[cell]]], and text; all tags must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attrs, self.texts, self.tables, self.raw = [], [], [], [], text
        self.feed(text)
        self.close()
        assert not self.open, "not closed: %s" % self.open
        self.text = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag, attrs):
        self.attrs += [(tag,) + a for a in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attrs += [(tag,) + a for a in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, "%s is not the open tag" % tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, *names):
        return [value for _, name, value in self.attrs if name in names]


def read(name):
    with open(os.path.join(sys.argv[1], name), encoding="utf-8") as f:
        return f.read()


def markdown_tables(text):
    out = []
    for block in text.split("\n\n"):
        rows = [[c.strip() for c in l[1:-1].split("|")] for l in block.split("\n")
                if l.startswith("|")]
        if rows:
            out.append(rows[:1] + rows[2:])
    return out


h = Page(read("report.html"))
if not eval("(%s)" % sys.argv[2]):     # of several lines
    sys.exit("not so")
