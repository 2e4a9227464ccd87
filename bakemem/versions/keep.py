"""Which versions `gc` leaves alone, and why: a rule over rows.

Knows no folder and no journal; what is pinned, it is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bakemem.types import Version


def kept(
    versions: Sequence[Version], *, newest: int, pinned: Mapping[str, str], held: Collection[str],
    unfit: Collection[str] = (),
) -> dict[str, str]:  # fmt: skip
    """The versions (oldest first) that stay, by name, each with the reason; what was destroyed already is left out.

    Those are the pinned ones, the `newest` so many, and for each `held` memory the newest version that may serve and
    holds it: nothing that a rollback could bring back is lost. Those that may not serve are the rejected and the
    `unfit` ones. Adapters are whole, so that no version needs the folder of its parent.
    """
    there = [v for v in versions if not v.gone]
    reasons = {v.name: pinned[v.name] for v in there if v.name in pinned}
    for version in there[-newest:] if newest else []:
        reasons.setdefault(version.name, f"among the newest {newest}")
    fit = [v for v in there if v.status == "accepted" and v.name not in unfit]
    missing = set(held).difference(*(v.memory_ids for v in fit if v.name in reasons))
    for version in reversed(fit):
        alone = missing.intersection(version.memory_ids)
        if alone:
            reasons[version.name] = f"alone holds held memories: {', '.join(sorted(i[:8] for i in alone))}"
            missing -= alone
    return {v.name: reasons[v.name] for v in there if v.name in reasons}
