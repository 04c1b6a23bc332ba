"""What the benchmark of clients reports: rows of medians, and how they compare with their targets."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NAMES = ("raw", "jc blocking", "jc async", "blocking", "async")
"""All contestants in the order of the table; jc is jupyter_client, the last two are ours."""

Rounds = Sequence[Mapping[str, Mapping[str, float]]]
"""Values by measure, by contestant, for each round."""


@dataclass(frozen=True)
class Target:
    """What one contestant is to reach.

    Attributes:
        ours: who.
        against: beside whom; empty for a bound of the value itself.
        bound: of the ratio of the two.
        at_most: whether less is better.
    """

    ours: str
    against: str
    bound: float
    at_most: bool = True


@dataclass(frozen=True)
class Verdict:
    """How it came out.

    Attributes:
        ours: who.
        ratio: median of the ratios within each round, or of the values themselves.
        target: in words.
        met: whether it was reached.
    """

    ours: str
    ratio: float
    target: str
    met: bool


@dataclass(frozen=True)
class Row:
    """One measure on one transport.

    Attributes:
        transport: tcp or ipc.
        measure: what was measured.
        unit: in what.
        medians: over all rounds, for each contestant; those that it does not apply to are absent.
        verdicts: for each target.
    """

    transport: str
    measure: str
    unit: str
    medians: dict[str, float]
    verdicts: list[Verdict]


@dataclass(frozen=True)
class RowSpec:
    """A row to be.

    Attributes:
        measure, unit: as the row's.
        targets: for its verdicts.
        beside: the measure that targets compare with; this one itself if not given.
        beyond: the contestant whose value is taken off those of the others.
    """

    measure: str
    unit: str
    targets: tuple[Target, ...] = ()
    beside: str = ""
    beyond: str = ""

    def row(self, transport: str, rounds: Rounds, names: Sequence[str] = NAMES) -> Row:
        """Put it together from what the measure returned, for each contestant, for each round."""
        names = [name for name in names if self.measure in rounds[0].get(name, ()) and name != self.beyond]
        medians = {name: statistics.median(self._values(name, self.measure, rounds)) for name in names}
        verdicts = [self._verdict(target, rounds) for target in self.targets]
        return Row(transport, self.measure, self.unit, medians, verdicts)

    def _values(self, name: str, measure: str, rounds: Rounds) -> list[float]:
        return [each[name][measure] - (each[self.beyond][measure] if self.beyond else 0) for each in rounds]

    def _verdict(self, target: Target, rounds: Rounds) -> Verdict:
        values = self._values(target.ours, self.measure, rounds)
        if target.against:
            others = self._values(target.against, self.beside or self.measure, rounds)
            values = [ours / other for ours, other in zip(values, others, strict=True)]
        ratio = statistics.median(values)
        met = ratio <= target.bound if target.at_most else ratio >= target.bound
        words = f"{'<=' if target.at_most else '>='} {target.bound:g}"
        if not target.against:
            words += f" {self.unit}"
        elif self.beside:
            words += f" x {self.beside}"
        else:
            words += f" x {target.against}"
        return Verdict(target.ours, ratio, words, met)


def table(rows: Sequence[Row], names: Sequence[str] = NAMES) -> str:
    """For people: a line for each row, and one for each of its targets beyond the first."""
    width = max(len(row.measure) for row in rows) + 6
    unit = max(len(row.unit) for row in rows) + 2
    head = f"{'':{width}}{'':>{unit}}" + "".join(f"{name:>15}" for name in names)
    lines = [head]
    for row in rows:
        values = "".join(f"{_number(row.medians.get(name)):>15}" for name in names)
        lines.append(f"{f'{row.transport:4} {row.measure}':{width}}{row.unit:>{unit}}{values}")
        for verdict in row.verdicts:
            said = "met" if verdict.met else "missed"
            lines.append(f"{'':{width}}{verdict.ours:>{unit}} {verdict.ratio:8.2f}  {verdict.target}: {said}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
