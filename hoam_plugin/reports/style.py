"""How the page looks: bright and dark, wide and narrow, on paper. No font or script from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --text: #1c1f23; --quiet: #5b6470; --line: #dfe3e8;
  --accent: #0b5fa5; --good: #0a6b4b; --good-back: #dff3ea; --fair: #7a5200; --fair-back: #fbeecb; --poor: #9a2f12;
  --poor-back: #fbe1d8; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #1d2126; --text: #e7eaee; --quiet: #a1abb7;
  --line: #343b44; --accent: #7cbcf5; --good: #7fdcb4; --good-back: #123a2c; --fair: #f0c869; --fair-back: #43330d;
  --poor: #ffab91; --poor-back: #4d2114; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
.page { max-width: 76rem; margin: 0 auto; padding: 1.5rem clamp(0.9rem, 3vw, 2.5rem) 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.2rem); line-height: 1.2; margin: 0 0 0.3rem; letter-spacing: -0.01em; }
h2 { font-size: 1.3rem; margin: 0 0 0.8rem; }
a { color: var(--accent); }
code, pre { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; font-size: 0.9em; }
pre { overflow-x: auto; padding: 0.8rem 1rem; background: var(--page); border: 1px solid var(--line);
  border-radius: 8px; }
.made { color: var(--quiet); margin: 0 0 1rem; }
.verdict { font-size: 1.1rem; max-width: 60rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; padding: 0.7rem 0; margin: 1rem 0 1.4rem;
  border-block: 1px solid var(--line); font-size: 0.93rem; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 0 0 1.2rem;
  padding: clamp(0.9rem, 2.4vw, 1.6rem); }
.note { color: var(--quiet); font-size: 0.93rem; max-width: 60rem; }
.facts { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: 0.3rem 1.2rem; margin: 0 0 1rem; }
.facts dt { color: var(--quiet); } .facts dd { margin: 0; min-width: 0; }
.table { overflow-x: auto; margin: 0 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95rem; }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.4rem; font-size: 0.93rem; }
th, td { padding: 0.32rem 0.85rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--quiet); font-weight: 600; white-space: normal; vertical-align: bottom; }
tbody th { font-weight: 500; } tbody th.group { font-weight: 600; padding-top: 0.9rem; }
.badge { display: inline-block; padding: 0 0.5em; border-radius: 999px; font-size: 0.9em; }
.badge.good { color: var(--good); background: var(--good-back); }
.badge.fair { color: var(--fair); background: var(--fair-back); }
.badge.poor { color: var(--poor); background: var(--poor-back); }
figure { margin: 0 0 1.2rem; overflow-x: auto; }
figcaption { color: var(--quiet); font-size: 0.93rem; padding-top: 0.4rem; }
img { display: block; max-width: 100%; min-width: min(40rem, 170%); height: auto; border-radius: 8px;
  background: white; padding: 4px; }
@media (prefers-color-scheme: dark) { .lines img { filter: invert(0.89) hue-rotate(180deg); }
  .areas img { filter: brightness(0.92); } }
summary { cursor: pointer; color: var(--accent); padding: 0.2rem 0; }
details { margin: 0 0 0.8rem; } details[open] summary { margin-bottom: 0.6rem; }
li { margin: 0.25rem 0; max-width: 60rem; }
@media (max-width: 40rem) { .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 0.6rem; } }
@media print { :root { color-scheme: light; --page: white; --card: white; --text: black; --quiet: #444; --line: #bbb;
  --accent: black; --good: #0a6b4b; --good-back: white; --fair: #7a5200; --fair-back: white; --poor: #9a2f12;
  --poor-back: white; } body { font-size: 10.5pt; } .page { max-width: none; padding: 0; } nav { display: none; }
  section { border: 0; padding: 0.4rem 0; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .table { overflow: visible; } img { filter: none !important; padding: 0; min-width: 0; }
  th, td { white-space: normal; }
  details:not([open])::details-content { content-visibility: visible; display: block; height: auto; } }
"""
