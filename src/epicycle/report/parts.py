"""The logits of a run in parts, as a section: there once `epicycle report RUN --parts` has computed them."""

import numpy as np

from epicycle.analysis.decomposition import kept_decomposition
from epicycle.analysis.grok import Grok
from epicycle.report.page import Section, table
from epicycle.studies.furuta2024_published import PARTS
from epicycle.tasks.modular import Task


def parts_section(grok: Grok, task: Task, index: int) -> Section | None:
    """Losses of key frequencies, other frequencies and the rest in every combination; None where they were not computed."""
    found = kept_decomposition(grok, index)
    if found is None:
        return None
    train = grok.circuits[index].losses["additive"]["answer"]["full_train"]
    rows = [["training pairs, all parts", train], *([name, loss] for name, loss in found.losses.items())]
    keys = ", ".join(map(str, found.keys)) or "none in the additive basis"
    body = table(
        ["parts kept", "loss (nats)"],
        rows,
        f"Key frequencies: {keys}; plane of the {found.plane}. Over all pairs but for the first row.",
    )
    others = ~np.isin(found.frequency, found.keys)
    worst = float(found.controls.max(initial=0.0))
    order = np.argsort(-found.rises[others])[:12]
    each = [[f"k = {found.frequency[others][i]}", float(found.rises[others][i]), "yes" if found.rises[others][i] > worst else "no"] for i in order]  # fmt: skip
    body += table(["without it", "rise of the loss (nats)", "above every random plane"], each,
                  f"The twelve frequencies, of those that are no keys, whose removal from key + non-key costs most. The worst of {len(found.controls)} random planes costs {worst:.3g}.")  # fmt: skip
    if found.formula in PARTS and task.config.modulus == 97:
        body += table(
            ["published", *PARTS[found.formula]],
            [[found.formula, *PARTS[found.formula].values()]],
            "Furuta et al. 2024, Table A.4, one run.",
        )
    return Section("parts", "Parts of the logits", "All of the logits are key frequencies, other frequencies, or neither; this is what each combination answers.", body,
                   ("Which frequencies are keys is a rule of ours (those that lead the plane of the answer); the losses depend on it.",
                    "A part that suffices is not thereby what the network uses."))  # fmt: skip
