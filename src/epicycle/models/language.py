"""Open a causal language model: a local directory or a hub name, through `transformers`, with its number space.

Remote code is never run, and nothing is unpickled.
"""

import dataclasses
import functools
import hashlib
import json
import operator
import os
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from epicycle._files import sha256
from epicycle.errors import ConfigError, DataError
from epicycle.models.families import FAMILIES, Family
from epicycle.tasks.number_space import NumberSpace, number_space
from epicycle.tasks.prompts import PromptConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LanguageModel:
    """A causal language model with named parts. Make it with `load_language_model` or `language_model`."""

    name: str
    model: Any
    tokenizer: Any
    family: Family
    space: NumberSpace

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name}: {self.model.config.model_type}, {self.num_layers} layers, width {self.width})"
        )

    @functools.cached_property
    def layers(self) -> list[nn.Module]:
        """The layers, in order."""
        return list(operator.attrgetter(self.family.layers)(self.model))

    @property
    def attention(self) -> list[nn.Module]:
        """Per layer, the module whose output attention adds to the stream."""
        return [operator.attrgetter(self.family.attention)(layer) for layer in self.layers]

    @property
    def mlp(self) -> list[nn.Module]:
        """Per layer, the module whose output the MLP adds to the stream."""
        return [operator.attrgetter(self.family.mlp)(layer) for layer in self.layers]

    @property
    def head_mixers(self) -> list[nn.Module]:
        """Per layer, the matrix that takes the outputs of all heads, side by side, to the stream."""
        return [operator.attrgetter(self.family.heads)(layer) for layer in self.layers]

    @property
    def num_heads(self) -> int:
        """Attention heads per layer."""
        return int(self.model.config.num_attention_heads)

    @property
    def is_parallel(self) -> bool:
        """Whether attention and MLP of a layer read the same stream, so that neither reads what the other writes."""
        told = self.family.is_parallel
        return bool(self.model.config.use_parallel_residual) if told is None else told

    @property
    def norm(self) -> nn.Module:
        """The norm in front of the unembedding."""
        return operator.attrgetter(self.family.norm)(self.model)

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def embedding(self) -> Tensor:
        """Token embedding, (v, d)."""
        return self.model.get_input_embeddings().weight.detach()

    @property
    def unembedding(self) -> Tensor:
        """Unembedding, (v, d)."""
        return self.model.get_output_embeddings().weight.detach()

    @property
    def bias(self) -> Tensor | None:
        """Bias of the unembedding, (v,), where there is one."""
        found = getattr(self.model.get_output_embeddings(), "bias", None)
        return None if found is None else found.detach()

    @property
    def width(self) -> int:
        """Residual width d."""
        return self.unembedding.shape[1]

    @property
    def is_tied(self) -> bool:
        """True if embedding and unembedding are one matrix."""
        return self.embedding.data_ptr() == self.unembedding.data_ptr()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    def capped(self, logits: Tensor) -> Tensor:
        """Logits after the model's own final soft cap (Gemma 2); unchanged elsewhere."""
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if not cap else cap * torch.tanh(logits / cap)

    def number_readout(self, ids: np.ndarray) -> tuple[Tensor, Tensor | float]:
        """Unembedding rows (N, d) and biases (N,) of these tokens, float32; 0 where there is no bias."""
        rows = torch.as_tensor(ids, device=self.device)
        bias = self.bias
        return self.unembedding[rows].float(), 0.0 if bias is None else bias[rows].float()


def language_model(model: Any, tokenizer: Any, name: str = "model") -> LanguageModel:
    """Wrap a `transformers` causal language model that is already in memory.

    Raises:
        DataError: Its family is unknown, or it has parts this package cannot read.
    """
    kind = model.config.model_type
    family = FAMILIES.get(kind)
    if family is None:
        raise DataError(f"got a model of type {kind!r}; expected one of {', '.join(FAMILIES)}. Add its line to "
                        "epicycle/models/families.py, or choose another model.")  # fmt: skip
    if getattr(getattr(getattr(model, "model", None), "decoder", None), "project_out", None) is not None:
        raise DataError(f"got {name}, an OPT model that projects its stream before the unembedding; expected one that does not. "
                        "Choose another size.")  # fmt: skip
    if getattr(model.config, "do_layer_norm_before", True) is False:
        raise DataError(f"got {name}, an OPT model with its norms behind its modules, which has no final norm; expected one with them in front. "
                        "Choose another size.")  # fmt: skip
    found = LanguageModel(name, model.eval(), tokenizer, family, number_space(tokenizer))
    if not found.num_layers:
        raise DataError(f"got {name}, a model without layers; expected at least one. Choose another model.")
    if found.space.count and int(found.space.ids.max()) >= len(found.embedding):
        raise DataError(f"got {name}, whose tokenizer has number tokens up to {found.space.ids.max():,} for an embedding of {len(found.embedding):,} rows; "
                        "expected a tokenizer that fits. Use the one that it was trained with.")  # fmt: skip
    return found


