"""Charts as SVG, by hand: a dot plot and a line chart, both with logarithmic axes where asked."""
import math
from html import escape

COLOURS = ["#0b6e4f", "#d1495b", "#edae49", "#30638e", "#8d5a97", "#6b705c", "#00798c", "#bc6c25", "#444444", "#e07be0"]
STYLE = ("text{font:12px sans-serif;fill:#222}.t{font-size:15px;font-weight:bold}.a{fill:#555}"
         ".g{stroke:#ddd;stroke-width:1}.r{stroke:#bbb;stroke-width:1}")


class Axis:
    """Maps values to pixels; `ticks` are values worth a grid line."""

    def __init__(self, values, low, high, logarithmic):
        self.low, self.high, self.log = low, high, logarithmic
        values = [v for v in values if v > 0 or not logarithmic] or [1]
        if logarithmic:
            self.first, self.last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) - 1e-9)
            self.last = max(self.last, self.first + 1)
            self.ticks = [10.0 ** k for k in range(self.first, self.last + 1)]
        else:
            step = 10 ** math.floor(math.log10(max(max(values), 1e-9)))
            step = next(s for s in (step / 5, step / 2, step, step * 2) if max(values) / s <= 6)
            self.first, self.last = 0, math.ceil(max(values) / step) * step or 1
            self.ticks = [k * step for k in range(round(self.last / step) + 1)]

    def at(self, value):
        place = math.log10(max(value, 10.0 ** self.first)) if self.log else value
        return self.low + (place - self.first) / (self.last - self.first) * (self.high - self.low)


def number(value):
    """For people: 0.15, 7.2, 830, 12 k, 1.5 M."""
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if value >= factor * (10 if unit == " k" else 1):
            return f"{value / factor:.3g}{unit}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def text(x, y, words, anchor="start", kind="", colour=""):
    fill = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" class="{kind}"{fill}>{escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def save(path, width, height, parts):
    body = "\n".join(parts)
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
                    f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n')


def legend(names, x, y, width):
    """The names with their colours, in rows; the parts, and where the legend ends."""
    parts, left = [], x
    for k, name in enumerate(names):
        space = 26 + 7 * len(name)
        if left + space > width:
            left, y = x, y + 18
        colour = COLOURS[k % len(COLOURS)]
        parts += [f'<circle cx="{left + 5}" cy="{y - 4}" r="5" fill="{colour}"/>', text(left + 15, y, name)]
        left += space
    return parts, y + 14


def dots(path, title, unit, rows):
    """A row per workload, a dot per server: `rows` maps row to {server: value}. The axis is logarithmic."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    width, left, step = 860, 110, 34
    parts, top = legend(names, 16, 48, width)
    bottom = top + 10 + step * len(rows)
    axis = Axis([v for row in rows.values() for v in row.values()], left, width - 60, True)
    parts.append(text(16, 24, f"{title}, {unit}", kind="t"))
    for tick in axis.ticks:
        parts += [line(axis.at(tick), top, axis.at(tick), bottom, "g"), text(axis.at(tick), bottom + 16, number(tick), "middle", "a")]
    for k, (row, values) in enumerate(rows.items()):
        y = top + 10 + step * k + step / 2
        parts += [text(left - 10, y + 4, row, "end"), line(left, y, width - 60, y, "r")]
        for name, value in values.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(f'<circle cx="{axis.at(value):.1f}" cy="{y:.1f}" r="6" fill="{colour}"><title>'
                         f'{escape(name)}: {number(value)}</title></circle>')
        for name in names[:1]:
            if name in values:
                parts.append(text(axis.at(values[name]), y - 9, number(values[name]), "middle", colour=COLOURS[0]))
    save(path, width, round(bottom + 30), parts)


def lines(path, title, x_unit, y_unit, series, log_x=True, log_y=True):
    """`series` maps name to [(x, y)]; each line is named at its last point."""
    width, height, left, right = 860, 460, 80, 150
    parts, top = legend(series, 16, 48, width)
    points = [p for line_ in series.values() for p in line_]
    across = Axis([x for x, _ in points], left, width - right, log_x)
    up = Axis([y for _, y in points], height - 50, top + 10, log_y)
    parts.append(text(16, 24, title, kind="t"))
    for tick in across.ticks:
        parts += [line(across.at(tick), top + 10, across.at(tick), height - 50, "g"),
                  text(across.at(tick), height - 32, number(tick), "middle", "a")]
    for tick in up.ticks:
        parts += [line(left, up.at(tick), width - right, up.at(tick), "g"), text(left - 8, up.at(tick) + 4, number(tick), "end", "a")]
    parts += [text((left + width - right) / 2, height - 12, x_unit, "middle", "a"), text(16, top + 4, y_unit, kind="a")]
    ends = []
    for k, (name, run) in enumerate(series.items()):
        colour = COLOURS[k % len(COLOURS)]
        way = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in run)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="3" fill="{colour}"><title>{escape(name)}, '
                  f'{number(x)}: {number(y)}</title></circle>' for x, y in run]
        if run:
            ends.append([up.at(run[-1][1]), f"{name} {number(run[-1][1])}", colour, across.at(run[-1][0])])
    ends.sort()
    for k, (y, label, colour, x) in enumerate(ends):
        y = max(y, ends[k - 1][0] + 13) if k else y
        ends[k][0] = y
        parts.append(text(x + 8, y + 4, label, colour=colour))
    save(path, width, height, parts)
