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
    train = grok.circuits[index].losses[found.basis]["answer"]["full_train"]
    rows = [["training pairs, all parts", train], *([name, loss] for name, loss in found.losses.items())]
    keys = ", ".join(map(str, found.keys)) or f"none in the {found.basis} basis"
    body = table(
        ["parts kept", "loss (nats)"],
        rows,
        f"Key frequencies: {keys}; {found.basis} basis, plane of the {found.plane}. Over all pairs{' without a zero' * (found.basis == 'multiplicative')} but for the first row.",
    )
    others = ~np.isin(found.frequency, found.keys)
    worst = float(found.controls.max(initial=0.0))
    order = np.argsort(-found.rises[others])[:12]
    each = [[f"k = {found.frequency[others][i]}", float(found.rises[others][i]), "yes" if found.rises[others][i] > worst else "no"] for i in order]  # fmt: skip
    body += table(["without it", "rise of the loss (nats)", "above every random plane"], each,
                  f"Frequencies that are no keys whose removal from key + non-key costs most, at most twelve. The worst of {len(found.controls)} random planes costs {worst:.3g}.")  # fmt: skip
    if found.formula in PARTS and task.config.modulus == 97:
        body += table(
            ["published", *PARTS[found.formula]],
            [[found.formula, *PARTS[found.formula].values()]],
            "Furuta et al. 2024, Table A.4, one run.",
        )
    return Section("parts", "Parts of the logits", "All of the logits are key frequencies, other frequencies, or neither; this is what each combination answers.", body,
                   ("Which frequencies are keys is a rule of ours (those that lead the plane of the answer); the losses depend on it.",
                    "A part that suffices is not thereby what the network uses."))  # fmt: skip