def check_boundary(lm: LanguageModel, prompts: PromptConfig) -> None:
    """Refuse sentences whose last space and whose answer's own leading space would follow each other.

    Raises:
        ConfigError: The number tokens carry a leading space and the prompts end in one.
    """
    if lm.space.form == "spaced" and prompts.form == "sentences" and prompts.boundary == "space":
        raise ConfigError(
            "got prompts that end in a space for a tokenizer whose numbers carry one; expected 'Answer:'. Add --boundary colon."
        )


def _memory_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _check_memory(directory: Path, dtype: str) -> None:
    """Refuse before loading what cannot fit: weights counted from the headers of the safetensors files."""
    from safetensors import safe_open

    count = 0
    index = directory / "model.safetensors.index.json"
    names = (
        set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if index.is_file()
        else {"model.safetensors"}
    )
    for file in (directory / name for name in sorted(names) if (directory / name).is_file()):
        with safe_open(file, framework="pt") as tensors:
            for key in list(tensors.keys()):
                size = 1
                for side in tensors.get_slice(key).get_shape():
                    size *= side
                count += size
    need, have = count * DTYPES[dtype].itemsize, _memory_available()
    if have is not None and need > 0.95 * have:
        hint = (
            "Use --dtype bfloat16, or a machine with more memory."
            if dtype == "float32"
            else "Use a machine with more memory."
        )
        raise DataError(f"got {directory}, whose {count:,} weights need {need / 2**30:.1f} GiB as {dtype} where {have / 2**30:.1f} GiB are "
                        f"free; expected a model that fits. {hint}")  # fmt: skip


def _check_directory(directory: Path) -> None:
    names = {file.name for file in directory.iterdir()}
    if "adapter_config.json" in names:
        raise DataError(f"got {directory}, which holds an adapter (adapter_config.json); expected a whole model. Merge the adapter into its base "
                        "and save that with save_pretrained.")  # fmt: skip
    if "config.json" not in names:
        raise DataError(f"got {directory}, which has no config.json; expected a Hugging Face model directory or a run. "
                        "Save the model there with save_pretrained.")  # fmt: skip
    if not any(name.endswith(".safetensors") for name in names):
        also = " It holds pickled weights, which are never opened here: convert them with save_pretrained." if any(
            name.endswith((".bin", ".pt", ".pth")) for name in names) else " Save the model there with save_pretrained."  # fmt: skip
        raise DataError(f"got {directory}, which has no weights in safetensors form; expected model.safetensors.{also}")
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json"}:
        raise DataError(f"got {directory}, which has no tokenizer; expected tokenizer.json beside the weights. "
                        "Save it there with tokenizer.save_pretrained.")  # fmt: skip


def load_language_model(name: str | Path, *, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
    """Open a causal language model.

    Args:
        name: A run of the language track, a Hugging Face directory, or a hub name.
        device: cpu or cuda.
        dtype: float32, bfloat16 or float16 weights.

    Raises:
        DataError: It cannot be found or reached, lacks weights or a tokenizer, is no causal language model, belongs to an
            unknown family, or does not fit into memory.
    """
    import transformers

    where = Path(name)
    if (where / "run.json").is_file():
        if not (where / "model" / "config.json").is_file():
            raise DataError(f"got run {where}, which holds no language model; expected a finished run of `epicycle pretrain` or "
                            "`epicycle finetune`. Train it first.")  # fmt: skip
        where = where / "model"
    is_local = where.is_dir()
    if not str(name).strip() or where.is_file():
        raise DataError(f"got {str(name)!r}, {'a file' if str(name).strip() else 'no name'}; expected a model directory or a hub name. Give the "
                        "directory that holds config.json.")  # fmt: skip
    if is_local:
        _check_directory(where)
    elif os.sep in str(name) and (str(name).startswith((".", os.sep)) or str(name).count("/") > 1):
        raise DataError(f"got {name}, which does not exist; expected a model directory or a hub name. Check the path.")
    source = str(where) if is_local else str(name)
    transformers.utils.logging.disable_progress_bar()
    quiet = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        _check_causal(config, source)
        if is_local:
            _check_memory(where, dtype)
        opened: Any = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=DTYPES[dtype],
            output_loading_info=True,
        )
        model, loading = opened
        if missing := sorted(loading["missing_keys"]):
            raise DataError(f"got {source}, whose weights lack {len(missing)} tensors such as {missing[0]}; expected all of them, since random "
                            "ones would make every number noise. Save the whole model with save_pretrained.")  # fmt: skip
        _check_fit(model, loading, source)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except DataError:
        raise
    except Exception as error:
        raise _explained(error, source, is_local) from error
    finally:
        transformers.logging.set_verbosity(quiet)
    model.to(device)
    return language_model(model, tokenizer, str(name))


