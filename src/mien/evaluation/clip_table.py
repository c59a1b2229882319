"""A summary as one tidy table: a row per mean and per contrast."""

import pyarrow as pa

from mien.scores.summary import Summary
from mien.storage.documents import plain

TEXT, NUMBER, COUNT = pa.string(), pa.float64(), pa.int64()

KINDS = {
    "what": TEXT, "condition": TEXT, "against": TEXT, "target": TEXT, "value": NUMBER, "low": NUMBER, "high": NUMBER,
    "people": COUNT, "clips": COUNT, "design": TEXT, "effect": NUMBER, "p": NUMBER, "q": NUMBER,
}  # fmt: skip


def to_table(summary: Summary) -> pa.Table:
    """A summary as a table.

    Returns:
        ``what`` (``mean`` or ``difference``), ``condition`` and, for differences, the condition ``against`` it,
        ``target``, ``value`` with its 95 % interval from ``low`` to ``high``, ``people``, ``clips`` (means),
        ``design``, ``effect``, ``p``, ``q`` (differences); null where not applicable or not defined.
    """
    means = [
        {"what": "mean", "condition": m.condition, "target": m.target, "value": m.mean.value, "low": m.mean.low,
         "high": m.mean.high, "people": m.people, "clips": m.clips}
        for m in summary.means
    ]  # fmt: skip
    contrasts = [
        {"what": "difference", "condition": c.second, "against": c.first, "target": c.target,
         "value": c.difference.value, "low": c.difference.low, "high": c.difference.high, "people": c.people,
         "clips": c.clips, "design": c.design, "effect": c.effect, "p": c.p, "q": c.q}
        for c in summary.contrasts
    ]  # fmt: skip
    return pa.Table.from_pylist(plain([*means, *contrasts]), schema=pa.schema(list(KINDS.items())))
