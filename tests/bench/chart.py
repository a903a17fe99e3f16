"""A bar chart of benchmark rows as SVG: one group a job, one bar a peer, time relative to Bailiwick's on a logarithmic scale."""
import html
import math

COLOURS = {"bailiwick": "#0a7d5a", "rsync-ssh": "#7a8aa0", "rsync-daemon": "#a9b4c4", "rclone": "#c7963b", "syncthing": "#9a6fb0"}
BAR, GAP, LEFT, WIDTH = 16, 14, 130, 860


def svg(rows):
    jobs = list(dict.fromkeys((r["set"], r["job"]) for r in rows))
    longest = max((r["seconds"] for r in rows), default=1)
    shortest = min((r["seconds"] for r in rows), default=1)
    low = math.floor(math.log10(max(shortest, 0.001)))
    scale = (WIDTH - LEFT - 190) / max(1, math.log10(max(longest, 0.002)) - low)
    y, parts = 40, []
    for key in jobs:
        group = [r for r in rows if (r["set"], r["job"]) == key]
        parts.append(f'<text x="8" y="{y + BAR}" font-weight="600">{html.escape(" ".join(key))}</text>')
        for row in group:
            length = max(2, (math.log10(max(row["seconds"], 0.001)) - low) * scale)
            ratio = f' ({row["times_bailiwick"]:.2f}×)' if "times_bailiwick" in row and row["peer"] != "bailiwick" else ""
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR - 2}" fill="{COLOURS.get(row["peer"], "#888")}"/>'
                         f'<text x="{LEFT + length + 6:.0f}" y="{y + BAR - 4}">{html.escape(row["peer"])} {row["seconds"]:.2f} s{ratio}</text>')
            y += BAR
        y += GAP
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="20" font-size="14">Seconds a job, logarithmic; '
            f'in brackets: times Bailiwick\'s</text>')
    return head + "".join(parts) + "</svg>\n"