OBSOLETE = ("inv_freq", "masked_bias", "attn.bias", "attention.bias")
"""Endings of buffers that old files hold and no model needs."""


def _check_fit(model: Any, loading: dict[str, Any], source: str) -> None:
    """Refuse weights of another model than config.json describes, and weights that are not finite."""
    if extra := sorted(key for key in loading["unexpected_keys"] if not key.endswith(OBSOLETE)):
        raise DataError(f"got {source}, which holds {len(extra)} tensors such as {extra[0]} that the model of its config.json has no place for; expected "
                        "weights and config.json of one causal language model. Save it again with save_pretrained.")  # fmt: skip
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"got {source}, whose {name} has values that are not finite; expected numbers. Its training went wrong: use an earlier "
                            "checkpoint.")  # fmt: skip


def _check_causal(config: Any, source: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    written_for = (getattr(config, "architectures", None) or [""])[0]
    is_encoder = (
        written_for.endswith(("ForMaskedLM", "ForPreTraining", "ForSequenceClassification"))
        or config.is_encoder_decoder
    )
    if is_encoder or config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise DataError(f"got {source}, a model of type {config.model_type!r}{f' ({written_for})' if written_for else ''} that does "
                        "not predict the next token; expected a causal language model. For the spectrum of its embedding "
                        "alone use `epicycle spectrum`.")  # fmt: skip
    if config.model_type not in FAMILIES:
        raise DataError(f"got {source}, a model of type {config.model_type!r}; expected one of {', '.join(FAMILIES)}. Add its "
                        "line to epicycle/models/families.py, or choose another model.")  # fmt: skip


def _explained(error: Exception, source: str, is_local: bool) -> DataError:
    """One sentence for what `transformers` raises while opening a model."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return DataError(f"got {source}, which needs code of its own; expected a model that `transformers` knows, since remote code is "
                         "never run here. Convert it, or choose another model.")  # fmt: skip
    if "size mismatch" in str(error) or "ignore_mismatched_sizes" in str(error):
        return DataError(f"got {source}, whose weights have other shapes than its config.json says; expected both of one model. Save it again with "
                         "save_pretrained.")  # fmt: skip
    if is_local:
        return DataError(f"got {source}, which cannot be opened ({first}); expected a complete model directory. Save it again with "
                         "save_pretrained.")  # fmt: skip
    return DataError(f"got {source}, which is neither a directory here nor a model that the hub gave ({first}); expected one of them. "
                     "Check the name and the network, or download the model and give its directory.")  # fmt: skip


def _hub_revision(name: str) -> str:
    """The commit that the hub gives for a name."""
    import transformers

    try:
        return str(
            getattr(transformers.AutoConfig.from_pretrained(name, trust_remote_code=False), "_commit_hash", None)
        )
    except Exception as error:
        raise _explained(error, name, is_local=False) from error


def model_directory(name: str | Path) -> Path | None:
    """The Hugging Face directory that a run or a directory stands for; None for a hub name."""
    where = Path(name)
    if (where / "run.json").is_file():
        where = where / "model"
    return where if where.is_dir() else None


def start_digest(name: str | Path) -> str:
    """SHA-256 of a model's weights, configuration and tokenizer; of name and revision for a hub model."""
    where = model_directory(name)
    if where is None:
        return hashlib.sha256(f"hub:{name}@{_hub_revision(str(name))}".encode()).hexdigest()
    files = sorted(file for file in where.iterdir() if file.suffix in (".safetensors", ".json", ".model", ".txt"))
    return hashlib.sha256("".join(f"{file.name}:{sha256(file)}\n" for file in files).encode()).hexdigest()
