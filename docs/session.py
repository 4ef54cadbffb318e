#!/usr/bin/env python3
"""Draw a terminal session as SVG: docs/session.py < session.txt > docs/session.svg"""
import sys
from xml.sax.saxutils import escape

lines = sys.stdin.read().rstrip("\n").split("\n")
width, height = 16 + 8.4 * max(map(len, lines)), 28 + 18 * len(lines)
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="14">')
print(f'<rect width="100%" height="100%" rx="8" fill="#16181d"/>')
for i, line in enumerate(lines):
    colour = "#7fd1b9" if line.startswith("$") else "#d8dee9"
    print(f'<text x="8" y="{26 + 18 * i}" fill="{colour}" xml:space="preserve">{escape(line)}</text>')
print("</svg>")
