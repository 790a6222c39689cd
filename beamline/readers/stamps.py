"""The clock of a raw file: time stamps as people and cyclers write them, brought to UTC.

A stamp such as ``5/11/2021 3:40:24 PM`` says neither whether it is the 11th of May or the 5th of November,
nor where the clock hung. Both are asked for wherever the file does not settle them; nothing is taken from the
machine that reads. Around the end of summer time an hour comes twice, at its beginning one is skipped:
stamps in a skipped hour are refused, stamps in a repeated hour are told apart by the file's own elapsed time
or by the backward jump between the two passes, else refused.

The time axis of a channel increases strictly. Samples that share a stamp (a clock that writes whole seconds)
are set 1 ns apart in the order of the file; a clock that runs backward is refused. What was done is said in
a `ClockWarning` and kept in ``attrs["clock"]``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from beamline.errors import ConfigError, DataFileError

Times = NDArray[np.datetime64]
Floats = NDArray[np.float64]

_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9})\d*)?)?"
_ISO = re.compile(
    rf"(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})[T ]+{_TIME}\s*"
    r"(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_NUMBERS = re.compile(
    rf"(?P<first>\d{{1,2}})[-/.](?P<second_number>\d{{1,2}})[-/.](?P<year>\d{{4}}|\d{{2}})\s+{_TIME}"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?",
    re.ASCII,
)
_NAMED = re.compile(
    rf"(?P<day>\d{{1,2}})[- ](?P<name>[A-Za-z]{{3}})[a-z]*[- ,]+(?P<year>\d{{4}}|\d{{2}})\s+{_TIME}"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?",
    re.ASCII,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_JUMP = 2.0  # s: two clocks that write whole seconds differ by less
_SETTING = 60.0  # s: clocks are put right by less than this without anybody noticing
_SECOND = np.timedelta64(1, "s")


class ClockWarning(UserWarning):
    """The clock of a file needed interpretation; the message says what was done."""


def is_stamp(text: str) -> bool:
    """Tell whether `text` is a date with a time."""
    return any(pattern.fullmatch(text.strip()) for pattern in (_ISO, _NUMBERS, _NAMED))


def parse(
    texts: Sequence[str], subject: str, day_first: bool | None, elapsed: Floats | None = None
) -> tuple[Times, bool]:
    """Return the stamps as written (``datetime64[ns]``), and whether they state their zone and are UTC now.

    Parameters
    ----------
    texts
        ISO 8601, ``23-Nov-23 3:56:08 PM``, or numbers in either order with ``/``, ``-`` or ``.``.
    subject
        File the stamps are from, for the errors.
    day_first
        Order of day and month where both are numbers; None lets the stamps themselves decide.
    elapsed
        Elapsed time of the same samples in s, which settles the order of stamps that cross midnight.

    Raises
    ------
    DataFileError
        A text is not a stamp, the order of day and month is open, or some stamps state a zone, some do not.
    """
    matches = [_match(text, subject, line) for line, text in enumerate(texts)]
    numbers = [m for m in matches if m.re is _NUMBERS]
    if numbers and day_first is None:
        day_first = _day_first(numbers, texts, subject, elapsed)
    zones = {bool(m.groupdict().get("zone")) for m in matches}
    if len(zones) > 1:
        raise DataFileError(subject, "states a time zone for some time stamps and none for others")
    return np.array([_value(m, bool(day_first), subject) for m in matches], "datetime64[ns]"), zones == {True}


def to_utc(
    wall: Times, zone: str | None, subject: str, elapsed: Floats | None = None
) -> tuple[Times, list[str]]:
    """Convert the readings of a wall clock to UTC.

    Parameters
    ----------
    wall
        What the clock showed, in the order of the file.
    zone
        IANA name ("Europe/Berlin") or fixed offset ("+02:00", "UTC").
    subject
        File, for the errors.
    elapsed
        Elapsed time in s, which tells the two passes of a repeated hour apart.

    Returns
    -------
    times, notes
        UTC, and what had to be interpreted.

    Raises
    ------
    DataFileError
        `zone` is None, or stamps fall into a skipped or an undecidable repeated hour.
    ConfigError
        `zone` is not a time zone.
    """
    if zone is None:
        raise DataFileError(
            subject,
            "has local times and does not say in which time zone",
            'give it: timezone="Europe/Berlin", or "UTC"',
        )
    rules = zone_of(zone)
    # Zones change at multiples of 15 minutes, so one look-up serves all stamps of a quarter of an hour.
    quarters, index = np.unique(wall.astype("datetime64[m]").astype(np.int64) // 15, return_inverse=True)
    offsets = np.array([_offsets(rules, int(q)) for q in quarters], "timedelta64[s]").reshape(-1, 2)[index]
    skipped = offsets[:, 0] < offsets[:, 1]
    if skipped.any():
        raise DataFileError(
            subject,
            f"has {int(skipped.sum())} time stamps in an hour that {zone} skips "
            f"(the first is {_show(wall[skipped][0])})",
            'the clock did not follow summer time: give its fixed offset, such as timezone="+01:00"',
        )
    repeated = offsets[:, 0] > offsets[:, 1]
    second_pass = np.zeros(wall.shape, bool)
    notes = []
    if repeated.any():
        second_pass = _second_pass(wall, offsets, repeated, subject, elapsed)
        notes.append(
            f"{int(repeated.sum())} time stamps fall in the hour {zone} repeats; "
            f"{int(second_pass.sum())} of them are of the second pass"
        )
    chosen = np.where(second_pass, offsets[:, 1], offsets[:, 0])
    return (wall - chosen).astype("datetime64[ns]"), notes


def start_of(start: str, zone: str | None, subject: str) -> np.datetime64:
    """Return the moment elapsed times count from, given as an ISO time stamp, in UTC."""
    times, is_utc = parse([start], f"start={start!r} of {subject}", None)
    return np.datetime64(to_utc(times, "UTC" if is_utc else zone, subject)[0][0], "ns")


def after(start: np.datetime64, seconds: Floats) -> Times:
    """Return `start` plus elapsed seconds."""
    return np.asarray(start.astype("datetime64[ns]") + np.round(seconds * 1e9).astype("timedelta64[ns]"))


def refine(stamps: Times, elapsed: Floats) -> tuple[Times, float, list[str]]:
    """Give whole-second stamps the resolution of the elapsed time written beside them.

    The stamps carry the clock, the elapsed time the fractions of seconds: within a stretch where both run
    alike, time is the elapsed time plus the median distance of the two. Where they part by more than 2 s (a
    test was suspended, a clock was set), a new stretch begins.

    Returns
    -------
    times, spread, notes
        UTC, the largest distance of a stamp from it in s, and what had to be interpreted.
    """
    distance = (stamps - stamps[0]) / _SECOND - elapsed
    breaks = np.flatnonzero(np.abs(np.diff(distance)) > _JUMP) + 1
    refined = np.concatenate(
        [
            elapsed[s] + np.median(distance[s])
            for s in map(slice, [0, *breaks.tolist()], [*breaks.tolist(), None])
        ]
    )
    notes = []
    if breaks.size:
        jumps = np.diff(distance)[breaks - 1]
        notes.append(
            f"clock and elapsed time part {breaks.size} times (by {jumps[0]:+.0f} s at sample {breaks[0]}); "
            "the clock is followed"
        )
    spread = (stamps - stamps[0]) / _SECOND - refined
    return after(stamps[0], refined), float(np.abs(spread).max()), notes


def increasing(times: Times, subject: str, first_line: int = 0) -> tuple[Times, list[str]]:
    """Return strictly increasing times: equal ones are set 1 ns apart, in the order of the file.

    Raises
    ------
    DataFileError
        The time runs backward.
    """
    steps = np.diff(times.astype(np.int64))
    if (steps < 0).any():
        at = int(np.flatnonzero(steps < 0)[0])
        where = f"in line {first_line + at + 1}" if first_line else f"at sample {at + 1}"
        raise DataFileError(
            subject,
            f"has time running backward by {-steps[at] / 1e9:.3f} s {where} ({int((steps < 0).sum())} times)",
            "was the clock set? give a fixed offset as timezone, or split the file there",
        )
    equal = steps == 0
    if not equal.any():
        return times, []
    order = np.arange(times.size)
    rank = order - np.maximum.accumulate(np.where(np.concatenate([[True], ~equal]), order, 0))
    apart = times + rank.astype("timedelta64[ns]")
    if (np.diff(apart.astype(np.int64)) <= 0).any():
        raise DataFileError(subject, "has more samples at one time than can be told apart")
    return apart, [
        f"{int(equal.sum())} samples share the time stamp of the one before; they are set 1 ns apart"
    ]


def report(subject: str, notes: Sequence[str]) -> dict[str, str]:
    """Warn about what had to be interpreted, and return it as attributes to keep."""
    if not notes:
        return {}
    text = "; ".join(notes)
    warnings.warn(f"{subject}: {text}", ClockWarning, stacklevel=2)
    return {"clock": text}


def zone_of(name: str) -> tzinfo:
    """Return the rules of a time zone given by its IANA name or as a fixed offset.

    Raises
    ------
    ConfigError
        There is no such zone.
    """
    fixed = re.fullmatch(r"(?:UTC)?([+-])(\d{1,2})(?::?(\d{2}))?", name.strip())
    if fixed:
        size = timedelta(hours=int(fixed[2]), minutes=int(fixed[3] or 0))
        if size < timedelta(hours=24):
            return timezone(size if fixed[1] == "+" else -size)
    elif name.strip().upper() in {"UTC", "Z", "GMT"}:
        return UTC
    else:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # whatever the name means as a file below the zone folder
            pass
    raise ConfigError(f"timezone {name!r}", "is not a time zone", 'write "Europe/Berlin", "UTC" or "+02:00"')


def _match(text: str, subject: str, line: int) -> re.Match[str]:
    for pattern in (_ISO, _NUMBERS, _NAMED):
        found = pattern.fullmatch(text.strip())
        if found:
            return found
    raise DataFileError(subject, f"has {text.strip()[:40]!r} for the time of sample {line}, not a time stamp")


def _day_first(
    numbers: Sequence[re.Match[str]], texts: Sequence[str], subject: str, elapsed: Floats | None
) -> bool:
    """Decide the order of day and month: a number above 12 is a day; else the elapsed time may tell."""
    first = max(int(m["first"]) for m in numbers)
    second = max(int(m["second_number"]) for m in numbers)
    if first > 12 and second > 12:
        raise DataFileError(subject, "writes day and month of its time stamps in both orders")
    if first > 12 or second > 12:
        return first > 12
    if elapsed is not None:
        fits = [_fits(parse(texts, subject, order)[0], elapsed) for order in (True, False)]
        if fits[0] != fits[1]:
            return fits[0]
    raise DataFileError(
        subject,
        f"does not say whether {numbers[0].group(0)!r} begins with the day or the month",
        "give day_first=True or day_first=False",
    )


def _fits(wall: Times, elapsed: Floats) -> bool:
    """Tell whether wall clock and elapsed time agree to an hour and a bit (a change of summer time)."""
    distance = (wall - wall[0]) / _SECOND - (elapsed - elapsed[0])
    return bool(np.abs(distance).max() < 4000.0)


def _value(m: re.Match[str], day_first: bool, subject: str) -> np.datetime64:
    part = m.groupdict()
    if m.re is _NUMBERS:
        day, month = (part["first"], part["second_number"])[:: 1 if day_first else -1]
    else:
        day, month = part["day"], part.get("month") or _month(part["name"])
    year = int(part["year"])
    if len(part["year"]) == 2:
        year += 1900 if year >= 70 else 2000
    hour = int(part["hour"])
    half = (part.get("half") or "").upper()[:1]
    if half and not 1 <= hour <= 12:
        raise DataFileError(subject, f"has the time stamp {m.group(0)!r}, which does not exist")
    if half:
        hour = hour % 12 + (12 if half == "P" else 0)
    try:
        moment = datetime(year, int(month), int(day), hour, int(part["minute"]), int(part["second"] or 0))  # noqa: DTZ001 - a wall clock
        stamp = np.datetime64(moment, "ns")
    except ValueError as error:
        raise DataFileError(subject, f"has the time stamp {m.group(0)!r}, which does not exist") from error
    if not 1970 <= year < 2262:  # beyond it, nanoseconds since 1970 overflow
        raise DataFileError(subject, f"has the time stamp {m.group(0)!r}; its clock was not set")
    stamp += np.timedelta64(int((part["fraction"] or "0").ljust(9, "0")), "ns")
    zone = part.get("zone")
    if zone and zone not in {"Z", "UTC"}:
        digits = zone[1:].replace(":", "")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        stamp -= np.timedelta64(minutes if zone[0] == "+" else -minutes, "m")
    return stamp


def _month(name: str) -> int:
    """Return the number of a month by its English name; 0 does not exist."""
    return _MONTHS.index(name.lower()) + 1 if name.lower() in _MONTHS else 0


def _offsets(rules: tzinfo, quarter: int) -> tuple[int, int]:
    """Return what the zone adds to UTC, in s, were this quarter of an hour the first or the second pass."""
    moment: Any = np.datetime64(quarter * 15, "m").astype(datetime)
    first, second = (moment.replace(tzinfo=rules, fold=fold).utcoffset() for fold in (0, 1))
    return int(first.total_seconds()), int(second.total_seconds())


def _second_pass(
    wall: Times,
    offsets: NDArray[np.timedelta64],
    repeated: NDArray[np.bool_],
    subject: str,
    elapsed: Floats | None,
) -> NDArray[np.bool_]:
    """Tell which stamps of a repeated hour are of its second pass."""
    shift = (offsets[:, 0] - offsets[:, 1]) / _SECOND
    if elapsed is not None and not repeated.all():
        seconds = (wall - wall[0] - offsets[:, 0]) / _SECOND - elapsed
        # Each repeated stamp is compared with the nearest one that is certain.
        certain = np.flatnonzero(~repeated)
        at = np.flatnonzero(repeated)
        position = np.clip(np.searchsorted(certain, at), 1, max(certain.size - 1, 1))
        before, later = certain[position - 1], certain[np.minimum(position, certain.size - 1)]
        nearest = np.where(at - before <= np.abs(later - at), before, later)
        late = (seconds[nearest] - seconds[at]) / shift[at]
        if (np.minimum(np.abs(late), np.abs(late - 1)) < 0.25).all():
            second = np.zeros(wall.shape, bool)
            second[at] = late > 0.5
            return second
    # Without elapsed time, the backward jump between the passes must be in the file.
    second = np.zeros(wall.shape, bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], repeated, [False]]).astype(int)))
    for begin, end in edges.reshape(-1, 2):
        jumps = np.flatnonzero(np.diff(wall[begin:end]) / _SECOND < -_SETTING)
        if jumps.size != 1:
            raise DataFileError(
                subject,
                f"has time stamps from {_show(wall[begin])} on that this time zone passes twice",
                'give the clock\'s fixed offset, such as timezone="+02:00"',
            )
        second[begin + jumps[0] + 1 : end] = True
    return second


def _show(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[s]"))
