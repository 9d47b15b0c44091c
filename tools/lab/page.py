# SPDX-License-Identifier: GPL-2.0
"""The look of the lab's HTML pages.  They load nothing and need no script."""

STYLE = """\
:root { color-scheme: light dark; --text: #1c1c1c; --back: #fff; --line: #d0d0d0; --head: #f2f2f2;
  --good: #0b6b2b; --known: #7a4d00; --skip: #50555c; --bad: #b00020; --badback: #fde7ea; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4; --back: #16181b; --line: #3a3e44;
  --head: #22252a; --good: #6fd08c; --known: #e6b45c; --skip: #a4abb5; --bad: #ff8a95;
  --badback: #45181d; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--text); background: var(--back);
  font: 16px/1.45 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 1.8rem 0 .4rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
h3 small { font-weight: normal; font-size: .9rem; }
p { margin: .4rem 0; }
p, h2, h3 { overflow-wrap: anywhere; }
.wide { overflow-x: auto; border: 1px solid var(--line); margin: 1rem 0 .5rem; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { background: var(--head); }
th:first-child { position: sticky; left: 0; background: var(--head); font-weight: 600;
  border-right: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; }
td a { color: inherit; text-underline-offset: .15em; }
.good { color: var(--good); } .known { color: var(--known); }
.skip, .none { color: var(--skip); }
.bad { color: var(--bad); font-weight: 600; } td.bad { background: var(--badback); }
.legend { font-size: .9rem; color: var(--skip); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .8rem; margin: .4rem 0; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: .2rem 0 .6rem; padding-left: 1.2rem; }
li, pre { font: .82rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; margin: .2rem 0; padding: .4rem .6rem; background: var(--head); }
section:target { outline: 2px solid var(--line); outline-offset: .4rem; }
@media (max-width: 600px) { main { padding: .7rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; } th, td { padding: .3rem .45rem; } table { font-size: .82rem; } }
@media print { .wide { overflow: visible; border: 0; } table { font-size: .7rem; } }
"""


def head(title, more=""):
    """All before the contents of a page, which </main></body></html> ends."""
    return """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>%s</title>
<style>
%s%s</style></head>
<body><main>
""" % (title, STYLE, more)
