"""Numbers as Grafana writes them in a panel's unit, and the ticks of an axis."""

import math

PER_SECOND = {"reqps": " req/s", "ops": " ops/s"}
TIMES = ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "hour"))
COUNTS = ((1.0, ""), (1e3, " K"), (1e6, " Mil"), (1e9, " Bil"))
TICKS = 5


def shown(value: float, unit: str) -> str:
    """ValueError for a unit that no panel had when this was written."""
    if unit == "none":
        return rounded(value)
    if unit == "percentunit":
        return f"{rounded(100 * value)}%"
    if unit == "s":
        return scaled(value, TIMES, " ")
    if unit == "short" or unit in PER_SECOND:
        return scaled(value, COUNTS, "") + PER_SECOND.get(unit, "")
    raise ValueError(f"no format for the unit {unit!r}")


def scaled(value: float, scale: tuple[tuple[float, str], ...], gap: str) -> str:
    """In the largest unit that leaves one or more, or the smallest there is."""
    if value == 0:
        return f"0{gap}{next(name for size, name in scale if size == 1)}".rstrip()
    size, name = max((one for one in scale if one[0] <= abs(value)), default=scale[0])
    return f"{rounded(value / size)}{gap}{name}"


def rounded(value: float) -> str:
    """Three digits that say something."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{min(max(digits, 0), 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, about five."""
    rough = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
